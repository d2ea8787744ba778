"""Which rows train together, and which are kept aside."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from al_service.learning import minibatches


@given(count=st.integers(1, 300), size=st.integers(2, 70))
def test_every_row_is_in_one_minibatch_and_none_is_alone(count, size):
    parts = minibatches.minibatches(np.arange(count), size)
    assert all(2 <= len(part) <= max(size, 3) for part in parts)
    assert sorted(set(np.concatenate(parts).tolist())) == list(range(count))
    assert sum(map(len, parts)) == max(2, count)


@given(count=st.integers(1, 300), size=st.integers(2, 70))
def test_an_epoch_has_eight_minibatches_or_more_and_every_row_equally_often(count, size):
    parts = minibatches.epoch_minibatches(np.arange(count), size, np.random.default_rng(0))
    assert len(parts) >= 8
    assert len(set(np.bincount(np.concatenate(parts), minlength=count).tolist())) == 1


def test_a_tenth_of_each_class_is_kept_aside():
    labels = np.repeat([0, 1, 4], [50, 125, 100])
    train, validation = minibatches.validation_split(labels, np.random.default_rng(0))
    assert sorted([*train.tolist(), *validation.tolist()]) == list(range(275))
    assert np.bincount(labels[validation]).tolist() == [5, 12, 0, 0, 10]


@pytest.mark.parametrize("counts", [[49, 250], [1], [2, 3]])
def test_nothing_is_kept_aside_of_few(counts):
    labels = np.repeat(np.arange(len(counts)), counts)
    train, validation = minibatches.validation_split(labels, np.random.default_rng(0))
    assert len(train) == len(labels) and len(validation) == 0

"""Which rows train together, and which are kept aside."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from al_service.errors import InvalidInputError
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


@given(st.lists(st.integers(0, 3), min_size=1, max_size=60), st.integers(0, 9))
def test_balanced_rows_hold_every_class_and_every_row_of_a_class_equally_often(labels, seed):
    labels = np.array(labels)
    rows = np.arange(len(labels))
    found = minibatches.balanced(rows, labels, np.random.default_rng(seed))
    assert len(found) == len(rows)
    per_class = np.bincount(labels[found], minlength=4)[np.unique(labels)]
    assert per_class.max() - per_class.min() <= 1
    for one in np.unique(labels):
        per_row = np.bincount(found, minlength=len(labels))[labels == one]
        assert per_row.max() - per_row.min() <= 1


def plan(**options) -> minibatches.EpochPlan:
    labels = np.repeat([0, 1], [90, 10])
    return minibatches.EpochPlan(np.arange(5, 100), labels, 16, 3, **options)


@pytest.mark.parametrize(
    "options", [{}, {"balance": True}, {"order": lambda epoch, rng: rng.permutation(np.arange(20, 30))}]
)
def test_an_epoch_depends_on_seed_and_number_alone_and_has_the_same_steps(options):
    first, again, other = plan(**options), plan(**options), plan(**options)
    other.seed = 4
    epochs = [first.epoch(number) for number in (1, 2, 3)]
    assert [part.tolist() for part in again.epoch(3)] == [part.tolist() for part in epochs[2]]
    assert [part.tolist() for part in other.epoch(3)] != [part.tolist() for part in epochs[2]]
    for parts in epochs:
        assert len(parts) == first.steps == 12
        assert sum(map(len, parts)) == first.rows_per_epoch == 190
        assert min(np.concatenate(parts)) >= 5
    assert np.concatenate(epochs[0]).tolist() != np.concatenate(epochs[1]).tolist()


def test_an_order_is_kept_cycled_until_the_epoch_is_full_and_cut_to_the_training_part():
    kept = plan(order=lambda epoch, rng: np.array([50, 2, 40, 99])).epoch(1)
    assert np.concatenate(kept).tolist() == ([50, 40, 99] * 64)[:190]


def test_balanced_sampling_keeps_to_an_orders_rows():
    rows = np.array([6, 7, 8, 99])
    found = np.concatenate(plan(balance=True, order=lambda epoch, rng: rows).epoch(1))
    assert set(found.tolist()) == set(rows.tolist())
    assert (found == 99).sum() == 95


def test_balanced_sampling_draws_the_same_whether_or_not_an_order_draws_too():
    drawn = np.random.default_rng([3, 2]).permutation(np.arange(5, 100))
    drawing = plan(balance=True, order=lambda epoch, rng: rng.permutation(np.arange(5, 100))).epoch(2)
    kept = plan(balance=True, order=lambda epoch, rng: drawn).epoch(2)
    assert [part.tolist() for part in drawing] == [part.tolist() for part in kept]


@pytest.mark.parametrize(
    ("rows", "text"),
    [([], "none of which"), ([0, 1], "none of which"), ([5, 100], "row 100"), ([-1], "row -1"), ([5.0], "float64")],
)
def test_an_order_that_cannot_be_trained_on_is_refused(rows, text):
    with pytest.raises(InvalidInputError, match=text):
        plan(order=lambda epoch, rng: np.array(rows)).epoch(1)

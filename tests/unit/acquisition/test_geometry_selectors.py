"""What all selectors keep that look at the geometry of embeddings."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from al_service.acquisition.arrays import InvalidArrayError
from al_service.errors import InvalidInputError
from tests.unit.acquisition.geometry_selectors import METRIC, SELECTORS, STEADY, blobs

every_selector = pytest.mark.parametrize("name", SELECTORS)


def features(n: int, seed: int = 0, width: int = 3) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, width))


@every_selector
@given(n=st.integers(1, 40), share=st.floats(0, 1), seed=st.integers(0, 999), copies=st.booleans())
@settings(max_examples=25, deadline=None)
def test_gives_k_distinct_positions_of_the_pool(name, n, share, seed, copies):
    k = round(share * n)
    rows = features(n, seed)
    chosen = SELECTORS[name](rows[np.arange(n) // 3] if copies else rows, k, seed)
    assert chosen.shape == (k,) and chosen.dtype == np.int64
    assert len(set(chosen.tolist())) == k
    assert set(chosen.tolist()) <= set(range(n))


@every_selector
@pytest.mark.parametrize("k", [0, 1, 7, 25])
@pytest.mark.parametrize("row", [np.zeros(3), np.array([0.1, -2.7, 5.3])])
def test_equal_samples_are_chosen_in_order_of_position(name, k, row):
    assert SELECTORS[name](np.tile(row, (25, 1)), k, 0).tolist() == list(range(k))


@every_selector
def test_all_of_the_pool_none_of_it_and_a_pool_of_one_or_none(name):
    select = SELECTORS[name]
    assert set(select(features(12), 12, 0).tolist()) == set(range(12))
    assert select(features(12), 0, 0).tolist() == []
    assert select(features(1), 1, 0).tolist() == [0]
    assert select(features(0), 0, 0).tolist() == []


@every_selector
@pytest.mark.parametrize("k", [-1, 13])
def test_more_than_the_pool_or_fewer_than_none_is_refused(name, k):
    with pytest.raises(InvalidInputError, match="0 to 12"):
        SELECTORS[name](features(12), k, 0)


@every_selector
def test_not_a_number_is_refused_by_its_row(name):
    rows = features(12)
    rows[7, 1] = np.nan
    with pytest.raises(InvalidArrayError, match=r"embeddings\[7\]"):
        SELECTORS[name](rows, 3, 0)


@pytest.mark.parametrize("name", [name for name in SELECTORS if name not in ("typiclust", "prob_cover")])
def test_the_last_row_can_be_chosen_for_being_far(name):
    rows = features(101) + 10
    rows[-1] = -100
    assert 100 in SELECTORS[name](rows, 30, 0)


@pytest.mark.parametrize("name", ["k_means", "typiclust", "herding"])
def test_the_last_row_can_be_chosen_for_lying_in_the_middle(name):
    rows = np.concatenate([np.eye(5), -np.eye(5), np.zeros((1, 5))])
    assert SELECTORS[name](rows, 1, 0).tolist() == [10]


@every_selector
def test_the_same_seed_gives_the_same_positions(name):
    rows = features(80)
    np.testing.assert_array_equal(SELECTORS[name](rows, 20, 3), SELECTORS[name](rows, 20, 3))


@every_selector
@pytest.mark.parametrize("kind", [np.float16, np.float32])
def test_types_are_read_alike_no_array_is_written_to_and_tensors_give_tensors(name, kind):
    rows = blobs((30, 20, 10)).astype(np.float16)
    given_rows, before = rows.astype(kind), rows.copy()
    expected = SELECTORS[name](rows.astype(np.float64), 9, 1)
    given_rows.flags.writeable = False
    np.testing.assert_array_equal(SELECTORS[name](given_rows, 9, 1), expected)
    np.testing.assert_array_equal(given_rows, before)
    if name != "cluster_margin":
        answer = SELECTORS[name](torch.from_numpy(rows.astype(kind)), 9, 1)
        assert isinstance(answer, torch.Tensor) and answer.tolist() == expected.tolist()


@pytest.mark.parametrize("name", STEADY)
def test_the_first_of_many_are_the_few(name):
    np.testing.assert_array_equal(SELECTORS[name](features(60), 30, 0)[:8], SELECTORS[name](features(60), 8, 0))


@pytest.mark.parametrize("name", METRIC)
@pytest.mark.parametrize("far", [0, 1000])
def test_copies_come_last(name, far):
    """Ten places, one of them ten times: each place is chosen before any is chosen twice."""
    places = np.random.default_rng(0).normal(size=(10, 16)) * 5 + far
    rows = np.concatenate([np.repeat(places[:1], 10, axis=0), places[1:]]).astype(np.float32)
    if name == "typiclust":  # it looks for crowds: a place of one sample is the last it goes to
        rows = np.repeat(rows[9:], 6, axis=0)
        assert len(set((SELECTORS[name](rows, 10, 0) // 6).tolist())) == 10
    else:
        assert sum(int(position) < 10 for position in SELECTORS[name](rows, 10, 0)) == 1

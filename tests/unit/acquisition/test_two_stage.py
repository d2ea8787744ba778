"""Two stages over shards: distinct samples of the pool, within the bound of one stage over all."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from al_service.acquisition.arrays import InvalidArrayError
from al_service.acquisition.badge import badge
from al_service.acquisition.k_center import k_center
from al_service.acquisition.selectors import top_k
from al_service.acquisition.two_stage import merge_picks, pick_in_shard, two_stage
from al_service.errors import InvalidInputError


def farthest(arrays, count):
    return k_center(arrays[0], count)


def highest(arrays, count):
    return top_k(arrays[0], count)


def radius(points: np.ndarray, centres: np.ndarray) -> float:
    return float(np.linalg.norm(points[:, None] - centres[None], axis=2).min(1).max())


def in_shards(points: np.ndarray, count: int) -> list[list[np.ndarray]]:
    return [[shard] for shard in np.array_split(points, count)]


@pytest.mark.parametrize("seed", range(20))
def test_the_k_center_radius_is_at_most_four_times_the_best(seed):
    rng = np.random.default_rng(seed)
    points = rng.normal(size=(4, 2))[rng.integers(4, size=12)] * 3 + rng.normal(size=(12, 2))
    best = min(radius(points, points[list(three)]) for three in itertools.combinations(range(12), 3))
    assert radius(points, points[two_stage(farthest, in_shards(points, 3), 3)]) <= 4 * best + 1e-9


@given(n=st.integers(1, 60), shards=st.integers(1, 7), share=st.floats(0, 1), seed=st.integers(0, 999))
@settings(max_examples=40, deadline=None)
def test_gives_k_distinct_positions_of_the_pool(n, shards, share, seed):
    points, k = np.random.default_rng(seed).normal(size=(n, 3)), round(share * n)
    chosen = two_stage(farthest, in_shards(points, shards), k)
    assert chosen.dtype == np.int64 and len(chosen) == k
    assert len(set(chosen.tolist())) == k and set(chosen.tolist()) <= set(range(n))


@given(n=st.integers(1, 60), shards=st.integers(1, 7), share=st.floats(0, 1), seed=st.integers(0, 999))
@settings(max_examples=40, deadline=None)
def test_the_highest_scores_of_all_shards_are_the_highest_of_the_pool(n, shards, share, seed):
    scores, k = np.random.default_rng(seed).integers(9, size=n).astype(float), round(share * n)
    np.testing.assert_array_equal(two_stage(highest, in_shards(scores, shards), k), top_k(scores, k))


def test_one_shard_is_one_stage_followed_by_the_same_again():
    points = np.random.default_rng(0).normal(size=(50, 4))
    assert set(two_stage(farthest, in_shards(points, 1), 9)) == set(k_center(points, 9).tolist())


def test_several_arrays_stay_row_by_row():
    rng = np.random.default_rng(0)
    probabilities, embeddings = rng.dirichlet(np.ones(3), size=40), rng.normal(size=(40, 5))
    shards = [(probabilities[rows], embeddings[rows]) for rows in np.array_split(np.arange(40), 4)]
    seen = []

    def select(arrays, count):
        seen.append([np.asarray(array) for array in arrays])
        return badge(*arrays, count, rng=rng)

    chosen = two_stage(select, shards, 6)
    together = seen[-1]
    assert len(together[0]) == 24
    for outputs, row in zip(*together, strict=True):
        (position,) = np.flatnonzero((embeddings == row).all(1))
        np.testing.assert_array_equal(probabilities[position], outputs)
    assert len(set(chosen.tolist())) == 6


def test_every_shard_gives_as_many_as_it_is_asked_for_or_has():
    points = np.arange(12.0)[:, None]
    assert [len(pick_in_shard(farthest, [points[:size]], 4).positions) for size in (0, 2, 12)] == [0, 2, 4]
    picks = pick_in_shard(farthest, [points], 4)
    np.testing.assert_array_equal(picks.arrays[0], points[picks.positions])


def test_tensors_are_joined_as_tensors():
    points = torch.arange(12.0)[:, None]
    chosen = two_stage(farthest, [[points[:5]], [points[5:]]], 3)
    np.testing.assert_array_equal(chosen, two_stage(farthest, [[points[:5].numpy()], [points[5:].numpy()]], 3))


def test_the_last_row_of_the_last_shard_can_be_chosen():
    points = np.zeros((11, 2))
    points[-1] = 50
    assert 10 in two_stage(farthest, in_shards(points, 3), 2)


def test_what_is_wrong_is_told():
    points = np.arange(12.0)[:, None]
    with pytest.raises(InvalidInputError, match=r"k is 9, and the shards picked 8; .*per_shard"):
        two_stage(farthest, in_shards(points, 4), 9, per_shard=2)
    with pytest.raises(InvalidInputError, match="k is -1"):
        merge_picks(farthest, [], -1)
    with pytest.raises(InvalidInputError, match="count is -1"):
        two_stage(farthest, in_shards(points, 4), -1)
    with pytest.raises(InvalidArrayError, match=r"\[11, 12\] rows"):
        two_stage(farthest, [[points, points[1:]]], 2)
    assert two_stage(farthest, [], 0).tolist() == []

"""BatchBALD: what every selector keeps, duplicates, settled batches, and the door."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from al_service.acquisition.arrays import InvalidArrayError
from al_service.acquisition.batch_bald import batch_bald
from al_service.errors import InvalidInputError


def pool_of(n: int, passes: int = 6, classes: int = 3, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).dirichlet(np.full(classes, 0.5), size=(n, passes))


def choose(pool, k: int, seed: int = 0, **options):
    return batch_bald(pool, k, rng=np.random.default_rng(seed), **options)


@given(n=st.integers(1, 40), share=st.floats(0, 1), joint_samples=st.integers(1, 60), seed=st.integers(0, 9999))
@settings(max_examples=50, deadline=None)
def test_positions_are_distinct_follow_a_permutation_and_the_first_of_many_are_the_few(n, share, joint_samples, seed):
    pool, k = pool_of(n, seed=seed), round(share * n)
    every = choose(pool, n, joint_samples=joint_samples)
    assert every.dtype == np.int64 and sorted(every.tolist()) == list(range(n))
    np.testing.assert_array_equal(choose(pool, k, joint_samples=joint_samples), every[:k])
    order = np.random.default_rng(seed).permutation(n)
    np.testing.assert_array_equal(order[choose(pool[order], k, joint_samples=joint_samples)], every[:k])


def test_a_duplicate_that_bald_would_take_is_passed_over_for_another_fact():
    one, other = np.eye(2)[[0, 0, 1, 1]], np.eye(2)[[0, 1, 0, 1]]
    weaker = 0.2 + 0.6 * other
    assert choose(np.stack([one, one, one, weaker]), 4).tolist() == [0, 3, 1, 2]


@pytest.mark.parametrize("passes", [1, 4])
def test_equal_samples_and_passes_that_agree_are_chosen_in_order_of_position(passes):
    assert choose(np.full((9, passes, 3), 1 / 3), 9).tolist() == list(range(9))
    equal = np.repeat(pool_of(1, passes), 700, axis=0)
    assert choose(equal, 5, joint_samples=50).tolist() == list(range(5))


def test_when_all_is_settled_the_rest_follows_by_what_each_tells_alone():
    told = np.eye(2)[[0, 1]]
    rest = [told * share + (1 - share) / 2 for share in (0.0, 0.3, 0.9, 0.6)]
    assert choose(np.stack([*rest, told]), 5).tolist() == [4, 2, 3, 1, 0]


def test_a_long_batch_of_certain_contradicting_passes_does_not_underflow():
    rng = np.random.default_rng(0)
    pool = np.full((300, 40, 10), 1e-9) + (1 - 1e-8) * np.eye(10)[rng.integers(0, 10, (300, 40))]
    chosen = choose(pool.astype(np.float32), 300)
    assert sorted(chosen.tolist()) == list(range(300))


def test_the_last_row_can_be_chosen_and_edges_hold():
    pool = np.repeat(np.full((1, 2, 2), 0.5), 600, axis=0)
    pool[-1] = np.eye(2)
    assert choose(pool, 1).tolist() == [599]
    assert choose(pool[:0], 0).tolist() == [] and choose(pool, 0).tolist() == [] and choose(pool[:1], 1).tolist() == [0]


def test_seeds_kinds_and_read_only_input():
    pool = pool_of(50, 8, 4)
    pool.flags.writeable = False
    found = choose(torch.tensor(pool), 20, 3, joint_samples=30)
    assert isinstance(found, torch.Tensor) and found.dtype == torch.int64
    np.testing.assert_array_equal(found.numpy(), choose(pool, 20, 3, joint_samples=30))
    first = choose(pool.astype(np.float32), 3)
    np.testing.assert_array_equal(first, choose(pool, 3, 9))  # 4^3 answers: exact, so the seed says nothing


def test_wrong_input_is_refused():
    with pytest.raises(InvalidArrayError, match=r"\(N, M, C\)"):
        choose(np.ones((3, 2)) / 2, 1)
    with pytest.raises(InvalidInputError, match="0 to 3"):
        choose(pool_of(3), 4)
    with pytest.raises(InvalidInputError, match="joint_samples is 0"):
        choose(pool_of(3), 1, joint_samples=0)

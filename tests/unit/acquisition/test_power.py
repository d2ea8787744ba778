"""Power sampling draws with the chances that it promises, in the right direction."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from al_service.acquisition import scores as score_functions
from al_service.acquisition.arrays import InvalidArrayError
from al_service.acquisition.power import power
from al_service.errors import InvalidInputError


def draws(scores: np.ndarray, k: int, beta: float, count: int = 3000) -> list[tuple[int, ...]]:
    rng = np.random.default_rng(0)
    return [tuple(power(scores, k, beta, rng=rng).tolist()) for _ in range(count)]


@pytest.mark.parametrize("beta", [0.0, 0.5, 1.0, 3.0])
def test_ordered_pairs_come_as_often_as_drawing_without_replacement_says(beta):
    scores = np.array([0.9, 0.3, 0.5, 0.7])
    weights = scores**beta
    pairs = list(itertools.permutations(range(4), 2))
    expected = [weights[one] / weights.sum() * weights[two] / (weights.sum() - weights[one]) for one, two in pairs]
    found = draws(scores, 2, beta)
    observed = [found.count(pair) for pair in pairs]
    assert stats.chisquare(observed, np.array(expected) * len(found)).pvalue > 1e-3


def test_scores_of_0_come_last_and_in_random_order():
    scores = np.array([0.0, 0.2, 0.0, 0.3, 0.0])
    found = draws(scores, 5, 1.0)
    assert {frozenset(one[:2]) for one in found} == {frozenset({1, 3})}
    tails = [one[2:] for one in found]
    observed = [tails.count(order) for order in itertools.permutations((0, 2, 4))]
    assert stats.chisquare(observed).pvalue > 1e-3
    assert len(set(draws(np.zeros(4), 1, 2.0, 200))) == 4


def test_uncertain_samples_are_drawn_more_often_than_certain_ones():
    rows = np.array([[0.99, 0.01]] * 50 + [[0.55, 0.45]] * 50)
    counts = np.bincount(np.concatenate(draws(score_functions.margin(rows), 10, 1.0, 300)), minlength=100)
    assert counts[50:].sum() > 0.95 * counts.sum()


def test_a_large_beta_is_the_top_and_two_batches_of_a_small_one_differ():
    scores = np.random.default_rng(1).uniform(0.1, 1, 60)
    top = np.argsort(-scores)[:5].tolist()
    assert power(scores, 5, 1e6, rng=np.random.default_rng(2)).tolist() == top
    rng = np.random.default_rng(3)
    assert set(power(scores, 5, rng=rng).tolist()) != set(power(scores, 5, rng=rng).tolist())


@given(n=st.integers(0, 30), k=st.integers(0, 30), seed=st.integers(0, 999), beta=st.floats(0, 1e9))
@settings(max_examples=60, deadline=None)
def test_positions_are_distinct_the_first_of_many_are_the_few_and_a_seed_repeats_itself(n, k, seed, beta):
    scores = np.random.default_rng(seed).choice([0.0, 1e-300, 0.3, 1.0, 7.0], n)
    many = power(scores, n, beta, rng=np.random.default_rng(seed))
    assert many.dtype == np.int64 and sorted(many.tolist()) == list(range(n))
    few = power(scores, min(k, n), beta, rng=np.random.default_rng(seed))
    np.testing.assert_array_equal(few, many[: min(k, n)])


def test_tensors_give_tensors_and_what_cannot_be_drawn_by_is_refused():
    scores = torch.tensor([0.5, 0.1, 0.2])
    found = power(scores, 2, rng=np.random.default_rng(0))
    assert isinstance(found, torch.Tensor) and found.dtype == torch.int64
    np.testing.assert_array_equal(found.numpy(), power(scores.numpy(), 2, rng=np.random.default_rng(0)))
    with pytest.raises(InvalidArrayError, match=r"scores\[1\] is -0.25"):
        power(np.array([0.5, -0.25]), 1, rng=np.random.default_rng(0))
    for beta in (-1, np.nan, np.inf, True, "1"):
        with pytest.raises(InvalidInputError, match="beta"):
            power(np.ones(3), 1, beta, rng=np.random.default_rng(0))
    with pytest.raises(InvalidInputError, match="0 to 3"):
        power(np.ones(3), 4, rng=np.random.default_rng(0))

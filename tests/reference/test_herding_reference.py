"""MaxHerding against the plain greedy algorithm and against the best possible choice."""

import itertools

import numpy as np
import pytest
import torch

from al_service.acquisition.herding import most_herding

Gains = tuple[list[int], list[float]]


def slow_greedy(similarity: np.ndarray, k: int, weights: np.ndarray, best: np.ndarray) -> Gains:
    """Compute every candidate's gain for every pick; the first of those within a millionth of the best."""
    picks: list[int] = []
    gains: list[float] = []
    for _ in range(k):
        added = np.array([(np.maximum(row - best, 0) * weights).sum() for row in similarity])
        added[picks] = -1
        picks.append(int(np.flatnonzero(added >= added.max() * (1 - 1e-6))[0]))
        gains.append(float(added[picks[-1]]))
        best = np.maximum(best, similarity[picks[-1]])
    return picks, gains


def kernel(rows: np.ndarray, others: np.ndarray, width: float) -> np.ndarray:
    return np.exp(-((np.linalg.norm(rows[:, None] - others[None], axis=2) / width) ** 2))


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(("width", "labelled_count"), [(3.0, 0), (1.0, 4), (0.5, 1)])
def test_lazy_picks_are_those_of_looking_at_every_candidate(seed, weighted, width, labelled_count):
    rng = np.random.default_rng(seed)
    rows, labelled = rng.normal(size=(150, 5)), rng.normal(size=(labelled_count, 5))
    weights = rng.random(150) if weighted else np.ones(150)
    best = kernel(rows, labelled, width).max(1, initial=0)
    picks, gains = slow_greedy(kernel(rows, rows, width), 60, weights, best)
    positions, found = most_herding(
        torch.from_numpy(rows), 60, torch.from_numpy(weights), torch.from_numpy(labelled), width
    )
    np.testing.assert_allclose(found, gains, rtol=1e-4, atol=1e-6)
    assert positions.tolist() == picks


@pytest.mark.parametrize("seed", range(10))
def test_covers_at_least_1_minus_1_over_e_of_what_the_best_choice_does(seed):
    rows = np.random.default_rng(seed).normal(size=(12, 2))
    similarity = kernel(rows, rows, 1.0)
    best = max(similarity[list(three)].max(0).sum() for three in itertools.combinations(range(12), 3))
    _, gains = most_herding(torch.from_numpy(rows), 3, None, None, 1.0)
    assert float(gains.sum()) >= (1 - 1 / np.e) * best - 1e-6

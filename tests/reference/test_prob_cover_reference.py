"""ProbCover against counting every ball anew for every pick, and against the best possible choice."""

import itertools

import numpy as np
import pytest
import torch

from al_service.acquisition.prob_cover import most_covering


def slow_prob_cover(rows: np.ndarray, k: int, labelled: np.ndarray, delta: float) -> tuple[list[int], list[int]]:
    near = np.linalg.norm(rows[:, None] - rows[None], axis=2) <= delta
    covered = (np.linalg.norm(rows[:, None] - labelled[None], axis=2) <= delta).any(1)
    picks, counts = [], []
    for _ in range(k):
        degrees = [int((near[position] & ~covered).sum()) for position in range(len(rows))]
        best = int(np.argmax(degrees))
        if degrees[best] == 0:
            break
        picks.append(best)
        counts.append(degrees[best])
        covered |= near[best]
    return picks, counts


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(("n", "delta", "labelled_count"), [(300, 1.0, 0), (301, 1.4, 5), (5, 0.5, 1), (1000, 2.5, 3)])
def test_picks_and_counts_are_those_of_counting_anew(seed, n, delta, labelled_count):
    rng = np.random.default_rng(seed)
    rows, labelled = rng.normal(size=(n, 4)), rng.normal(size=(labelled_count, 4))
    picks, counts = slow_prob_cover(rows, min(n, 400), labelled, delta)
    positions, found = most_covering(torch.from_numpy(rows), min(n, 400), torch.from_numpy(labelled), delta)
    assert positions[: len(picks)].tolist() == picks
    assert found[: len(counts)].tolist() == counts
    assert not found[len(counts) :].any()


@pytest.mark.parametrize("seed", range(10))
def test_covers_at_least_1_minus_1_over_e_of_what_the_best_choice_does(seed):
    rows = np.random.default_rng(seed).normal(size=(14, 2))
    near = np.linalg.norm(rows[:, None] - rows[None], axis=2) <= 0.8
    best = max(near[list(three)].any(0).sum() for three in itertools.combinations(range(14), 3))
    _, counts = most_covering(torch.from_numpy(rows), 3, None, 0.8)
    assert int(counts.sum()) >= (1 - 1 / np.e) * best

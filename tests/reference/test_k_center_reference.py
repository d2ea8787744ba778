"""k-center against its definition, written the slow and obvious way, and against the best possible centres."""

import itertools

import numpy as np
import pytest
import torch

from al_service.acquisition import selectors
from al_service.acquisition.k_center import farthest_first


def slow_k_center(points: np.ndarray, k: int, labelled: np.ndarray | None) -> list[int]:
    """Recompute every distance to every centre for every pick."""
    chosen: list[int] = []
    for _ in range(k):
        centres = [*([] if labelled is None else labelled), *points[chosen]]
        best, farthest = -1, -1.0
        for position in range(len(points)):
            if position in chosen:
                continue
            if centres:
                distance = min(float(np.linalg.norm(points[position] - centre)) for centre in centres)
            else:
                distance = 1e9 - float(np.linalg.norm(points[position] - points.mean(0)))
            if distance > farthest:
                best, farthest = position, distance
        chosen.append(best)
    return chosen


def radius(points: np.ndarray, centres: np.ndarray) -> float:
    return float(np.linalg.norm(points[:, None] - centres[None], axis=2).min(1).max())


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("labelled_count", [None, 1, 7])
def test_k_center_chooses_as_the_slow_version_does(seed, labelled_count):
    rng = np.random.default_rng(seed)
    points = rng.normal(size=(40, 5))
    labelled = None if labelled_count is None else rng.normal(size=(labelled_count, 5))
    assert selectors.k_center(points, 15, labelled=labelled).tolist() == slow_k_center(points, 15, labelled)


def test_k_center_with_more_labelled_than_pool_and_wide_embeddings():
    rng = np.random.default_rng(9)
    points, labelled = rng.normal(size=(30, 700)), rng.normal(size=(90, 700))
    assert selectors.k_center(points, 10, labelled=labelled).tolist() == slow_k_center(points, 10, labelled)


@pytest.mark.parametrize("seed", range(10))
def test_the_radius_is_at_most_twice_the_best(seed):
    points = np.random.default_rng(seed).normal(size=(12, 2))
    best = min(radius(points, points[list(three)]) for three in itertools.combinations(range(12), 3))
    assert radius(points, points[selectors.k_center(points, 3)]) <= 2 * best + 1e-9


@pytest.mark.parametrize("places", [1, 5, 1000])
@pytest.mark.parametrize("labelled_count", [None, 4])
def test_however_few_samples_are_held_exact_the_picks_are_those_of_the_slow_version(places, labelled_count):
    rng = np.random.default_rng(2)
    points = rng.normal(size=(8, 6))[rng.integers(8, size=60)] * 9 + rng.normal(size=(60, 6))
    labelled = None if labelled_count is None else rng.normal(size=(labelled_count, 6)) * 9
    covered = None if labelled is None else torch.from_numpy(labelled)
    positions, _ = farthest_first(torch.from_numpy(points), 30, covered, places=places)
    assert positions.tolist() == slow_k_center(points, 30, labelled)


def test_all_picks_down_to_the_last_are_those_of_the_slow_version():
    points = np.random.default_rng(4).normal(size=(25, 4))
    assert selectors.k_center(points, 25).tolist() == slow_k_center(points, 25, None)

"""Neighbour lists against every distance, sorted."""

import numpy as np
import pytest

from al_service.acquisition.neighbour_lists import neighbour_lists


def slow_lists(rows: np.ndarray, k: int, metric: str) -> tuple[np.ndarray, np.ndarray]:
    if metric == "cosine":
        units = rows / np.linalg.norm(rows, axis=1, keepdims=True)
        distances = 1 - units @ units.T
    else:
        distances = np.linalg.norm(rows[:, None] - rows[None], axis=2)
    np.fill_diagonal(distances, np.inf)
    order = np.argsort(distances, axis=1, kind="stable")[:, :k]
    return order, np.take_along_axis(distances, order, axis=1)


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
@pytest.mark.parametrize("seed", range(3))
def test_lists_are_those_of_all_distances_sorted(metric, seed):
    rows = np.random.default_rng(seed).normal(size=(300, 12)) + 3
    positions, distances = slow_lists(rows, 9, metric)
    lists = neighbour_lists(rows, 9, metric=metric)
    # Cosines of 32 bits change places where they differ in the seventh digit.
    assert (lists.positions == positions).mean() > 0.998
    np.testing.assert_allclose(lists.distances, distances, rtol=1e-4, atol=1e-6)

"""k-means against Lloyd's algorithm written the slow and obvious way, and against scikit-learn."""

import numpy as np
import pytest
import torch
from sklearn.cluster import KMeans

from al_service.acquisition.k_means import Centred, assign, centroids, lloyd, medoids
from tests.unit.acquisition.geometry_selectors import blobs


def slow_lloyd(rows: np.ndarray, centres: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Until nothing changes."""
    while True:
        labels = np.array([int(((row - centres) ** 2).sum(1).argmin()) for row in rows])
        moved = np.array(
            [
                (rows[labels == cluster] * weights[labels == cluster, None]).sum(0) / weights[labels == cluster].sum()
                for cluster in range(len(centres))
            ]
        )
        if np.allclose(moved, centres):
            return centres
        centres = moved


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("weighted", [False, True])
def test_passes_from_the_same_seeds_end_in_the_same_centres(seed, weighted):
    rng = np.random.default_rng(seed)
    rows = blobs((40, 30, 20, 10), seed)
    weights = rng.random(100) if weighted else np.ones(100)
    start = rows[[0, 45, 75, 95]]
    view = Centred.on_mean(torch.from_numpy(rows))
    found = lloyd(view, torch.from_numpy(start).float() - view.origin, torch.from_numpy(weights)) + view.origin
    np.testing.assert_allclose(found, slow_lloyd(rows, start, weights), atol=1e-3)


@pytest.mark.parametrize("seed", range(4))
def test_each_pick_is_the_sample_nearest_to_the_mean_of_its_cluster(seed):
    rows = blobs((40, 30, 20, 10), seed)
    chosen, heaviness = medoids(torch.from_numpy(rows), 4, None, np.random.default_rng(seed))
    ends = np.cumsum([40, 30, 20, 10])
    expected = []
    for end, size in zip(ends, (40, 30, 20, 10), strict=True):
        cluster = rows[end - size : end]
        expected.append(end - size + int(np.linalg.norm(cluster - cluster.mean(0), axis=1).argmin()))
    assert chosen.tolist() == expected
    assert heaviness.tolist() == [40, 30, 20, 10]


def test_the_spread_within_clusters_is_scikit_learns():
    """Without clusters to be found, where k-means has to work; within 2 %."""
    rows = np.random.default_rng(0).normal(size=(3000, 20)).astype(np.float32)
    ours = []
    for seed in range(3):
        view = Centred.on_mean(torch.from_numpy(rows))
        ours.append(float(assign(view, centroids(view, 60, None, np.random.default_rng(seed))).squared.sum()))
    theirs = [KMeans(60, n_init=1, random_state=seed).fit(rows).inertia_ for seed in range(3)]
    assert np.mean(ours) < 1.02 * np.mean(theirs)

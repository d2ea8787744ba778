"""TypiClust's turns and typicality as its paper says, from the same clusters, one sample at a time."""

import numpy as np
import pytest
import torch

from al_service.acquisition.k_means import Centred, assign, centroids
from al_service.acquisition.typiclust import most_typical
from al_service.geometry.distances import mean_row


def clusters_of(rows: np.ndarray, labelled: np.ndarray, count: int, seed: int) -> np.ndarray:
    everything = torch.from_numpy(np.concatenate([rows, labelled]))
    view = Centred(everything, mean_row(torch.from_numpy(rows)))
    return assign(view, centroids(view, count, None, np.random.default_rng(seed))).labels.numpy()


def slow_typiclust(rows: np.ndarray, k: int, labels: np.ndarray, labelled_count: int) -> tuple[list[int], list[float]]:
    pool, known = labels[: len(rows)].copy(), labels[len(rows) :]
    clusters = sorted(
        range(labels.max() + 1), key=lambda one: (int((known == one).sum()), -int((pool == one).sum()), one)
    )
    picks: list[int] = []
    means: list[float] = []
    least = 5
    while len(picks) < k:
        done = len(picks)
        for cluster in clusters:
            members = np.flatnonzero(pool == cluster)
            if len(picks) == k or len(members) < least:
                continue
            near = max(1, min(20, len(members) // 2))
            best, lowest = -1, np.inf
            for member in members:
                distances = np.sort(np.linalg.norm(rows[members[members != member]] - rows[member], axis=1))
                mean = distances[:near].mean() if len(members) > 1 else np.inf
                if best < 0 or mean < lowest - 1e-6:
                    best, lowest = member, mean
            picks.append(int(best))
            means.append(lowest)
            pool[best] = -1
        least = 1 if len(picks) == done else least
    return picks, means


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(("k", "labelled_count"), [(12, 0), (12, 6), (60, 3), (150, 10)])
def test_turns_and_typicality_are_the_papers(seed, k, labelled_count):
    rng = np.random.default_rng(seed)
    rows, labelled = rng.normal(size=(150, 6)), rng.normal(size=(labelled_count, 6))
    labels = clusters_of(rows, labelled, min(labelled_count + k, 30), seed)
    picks, means = slow_typiclust(rows, k, labels, labelled_count)
    positions, distances = most_typical(
        torch.from_numpy(rows), k, torch.from_numpy(labelled), np.random.default_rng(seed), clusters_max=30
    )
    assert positions.tolist() == picks
    np.testing.assert_allclose(distances, means, rtol=1e-4)

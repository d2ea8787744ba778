"""Cluster-Margin against its turns written as the paper's loop, and its clusters against SciPy's tree."""

import numpy as np
import pytest
import torch
from scipy.cluster.hierarchy import fcluster, linkage

from al_service.acquisition.cluster_margin import agglomerate, cluster_margin


def slow_cluster_margin(margins: np.ndarray, clusters: np.ndarray, k: int, factor: int) -> list[int]:
    lowest = sorted(range(len(margins)), key=lambda one: (margins[one], one))[: factor * k]
    waiting: dict[int, list[int]] = {}
    for position in lowest:
        waiting.setdefault(int(clusters[position]), []).append(position)
    order = sorted(waiting.values(), key=lambda members: (len(members), lowest.index(members[0])))
    picks: list[int] = []
    while len(picks) < k:
        for members in order:
            if members and len(picks) < k:
                picks.append(members.pop(0))
    return picks


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize(("k", "factor"), [(7, 10), (40, 2), (100, 1), (30, 10)])
def test_turns_are_those_of_the_loop(seed, k, factor):
    rng = np.random.default_rng(seed)
    probabilities = rng.dirichlet(np.ones(3), size=100).round(1)
    probabilities /= probabilities.sum(1, keepdims=True)
    clusters = rng.integers(0, 12, 100) ** 2
    ordered = np.sort(probabilities, axis=1)
    expected = slow_cluster_margin(ordered[:, -1] - ordered[:, -2], clusters, k, factor)
    chosen = cluster_margin(probabilities, np.zeros((100, 1)), k, clusters=clusters, margin_factor=factor)
    assert chosen.tolist() == expected


@pytest.mark.parametrize("seed", range(3))
def test_clusters_are_those_of_the_tree(seed):
    rows = np.random.default_rng(seed).normal(size=(200, 5)).astype(np.float32)
    tree = fcluster(linkage(rows, "average"), 20, criterion="maxclust")
    found = agglomerate(torch.from_numpy(rows), count=20).numpy()
    assert len(set(zip(tree.tolist(), found.tolist(), strict=True))) == 20

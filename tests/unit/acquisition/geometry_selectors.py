"""The selectors that look at the geometry of embeddings, called alike, and pools that they are all tried on."""

from collections.abc import Callable

import numpy as np

from al_service.acquisition.cluster_margin import cluster_margin
from al_service.acquisition.facility_location import facility_location
from al_service.acquisition.herding import herding
from al_service.acquisition.k_means import k_means
from al_service.acquisition.prob_cover import prob_cover
from al_service.acquisition.typiclust import typiclust

Select = Callable[[np.ndarray, int, int], np.ndarray]


def by_margin(embeddings: np.ndarray, k: int, seed: int) -> np.ndarray:
    """Cluster-Margin with probabilities that are a function of the embeddings."""
    margin = 1 / (2 + np.exp(np.asarray(embeddings, np.float64)[:, :1].clip(-20, 20)))
    return cluster_margin(np.concatenate([0.5 + margin, 0.5 - margin], 1), embeddings, k)


#: Each as (embeddings (N, D), k, seed) -> positions.
SELECTORS: dict[str, Select] = {
    "k_means": lambda rows, k, seed: k_means(rows, k, rng=np.random.default_rng(seed)),
    "typiclust": lambda rows, k, seed: typiclust(rows, k, rng=np.random.default_rng(seed)),
    "prob_cover": lambda rows, k, seed: prob_cover(rows, k, clusters=2),
    "herding": lambda rows, k, seed: herding(rows, k),
    "facility_location": lambda rows, k, seed: facility_location(rows, k),
    "cluster_margin": by_margin,
}
#: Those whose first picks do not depend on how many are wanted.
STEADY = ("prob_cover", "herding", "facility_location")
#: Those that see where embeddings lie; facility location sees their directions only.
METRIC = ("k_means", "typiclust", "prob_cover", "herding")


def blobs(sizes: tuple[int, ...], seed: int = 0, width: int = 4) -> np.ndarray:
    """Round heaps of these sizes, far from each other, one after the other."""
    rng = np.random.default_rng(seed)
    centres = np.eye(max(width, len(sizes)))[: len(sizes), :width] * 30
    return np.concatenate(
        [centre + rng.normal(size=(size, width)) for centre, size in zip(centres, sizes, strict=True)]
    )

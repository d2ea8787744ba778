"""The nearest neighbours of every sample of a pool, as lists: what stands in for an N x N matrix in large pools.

Exact, by matrix products in blocks; the search is al_service/geometry/nearest_neighbours.py.
"""

from dataclasses import dataclass

import numpy as np  # noqa: F401 (the example reads it)
from torch import Tensor

from al_service.acquisition.arrays import FloatArray, IntArray, check_count, check_embeddings, in_kind_of
from al_service.errors import InvalidInputError
from al_service.geometry.nearest_neighbours import METRICS, nearest_rows


@dataclass(frozen=True, eq=False)
class NeighbourLists:
    """The k nearest of every sample, the nearest first; never the sample itself.

    Args:
        positions: (N, k) int64.
        distances: (N, k) float32; cosine: 1 - cosine, in [0, 2]; euclidean: the plain distance.
    """

    positions: IntArray
    distances: FloatArray


def neighbour_lists(embeddings: FloatArray, k: int, *, metric: str = "euclidean") -> NeighbourLists:
    """The k nearest other samples of each sample.

    Args:
        embeddings: (N, D) float, finite.
        k: 0 <= k <= N - 1 (0 where N is 0).
        metric: "euclidean" or "cosine"; a zero vector has cosine 0 with everything.

    Raises:
        InvalidArrayError: not (N, D), NaN or infinity.
        InvalidInputError: k < 0 or k >= N, an unknown metric.

    Cost: N^2 D multiplications; about 150 MB beside the lists, whatever N.

    >>> lists = neighbour_lists(np.array([[0.0], [1.0], [3.0]]), 1)
    >>> lists.positions.tolist(), lists.distances.tolist()
    ([[1], [0], [1]], [[1.0], [1.0], [2.0]])
    """
    points = check_embeddings(embeddings)
    k = check_count(k, max(0, len(points) - 1))
    if metric not in METRICS:
        raise InvalidInputError(f"metric is {metric!r}, expected one of {', '.join(METRICS)}")
    positions, distances = lists_of(points, k, metric)
    return NeighbourLists(in_kind_of(positions, embeddings), in_kind_of(distances, embeddings))


def lists_of(points: Tensor, k: int, metric: str) -> tuple[Tensor, Tensor]:
    """As neighbour_lists, for checked input: (N, k) int64 positions and (N, k) float32 distances."""
    positions, distances = nearest_rows(points, max(1, k), metric=metric, device=points.device)
    return positions[:, :k], distances[:, :k]

"""Facility location: the k samples that are, for every sample of the pool, the most similar representative.

Represented is sum_n w_n max_s similarity(n, s) over the chosen samples s; similarity is (1 + cosine) / 2. How it is
maximised says lazy_greedy.py. With weights from a model and a prefilter this is FASS.
"""

import numpy as np  # noqa: F401 (the example reads it)
import torch
from torch import Tensor

from al_service.acquisition.arrays import FloatArray, IntArray, check_count, check_embeddings, in_kind_of
from al_service.acquisition.k_means import check_weights
from al_service.acquisition.lazy_greedy import (
    HELD_SAMPLES_MAX,
    DenseRepresentation,
    ListRepresentation,
    lazy_greedy,
)
from al_service.acquisition.neighbour_lists import lists_of
from al_service.geometry.distances import row_slices, units

LIST_LENGTH = 64


def facility_location(
    embeddings: FloatArray, k: int, weights: FloatArray | None = None, labelled: FloatArray | None = None
) -> IntArray:
    """k positions that represent the pool: each raises most the sum of similarities to the nearest representative.

    Args:
        embeddings: (N, D) float, finite. Only their directions count; a zero vector has cosine 0 with everything.
        k: 0 <= k <= N.
        weights: (N,) >= 0, how much it counts that a sample is represented. None, or zeros only: all count alike.
        labelled: (L, D) embeddings that represent already.

    Returns:
        (k,) int64 distinct positions; equal gains in order of position. Above 16,384 samples a sample is represented
        by the 64 samples nearest to it only; all other similarities count as 0, and sums are bounds from below.

    Raises:
        InvalidArrayError: not (N, D), different widths, NaN or infinity, weights of another length or below 0.
        InvalidInputError: k < 0 or k > N.

    Cost: N^2 D multiplications, once. Up to 16,384 samples N^2 floats (1 GB) and N operations per candidate looked at;
        above that 1.3 kB per sample and some hundred operations per candidate.

    Source: Nemhauser, Wolsey, Fisher 1978; for asking, Wei, Iyer, Bilmes 2015 (FASS).

    >>> arrows = np.array([[1.0, 0.0], [1.0, 0.1], [1.0, -0.1], [0.0, 1.0]])
    >>> facility_location(arrows, 2)
    array([1, 3])
    """
    points = check_embeddings(embeddings)
    masses = check_weights(weights, points)
    covered = None if labelled is None else check_embeddings(labelled, name="labelled", width=points.shape[1])
    k = check_count(k, len(points))
    positions, _ = most_representative(points, k, masses, covered)
    return in_kind_of(positions, embeddings)


def most_representative(
    points: Tensor, k: int, weights: Tensor | None, covered: Tensor | None, *, held_max: int = HELD_SAMPLES_MAX
) -> tuple[Tensor, Tensor]:
    """As facility_location, for checked input; also what each pick adds to the weighted sum of similarities.

    Args:
        held_max: most samples of which every pair is looked at.

    Returns:
        (k,) int64 positions and (k,) float64 gains, falling but for rounding.
    """
    masses = even_if_none(weights, points)
    best = torch.zeros(len(points), dtype=torch.float32, device=points.device)
    if covered is not None and len(covered):
        best = _similarity_to_nearest(points, covered.to(points))
    if len(points) <= held_max:
        directions = units(points)
        pool: DenseRepresentation | ListRepresentation = DenseRepresentation(
            lambda some: _similarities(directions[some], directions), masses, best
        )
    else:
        positions, distances = lists_of(points, LIST_LENGTH, "cosine")
        pool = ListRepresentation(positions, 1 - distances / 2, masses, best)
    return lazy_greedy(pool, len(points), k, points.device)


def even_if_none(weights: Tensor | None, points: Tensor) -> Tensor:
    """(N,) float32 weights of which at least one is positive."""
    if weights is None or not bool((weights > 0).any()):
        return torch.ones(len(points), dtype=torch.float32, device=points.device)
    return weights.to(torch.float32)


def _similarities(directions: Tensor, others: Tensor) -> Tensor:
    """(n, D), (m, D) -> (n, m) in [0, 1]."""
    return (directions @ others.T).add_(1).div_(2).clamp_(0, 1)


def _similarity_to_nearest(points: Tensor, covered: Tensor) -> Tensor:
    """(N,) float32."""
    best = torch.zeros(len(points), dtype=torch.float32, device=points.device)
    for columns in row_slices(len(covered), points.shape[1]):
        others = units(covered[columns])
        for part in row_slices(len(points), max(points.shape[1], len(others))):
            torch.maximum(best[part], _similarities(units(points[part]), others).amax(1), out=best[part])
    return best

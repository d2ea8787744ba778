"""Selectors: from scores or embeddings to K positions, in order of choice and distinct.

Positions are of the arrays given and stay within this room: strategies turn them into sample ids. Ties go to the lower
position.
"""

import numpy as np
import torch
from torch import Tensor

from al_service.acquisition.arrays import (
    CHUNK_ELEMENTS,
    FloatArray,
    IntArray,
    check_count,
    check_embeddings,
    check_scores,
    in_kind_of,
    row_chunks,
)

# A sweep over the embeddings is bound by memory: pieces of 4 MB stay in the cache over its three passes, and are large
# enough that threads which sleep between operations, as in workers, are worth waking (1 MB took twice as long).
_CPU_SWEEP_ELEMENTS = 1 << 20


def top_k(scores: FloatArray, k: int) -> IntArray:
    """The positions of the k highest scores, highest first.

    Args:
        scores: (N,) float, finite.
        k: 0 <= k <= N.

    Returns:
        (k,) int64 distinct positions; equal scores in order of position.

    Raises:
        InvalidArrayError: scores are not (N,) or hold NaN.
        InvalidInputError: k < 0 or k > N.

    Cost: O(N log N).

    >>> top_k(np.array([0.1, 0.9, 0.5, 0.9]), 3)
    array([1, 3, 2])
    """
    checked = check_scores(scores)
    k = check_count(k, len(checked))
    return in_kind_of(highest(checked, k), scores)


def highest(scores: Tensor, k: int) -> Tensor:
    """As top_k, for input that is already checked."""
    return torch.sort(scores, descending=True, stable=True).indices[:k]


def random_choice(n: int, k: int, rng: np.random.Generator) -> np.ndarray:
    """k distinct positions out of n, every ordered choice equally likely.

    Returns:
        (k,) int64.

    Raises:
        InvalidInputError: n < 0, k < 0 or k > n.

    Random: one draw from rng.
    """
    n = check_count(n, np.iinfo(np.int64).max, name="n")
    k = check_count(k, n)
    return rng.permutation(n)[:k].astype(np.int64)


def k_center(embeddings: FloatArray, k: int, labelled: FloatArray | None = None) -> IntArray:
    """k positions that cover the embeddings: each is the farthest from all labelled and chosen so far.

    One vector holds every sample's distance to its nearest centre; each pick is one sweep that lowers it. The covering
    radius is at most twice that of the best possible k centres.

    Args:
        embeddings: (N, D) float, finite. float16 is read as float32.
        k: 0 <= k <= N.
        labelled: (L, D) embeddings that are covered already. Without any, the first pick is the sample closest to the
            mean.

    Returns:
        (k,) int64 distinct positions; equal distances in order of position.

    Raises:
        InvalidArrayError: not (N, D), different widths, NaN or infinity.
        InvalidInputError: k < 0 or k > N.

    Cost: O((L + k) N D) time, one float32 copy of the embeddings where they are of another type.

    Source: Gonzalez 1985; for asking, Sener, Savarese 2018 (1708.00489).

    >>> k_center(np.array([[0.0], [1.0], [5.0], [9.0]]), 2, labelled=np.array([[0.0]]))
    array([3, 2])
    """
    points = check_embeddings(embeddings)
    covered = None if labelled is None else check_embeddings(labelled, name="labelled", width=points.shape[1])
    k = check_count(k, len(points))
    positions, _ = farthest_first(points, k, covered)
    return in_kind_of(positions, embeddings)


def farthest_first(points: Tensor, k: int, covered: Tensor | None) -> tuple[Tensor, Tensor]:
    """As k_center, for checked input; also each pick's distance to its nearest centre at the moment it was picked.

    Returns:
        (k,) int64 positions and (k,) float32 distances; the first distance is infinite where nothing was covered.
    """
    points = points.to(torch.float32)
    positions = torch.empty(k, dtype=torch.int64, device=points.device)
    distances = torch.empty(k, dtype=torch.float32, device=points.device)
    if k == 0:
        return positions, distances
    if covered is not None and len(covered):
        nearest = _squared_to_nearest(points, covered.to(points))
        chosen = nearest.argmax()
    else:
        nearest = torch.full((len(points),), torch.inf, device=points.device)
        chosen = _squared_to(points, points.mean(0, dtype=torch.float64).to(torch.float32)).argmin()
    for pick in range(k):
        positions[pick] = chosen
        distances[pick] = nearest[chosen].sqrt()
        torch.minimum(nearest, _squared_to(points, points[chosen]), out=nearest)
        # Below every distance and so never raised again: equal embeddings must not bring a chosen one back.
        nearest[chosen] = -1
        chosen = nearest.argmax()
    return positions, distances


def _squared_to(points: Tensor, centre: Tensor) -> Tensor:
    """(N, D), (D,) -> (N,) squared distances.

    By differences: equal rows give exact zeros, and a row's value does not depend on which rows stand beside it;
    a matrix product promises neither.
    """
    elements = _CPU_SWEEP_ELEMENTS if points.device.type == "cpu" else CHUNK_ELEMENTS
    return torch.cat([(chunk - centre).square_().sum(1) for chunk in row_chunks(points, elements)])


def _squared_to_nearest(points: Tensor, centres: Tensor) -> Tensor:
    """(N, D), (L, D) -> (N,) squared distances to the nearest centre.

    A matrix product finds which centre is nearest; the distance to it is then taken by differences, because
    |a|^2 + |b|^2 - 2ab loses small distances to rounding.
    """
    width = points.shape[1]
    origin = centres.mean(0)
    shifted = centres - origin
    norms = shifted.square().sum(1)
    found = []
    for chunk in row_chunks(points, CHUNK_ELEMENTS * width // max(width, len(centres))):
        closeness = norms - 2 * ((chunk - origin) @ shifted.T)  # (n, D) -> (n, L); |a|^2 is the same for every centre
        found.append((chunk - centres[closeness.argmin(1)]).square_().sum(1))
    return torch.cat(found)

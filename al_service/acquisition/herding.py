"""MaxHerding: the k samples that cover the pool softly, by a Gaussian kernel; with uncertainties as weights, UHerding.

Covered is sum_n w_n max_s exp(-(distance(n, s) / width)^2) over labelled and chosen samples s: ProbCover's balls with a
soft edge. How it is maximised says lazy_greedy.py. The width decides what it becomes. A wide kernel spreads picks over
the pool; with weights and labels the width shrinks as labels come closer to each other, until a pick covers itself only
and the order is that of the weights: coverage for small budgets becomes uncertainty for large ones without a switch.
"""

import math

import numpy as np  # noqa: F401 (the example reads it)
import torch
from torch import Tensor

from al_service.acquisition.arrays import FloatArray, IntArray, check_count, check_embeddings, in_kind_of
from al_service.acquisition.facility_location import even_if_none
from al_service.acquisition.k_means import check_weights
from al_service.acquisition.lazy_greedy import HELD_SAMPLES_MAX, DenseRepresentation, lazy_greedy
from al_service.errors import InvalidInputError
from al_service.geometry.distances import Centred, evenly_spaced, row_slices, squared_distances, squared_to_nearest

# Pairs among these many evenly spaced samples say what the usual distance is.
_MEDIAN_SAMPLES = 1024
# Widths below this, or above its inverse, count as it: powers of two beyond are no float32.
_NARROWEST = 1e-36


def herding(
    embeddings: FloatArray,
    k: int,
    weights: FloatArray | None = None,
    labelled: FloatArray | None = None,
    *,
    width: float | None = None,
) -> IntArray:
    """k positions, each the one that adds most to how well the pool is covered by Gaussian kernels.

    Args:
        embeddings: (N, D) float, finite.
        k: 0 <= k <= N.
        weights: (N,) >= 0, how much it counts that a sample is covered: uncertainties for UHerding. None, or zeros
            only: all count alike.
        labelled: (L, D) embeddings that cover already.
        width: of the kernel, in units of the embeddings, > 0. None: see `kernel_width`.

    Returns:
        (k,) int64 distinct positions; equal gains in order of position. Above 16,384 samples (and above k) coverage is
        summed over, and picks are among, that many evenly spaced samples.

    Raises:
        InvalidArrayError: not (N, D), different widths, NaN or infinity, weights of another length or below 0.
        InvalidInputError: k < 0 or k > N, width not above 0.

    Cost: with n = min(N, max(k, 16,384)): n^2 D multiplications and n^2 floats (1 GB at most), then n operations for
        each candidate looked at again; for k > 16,384 their kernels are computed anew, n D each.

    Source: Bae, Noh, Sutherland 2024 (2407.12212, MaxHerding); weights and shrinking width: Bae, Oliveira, Sutherland,
        Noh 2025 (2412.20644, UHerding).

    >>> line = np.array([[0.0], [1.0], [2.0], [9.0], [10.0]])
    >>> herding(line, 2, width=1.0)
    array([1, 3])
    """
    points = check_embeddings(embeddings)
    masses = check_weights(weights, points)
    covered = None if labelled is None else check_embeddings(labelled, name="labelled", width=points.shape[1])
    k = check_count(k, len(points))
    if width is not None and not 0 < width < math.inf:
        raise InvalidInputError(f"width is {width!r}, expected a number above 0")
    positions, _ = most_herding(points, k, masses, covered, width)
    return in_kind_of(positions, embeddings)


def most_herding(
    points: Tensor,
    k: int,
    weights: Tensor | None,
    covered: Tensor | None,
    width: float | None,
    *,
    samples_max: int = HELD_SAMPLES_MAX,
) -> tuple[Tensor, Tensor]:
    """As herding, for checked input; also what each pick adds to the coverage.

    Args:
        samples_max: most samples that are looked at, if k is not above it.

    Returns:
        (k,) int64 positions and (k,) float64 gains, falling but for rounding.
    """
    if len(points) == 0 or k == 0:
        return torch.empty(0, dtype=torch.int64, device=points.device), torch.empty(0, dtype=torch.float64)
    covered = points[:0] if covered is None else covered.to(points)
    if width is None:
        width = kernel_width(points, covered, weighted=weights is not None)
    some = evenly_spaced(len(points), max(k, samples_max), points.device)
    sampled = len(some) < len(points)
    view = Centred.on_mean(points[some] if sampled else points)
    width *= view.scale
    rows = view.rows(slice(None))
    best = torch.zeros(len(view), dtype=torch.float32, device=points.device)
    if len(covered):
        best = kernel(squared_to_nearest(view, view.seen(covered)), width)
    masses = even_if_none(None if weights is None else weights[some], rows)
    pool = DenseRepresentation(lambda these: kernel(squared_distances(rows[these], rows), width), masses, best)
    positions, gains = lazy_greedy(pool, len(view), k, points.device)
    return some[positions], gains


def kernel_width(points: Tensor, covered: Tensor, *, weighted: bool) -> float:
    """Weighted and with two labelled places or more: the smallest distance between labelled places (UHerding).

    Otherwise the median distance between up to 1,024 evenly spaced samples of the pool, places apart only. 1 where all
    samples are in one place.

    Args:
        points: (N, D), N >= 1; covered: (L, D), maybe L = 0; both checked.
    """
    if weighted and len(covered) > 1:
        smallest = _smallest_distance(covered)
        if smallest > 0:
            return smallest
    some = Centred.on_mean(points[evenly_spaced(len(points), _MEDIAN_SAMPLES, points.device)])
    rows = some.rows(slice(None))
    squared = squared_distances(rows, rows)
    apart = squared[squared > 0]
    return float(apart.median().sqrt()) / some.scale if len(apart) else 1.0


def kernel(squared: Tensor, width: float) -> Tensor:
    """exp(-squared / width^2); exactly 1 for the same place, however narrow the kernel is."""
    width = min(max(width, _NARROWEST), 1 / _NARROWEST)
    # Divided by a power of two first, which changes no digit: the square of a width need not be a float32.
    power = 2.0 ** math.frexp(width)[1]
    return (squared * (1 / power)).div_(-(width * (width / power))).exp_()


def _smallest_distance(points: Tensor) -> float:
    """Between two of the points that are not in one place; 0 where all are."""
    view = Centred.on_mean(points)
    smallest = math.inf
    for part in row_slices(len(view), view.width):
        rows = view.rows(part)
        for _, others in view.blocks(len(rows)):
            squared = squared_distances(rows, others)
            smallest = min(smallest, float(torch.where(squared > 0, squared, torch.inf).min()))
    return math.sqrt(smallest) / view.scale if math.isfinite(smallest) else 0.0

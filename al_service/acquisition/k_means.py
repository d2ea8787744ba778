"""k-means and its medoids: one sample for each of k clusters; with weights = entropy this is CLUE.

Seeds are drawn as k-means++ draws them, each with probability weight x squared distance to the nearest seed so far, but
64 proposals at a time: all are drawn under the distances known, and one is then accepted with probability new distance
/ old distance, new being the distance with the seeds accepted before it. That is rejection sampling of the very same
distribution, and one matrix product updates the distances for all accepted seeds, where a sweep over the embeddings for
each would be bound by memory.

Lloyd's passes follow: every sample goes to its nearest centroid, every centroid to the weighted mean of its samples.
Above 256 samples per cluster the passes run on that many samples drawn at random, and the rest is assigned once. Above
16,384 samples seeds and the first passes come from a quarter of them: they bring the centroids near their places at a
quarter of the price.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from al_service.acquisition.arrays import (
    FloatArray,
    IntArray,
    InvalidArrayError,
    check_count,
    check_embeddings,
    check_scores,
    in_kind_of,
)
from al_service.geometry.distances import Centred, fitting_scale, squared_distances, squared_to_rows

SAMPLES_PER_CLUSTER = 256
# Below this many samples nothing is gained by drawing some.
_SAMPLES_AT_LEAST = 1 << 15
PASSES = 40
# A pass that lowers the mean squared distance by less than this share is the last; the second is for large pools.
_GAIN_LEAST, _GAIN_LEAST_LARGE = 1e-4, 5e-4
_LARGE = 1 << 14
_PROPOSALS = 64


@dataclass(frozen=True, eq=False)
class Clusters:
    """Every sample with its nearest centroid.

    Args:
        labels: (N,) int64 cluster indices.
        squared: (N,) float32 squared distances to the centroid, taken by differences.
    """

    labels: Tensor
    squared: Tensor


def k_means(embeddings: FloatArray, k: int, weights: FloatArray | None = None, *, rng: np.random.Generator) -> IntArray:
    """k positions, each the sample nearest to the centre of one of k clusters; the heaviest cluster first.

    Args:
        embeddings: (N, D) float, finite.
        k: 0 <= k <= N.
        weights: (N,) >= 0, how much each sample counts for where centroids lie; with entropies this is CLUE. None, or
            zeros only: all count alike.

    Returns:
        (k,) int64 distinct positions in order of their clusters' weight, equal weights in order of position. Within a
        cluster equal distances go to the lower position. Where there are fewer different embeddings than k, the rest is
        filled with the samples farthest from their centroid, and among copies with the lowest positions.

    Raises:
        InvalidArrayError: not (N, D), NaN or infinity, weights of another length or below 0.
        InvalidInputError: k < 0 or k > N.

    Cost: N k D multiplications for the seeds and for each of at most 40 passes; passes read at most max(256 k, 32,768)
        samples. None beside the seeds where k > N / 2, since clusters of one or two have nothing to move.

    Random: a choice of samples where there are more than passes read, and of a quarter; two draws per proposed seed.

    Source: Lloyd 1982; Arthur, Vassilvitskii 2007 (k-means++); weights: Prabhu et al. 2021 (2010.08666, CLUE).

    >>> line = np.array([[0.0], [1.0], [2.0], [50.0], [51.0]])
    >>> k_means(line, 2, rng=np.random.default_rng(0))
    array([1, 3])
    """
    points = check_embeddings(embeddings)
    masses = check_weights(weights, points)
    k = check_count(k, len(points))
    positions, _ = medoids(points, k, masses, rng)
    return in_kind_of(positions, embeddings)


def check_weights(weights: FloatArray | None, points: Tensor) -> Tensor | None:
    """(N,) weights beside (N, D) checked embeddings, or None; times a power of two where sums would not be numbers.

    Raises:
        InvalidArrayError: not (N,), of another length, NaN, infinity, or below 0; names the first such row.
    """
    if weights is None:
        return None
    masses = check_scores(weights, name="weights")
    if len(masses) != len(points):
        raise InvalidArrayError(f"weights have {len(masses)} rows for {len(points)} embeddings; expected one per row")
    below = (masses < 0).nonzero()
    if len(below):
        row = int(below[0])
        raise InvalidArrayError(f"weights[{row}] is {float(masses[row]):.3g}, expected 0 or more")
    scale = fitting_scale(masses)
    return (masses if scale == 1 else masses * scale).to(points.device)


def medoids(points: Tensor, k: int, weights: Tensor | None, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """As k_means, for checked input; also the weight of each pick's cluster.

    Returns:
        (k,) int64 positions and (k,) float64 sums of weights, falling.
    """
    view = Centred.on_mean(points)
    masses = _masses(view, weights)
    if k == 0:
        return torch.empty(0, dtype=torch.int64, device=points.device), masses[:0]
    clusters = assign(view, centroids(view, k, weights, rng))
    nearest = _lowest_of_each(clusters.squared, clusters.labels, k)
    heaviness = torch.zeros(k, dtype=torch.float64, device=points.device).index_add_(0, clusters.labels, masses)
    real = nearest[nearest >= 0]
    heaviness = heaviness[nearest >= 0]
    order = torch.argsort(real, stable=True)
    real, heaviness = real[order], heaviness[order]
    order = torch.argsort(heaviness, descending=True, stable=True)
    real, heaviness = real[order], heaviness[order]
    missing = k - len(real)
    if missing:
        far = clusters.squared.to(torch.float64) * masses
        far[real] = -torch.inf
        rest = torch.sort(far, descending=True, stable=True).indices[:missing]
        real, heaviness = torch.cat([real, rest]), torch.cat([heaviness, heaviness.new_zeros(missing)])
    return real, heaviness


def centroids(
    view: Centred, k: int, weights: Tensor | None, rng: np.random.Generator, *, samples_max: int | None = None
) -> Tensor:
    """(c, D) float32 centroids, less the view's origin; c = k unless there are fewer different embeddings.

    Args:
        samples_max: most samples that passes read; None: max(256 k, 32,768).
    """
    samples_max = max(SAMPLES_PER_CLUSTER * k, _SAMPLES_AT_LEAST) if samples_max is None else samples_max
    masses = _masses(view, weights)
    if not bool((masses > 0).all()):
        view, masses = _part(view, masses, (masses > 0).nonzero().flatten())
    if len(view) > samples_max:
        view, masses = _part(view, masses, _drawn(len(view), samples_max, rng))
    if len(view) <= max(_LARGE, 32 * k):
        centres = view.rows(seeds(view, k, masses, rng))
        return centres if 2 * k > len(view) else lloyd(view, centres, masses)
    quarter, shares = _part(view, masses, _drawn(len(view), len(view) // 4, rng))
    first = seeds(quarter, k, shares, rng)
    if len(first) < k:
        centres = view.rows(seeds(view, k, masses, rng))
    else:
        centres = lloyd(quarter, quarter.rows(first), shares, gain_least=_GAIN_LEAST_LARGE)
    return lloyd(view, centres, masses, gain_least=_GAIN_LEAST_LARGE)


def _drawn(count: int, some: int, rng: np.random.Generator) -> Tensor:
    """That many of `count` positions, rising, every set of them equally likely."""
    return torch.from_numpy(np.sort(rng.choice(count, some, replace=False)))


def _part(view: Centred, masses: Tensor, which: Tensor) -> tuple[Centred, Tensor]:
    which = which.to(masses.device)
    return view.of(view.points[which]), masses[which]


def seeds(view: Centred, k: int, masses: Tensor, rng: np.random.Generator) -> Tensor:
    """(c,) int64 distinct positions drawn as k-means++ does; c < k where fewer embeddings differ (and have weight)."""
    device = view.points.device
    chosen = _draw(masses, rng.random(1))
    nearest = torch.full((len(view),), torch.inf, device=device)
    _lower(nearest, view, chosen)
    while len(chosen) < k:
        mass = nearest * masses
        if not bool((mass > 0).any()):
            break
        proposed = _draw(mass, rng.random(_PROPOSALS))
        accepted = _accepted(view.rows(proposed), nearest[proposed], rng.random(_PROPOSALS), k - len(chosen))
        if not accepted:
            # Of proposals apart from all seeds the first always is, so there is none: mass is down to rounding.
            break
        _lower(nearest, view, proposed[accepted])
        chosen = torch.cat([chosen, proposed[accepted]])
    return chosen


def lloyd(view: Centred, centres: Tensor, masses: Tensor, *, gain_least: float = _GAIN_LEAST) -> Tensor:
    """(k, D) centroids after at most PASSES passes from the given ones, or fewer once they gain next to nothing.

    A centroid that loses all its samples goes to the sample that is worst off.
    """
    before = torch.inf
    for _ in range(PASSES):
        clusters = assign(view, centres)
        burden = clusters.squared * masses
        now = float(burden.sum())
        if not now < before * (1 - gain_least):
            break
        before = now
        sums, weight = _sums(view, clusters.labels, masses, len(centres))
        centres = torch.where(weight[:, None] > 0, sums / weight[:, None].clamp_min(1e-300), centres).to(torch.float32)
        empty = torch.bincount(clusters.labels, minlength=len(centres)).eq(0).nonzero().flatten()
        if len(empty):
            worst = torch.sort(burden, descending=True, stable=True).indices[: len(empty)]
            centres[empty] = view.rows(worst)
    return centres


def assign(view: Centred, centres: Tensor) -> Clusters:
    """Every sample to its nearest centroid, the lower index among equals."""
    halves = centres.square().sum(1) / 2
    labels = torch.empty(len(view), dtype=torch.int64, device=view.points.device)
    squared = torch.empty(len(view), dtype=torch.float32, device=view.points.device)
    for part, rows in view.blocks(len(centres)):
        # |x|^2 is the same for all centroids.
        found = torch.addmm(halves, rows, centres.T, alpha=-1).argmin(1)
        labels[part] = found
        squared[part] = squared_to_rows(rows, centres[found])
    return Clusters(labels, squared)


def _masses(view: Centred, weights: Tensor | None) -> Tensor:
    """(N,) float64 weights of which at least one is positive."""
    if weights is None or not bool((weights > 0).any()):
        return torch.ones(len(view), dtype=torch.float64, device=view.points.device)
    return weights.to(torch.float64)


def _draw(mass: Tensor, uniform: np.ndarray) -> Tensor:
    """Positions drawn in proportion to the mass, one for each number in [0, 1)."""
    sums = mass.to(torch.float64).cumsum(0)
    at = torch.from_numpy(uniform).to(sums) * sums[-1]
    return torch.searchsorted(sums, at, right=True).clamp_(max=len(mass) - 1)


def _accepted(rows: Tensor, old: Tensor, uniform: np.ndarray, most: int) -> list[int]:
    """Which of the proposals, in their order, become seeds."""
    between = squared_distances(rows, rows).cpu().numpy()
    known = old.cpu().numpy()
    now = known.copy()
    taken: list[int] = []
    for proposal in range(len(known)):
        if uniform[proposal] * known[proposal] < now[proposal]:
            taken.append(proposal)
            now = np.minimum(now, between[proposal])
            now[proposal] = 0
            if len(taken) == most:
                break
    return taken


def _lower(nearest: Tensor, view: Centred, added: Tensor) -> None:
    """Squared distances to the nearest seed, once some were added."""
    if len(added) == 0:
        return
    centres = view.rows(added)
    for part, rows in view.blocks(len(added)):
        torch.minimum(nearest[part], squared_distances(rows, centres).amin(1), out=nearest[part])
    nearest[added] = 0


def _sums(view: Centred, labels: Tensor, masses: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """(count, D) weighted sums of rows and (count,) sums of weights, float64."""
    device = view.points.device
    sums = torch.zeros((count, view.width), dtype=torch.float64, device=device)
    weight = torch.zeros(count, dtype=torch.float64, device=device)
    clusters = torch.arange(count, device=device)
    for part, rows in view.blocks(count):
        ordered, order = torch.sort(labels[part], stable=True)
        firsts = torch.searchsorted(ordered, clusters)
        # Adding whole rows by index is slow on a CPU. Weights are one number a row; on a GPU their order may differ.
        shares = masses[part][order].to(torch.float32)
        sums += torch.nn.functional.embedding_bag(order, rows, firsts, mode="sum", per_sample_weights=shares)
        weight.index_add_(0, labels[part], masses[part])
    return sums, weight


def _lowest_of_each(values: Tensor, labels: Tensor, count: int) -> Tensor:
    """(count,) the position of each cluster's lowest value, the lower position among equals; -1 for an empty one."""
    order = torch.sort(values, stable=True).indices
    order = order[torch.sort(labels[order], stable=True).indices]
    sizes = torch.bincount(labels, minlength=count)
    firsts = order[(sizes.cumsum(0) - sizes).clamp(max=len(order) - 1)]
    return torch.where(sizes > 0, firsts, -1)

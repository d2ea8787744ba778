"""ProbCover: the k samples whose balls of radius delta hold the most of the pool.

Greedy maximum coverage: a sample's degree is how many samples within delta of it lie in no ball yet; the highest degree
is picked, and what its ball covers for the first time is taken off the degrees of all that see it. Every sample is
covered once, so that all picks together read every row of the graph once at most.

The graph is one bit per pair: N^2 / 8 bytes whatever delta is, 312 MB for 50,000 samples, in the memory of the host. It
is exact and symmetric: distances are computed for one half and written to both. Where all is covered and picks are
still wanted, the farthest samples follow, as k-center picks them.

The paper's rule for delta is the largest one whose balls are pure, seen by k-means clusters as if they were classes:
95 % of balls hold one cluster only. A ball is pure as long as delta is below the distance to the nearest sample of
another cluster, so that delta is read off the sorted distances to such samples; nothing is searched.
"""

import math

import numpy as np
import torch
from torch import Tensor

from al_service.acquisition.arrays import (
    FloatArray,
    IntArray,
    check_count,
    check_embeddings,
    check_fraction,
    in_kind_of,
)
from al_service.acquisition.k_center import farthest_first
from al_service.acquisition.k_means import assign, lloyd
from al_service.errors import InvalidInputError
from al_service.geometry.distances import Centred, evenly_spaced, row_slices, squared_distances, squared_to_nearest

CLUSTERS = 10
PURITY = 0.95
# Balls looked at for delta: their share of impure ones is within a percentage point, 95 times of 100.
PURITY_SAMPLES = 2048
_CLUSTER_SAMPLES = 1 << 15
_GAIN_LEAST = 5e-4
_ROWS = 1024  # of the graph at once, so that a block stays in the cache; a multiple of 8
_BITS_SET = np.array([byte.bit_count() for byte in range(256)], np.uint8)
_FRONT_PLACES = 1024  # held exact by farthest-first: pools are small here, and a pick reads all of them
_UNPACKED_ROWS = 255  # whose sum fits a byte


def prob_cover(
    embeddings: FloatArray,
    k: int,
    labelled: FloatArray | None = None,
    delta: float | None = None,
    *,
    clusters: int = CLUSTERS,
    purity: float = PURITY,
) -> IntArray:
    """k positions, each with the most samples within delta that no labelled or chosen sample has within delta.

    Args:
        embeddings: (N, D) float, finite; of a self-supervised network, as the paper has it, of unit length.
        k: 0 <= k <= N.
        labelled: (L, D) embeddings of samples that have labels; what is within delta of them is covered.
        delta: radius of the balls, in units of the embeddings; distances are float32 products, so that a pair at
            delta itself falls on either side. None: see `radius`.
        clusters: for delta: how many k-means clusters stand for classes; say the number of classes.
        purity: for delta: the share of balls that hold one cluster only.

    Returns:
        (k,) int64 distinct positions; equal degrees in order of position. Once all is covered, what is farthest from
        everything labelled and chosen.

    Raises:
        InvalidArrayError: not (N, D), different widths, NaN or infinity.
        InvalidInputError: k < 0 or k > N, delta below 0 or not finite, clusters < 1, purity outside [0, 1].

    Cost: N^2 D / 2 multiplications and N^2 / 8 bytes for the graph; up to 2,048 N D multiplications for delta.

    Source: Yehuda, Dekel, Hacohen, Weinshall 2022 (2205.11320).

    >>> line = np.array([[0.0], [1.0], [2.0], [8.0], [9.0], [20.0]])
    >>> prob_cover(line, 3, delta=1.5)
    array([1, 3, 5])
    """
    points = check_embeddings(embeddings)
    covered = None if labelled is None else check_embeddings(labelled, name="labelled", width=points.shape[1])
    k = check_count(k, len(points))
    purity = check_fraction(purity, name="purity")
    if check_count(clusters, 2**31, name="clusters") < 1:
        raise InvalidInputError("clusters is 0, expected at least 1")
    if delta is not None and not 0 <= delta < math.inf:
        raise InvalidInputError(f"delta is {delta!r}, expected a number from 0 up")
    if k and delta is None:
        delta = radius(points, clusters, purity)
    positions, _ = most_covering(points, k, covered, delta or 0.0)
    return in_kind_of(positions, embeddings)


def radius(points: Tensor, clusters: int = CLUSTERS, purity: float = PURITY) -> float:
    """The largest delta at which that share of balls holds samples of one cluster only; infinite for one cluster.

    Clusters are k-means ones of up to 32,768 samples, evenly spaced in the pool, from the farthest-first ones as seeds,
    so that nothing is drawn. Balls are of up to 2,048 evenly spaced samples, against all samples; beyond that many
    delta is an estimate.

    Args:
        points: (N, D), N >= 1, checked.
    """
    view = Centred.on_mean(points)
    some = points[evenly_spaced(len(points), _CLUSTER_SAMPLES, points.device)]
    first, _ = farthest_first(some, min(clusters, len(some)), None)
    masses = torch.ones(len(some), dtype=torch.float64, device=points.device)
    sampled = view.of(some)
    centres = lloyd(sampled, sampled.rows(first), masses, gain_least=_GAIN_LEAST)
    labels = assign(view, centres).labels
    looked_at = evenly_spaced(len(points), PURITY_SAMPLES, points.device)
    squared = _squared_to_other_clusters(view, looked_at, labels)
    impure = min(math.floor((1 - purity) * len(squared) + 1e-9), len(squared) - 1)
    bound = squared.sqrt().sort().values[impure]
    return float(torch.nextafter(bound, torch.zeros_like(bound))) / view.scale if math.isfinite(bound) else math.inf


def _squared_to_other_clusters(view: Centred, looked_at: Tensor, labels: Tensor) -> Tensor:
    """(n,) float32 squared distance of each sample looked at to the nearest sample of another cluster."""
    rows, own = view.rows(looked_at), labels[looked_at]
    squared = torch.full((len(rows),), torch.inf, device=rows.device)
    for cluster in labels.unique():
        outside = (own != cluster).nonzero().flatten()
        members = (labels == cluster).nonzero().flatten()
        seen = rows[outside]
        for part in row_slices(len(members), max(view.width, len(outside))):
            others = view.rows(members[part])
            # |x|^2 is added once the nearest is known.
            closest = torch.addmm(others.square().sum(1), seen, others.T, alpha=-2).amin(1)
            squared[outside] = torch.minimum(squared[outside], closest)
    return (squared + rows.square().sum(1)).clamp_(min=0)


def most_covering(points: Tensor, k: int, covered: Tensor | None, delta: float) -> tuple[Tensor, Tensor]:
    """As prob_cover, for checked input; also how many samples each pick covers that were not covered before.

    Returns:
        (k,) int64 positions and (k,) int64 counts, falling; 0 for picks made once all was covered.
    """
    view = Centred.on_mean(points)
    picks: list[int] = []
    counts: list[int] = []
    if k:
        delta *= view.scale
        balls = _Balls(view, delta)
        if covered is not None and len(covered):
            near = squared_to_nearest(view, view.seen(covered))
            balls.cover((near <= delta * delta).nonzero().flatten().cpu().numpy())
        while len(picks) < k:
            best = int(balls.degrees.argmax())
            if balls.degrees[best] <= 0:
                break
            picks.append(best)
            counts.append(int(balls.degrees[best]))
            balls.cover(balls.newly_covered_by(best))
        del balls
    chosen = torch.tensor(picks, dtype=torch.int64, device=points.device)
    if len(picks) < k:
        chosen = torch.cat([chosen, _farthest_of_rest(points, k - len(picks), chosen, covered)])
        counts += [0] * (k - len(picks))
    return chosen, torch.tensor(counts, dtype=torch.int64, device=points.device)


def _farthest_of_rest(points: Tensor, k: int, chosen: Tensor, covered: Tensor | None) -> Tensor:
    """k positions beside the chosen ones, farthest first from these and from what is labelled."""
    free = torch.ones(len(points), dtype=torch.bool, device=points.device)
    free[chosen] = False
    rest = free.nonzero().flatten()
    known = points[chosen] if covered is None else torch.cat([points[chosen], covered.to(points)])
    positions, _ = farthest_first(points[rest], k, known, places=_FRONT_PLACES)
    return rest[positions]


class _Balls:
    """Which samples lie within delta of which, one bit per pair, and how many uncovered ones each has (degrees)."""

    def __init__(self, view: Centred, delta: float) -> None:
        self._count = len(view)
        self._bits = np.zeros((self._count, (self._count + 7) // 8), np.uint8)
        self._uncovered = np.ones(self._count, bool)
        self.degrees = np.zeros(self._count, np.int64)
        sizes = torch.cat([rows.square().sum(1) for _, rows in view.blocks()])
        # Where a ball is smaller than what a product of the longest rows can tell from nothing.
        tiny = delta * delta < 4e-6 * float(sizes.max())
        parts = list(row_slices(self._count, 1, _ROWS))
        for number, part in enumerate(parts):
            rows = view.rows(part)
            for other in parts[number:]:
                others = rows if other is part else view.rows(other)
                if tiny:
                    close = squared_distances(rows, others) <= delta * delta
                else:
                    close = _products_less(rows, others, sizes[other]) >= (sizes[part, None] - delta * delta) / 2
                if other is part:
                    # A product with itself need not be symmetric to the last bit.
                    close = close.triu(1) | close.triu(1).T
                    close.fill_diagonal_(True)
                self._write(part, other, close)
                if other is not part:
                    self._write(other, part, close.T)
        for part in row_slices(self._count, self._bits.shape[1]):
            self.degrees[part] = _BITS_SET[self._bits[part]].sum(1, dtype=np.int64)

    def newly_covered_by(self, sample: int) -> np.ndarray:
        """Positions in the sample's ball that are in no ball yet."""
        ball = np.unpackbits(self._bits[sample], count=self._count).view(bool)
        return np.flatnonzero(ball & self._uncovered)

    def cover(self, samples: np.ndarray) -> None:
        """Take uncovered samples off the degrees of all that have them in their balls."""
        self._uncovered[samples] = False
        for start in range(0, len(samples), _UNPACKED_ROWS):
            rows = np.unpackbits(self._bits[samples[start : start + _UNPACKED_ROWS]], axis=1, count=self._count)
            self.degrees -= rows.sum(0, dtype=np.uint8)

    def _write(self, part: slice, other: slice, close: Tensor) -> None:
        columns = slice(other.start // 8, (other.stop + 7) // 8)
        self._bits[part, columns] = np.packbits(close.contiguous().cpu().numpy(), axis=1)


def _products_less(rows: Tensor, others: Tensor, sizes: Tensor) -> Tensor:
    """(n, D), (m, D), (m,) -> (n, m) products less half the others' sizes, which go along as one more column."""
    left = torch.cat([rows, torch.ones_like(rows[:, :1])], 1)
    return left @ torch.cat([others, -sizes[:, None] / 2], 1).T

"""k-center: each pick is the sample farthest from all labelled and chosen ones (CoreSet).

The plain algorithm lowers every sample's distance to its nearest centre after each pick: N D operations and one read of
all embeddings. Here most samples wait. A distance that does not know the latest centres is a bound from above, and only
the samples with the highest bounds can be next (lazy_front.py). These few are held as float32, and a pick costs one
product with them. When their farthest falls below the bar, samples behind it catch up with all the centres they have
missed in one matrix product, reading their embeddings once for many picks, block by block: float16 embeddings are never
copied whole.

The picks are exactly those of the plain algorithm. Every distance kept is taken by differences, sum (x - c)^2 in
float32: equal rows give exact zeros, and a row's value does not depend on which rows stand beside it; a matrix product
promises neither. The product |x|^2 + |c|^2 - 2 x.c, with its rounding error taken off, is a bound from below. It says
which centres cannot be nearer than what is known, which is nearly all of them; the others are taken by differences.
"""

import torch
from torch import Tensor

from al_service.acquisition.arrays import (
    CHUNK_ELEMENTS,
    FloatArray,
    IntArray,
    check_count,
    check_embeddings,
    in_kind_of,
    row_chunks,
)
from al_service.acquisition.lazy_front import Front, leading_front

# A sweep over the embeddings is bound by memory: pieces of 4 MB stay in the cache over its three passes, and are large
# enough that threads which sleep between operations, as in workers, are worth waking (1 MB took twice as long).
_CPU_SWEEP_ELEMENTS = 1 << 20
# Samples held exact: 16 MB of float32 at D = 512, twice (see _Rows), so that a pick reads them from the cache.
_FRONT_PLACES = 8192
# Centres in one matrix product.
_CENTRES_AT_ONCE = 1024
_ORIGIN_ROWS = 4096


def k_center(embeddings: FloatArray, k: int, labelled: FloatArray | None = None) -> IntArray:
    """k positions that cover the embeddings: each is the farthest from all labelled and chosen so far.

    The covering radius is at most twice that of the best possible k centres.

    Args:
        embeddings: (N, D) float, finite. Distances are float32 whatever the type.
        k: 0 <= k <= N.
        labelled: (L, D) embeddings that are covered already. Without any, the first pick is the sample closest to the
            mean.

    Returns:
        (k,) int64 distinct positions; equal distances in order of position.

    Raises:
        InvalidArrayError: not (N, D), different widths, NaN or infinity.
        InvalidInputError: k < 0 or k > N.

    Cost: O((L + k) N D) time at worst; two reads of the embeddings and O(k D) for each of the 8,192 farthest samples
        where distances fall slowly from pick to pick. O(N) memory beside the input and a few blocks.

    Source: Gonzalez 1985; for asking, Sener, Savarese 2018 (1708.00489). Stale bounds: Minoux 1978.

    >>> import numpy as np
    >>> k_center(np.array([[0.0], [1.0], [5.0], [9.0]]), 2, labelled=np.array([[0.0]]))
    array([3, 2])
    """
    points = check_embeddings(embeddings)
    covered = None if labelled is None else check_embeddings(labelled, name="labelled", width=points.shape[1])
    k = check_count(k, len(points))
    positions, _ = farthest_first(points, k, covered)
    return in_kind_of(positions, embeddings)


def farthest_first(
    points: Tensor,
    k: int,
    covered: Tensor | None,
    *,
    excluded: Tensor | None = None,
    places: int = _FRONT_PLACES,
    block_elements: int | None = None,
) -> tuple[Tensor, Tensor]:
    """As k_center, for checked input; also each pick's distance to its nearest centre at the moment it was picked.

    Args:
        excluded: int64 positions that are never picked, at most N - k; so a large pool need not be copied without them.
        places, block_elements: samples held exact at a time, and elements read at once; they change the time taken,
            never the picks.

    Returns:
        (k,) int64 positions and (k,) float32 distances; the first distance is infinite where nothing was covered.
    """
    positions = torch.empty(k, dtype=torch.int64, device=points.device)
    squared = torch.empty(k, dtype=torch.float32, device=points.device)
    if k == 0:
        return positions, squared
    distances = _Distances(points, k, block_elements or _sweep_elements(points))
    if covered is not None and len(covered):
        distances.cover(covered)
    else:
        positions[0], squared[0] = _closest_to_mean(points, excluded), torch.inf
        distances.choose_first(int(positions[0]))
    if excluded is not None:
        distances.nearest[excluded] = -1
    while distances.count < k:
        front = leading_front(distances.nearest, distances.bring_up, places)
        distances.choose_from(front, positions, squared)
    return positions, squared.sqrt()


class _Rows:
    """Some samples as float32, ready for products with centres.

    Beside the rows, for differences, they are held less an origin amid all samples: products lose the digits that all
    have in common.
    """

    def __init__(self, rows: Tensor, origin: Tensor) -> None:
        self.rows = rows
        self.origin = origin
        self.shifted = rows - origin
        self.squares = self.shifted.square().sum(1)

    def lower(self, nearest: Tensor, centres: Tensor) -> None:
        """Lower (n,) squared distances to those of any nearer of the (c, D) centres, in place."""
        others = centres - self.origin
        keep = 1 - _relative_error(centres)
        # (n, D), (c, D) -> (n, c); without |x|^2, which is the same for every centre.
        below = torch.addmm(others.square().sum(1) * keep, self.shifted, others.T, alpha=-2)
        offset = self.squares * keep
        # Not `<`: what overflowed to NaN is looked at too.
        closest, candidate = below.min(1)
        rows = (~(closest + offset >= nearest)).nonzero()[:, 0]
        if not len(rows):
            return
        nearest[rows] = torch.minimum(nearest[rows], self._squared(rows, centres, candidate[rows]))
        if len(centres) == 1:
            return
        below, offset = below[rows], offset[rows]
        rivals = ~(below + offset[:, None] >= nearest[rows, None])
        rivals.scatter_(1, candidate[rows, None], False)
        at, candidate = rivals.nonzero().unbind(1)
        nearest.scatter_reduce_(0, rows[at], self._squared(rows[at], centres, candidate), "amin")

    def _squared(self, rows: Tensor, centres: Tensor, candidate: Tensor) -> Tensor:
        """Squared distance by differences of each of these rows to its candidate among the centres."""
        size = max(1, _sweep_elements(centres) // centres.shape[1])
        pieces = zip(rows.split(size), candidate.split(size), strict=True)
        return torch.cat([(self.rows[row] - centres[centre]).square_().sum(1) for row, centre in pieces])


class _Distances:
    """Every sample's squared distance to the nearest of the first `seen` of the chosen centres, and of all covered.

    `nearest` is -1 for chosen and for excluded samples: below every distance and so never raised again.
    """

    def __init__(self, points: Tensor, k: int, block_elements: int) -> None:
        self.points = points
        self.block_rows = max(1, block_elements // points.shape[1])
        self.count = 0
        self.centres = torch.empty((k, points.shape[1]), dtype=torch.float32, device=points.device)
        self.nearest = torch.full((len(points),), torch.inf, dtype=torch.float32, device=points.device)
        self.seen = torch.zeros(len(points), dtype=torch.int32, device=points.device)
        few = points[:: max(1, len(points) // _ORIGIN_ROWS)]
        self.origin = _as_float32(few).mean(0)

    def cover(self, covered: Tensor) -> None:
        """Take all distances to samples that are covered from the start."""
        blocks = zip(self.points.split(self.block_rows), self.nearest.split(self.block_rows), strict=True)
        for points, nearest in blocks:
            block = _Rows(_as_float32(points), self.origin)
            for centres in covered.to(self.points.device).split(_CENTRES_AT_ONCE):
                block.lower(nearest, _as_float32(centres))

    def choose_first(self, position: int) -> None:
        """Take all distances to the first centre of all."""
        self.centres[0] = _as_float32(self.points[position])
        self.nearest = _squared_to(self.points, self.centres[0])
        self.nearest[position] = -1
        self.seen.fill_(1)
        self.count = 1

    def bring_up(self, positions: Tensor) -> None:
        """Take these samples' distances to the centres they have missed."""
        stale = positions[self.seen[positions] < self.count]
        if not len(stale):
            return
        stale = stale[self.seen[stale].argsort(stable=True)]
        for block in stale.split(self.block_rows):
            rows = _Rows(_as_float32(self.points[block]), self.origin)
            nearest = self.nearest[block]
            for centres in self.centres[int(self.seen[block[0]]) : self.count].split(_CENTRES_AT_ONCE):
                rows.lower(nearest, centres)
            self.nearest[block] = nearest
        self.seen[stale] = self.count

    def choose_from(self, front: Front, positions: Tensor, squared: Tensor) -> None:
        """Choose the farthest, and again, while it lies in the front; write down which and how far."""
        rows = _Rows(_as_float32(self.points[front.positions]), self.origin)
        nearest = self.nearest[front.positions]
        while self.count < len(positions):
            farthest = int(nearest.argmax())
            position, distance = int(front.positions[farthest]), float(nearest[farthest])
            if not front.holds_next(distance, position):
                break
            positions[self.count], squared[self.count] = position, distance
            self.centres[self.count] = rows.rows[farthest]
            rows.lower(nearest, self.centres[self.count : self.count + 1])
            nearest[farthest] = -1
            self.count += 1
        self.nearest[front.positions] = nearest
        self.seen[front.positions] = self.count


def _relative_error(centres: Tensor) -> float:
    """e such that (1 - e)(|x|^2 + |c|^2) - 2 x.c, as computed, is at most the computed sum (x - c)^2.

    A sum of D products errs by at most D u of the sum of their sizes, u = 2^-24, in any order. Here are two squares,
    twice the product, and the differences themselves: together below 2 (D + 8) u (|x| + |c|)^2, and that square is at
    most twice |x|^2 + |c|^2. Where products of float32 may be rounded to fewer digits, their unit comes on top.
    """
    exact = torch.get_float32_matmul_precision() == "highest"
    return 4 * ((centres.shape[1] + 8) * 2.0**-24 + (0 if exact else 2 * 2.0**-8))


def _as_float32(rows: Tensor) -> Tensor:
    """float32; what lies beyond becomes its largest, not infinity: no difference is then NaN."""
    largest = torch.finfo(torch.float32).max
    return rows.clamp(-largest, largest).to(torch.float32) if rows.dtype == torch.float64 else rows.to(torch.float32)


def _sweep_elements(points: Tensor) -> int:
    return _CPU_SWEEP_ELEMENTS if points.device.type == "cpu" else CHUNK_ELEMENTS


def _closest_to_mean(points: Tensor, excluded: Tensor | None) -> int:
    total = torch.zeros(points.shape[1], dtype=torch.float64, device=points.device)
    for rows in row_chunks(points, _sweep_elements(points)):
        total += _as_float32(rows).sum(0, dtype=torch.float64)
    squared = _squared_to(points, (total / len(points)).to(torch.float32))
    if excluded is not None:
        squared[excluded] = torch.inf
    return int(squared.argmin())


def _squared_to(points: Tensor, centre: Tensor) -> Tensor:
    """(N, D), (D,) -> (N,) squared distances by differences."""
    size = max(1, _sweep_elements(points) // points.shape[1])
    # Into one array: small results kept from block to block would lie between large ones that are freed, and memory
    # would grow.
    squared = torch.empty(len(points), dtype=torch.float32, device=points.device)
    for rows, found in zip(points.split(size), squared.split(size), strict=True):
        torch.sum((_as_float32(rows) - centre).square_(), 1, out=found)
    return squared

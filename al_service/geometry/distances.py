"""Distances between rows of embeddings, block by block, in float32 whatever the embeddings are stored in.

What the learning and the acquisition room share of geometry; it knows arrays and nothing else. Callers check their
arrays. A pool of 1,000,000 x 512 half floats is never copied whole: blocks are made float32 as they are needed.

Distances come from matrix products, |a|^2 + |b|^2 - 2ab, of rows less their mean. Such a difference has no digits left
where points are close, so squares below a millionth of |a|^2 + |b|^2 count as 0: rows nearer to each other than a
thousandth of their distance from the mean are the same place. Half floats have no more digits than that either.

Squares of float32 end at 1e19 and begin at 1e-19. Where the largest value of a pool is far from 1, its rows are read
times a power of two: no digit changes, and neither does which rows are near. A distance in units of the embeddings is
one of the view's divided by its scale.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

# 4 M floats are 16 MB.
BLOCK_ELEMENTS = 1 << 22
_NOTHING = 1e-6
# Largest values of 2^-32 to 2^32 are read as they are. Powers beyond 2^126 are no float32.
_ORDINARY_EXPONENT = 32
_EXPONENT_MAX = {torch.float64: 1000}
_EXPONENT_MAX_SINGLE = 126
# Values of rows from elsewhere end here, after scaling: squares of this still have sums.
_FAR = 2.0**50


@dataclass(frozen=True, eq=False)
class Centred:
    """Embeddings seen from their mean.

    Args:
        points: (N, D) real numbers, as they are stored.
        origin: (D,) float32, subtracted from every row that is read, after scaling.
        scale: every row that is read is multiplied by it; a power of two, 1 for ordinary values.
    """

    points: Tensor
    origin: Tensor
    scale: float = 1.0

    @classmethod
    def on_mean(cls, points: Tensor) -> "Centred":
        """The embeddings less their own mean, at a scale at which their squares are numbers."""
        scale = fitting_scale(points)
        return cls(points, mean_row(points, scale), scale)

    def of(self, points: Tensor) -> "Centred":
        """Other embeddings, seen from the same origin at the same scale."""
        return replace(self, points=points)

    def __len__(self) -> int:
        return len(self.points)

    @property
    def width(self) -> int:
        """D."""
        return self.points.shape[1]

    def rows(self, which: slice | Tensor) -> Tensor:
        """(n, D) float32 of some rows."""
        return _times(self.points[which], self.scale).to(torch.float32) - self.origin

    def in_reach(self, others: Tensor) -> Tensor:
        """(n, D) rows from elsewhere, of the same type; values out of all proportion to the points end at the edge."""
        if not others.is_floating_point():
            return others
        edge = min(_FAR / self.scale, torch.finfo(others.dtype).max)
        return others.clamp(-edge, edge)

    def seen(self, others: Tensor) -> Tensor:
        """(n, D) float32 of rows from elsewhere, in reach, as `rows` gives the points."""
        others = self.in_reach(others.to(self.origin.device, torch.promote_types(others.dtype, torch.float32)))
        return _times(others, self.scale).to(torch.float32) - self.origin

    def blocks(self, columns: int = 0) -> Iterator[tuple[slice, Tensor]]:
        """All rows in blocks, so small that (n, D) and (n, columns) floats are at most BLOCK_ELEMENTS each."""
        for part in row_slices(len(self), max(self.width, columns)):
            yield part, self.rows(part)


def row_slices(count: int, columns: int, elements: int = BLOCK_ELEMENTS) -> Iterator[slice]:
    """Slices of `count` rows such that rows times columns are at most `elements`; at least one row each."""
    step = max(1, elements // max(1, columns))
    for start in range(0, count, step):
        yield slice(start, min(count, start + step))


def evenly_spaced(count: int, most: int, device: torch.device | str = "cpu") -> Tensor:
    """(n,) int64: at most that many of `count` positions, rising from 0; all of them where there are no more.

    >>> evenly_spaced(10, 4)
    tensor([0, 2, 5, 7])
    """
    some = min(count, most)
    return torch.arange(some, device=device) * count // max(1, some)


def fitting_scale(points: Tensor) -> float:
    """The power of two that brings the largest size of a value into [1/2, 1); 1 if it is within 2^-32 and 2^32 or 0.

    The largest float32 and float64 come to at most 2^24 instead, and the smallest to at least 2^-74.
    """
    if points.dtype == torch.float16 or not points.numel():
        return 1.0
    largest = 0.0
    for part in row_slices(len(points), points[0].numel()):
        least, most = points[part].aminmax()
        largest = max(largest, -float(least), float(most))
    exponent = math.frexp(largest)[1]
    if largest == 0 or abs(exponent) <= _ORDINARY_EXPONENT:
        return 1.0
    most_exponent = _EXPONENT_MAX.get(points.dtype, _EXPONENT_MAX_SINGLE)
    return 2.0 ** max(-most_exponent, min(most_exponent, -exponent))


def units(rows: Tensor) -> Tensor:
    """(n, D) float32 rows of length 1, whatever length they have; zeros stay zeros."""
    rows = rows.to(torch.promote_types(rows.dtype, torch.float32))
    largest = rows.abs().amax(1, keepdim=True)
    # A power of two, so that no digit changes.
    power = torch.where(largest > 0, largest / (2 * torch.frexp(largest).mantissa), 1)
    return torch.nn.functional.normalize((rows / power).to(torch.float32))


def mean_row(points: Tensor, scale: float = 1.0) -> Tensor:
    """(D,) float32 mean of the rows times the scale, summed in float64; zeros for no rows."""
    total = torch.zeros(points.shape[1], dtype=torch.float64, device=points.device)
    for part in row_slices(len(points), points.shape[1]):
        total += _times(points[part], scale).sum(0, dtype=torch.float64)
    return (total / max(1, len(points))).to(torch.float32)


def squared_distances(rows: Tensor, others: Tensor) -> Tensor:
    """(n, D), (m, D) float32 of one origin -> (n, m) squared distances; exactly 0 where there is next to none."""
    sizes = rows.square().sum(1)[:, None] + others.square().sum(1)
    distances = torch.addmm(sizes, rows, others.T, alpha=-2)
    return distances.masked_fill_(distances <= sizes.mul_(_NOTHING), 0)


def squared_to_rows(rows: Tensor, partners: Tensor) -> Tensor:
    """(n, D), (n, D) -> (n,) squared distances of rows that stand side by side, by differences and so exact."""
    return (rows - partners).square_().sum(1)


def squared_to_nearest(points: Centred, others: Tensor) -> Tensor:
    """(N,) float32 squared distance of each point to the nearest of some rows, (m, D) float32 of the same origin."""
    nearest = torch.full((len(points),), torch.inf, device=points.origin.device)
    for columns in row_slices(len(others), points.width):
        some = others[columns]
        for part, rows in points.blocks(len(some)):
            torch.minimum(nearest[part], squared_distances(rows, some).amin(1), out=nearest[part])
    return nearest


def _times(rows: Tensor, scale: float) -> Tensor:
    return rows if scale == 1 else rows * scale

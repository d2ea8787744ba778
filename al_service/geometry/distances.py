"""Distances between rows of embeddings, block by block, in float32 whatever the embeddings are stored in.

What the learning and the acquisition room share of geometry; it knows arrays and nothing else. Callers check their
arrays. A pool of 1,000,000 x 512 half floats is never copied whole: blocks are made float32 as they are needed.

Distances come from matrix products, |a|^2 + |b|^2 - 2ab, of rows less their mean. Such a difference has no digits left
where points are close, so squares below a millionth of |a|^2 + |b|^2 count as 0: rows nearer to each other than a
thousandth of their distance from the mean are the same place. Half floats have no more digits than that either.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

# 4 M floats are 16 MB.
BLOCK_ELEMENTS = 1 << 22
_NOTHING = 1e-6


@dataclass(frozen=True, eq=False)
class Centred:
    """Embeddings seen from their mean.

    Args:
        points: (N, D) real numbers, as they are stored.
        origin: (D,) float32, subtracted from every row that is read.
    """

    points: Tensor
    origin: Tensor

    @classmethod
    def on_mean(cls, points: Tensor) -> "Centred":
        """The embeddings less their own mean."""
        return cls(points, mean_row(points))

    def __len__(self) -> int:
        return len(self.points)

    @property
    def width(self) -> int:
        """D."""
        return self.points.shape[1]

    def rows(self, which: slice | Tensor) -> Tensor:
        """(n, D) float32 of some rows."""
        return self.points[which].to(torch.float32) - self.origin

    def blocks(self, columns: int = 0) -> Iterator[tuple[slice, Tensor]]:
        """All rows in blocks, so small that (n, D) and (n, columns) floats are at most BLOCK_ELEMENTS each."""
        for part in row_slices(len(self), max(self.width, columns)):
            yield part, self.rows(part)


def row_slices(count: int, columns: int, elements: int = BLOCK_ELEMENTS) -> Iterator[slice]:
    """Slices of `count` rows such that rows times columns are at most `elements`; at least one row each."""
    step = max(1, elements // max(1, columns))
    for start in range(0, count, step):
        yield slice(start, min(count, start + step))


def mean_row(points: Tensor) -> Tensor:
    """(D,) float32 mean of the rows, summed in float64; zeros for no rows."""
    total = torch.zeros(points.shape[1], dtype=torch.float64, device=points.device)
    for part in row_slices(len(points), points.shape[1]):
        total += points[part].sum(0, dtype=torch.float64)
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

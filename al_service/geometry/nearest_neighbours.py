"""Exact nearest neighbours among embeddings, in blocks.

Nothing is indexed: a block of queries is multiplied with a block of references, and the best k so far are kept, so
memory does not grow with N^2. Half precision embeddings and memory maps are read block by block. 50,000 x 50,000 rows
of width 512 are 1.3 * 10^12 multiplications, about half a minute on two cores.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from al_service.errors import InvalidInputError
from al_service.geometry.distances import units

METRICS = ("cosine", "euclidean")
# 2,048 x 8,192 similarities are 64 MB.
_QUERY_BLOCK = 2048
_REFERENCE_BLOCK = 8192


class InvalidNeighboursError(InvalidInputError):
    """Embeddings, labels or k that do not fit each other."""

    code = "invalid_neighbours"


def nearest_rows(
    queries: Any,
    k: int,
    references: Any = None,
    *,
    metric: str = "cosine",
    device: str | torch.device = "cpu",
) -> tuple[Tensor, Tensor]:
    """The k nearest references of each query, the nearest first.

    Args:
        queries: (N, D) float array-like; sliced block by block.
        k: at least 1. Where there are fewer references, all of them come back and the answer is narrower.
        references: (R, D) array-like, R >= 1. None: the queries themselves, each without itself.
        metric: one of METRICS. A zero vector has cosine 0 with everything.
        device: where products are computed, in float32.

    Returns:
        (N, k) int64 rows of the references and (N, k) float32 distances, both on the device. Cosine: 1 - cosine, in
        [0, 2]; euclidean: the plain distance.

    Raises:
        InvalidNeighboursError: shapes that do not fit, k < 1, an unknown metric, or embeddings with NaN or infinity.

    Cost: N R D multiplications; memory about 150 MB besides the result.
    """
    among_themselves = references is None
    references = queries if among_themselves else references
    _check(queries, references, k, metric)
    count, width = len(queries), max(0, min(k, len(references) - among_themselves))
    indices = torch.empty((count, width), dtype=torch.int64, device=device)
    distances = torch.empty((count, width), dtype=torch.float32, device=device)
    if width == 0 or count == 0:
        return indices, distances
    centre = _centre(references, device) if metric == "euclidean" else None
    for start in range(0, count, _QUERY_BLOCK):
        rows = slice(start, min(count, start + _QUERY_BLOCK))
        block = _prepared(queries, rows, centre, device)
        closeness, found = _best_of_block(block, references, width, centre, start if among_themselves else None, device)
        if metric == "euclidean":
            order = _distances(block, references, found, centre, device).sort(dim=1, stable=True)
            distances[rows], indices[rows] = order.values, found.gather(1, order.indices)
        else:
            distances[rows], indices[rows] = (1 - closeness).clamp_(0, 2), found
    return indices, distances


def _best_of_block(
    block: Tensor,
    references: Any,
    width: int,
    centre: Tensor | None,
    itself_from: int | None,
    device: str | torch.device,
) -> tuple[Tensor, Tensor]:
    """(n, width) closeness and rows of the closest references, the closest first."""
    closeness = torch.full((len(block), width), -torch.inf, device=block.device)
    rows = torch.zeros((len(block), width), dtype=torch.int64, device=block.device)
    for start, others in _reference_blocks(references, centre, device):
        close = block @ others.T
        if centre is not None:
            # |q - r|^2 = |q|^2 - 2 (q r - |r|^2 / 2), and |q| is the same for all references.
            close -= others.square().sum(1) / 2
        if itself_from is not None:
            _hide_itself(close, itself_from, start)
        best = close.topk(min(width, close.shape[1]), 1)
        merged = torch.cat([closeness, best.values], 1), torch.cat([rows, best.indices + start], 1)
        # Stable: of equally close references the first rows stay.
        order = merged[0].sort(dim=1, descending=True, stable=True)
        closeness, rows = order.values[:, :width], merged[1].gather(1, order.indices[:, :width])
    return closeness, rows


def _reference_blocks(
    references: Any, centre: Tensor | None, device: str | torch.device
) -> Iterator[tuple[int, Tensor]]:
    for start in range(0, len(references), _REFERENCE_BLOCK):
        part = slice(start, min(len(references), start + _REFERENCE_BLOCK))
        yield start, _prepared(references, part, centre, device)


def _hide_itself(close: Tensor, query_start: int, reference_start: int) -> None:
    itself = torch.arange(len(close), device=close.device) + query_start - reference_start
    inside = torch.nonzero((itself >= 0) & (itself < close.shape[1])).flatten()
    close[inside, itself[inside]] = -torch.inf


def _distances(
    block: Tensor, references: Any, rows: Tensor, centre: Tensor | None, device: str | torch.device
) -> Tensor:
    """(n, k) from differences: the expanded square has no digits left where points are close."""
    distances = torch.empty(rows.shape, device=block.device)
    for place in range(rows.shape[1]):
        column = rows[:, place]
        which = column.to(references.device) if isinstance(references, Tensor) else column.cpu().numpy()
        distances[:, place] = (block - _prepared(references, which, centre, device)).norm(dim=1)
    return distances


def _prepared(embeddings: Any, rows: Any, centre: Tensor | None, device: str | torch.device) -> Tensor:
    """Rows as float32 on the device: of unit length for cosine, less the centre for euclidean."""
    values = embeddings[rows]
    if not isinstance(values, Tensor):
        values = torch.from_numpy(np.array(values))  # a copy, since torch cannot wrap read-only memory
    # Directions are taken of values beyond float32 too; distances are not.
    values = values.to(device) if centre is None else values.to(device, torch.float32)
    if not bool(values.isfinite().all()):
        raise InvalidNeighboursError("embeddings hold NaN or infinity; embed those samples again")
    return units(values) if centre is None else values - centre


def _centre(references: Any, device: str | torch.device) -> Tensor:
    """(D,) mean of the first rows: distances do not change, and products lose fewer digits."""
    nothing = torch.zeros((), device=device)
    return _prepared(references, slice(0, _REFERENCE_BLOCK), nothing, device).mean(0)


def _check(queries: Any, references: Any, k: int, metric: str) -> None:
    if metric not in METRICS:
        raise InvalidNeighboursError(f"metric is {metric!r}, expected one of {', '.join(METRICS)}")
    if k < 1:
        raise InvalidNeighboursError(f"k is {k}, expected at least 1")
    shapes = tuple(queries.shape), tuple(references.shape)
    if len(shapes[0]) != 2 or len(shapes[1]) != 2 or shapes[0][1] != shapes[1][1]:
        raise InvalidNeighboursError(f"queries have shape {shapes[0]}, references {shapes[1]}; expected (N, D), (R, D)")
    if references is not queries and shapes[1][0] == 0:
        raise InvalidNeighboursError("there are no references; the nearest of none is not defined")

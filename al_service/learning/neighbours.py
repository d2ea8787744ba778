"""Exact nearest neighbours among embeddings, in blocks, and what they say about labels.

Nothing is indexed: a block of queries is multiplied with a block of references, and the best k so far are kept, so
memory does not grow with N^2. Half precision embeddings and memory maps are read block by block. 50,000 x 50,000 rows
of width 512 are 2.6 * 10^12 operations, about half a minute on two cores.

What neighbours say: which labels disagree with those around them, and how well embeddings separate classes (the k-NN
probe of a pretrained backbone).
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from al_service.errors import InvalidInputError

METRICS = ("cosine", "euclidean")
# 2,048 x 8,192 similarities are 64 MB.
_QUERY_BLOCK = 2048
_REFERENCE_BLOCK = 8192
# How fast a neighbour's vote fades with its cosine distance; Wu, Xiong, Yu, Lin 2018, kept by everyone since.
_VOTE_TEMPERATURE = 0.07


class InvalidNeighboursError(InvalidInputError):
    """Embeddings, labels or k that do not fit each other."""

    code = "invalid_neighbours"


@dataclass(frozen=True, eq=False)
class Neighbours:
    """The k nearest references of every query, the nearest first.

    Args:
        indices: (N, k) int64, rows of the references.
        distances: (N, k) float32; cosine: 1 - cosine, in [0, 2]; euclidean: the plain distance.
    """

    indices: np.ndarray
    distances: np.ndarray


def nearest(
    queries: Any,
    k: int,
    references: Any = None,
    *,
    metric: str = "cosine",
    device: str | torch.device = "cpu",
) -> Neighbours:
    """The k nearest references of each query.

    Args:
        queries: (N, D) float array-like; sliced block by block.
        k: at least 1. Where there are fewer references, all of them come back and the arrays are narrower.
        references: (R, D) array-like, R >= 1. None: the queries themselves, each without itself.
        metric: one of METRICS. A zero vector has cosine 0 with everything.
        device: where products are computed, in float32.

    Raises:
        InvalidNeighboursError: shapes that do not fit, k < 1, an unknown metric, or embeddings with NaN or infinity.

    Cost: N R D multiplications; memory about 150 MB besides the result.
    """
    among_themselves = references is None
    references = queries if among_themselves else references
    _check(queries, references, k, metric)
    count, width = len(queries), max(0, min(k, len(references) - among_themselves))
    indices, distances = np.empty((count, width), np.int64), np.empty((count, width), np.float32)
    if width == 0 or count == 0:
        return Neighbours(indices, distances)
    centre = _centre(references, device) if metric == "euclidean" else None
    for start in range(0, count, _QUERY_BLOCK):
        rows = slice(start, min(count, start + _QUERY_BLOCK))
        block = _prepared(queries, rows, centre, device)
        best = _best_of_block(block, references, width, centre, start if among_themselves else None, device)
        found = best[1]
        if metric == "euclidean":
            far = _distances(block, references, found, centre, device)
            order = far.sort(dim=1, stable=True)
            far, found = order.values, found.gather(1, order.indices)
        else:
            far = (1 - best[0]).clamp_(0, 2)
        indices[rows], distances[rows] = found.cpu().numpy(), far.cpu().numpy()
    return Neighbours(indices, distances)


def knn_disagreement(
    embeddings: Any, class_indices: Any, k: int = 10, *, device: str | torch.device = "cpu"
) -> np.ndarray:
    """Share of each labelled sample's k nearest (by cosine) that have another label; higher = more suspicious.

    Args:
        embeddings: (N, D) float array-like.
        class_indices: (N,) whole numbers.
        k: most neighbours; a lone sample has none and gets 0.

    Returns:
        (N,) float64 in [0, 1].

    Raises:
        InvalidNeighboursError: as nearest, or labels that do not fit.
    """
    labels = _checked_labels(class_indices, len(embeddings))
    found = nearest(embeddings, k, device=device).indices
    if found.shape[1] == 0:
        return np.zeros(len(labels))
    return (labels[found] != labels[:, None]).mean(1)


def knn_accuracy(
    train_embeddings: Any,
    train_class_indices: Any,
    test_embeddings: Any,
    test_class_indices: Any,
    k: int = 20,
    *,
    device: str | torch.device = "cpu",
) -> float:
    """Share of test samples whose k nearest training samples vote for their label: the k-NN probe of a backbone.

    Votes weigh exp(cosine / 0.07), as in the literature on self-supervised pretraining; of equal sums the class named
    first wins.

    Raises:
        InvalidNeighboursError: as nearest, labels that do not fit, or no test samples.
    """
    train = _checked_labels(train_class_indices, len(train_embeddings))
    test = _checked_labels(test_class_indices, len(test_embeddings))
    if len(test) == 0:
        raise InvalidNeighboursError("there are no test samples; the k-NN accuracy needs at least one")
    classes = int(max(train.max(initial=0), test.max())) + 1
    found = nearest(test_embeddings, k, train_embeddings, device=device)
    # Less the best, so that nothing overflows.
    weights = np.exp((found.distances[:, :1] - found.distances) / _VOTE_TEMPERATURE)
    votes = np.zeros((len(test), classes))
    np.add.at(votes, (np.arange(len(test))[:, None], train[found.indices]), weights)
    return float((votes.argmax(1) == test).mean())


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
    for start in range(0, len(references), _REFERENCE_BLOCK):
        part = slice(start, min(len(references), start + _REFERENCE_BLOCK))
        others = _prepared(references, part, centre, device)
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
        others = _prepared(references, rows[:, place].cpu().numpy(), centre, device)
        distances[:, place] = (block - others).norm(dim=1)
    return distances


def _prepared(embeddings: Any, rows: Any, centre: Tensor | None, device: str | torch.device) -> Tensor:
    """Rows as float32 on the device: of unit length for cosine, less the centre for euclidean."""
    values = embeddings[rows]
    if not isinstance(values, Tensor):
        values = torch.from_numpy(np.array(values))  # a copy, since torch cannot wrap read-only memory
    values = values.to(device).float()
    if not bool(values.isfinite().all()):
        raise InvalidNeighboursError("embeddings hold NaN or infinity; embed those samples again")
    return torch.nn.functional.normalize(values) if centre is None else values - centre


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


def _checked_labels(class_indices: Any, count: int) -> np.ndarray:
    labels = class_indices.cpu().numpy() if isinstance(class_indices, Tensor) else np.asarray(class_indices)
    if labels.shape != (count,) or (labels.dtype.kind not in "iu" and count):
        raise InvalidNeighboursError(
            f"class_indices have shape {labels.shape} and dtype {labels.dtype}; expected ({count},) whole numbers"
        )
    return labels.astype(np.int64)

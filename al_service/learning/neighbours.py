"""What nearest neighbours say about labels: which disagree with those around them, and how well embeddings separate
classes (the k-NN probe of a pretrained backbone).

The search itself is al_service/geometry/nearest_neighbours.py, which the acquisition room reads as well.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from al_service.geometry.nearest_neighbours import METRICS, InvalidNeighboursError, nearest_rows

__all__ = ["METRICS", "InvalidNeighboursError", "Neighbours", "knn_accuracy", "knn_disagreement", "nearest"]

# How fast a neighbour's vote fades with its cosine distance; Wu, Xiong, Yu, Lin 2018, kept by everyone since.
_VOTE_TEMPERATURE = 0.07


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
    """The k nearest references of each query: as al_service.geometry.nearest_neighbours.nearest_rows, as numpy.

    Raises:
        InvalidNeighboursError: shapes that do not fit, k < 1, an unknown metric, or embeddings with NaN or infinity.
    """
    indices, distances = nearest_rows(queries, k, references, metric=metric, device=device)
    return Neighbours(indices.cpu().numpy(), distances.cpu().numpy())


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


def _checked_labels(class_indices: Any, count: int) -> np.ndarray:
    labels = class_indices.cpu().numpy() if isinstance(class_indices, Tensor) else np.asarray(class_indices)
    if labels.shape != (count,) or (labels.dtype.kind not in "iu" and count):
        raise InvalidNeighboursError(
            f"class_indices have shape {labels.shape} and dtype {labels.dtype}; expected ({count},) whole numbers"
        )
    return labels.astype(np.int64)

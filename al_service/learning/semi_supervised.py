"""Learning from unlabelled embeddings too: labels spread along nearest neighbours, and a probe that uses them.

With few labels the shape of the whole pool says much: images of one class lie together, so a label is likely that of
its neighbours, of theirs, and so on. `label_spreading` solves for the labels that change least along the graph of
nearest neighbours and stay near the given ones. `spread_probe` fits a head on the given labels and on the spread ones.
For training all layers, see consistency.py.

Two rules. Spread labels are guesses: they never evaluate anything. And a gain is not certain (where classes overlap
or a backbone does not know the images, wrong labels spread too), so the plain head comes back beside the other, and the
caller measures both on the same labels.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from al_service.errors import InvalidInputError
from al_service.learning.neighbours import Neighbours, nearest
from al_service.learning.probe import Probe, fit_probe

NEIGHBOURS = 15
#: How far a label travels: a step along the graph keeps this share of it. The papers take 0.99; at 2 to 20 labels a
#: class, 0.9 was as good on CIFAR-10 embeddings and 1 point better on digits.
ALPHA = 0.9
# Similarities are taken to this power: neighbours that are close count for much more (Iscen et al. 2019).
_SHARPNESS = 3
_CG_STEPS_MAX = 500
_CG_TOLERANCE = 1e-8
#: What all spread labels weigh together, as a multiple of all given ones. 1 and 10 were within a point of each other.
SPREAD_WEIGHT = 3.0
# More add time and nothing else.
_SPREAD_SAMPLES_MAX = 10_000
#: The cost of neighbours grows with the square of the pool: 50,000 are half a minute of two cores.
POOL_MAX = 50_000


class InvalidSpreadingError(InvalidInputError):
    """Embeddings and labels that labels cannot be spread over."""

    code = "invalid_spreading"


@dataclass(frozen=True, eq=False)
class SpreadProbe:
    """Both heads, and what the second learned from.

    Args:
        plain: fitted on the given labels alone.
        spread: fitted on those and on spread labels, at the same l2.
        used: how many spread labels that is.
        unlabelled: samples that labels were spread over.
    """

    plain: Probe
    spread: Probe
    used: int
    unlabelled: int


def label_spreading(
    labelled_embeddings: Any,
    class_indices: Any,
    unlabelled_embeddings: Any,
    class_count: int,
    *,
    k: int = NEIGHBOURS,
    alpha: float = ALPHA,
    device: str | torch.device = "cpu",
) -> np.ndarray:
    """Soft labels of the unlabelled samples.

    Args:
        labelled_embeddings: (L, D) float array, L >= 1.
        class_indices: (L,) whole numbers in [0, C).
        unlabelled_embeddings: (U, D) array-like.
        class_count: C.
        k: neighbours of each sample, by cosine.
        alpha: in (0, 1).
        device: where neighbours are sought.

    Returns:
        (U, C) float32, rows sum to 1; a sample that no label reaches has 1 / C everywhere.

    Raises:
        InvalidSpreadingError: no labels, labels that do not fit, or alpha outside (0, 1).
        InvalidNeighboursError: embeddings that do not fit each other, or k < 1.

    Cost: (L + U)^2 D multiplications for the neighbours, which is nearly everything: half a minute for 50,000 of width
        512 on two cores. A frozen backbone's neighbours can be kept: see `spread`.

    Source: Zhou, Bousquet, Lal, Weston, Schoelkopf 2004; class mass normalisation of Zhu, Ghahramani, Lafferty 2003;
        weights as in Iscen, Tolias, Avrithis, Chum 2019.
    """
    labelled = _rows(labelled_embeddings)
    together = np.concatenate([labelled, _rows(unlabelled_embeddings).astype(labelled.dtype, copy=False)])
    count = len(labelled)
    _check(class_indices, count, class_count, alpha)
    graph = nearest(together, k, device=device)
    return spread(graph, np.arange(count), class_indices, class_count, alpha=alpha)[count:]


def spread(
    graph: Neighbours, labelled_rows: Any, class_indices: Any, class_count: int, *, alpha: float = ALPHA
) -> np.ndarray:
    """Soft labels of every sample of a graph of nearest neighbours by cosine.

    Args:
        graph: neighbours.nearest(embeddings, k) of all samples among themselves.
        labelled_rows: (L,) distinct rows of it.
        class_indices, class_count, alpha: as in label_spreading.

    Returns:
        (N, C) float32, rows sum to 1; also for labelled rows, which are a little less than certain.

    Raises:
        InvalidSpreadingError: as label_spreading, or rows outside the graph or twice.
    """
    rows = np.asarray(labelled_rows)
    labels = _check(class_indices, len(rows), class_count, alpha)
    count = len(graph.indices)
    if rows.dtype.kind not in "iu" or not 0 <= rows.min() <= rows.max() < count or len(np.unique(rows)) != len(rows):
        raise InvalidSpreadingError(f"labelled_rows must be distinct whole numbers from 0 to {count - 1}")
    given = torch.zeros(count, class_count, dtype=torch.float64)
    given[torch.from_numpy(rows.astype(np.int64)), torch.from_numpy(labels)] = 1
    found = _solved(_smoothing(graph), given, alpha).clamp_min_(0)
    # Class mass: a class with many labels, or a dense one, must not swallow its surroundings.
    prior = (given.sum(0) + 1) / (len(rows) + class_count)
    mass = found.sum(0)
    found *= torch.where(mass > 0, prior / mass.clamp_min(1e-300), 0.0)
    total = found.sum(1, keepdim=True)
    return torch.where(total > 0, found / total.clamp_min(1e-300), 1 / class_count).float().numpy()


def sureness(soft_labels: np.ndarray) -> np.ndarray:
    """(N, C) soft labels -> (N,): how far the likeliest class is ahead of the next; 0 = a tie, 1 = certain.

    >>> sureness(np.array([[0.5, 0.5], [0.0, 1.0]]))
    array([0., 1.])
    """
    if soft_labels.shape[1] < 2:
        return np.ones(len(soft_labels))
    best = np.partition(soft_labels, -2, axis=1)
    return best[:, -1] - best[:, -2]


def spread_probe(
    labelled_embeddings: Any,
    class_indices: Any,
    unlabelled_embeddings: Any,
    class_count: int,
    *,
    l2: float | None = None,
    k: int = NEIGHBOURS,
    alpha: float = ALPHA,
    seed: int = 0,
    plain: Probe | None = None,
    pool_max: int = POOL_MAX,
    device: str | torch.device = "cpu",
) -> SpreadProbe:
    """A probe on given and spread labels, beside the plain one.

    Each unlabelled sample counts as of its likeliest class, by its sureness; together they weigh three times the given
    labels. (Soft targets taught a head to be undecided: with 2 labels a class it was 3 points less often right on
    CIFAR-10 embeddings.) Of those samples at most 10,000 are fitted.

    Args:
        labelled_embeddings, class_indices, unlabelled_embeddings, class_count, k, alpha, device: as in label_spreading.
        l2: as in fit_probe. Chosen on given labels alone: spread ones would flatter every penalty.
        seed: of the folds and the draws.
        plain: the head of the given labels, where the caller has fitted it.
        pool_max: labels spread over at most so many unlabelled samples, drawn at random.

    Raises:
        InvalidSpreadingError, InvalidNeighboursError, InvalidProbeDataError: as label_spreading and fit_probe.

    Random: from seed.
    """
    if plain is None:
        plain = fit_probe(labelled_embeddings, class_indices, class_count, l2=l2, seed=seed, device=device)
    rng = np.random.default_rng(seed)
    pool = np.sort(rng.permutation(len(unlabelled_embeddings))[:pool_max])
    around = _rows(unlabelled_embeddings[pool])
    soft_labels = label_spreading(
        labelled_embeddings, class_indices, around, class_count, k=k, alpha=alpha, device=device
    )
    sure = sureness(soft_labels)
    rows = np.flatnonzero(sure > 0)
    rows = np.sort(rng.permutation(rows)[:_SPREAD_SAMPLES_MAX])
    if len(rows) == 0:
        return SpreadProbe(plain, plain, 0, len(pool))
    labelled = _rows(labelled_embeddings).astype(np.float32)
    weights = sure[rows].astype(np.float64)
    both = fit_probe(
        np.concatenate([labelled, around[rows].astype(np.float32)]),
        np.concatenate([np.asarray(class_indices, np.int64), soft_labels[rows].argmax(1)]),
        class_count,
        l2=plain.l2,
        sample_weights=np.concatenate(
            [np.ones(len(labelled)), weights * SPREAD_WEIGHT * len(labelled) / weights.sum()]
        ),
        device=device,
    )
    return SpreadProbe(plain, both, len(rows), len(pool))


def _smoothing(graph: Neighbours) -> Tensor:
    """Sparse (N, N) float64 D^-1/2 (A + A') D^-1/2, A being the similarities of each sample to its neighbours."""
    count, width = graph.indices.shape
    close = torch.from_numpy(np.maximum(1 - graph.distances, 0).astype(np.float64) ** _SHARPNESS).flatten()
    rows = torch.arange(count).repeat_interleave(width)
    columns = torch.from_numpy(graph.indices).flatten()
    places = torch.stack([torch.cat([rows, columns]), torch.cat([columns, rows])])
    degree = torch.zeros(count, dtype=torch.float64).index_add_(0, places[0], close.repeat(2))
    scale = torch.where(degree > 0, degree.clamp_min(1e-300).rsqrt(), 0.0)
    values = close.repeat(2) * scale[places[0]] * scale[places[1]]
    return torch.sparse_coo_tensor(places, values, (count, count), check_invariants=False).coalesce()


def _solved(smoothing: Tensor, given: Tensor, alpha: float) -> Tensor:
    """(I - alpha S)^-1 Y, every class a right-hand side, by conjugate gradients."""
    found, residual = torch.zeros_like(given), given.clone()
    search, inner = residual.clone(), residual.square().sum(0)
    wanted = inner * _CG_TOLERANCE**2
    for _ in range(_CG_STEPS_MAX):
        if bool((inner <= wanted).all()):
            break
        product = search - alpha * torch.sparse.mm(smoothing, search)
        bend = (search * product).sum(0)
        # A class without labels is solved from the start.
        step = torch.where(bend > 0, inner / bend.clamp_min(1e-300), 0.0)
        found += step * search
        residual -= step * product
        before, inner = inner, residual.square().sum(0)
        search = residual + torch.where(before > 0, inner / before.clamp_min(1e-300), 0.0) * search
    return found


def _rows(embeddings: Any) -> np.ndarray:
    return embeddings.cpu().numpy() if isinstance(embeddings, Tensor) else np.asarray(embeddings[:])


def _check(class_indices: Any, count: int, class_count: int, alpha: float) -> np.ndarray:
    labels = np.asarray(class_indices)
    if not 0 < alpha < 1:
        raise InvalidSpreadingError(f"alpha is {alpha}, expected above 0 and below 1")
    if count == 0:
        raise InvalidSpreadingError("there are no labels to spread; label at least one sample, better two per class")
    if labels.shape != (count,) or labels.dtype.kind not in "iu":
        raise InvalidSpreadingError(
            f"class_indices have shape {labels.shape} and dtype {labels.dtype}; expected ({count},) whole numbers"
        )
    if not 0 <= labels.min() <= labels.max() < class_count:
        raise InvalidSpreadingError(
            f"class_indices are {labels.min()} to {labels.max()}, expected 0 to {class_count - 1}"
        )
    return labels.astype(np.int64)

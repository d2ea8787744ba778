"""How good predictions are, on labelled samples that no model chose: a random slice or an external test set.

Plain numbers come back, ready for JSON. Nothing is trained or calibrated here.
"""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from sklearn.metrics import precision_recall_fscore_support

from al_service.domain.proportions import wilson_interval
from al_service.errors import InvalidInputError

_Z95 = 1.959963984540054
_LEAST_PROBABILITY = 1e-12


class InvalidEvaluationSetError(InvalidInputError):
    """Probabilities and labels that do not fit each other, or none at all."""

    code = "invalid_evaluation_set"


@dataclass(frozen=True)
class ClassMetrics:
    """Of one class; None throughout where it is neither among the labels nor among the predictions."""

    precision: float | None
    recall: float | None
    f1: float | None
    support: int


@dataclass(frozen=True)
class ReliabilityBin:
    """One point of the reliability diagram: samples of about equal confidence, and how often they were right.

    Args:
        count: of samples in it.
        confidence: their mean.
        accuracy: share of them whose likeliest class is the label.
        accuracy_ci95: its Wilson interval; a calibrated model's confidence lies in 19 of 20 of these.
    """

    count: int
    confidence: float
    accuracy: float
    accuracy_ci95: tuple[float, float]


@dataclass(frozen=True)
class Evaluation:
    """Metrics of one model on one set.

    Args:
        reliability: bins of equal count, confidence rising.
        count: N.
        accuracy: share of samples whose likeliest class is the label.
        accuracy_ci95: its Wilson interval.
        macro_f1: mean F1 over the classes that occur among labels or predictions.
        per_class: in class_index order. Precision without a prediction and recall without a label are 0.
        confusion: C rows (labels) of C columns (predictions).
        ece: expected calibration error over bins of equal count, lower is better.
        brier: mean squared distance between the row and the one-hot label, in [0, 2], lower is better.
        nll: mean negative log likelihood in nats, probabilities below 1e-12 read as that; lower is better.
    """

    count: int
    accuracy: float
    accuracy_ci95: tuple[float, float]
    macro_f1: float
    per_class: tuple[ClassMetrics, ...]
    confusion: tuple[tuple[int, ...], ...]
    ece: float
    brier: float
    nll: float
    reliability: tuple[ReliabilityBin, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)


def evaluate(probabilities: np.ndarray, class_indices: Any, bins: int = 15) -> Evaluation:
    """All metrics at once.

    Args:
        probabilities: (N, C) float, N >= 1, rows sum to 1 within 1e-3.
        class_indices: (N,) whole numbers in [0, C), the labels.
        bins: of the calibration error and the reliability diagram; at most N are used.

    Raises:
        InvalidEvaluationSetError: shapes that do not fit, no samples, labels outside [0, C), or rows that are no
            probabilities.
    """
    rows, labels = _checked(probabilities, class_indices)
    if bins < 1:
        raise InvalidInputError(f"bins is {bins}, expected at least 1")
    predicted = rows.argmax(1)  # (N, C) -> (N,)
    right = predicted == labels
    of_label = rows[np.arange(len(rows)), labels]  # (N, C) -> (N,)
    per_class = _per_class(labels, predicted, rows.shape[1])
    diagram = reliability(rows.max(1), right, bins)
    return Evaluation(
        count=len(rows),
        accuracy=float(right.mean()),
        accuracy_ci95=wilson_interval(int(right.sum()), len(rows)),
        macro_f1=float(np.mean([metrics.f1 for metrics in per_class if metrics.f1 is not None])),
        per_class=per_class,
        confusion=_confusion(labels, predicted, rows.shape[1]),
        ece=_weighted_gap(diagram),
        # |p - e|^2 = |p|^2 - 2 p_label + 1
        brier=float(((rows**2).sum(1) - 2 * of_label + 1).mean()),
        nll=float(-np.log(np.maximum(of_label, _LEAST_PROBABILITY)).mean()),
        reliability=diagram,
    )


def accuracy_gain(before: np.ndarray, after: np.ndarray) -> tuple[float, tuple[float, float]]:
    """How much more often a second model is right than a first on the same samples, and the 95 % interval of that.

    Sample by sample, so the interval is narrower than those of the two accuracies suggest. With a sample gained and one
    lost more (Agresti, Min 2005): no change at all is no proof that there is none.

    Args:
        before, after: (N,) bool, N >= 1: where each model is right.

    >>> accuracy_gain(np.array([True, False]), np.array([True, True]))[0]
    0.5
    """
    change = after.astype(np.float64) - before
    total = len(change) + 2
    mean = change.sum() / total
    half = _Z95 * np.sqrt(((change**2).sum() + 2) / total - mean**2) / np.sqrt(total)
    return float(change.mean()), (max(-1.0, float(mean - half)), min(1.0, float(mean + half)))


def expected_calibration_error(confidences: np.ndarray, right: np.ndarray, bins: int = 15) -> float:
    """Mean distance between confidence and accuracy over bins of equal count, weighted by count.

    Args:
        confidences: (N,) of the likeliest class, N >= 1.
        right: (N,) bool, whether that class was the label.
        bins: at most N are used.
    """
    return _weighted_gap(reliability(confidences, right, bins))


def reliability(confidences: np.ndarray, right: np.ndarray, bins: int = 15) -> tuple[ReliabilityBin, ...]:
    """The reliability diagram: bins of equal count (they differ by one at most), confidence rising.

    Args:
        confidences, right, bins: as in expected_calibration_error; without samples there are no bins.

    >>> [(one.count, one.accuracy) for one in reliability(np.array([0.9, 0.6, 0.7, 0.8]), np.array([1, 0, 1, 1]), 2)]
    [(2, 0.5), (2, 1.0)]
    """
    order = np.argsort(confidences, kind="stable")
    return tuple(
        ReliabilityBin(
            count=len(part),
            confidence=float(confidences[part].mean()),
            accuracy=float(right[part].mean()),
            accuracy_ci95=wilson_interval(int(right[part].sum()), len(part)),
        )
        for part in (np.array_split(order, min(bins, len(order))) if len(order) else ())
    )


def _weighted_gap(diagram: tuple[ReliabilityBin, ...]) -> float:
    gaps = [abs(one.confidence - one.accuracy) * one.count for one in diagram]
    return sum(gaps) / sum(one.count for one in diagram)


def _confusion(labels: np.ndarray, predicted: np.ndarray, class_count: int) -> tuple[tuple[int, ...], ...]:
    cells = np.bincount(labels * class_count + predicted, minlength=class_count**2)
    return tuple(tuple(row) for row in cells.reshape(class_count, class_count).tolist())


def _per_class(labels: np.ndarray, predicted: np.ndarray, class_count: int) -> tuple[ClassMetrics, ...]:
    precision, recall, f1, support = precision_recall_fscore_support(
        labels, predicted, labels=range(class_count), zero_division=0
    )
    occurs = np.isin(np.arange(class_count), np.union1d(labels, predicted))
    return tuple(
        ClassMetrics(float(precision[one]), float(recall[one]), float(f1[one]), int(support[one]))
        if occurs[one]
        else ClassMetrics(None, None, None, 0)
        for one in range(class_count)
    )


def _checked(probabilities: np.ndarray, class_indices: Any) -> tuple[np.ndarray, np.ndarray]:
    rows, labels = np.asarray(probabilities, np.float64), np.asarray(class_indices)
    if rows.ndim != 2 or labels.shape != (len(rows),) or len(rows) == 0 or labels.dtype.kind not in "iu":
        raise InvalidEvaluationSetError(
            f"probabilities have shape {rows.shape}, class_indices {labels.shape} and dtype {labels.dtype}; "
            "expected (N, C) and (N,) whole numbers with N >= 1"
        )
    bad = np.flatnonzero(~((np.abs(rows.sum(1) - 1) <= 1e-3) & (rows >= 0).all(1)))
    if len(bad):
        row = int(bad[0])
        raise InvalidEvaluationSetError(
            f"probabilities[{row}] sums to {rows[row].sum():.3f}, expected values >= 0 that sum to 1 within 0.001. "
            "If these are logits, apply softmax first."
        )
    outside = np.flatnonzero((labels < 0) | (labels >= rows.shape[1]))
    if len(outside):
        row = int(outside[0])
        raise InvalidEvaluationSetError(f"class_indices[{row}] is {labels[row]}, expected 0 to {rows.shape[1] - 1}")
    return rows, labels.astype(np.int64)

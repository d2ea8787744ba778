"""How many labels of a project are likely wrong, and when that can be told from a model that is merely bad.

Two numbers from probabilities of models that did not see the label (probe.held_out_probabilities):

- *confident learning* counts confident contradictions. Where classes overlap or labels are few it counts the model's
  own errors too, so it is an upper end;
- *the surest tenth*: of the samples that a model is surest about, class by class, the share with another label. A bad
  model's errors fade as it grows surer, wrong labels stay. The low end of its interval is a lower end.

Advice is given only where the lower end is high, the model is good enough to judge, and the surest samples are
contradicted about as often as all others.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from al_service.domain.proportions import wilson_interval
from al_service.errors import InvalidInputError

#: With fewer labels an estimate is mostly noise; with more, a part of them tells as much.
LABELS_MIN, LABELS_MAX = 50, 5000
#: Share of wrong labels that is worth people's time.
ADVISE_ABOVE = 0.1
#: Labels a class below which nothing is advised.
LABELS_PER_CLASS_MIN = 20
#: Held-out accuracy below which a model cannot judge labels: two classes that lie together look like wrong labels.
JUDGE_ACCURACY_MIN = 0.55
#: The surest tenth's share over everybody's: up to 0.3 for clean overlapping classes, 0.6 and more for wrong labels.
PLATEAU_MIN = 0.5
_SUREST = 0.1


class InvalidNoiseDataError(InvalidInputError):
    """Probabilities and labels that do not fit each other, or none at all."""

    code = "invalid_noise_data"


@dataclass(frozen=True)
class ConfidentCount:
    """What confident learning counts.

    Args:
        share: of all labels, in [0, 1].
        per_class: share of the labels of each class; 0 where a class has none.
    """

    share: float
    per_class: tuple[float, ...]


@dataclass(frozen=True)
class LabelNoise:
    """How many labels are likely wrong.

    Args:
        low: at least this share, at 95 %, if the model's surest judgements are right.
        high: what confident learning counts; None where the judge has seen the labels by way of its embeddings, which
            hides wrong ones.
        count: N labels judged.
        can_tell: whether wrong labels can be told from a bad model here; see the module.
    """

    low: float
    high: float | None
    count: int
    can_tell: bool

    @property
    def is_worth_a_look(self) -> bool:
        """Whether people should look at labels again."""
        return self.can_tell and self.low > ADVISE_ABOVE


def estimate(probabilities: Any, class_indices: Any, *, embeddings_saw_labels: bool = False) -> LabelNoise:
    """How many labels are likely wrong.

    Args:
        probabilities: (N, C), N >= 1, rows sum to 1 within 1e-3; each row from a model that did not see that label.
        class_indices: (N,) whole numbers in [0, C).
        embeddings_saw_labels: the backbone was trained on these labels; then only the lower end is given.

    Raises:
        InvalidNoiseDataError: shapes that do not fit, no samples, labels outside [0, C), or rows that are no
            probabilities.

    Source: anchor points, Liu, Tao 2016; Patrini, Rozza, Menon, Nock, Qu 2017. Measured in docs/few-labels.md.
    """
    rows, labels = _checked(probabilities, class_indices)
    guess, sureness = rows.argmax(1), rows.max(1)
    contradicted = guess != labels
    surest = np.zeros(len(rows), bool)
    for one in np.unique(guess):
        of_class = np.flatnonzero(guess == one)
        count = int(np.ceil(_SUREST * len(of_class)))
        surest[of_class[np.argsort(-sureness[of_class], kind="stable")[:count]]] = True
    wrong, judged = int(contradicted[surest].sum()), int(surest.sum())
    error = float(contradicted.mean())
    low, high = wilson_interval(wrong, judged)[0], confident_count(rows, labels).share
    return LabelNoise(
        low=min(low, high),
        high=None if embeddings_saw_labels else high,
        count=len(rows),
        can_tell=len(rows) >= LABELS_PER_CLASS_MIN * rows.shape[1]
        and 1 - error >= JUDGE_ACCURACY_MIN
        and wrong / judged >= PLATEAU_MIN * error,
    )


def confident_count(probabilities: Any, class_indices: Any) -> ConfidentCount:
    """How many labels are wrong by confident learning.

    A class's threshold is the mean probability that its own samples give it. A sample counts as of the likeliest class
    whose threshold it passes; samples that pass none are not counted. The counts of (label, counted class) are scaled
    to the number of labels of each class, and what lies off the diagonal is the estimate. It is no list of culprits.
    Too low where a model has learned wrong labels by heart, too high where classes overlap or labels are few.

    Args and Raises as in `estimate`.

    Source: Northcutt, Jiang, Chuang 2021 (1911.00068).
    """
    rows, labels = _checked(probabilities, class_indices)
    classes = rows.shape[1]
    of_class = np.bincount(labels, minlength=classes)
    own = rows[np.arange(len(rows)), labels]
    # A class without labels has no samples to say how sure is sure: nothing is counted for it.
    sums = np.bincount(labels, weights=own, minlength=classes)
    thresholds = np.where(of_class > 0, sums / np.maximum(of_class, 1), np.inf)
    passes = rows >= thresholds - 1e-6
    counted = np.flatnonzero(passes.any(1))
    guess = np.where(passes, rows, -1)[counted].argmax(1)
    joint = np.zeros((classes, classes))
    np.add.at(joint, (labels[counted], guess), 1)
    sums = joint.sum(1)
    wrong = np.divide(sums - joint.diagonal(), sums, out=np.zeros(classes), where=sums > 0)
    return ConfidentCount(float((wrong * of_class).sum() / len(rows)), tuple(map(float, wrong)))


def advice(found: LabelNoise, training_mode: str) -> str | None:
    """What to say to a project's owner; None where there is nothing to say.

    Args:
        training_mode: of the project; a probe has no curriculum to advise.
    """
    if not found.is_worth_a_look:
        return None
    how_many = f"At least {found.low:.0%}"
    if found.high is not None and found.high > found.low:
        how_many += f" and up to {found.high:.0%}"
    words = f"{how_many} of the labels look wrong. Best have the most suspicious ones looked at again."
    if training_mode == "probe":
        return words
    return (
        f"{words} Until then, curriculum=easy_first with curriculum_difficulty=knn keeps them out of the first epochs: "
        "on digits this gained 3 points of accuracy at 30% wrong labels and nothing at 10%."
    )


def _checked(probabilities: Any, class_indices: Any) -> tuple[np.ndarray, np.ndarray]:
    rows, labels = np.asarray(probabilities, np.float64), np.asarray(class_indices)
    if rows.ndim != 2 or len(rows) == 0:
        raise InvalidNoiseDataError(f"probabilities have shape {rows.shape}, expected (N, C) with N >= 1")
    if labels.shape != (len(rows),) or labels.dtype.kind not in "iu":
        raise InvalidNoiseDataError(
            f"class_indices have shape {labels.shape} and dtype {labels.dtype}; expected ({len(rows)},) whole numbers"
        )
    bad = np.flatnonzero(~((np.abs(rows.sum(1) - 1) <= 1e-3) & (rows >= 0).all(1)))
    if len(bad):
        raise InvalidNoiseDataError(
            f"probabilities[{bad[0]}] sums to {rows[bad[0]].sum():.3f}, expected values >= 0 that sum to 1 within 0.001"
        )
    if not 0 <= labels.min() <= labels.max() < rows.shape[1]:
        raise InvalidNoiseDataError(
            f"class_indices are {labels.min()} to {labels.max()}, expected 0 to {rows.shape[1] - 1}"
        )
    return rows, labels.astype(np.int64)

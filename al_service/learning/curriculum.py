"""In which order labelled images come into training: a growing part of them, sorted by how hard they are.

Not to be confused with acquisition, which asks people about hard images first. Here the labels are known, and the
question is which of them training sees early. Off by default: on clean labels and with enough epochs the order hardly
matters; easy first helps where many labels are wrong (docs/few-labels.md has our own figures). Hard first and random
order are there to compare with: a gain of easy first over random order is due to the order, the rest to the growing.

Plain numpy; `Curriculum` is what training.train takes as `order`.

Source: Hacohen, Weinshall 2019 (pacing, transfer from an earlier model); Wu, Dyer, Neyshabur 2021 (root and step
pacing, and that the order seldom matters).
"""

from typing import Any

import numpy as np

from al_service.domain.project_config import CURRICULA, PACINGS
from al_service.errors import InvalidInputError

#: Share of each class that the first epoch trains on.
START_SHARE = 0.2
#: From this share of the epochs on, everything is trained on.
FULL_FROM = 0.5
ORDERS = tuple(name for name in CURRICULA if name != "none")


class InvalidCurriculumError(InvalidInputError):
    """An unknown order or pacing, or difficulties that do not fit the labels."""

    code = "invalid_curriculum"


def entropy_difficulty(probabilities: Any) -> np.ndarray:
    """How undecided the previous round's model is about each image, whatever its label; higher = harder.

    Args:
        probabilities: (N, C), rows sum to 1 within 1e-3.

    Returns:
        (N,) float64 in [0, 1]: entropy over its most; 0 with one class.

    >>> entropy_difficulty(np.array([[0.5, 0.5], [1.0, 0.0]]))
    array([1., 0.])
    """
    rows = _checked_probabilities(probabilities)
    if rows.shape[1] < 2:
        return np.zeros(len(rows))
    logs = np.log(rows, out=np.zeros_like(rows), where=rows > 0)
    return np.clip(-(rows * logs).sum(1) / np.log(rows.shape[1]), 0, 1) + 0.0


def share_in_play(epoch: int, epochs_max: int, pacing: str) -> float:
    """The share of each class that an epoch trains on: START_SHARE at first, 1 from FULL_FROM of the epochs on.

    Args:
        epoch: from 1.
        epochs_max: E >= 1.
        pacing: "linear"; "root": faster at first, so that each share is trained on about equally long; "step": the
            start share, then everything.

    Raises:
        InvalidCurriculumError: an unknown pacing, or an epoch outside 1..E.

    >>> [round(share_in_play(epoch, 8, "linear"), 2) for epoch in range(1, 7)]
    [0.2, 0.4, 0.6, 0.8, 1.0, 1.0]
    >>> [round(share_in_play(epoch, 8, "root"), 2) for epoch in range(1, 7)]
    [0.2, 0.53, 0.72, 0.87, 1.0, 1.0]
    """
    if pacing not in PACINGS:
        raise InvalidCurriculumError(f"pacing is {pacing!r}, expected one of {', '.join(PACINGS)}")
    if not 1 <= epoch <= epochs_max:
        raise InvalidCurriculumError(f"epoch is {epoch}, expected 1 to epochs_max {epochs_max}")
    # A training of one epoch is all of it.
    done = 1.0 if epochs_max == 1 else min(1.0, (epoch - 1) / (epochs_max * FULL_FROM))
    if done == 1 or epoch == epochs_max:
        return 1.0
    if pacing == "step":
        return START_SHARE
    if pacing == "root":
        return float(np.sqrt(START_SHARE**2 + (1 - START_SHARE**2) * done))
    return START_SHARE + (1 - START_SHARE) * done


class Curriculum:
    """Gives each epoch's rows; training.train takes it as `order`.

    Every class is sorted by itself and comes in at the same share, rounded up, so no class is missing at any time.

    Args:
        difficulty: (N,) finite, N >= 1, higher = harder. Equal ones keep an order drawn from the seed.
        class_indices: (N,) whole numbers.
        order: "easy_first", "hard_first", or "random_order", which does not look at the difficulty.
        pacing: as in share_in_play.
        epochs_max: E, as in TrainConfig.
        seed: of the random order and of ties.

    Raises:
        InvalidCurriculumError: an unknown order or pacing, or difficulties that do not fit the labels.
    """

    def __init__(
        self, difficulty: Any, class_indices: Any, *, order: str, pacing: str, epochs_max: int, seed: int = 0
    ) -> None:
        share_in_play(1, epochs_max, pacing)
        if order not in ORDERS:
            raise InvalidCurriculumError(f"order is {order!r}, expected one of {', '.join(ORDERS)}")
        hardness = np.asarray(difficulty, np.float64)
        labels = _checked_labels(class_indices, len(hardness))
        if hardness.ndim != 1 or len(hardness) == 0 or not np.isfinite(hardness).all():
            raise InvalidCurriculumError(
                f"difficulty has shape {hardness.shape}; expected (N,) finite numbers with N >= 1"
            )
        self._epochs_max, self._pacing = epochs_max, pacing
        shuffled = np.random.default_rng(seed).permutation(len(hardness))
        key = {"easy_first": hardness, "hard_first": -hardness, "random_order": np.zeros(len(hardness))}[order]
        ranked = shuffled[np.argsort(key[shuffled], kind="stable")]
        self._classes = [ranked[labels[ranked] == one] for one in np.unique(labels)]

    @property
    def whole_from_epoch(self) -> int:
        """The first epoch with everything in play. Training losses of earlier ones are those of other images, so they
        cannot be compared with later ones.
        """
        epochs = range(1, self._epochs_max + 1)
        return next(epoch for epoch in epochs if share_in_play(epoch, self._epochs_max, self._pacing) == 1)

    def __call__(self, epoch: int, rng: np.random.Generator) -> np.ndarray:
        """(n,) int64: the rows of an epoch (from 1), shuffled.

        Random: one permutation from the generator.
        """
        share = share_in_play(epoch, self._epochs_max, self._pacing)
        # Less a little, so that 0.2 of 5 is 1 and not, by rounding, 2.
        parts = [rows[: max(1, int(np.ceil(share * len(rows) - 1e-9)))] for rows in self._classes]
        return rng.permutation(np.concatenate(parts))


def _checked_probabilities(probabilities: Any) -> np.ndarray:
    rows = np.asarray(probabilities, np.float64)
    if rows.ndim != 2:
        raise InvalidCurriculumError(f"probabilities have shape {rows.shape}, expected (N, C)")
    bad = np.flatnonzero(~((np.abs(rows.sum(1) - 1) <= 1e-3) & (rows >= 0).all(1)))
    if len(bad):
        raise InvalidCurriculumError(
            f"probabilities[{bad[0]}] sums to {rows[bad[0]].sum():.3f}, expected values >= 0 that sum to 1 within 0.001"
        )
    return rows


def _checked_labels(class_indices: Any, count: int) -> np.ndarray:
    labels = np.asarray(class_indices)
    if labels.shape != (count,) or (labels.dtype.kind not in "iu" and count):
        raise InvalidCurriculumError(
            f"class_indices have shape {labels.shape} and dtype {labels.dtype}; expected ({count},) whole numbers"
        )
    return labels.astype(np.int64)

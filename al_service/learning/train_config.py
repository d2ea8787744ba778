"""How a network is trained, what training reports, and the two ways in which it is refused. Plain data.

Training itself is in training.py, which gives these names on.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
from torch import Tensor

from al_service.domain.project_config import CLASS_BALANCES, MIXED_PRECISIONS
from al_service.errors import InvalidInputError
from al_service.learning.augmentation import check_augmentation
from al_service.learning.networks import Network

OnProgress = Callable[[int, int], None]
#: (epoch, from 1; a generator of that epoch) -> rows to train on in that epoch, in that order.
EpochOrder = Callable[[int, np.random.Generator], np.ndarray]
#: (network, steps done) -> a scalar that is added to the loss of the step.
ExtraLoss = Callable[[Network, int], Tensor]
OnState = Callable[[bytes], None]


@runtime_checkable
class KeptLoss(Protocol):
    """An ExtraLoss that knows itself: what it depends on, and what it has counted."""

    def fingerprint(self) -> str:
        """Equal where equal networks and steps give equal losses; a state of another one is not gone on from."""

    def counts(self) -> dict[str, int]:
        """What it has counted so far, for reports."""

    def take_up(self, counts: Mapping[str, int]) -> None:
        """Go on counting from there."""

    def __call__(self, network: Network, step: int) -> Tensor:
        """As ExtraLoss."""


@runtime_checkable
class GrowingOrder(Protocol):
    """An EpochOrder whose early epochs leave rows out, and that says until when."""

    @property
    def whole_from_epoch(self) -> int:
        """The first epoch with all rows in play. Training losses of earlier ones are those of other rows, so nothing
        is judged by them.
        """

    def __call__(self, epoch: int, rng: np.random.Generator) -> np.ndarray:
        """As EpochOrder."""


def whole_from_epoch(order: EpochOrder | None) -> int:
    """The first epoch whose training loss may be judged by; 1 where the order does not say."""
    return order.whole_from_epoch if isinstance(order, GrowingOrder) else 1


class InvalidTrainingSetError(InvalidInputError):
    """Labels that do not fit the pixels or the network, or none at all."""

    code = "invalid_training_set"


class TrainingDivergedError(InvalidInputError):
    """The loss, the gradients or the weights are no longer numbers; a lower learning rate helps."""

    code = "training_diverged"


@dataclass(frozen=True)
class TrainConfig:
    """How to train.

    Args:
        epochs_max: upper limit, and the length of the cosine schedule. An epoch has eight minibatches at least, so it
            passes over a small set several times.
        learning_rate: peak of the schedule.
        weight_decay: AdamW's.
        minibatch_size: most images per step; smaller sets take smaller minibatches.
        label_smoothing: share of each label spread over all classes, in [0, 1).
        patience: epochs without improvement before training stops.
        augment: "none", "shift" or "shift+flip".
        seed: of order, augmentation, dropout and the validation part. (Initial weights are the network's.)
        class_balance: "none"; "weights": samples weigh by the inverse of their class's count; "sampling": classes are
            drawn equally often.
        focal_gamma: see losses.py; 0 is plain cross-entropy.
        ema_decay: of the moving average of the weights, per step; 0 keeps none.
        mixed_precision: "auto": half precision on a GPU; "off".
    """

    epochs_max: int = 60
    learning_rate: float = 0.002
    weight_decay: float = 0.01
    minibatch_size: int = 64
    label_smoothing: float = 0.0
    patience: int = 15
    augment: str = "shift"
    seed: int = 0
    class_balance: str = "none"
    focal_gamma: float = 0.0
    ema_decay: float = 0.0
    mixed_precision: str = "auto"

    def __post_init__(self) -> None:
        check_augmentation(self.augment)
        for name, low in (("epochs_max", 1), ("minibatch_size", 2), ("patience", 1), ("seed", 0)):
            if getattr(self, name) < low:
                raise InvalidInputError(f"{name} is {getattr(self, name)}, expected at least {low}")
        if not 0 < self.learning_rate < math.inf:
            raise InvalidInputError(f"learning_rate is {self.learning_rate}, expected above 0")
        for name in ("weight_decay", "focal_gamma"):
            if not 0 <= getattr(self, name) < math.inf:
                raise InvalidInputError(f"{name} is {getattr(self, name)}, expected at least 0")
        for name in ("label_smoothing", "ema_decay"):
            if not 0 <= getattr(self, name) < 1:
                raise InvalidInputError(f"{name} is {getattr(self, name)}, expected 0 to below 1")
        for name, choices in (("class_balance", CLASS_BALANCES), ("mixed_precision", MIXED_PRECISIONS)):
            if getattr(self, name) not in choices:
                raise InvalidInputError(f"{name} is {getattr(self, name)!r}, expected one of {', '.join(choices)}")


@dataclass(frozen=True, eq=False)
class SampleRecord:
    """How each sample fared while it was trained on, in row order; NaN where a row was never trained on.

    Args:
        loss: (N,) float64, mean of its losses (unweighted cross-entropy, with augmentation and dropout).
        margin: (N,) float64, mean of (logit of the given label - largest other logit); low or negative = the network
            would rather say something else. AUM of Pleiss et al. 2020. NaN with one class.
        visits: (N,) int64, how often it was trained on; 0 for the part kept aside.
    """

    loss: np.ndarray
    margin: np.ndarray
    visits: np.ndarray


@dataclass(frozen=True)
class TrainReport:
    """What training did.

    Args:
        epochs: run, those before a resumption included.
        seconds: of wall time, of this run alone.
        train_loss: mean loss of each epoch, as trained on (with augmentation and dropout; without the extra loss).
        validation_loss: mean loss of each epoch on the part kept aside; empty where none was.
        best_epoch: whose weights were kept; the first is 1.
        stop_reason: "epochs_max", "validation_plateau" or "training_plateau".
        train_count, validation_count: samples in either part.
        resumed_from_epoch: the last epoch that a given state had done; 0 = from the start.
        state_refused: why a given state was not used; empty where it was, or none was given.
        samples: where they were asked to be recorded.
    """

    epochs: int
    seconds: float
    train_loss: tuple[float, ...]
    validation_loss: tuple[float, ...]
    best_epoch: int
    stop_reason: str
    train_count: int
    validation_count: int
    resumed_from_epoch: int = 0
    state_refused: str = ""
    samples: SampleRecord | None = None


def checked_labels(class_indices: Any, count: int, class_count: int) -> np.ndarray:
    """The labels as (N,) int64. Raises InvalidTrainingSetError where they do not fit, or there are none."""
    labels = class_indices.cpu().numpy() if isinstance(class_indices, Tensor) else np.asarray(class_indices)
    if count == 0:
        raise InvalidTrainingSetError("there are no labelled samples; label at least one, better two per class")
    if labels.shape != (count,) or labels.dtype.kind not in "iu":
        raise InvalidTrainingSetError(
            f"class_indices have shape {labels.shape} and dtype {labels.dtype}; expected ({count},) whole numbers"
        )
    outside = np.flatnonzero((labels < 0) | (labels >= class_count))
    if len(outside):
        row = int(outside[0])
        raise InvalidTrainingSetError(f"class_indices[{row}] is {labels[row]}, expected 0 to {class_count - 1}")
    return labels.astype(np.int64)

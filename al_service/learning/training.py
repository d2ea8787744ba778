"""Training a network on labelled pixels: seeded, with a cosine schedule, early stopping, and the best weights kept.

The idea in words: AdamW over shuffled minibatches; the learning rate rises for a twentieth of the steps and falls along
a cosine. Where every class has enough samples, a tenth of them is kept aside and its loss says when to stop and which
weights are best; with fewer samples every label is needed for training, and the training loss says it. Each round
trains from scratch: the caller builds a new network.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from al_service.errors import InvalidInputError
from al_service.learning.augmentation import augment, check_augmentation
from al_service.learning.minibatches import epoch_minibatches, validation_split
from al_service.learning.networks import Network
from al_service.learning.pixels import check_pixels

OnProgress = Callable[[int, int], None]

_WARM_UP_FRACTION = 0.05
_PLATEAU_IMPROVEMENT = 0.01
# A few labels make few steps in a pass, and steps are what training needs: small sets take smaller minibatches and
# several passes an epoch.
_MINIBATCHES_PER_EPOCH = 8


class InvalidTrainingSetError(InvalidInputError):
    """Labels that do not fit the pixels or the network, or none at all."""

    code = "invalid_training_set"


class TrainingDivergedError(InvalidInputError):
    """The loss is no longer a number; a lower learning rate helps."""

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
        label_smoothing: in [0, 1).
        patience: epochs without improvement before training stops.
        augment: "none", "shift" or "shift+flip".
        seed: of order, augmentation, dropout and the validation part. (Initial weights are the network's.)
        class_balance: weigh classes by the inverse of their count.
    """

    epochs_max: int = 60
    learning_rate: float = 0.002
    weight_decay: float = 0.01
    minibatch_size: int = 64
    label_smoothing: float = 0.0
    patience: int = 15
    augment: str = "shift"
    seed: int = 0
    class_balance: bool = False

    def __post_init__(self) -> None:
        check_augmentation(self.augment)
        for name, low in (("epochs_max", 1), ("minibatch_size", 2), ("patience", 1), ("seed", 0)):
            if getattr(self, name) < low:
                raise InvalidInputError(f"{name} is {getattr(self, name)}, expected at least {low}")
        if not 0 < self.learning_rate < math.inf:
            raise InvalidInputError(f"learning_rate is {self.learning_rate}, expected above 0")
        if not 0 <= self.weight_decay < math.inf:
            raise InvalidInputError(f"weight_decay is {self.weight_decay}, expected at least 0")
        if not 0 <= self.label_smoothing < 1:
            raise InvalidInputError(f"label_smoothing is {self.label_smoothing}, expected 0 to below 1")


@dataclass(frozen=True)
class TrainReport:
    """What training did.

    Args:
        epochs: run.
        seconds: of wall time.
        train_loss: mean loss of each epoch, as trained on (with augmentation and dropout).
        validation_loss: mean loss of each epoch on the part kept aside; empty where none was.
        best_epoch: whose weights were kept; the first is 1.
        stop_reason: "epochs_max", "validation_plateau" or "training_plateau".
        train_count, validation_count: samples in either part.
    """

    epochs: int
    seconds: float
    train_loss: tuple[float, ...]
    validation_loss: tuple[float, ...]
    best_epoch: int
    stop_reason: str
    train_count: int
    validation_count: int


def train(
    network: Network,
    pixels: Any,
    class_indices: Any,
    config: TrainConfig,
    on_progress: OnProgress | None = None,
    device: str | torch.device = "cpu",
) -> TrainReport:
    """Train the network in place; it ends on `device`, in evaluation mode, with the weights of its best epoch.

    Args:
        network: from networks.build.
        pixels: (N, px, px, 3) uint8 array-like, N >= 1; indexed by rows, so a memory map is read piece by piece.
        class_indices: (N,) whole numbers in [0, C); classes may be missing.
        config: see TrainConfig.
        on_progress: called with (steps done, most steps) after every minibatch; what it raises stops training and
            passes through.
        device: see device.choose.

    Raises:
        InvalidPixelsError: pixels of another shape or type.
        InvalidTrainingSetError: no samples, or labels that do not fit.
        TrainingDivergedError: the loss became NaN or infinite.

    Random: from config.seed; torch's global generators are left as they were. On the CPU, equal input gives equal
    weights, bit for bit, at an equal number of threads.
    """
    started = time.perf_counter()
    check_pixels(pixels, network.image_px)
    labels = _checked_labels(class_indices, len(pixels), network.class_count)
    device = torch.device(device)
    with torch.random.fork_rng(devices=_cuda_indices(device)):
        torch.manual_seed(config.seed)
        run = _Run(network.to(device), pixels, labels, config, device, on_progress)
        stop_reason = run.to_the_end()
    return TrainReport(
        epochs=len(run.train_losses),
        seconds=time.perf_counter() - started,
        train_loss=tuple(run.train_losses),
        validation_loss=tuple(run.validation_losses),
        best_epoch=run.best_epoch,
        stop_reason=stop_reason,
        train_count=len(run.train_part),
        validation_count=len(run.validation_part),
    )


class _Run:
    """One training under way."""

    def __init__(
        self,
        network: Network,
        pixels: Any,
        labels: np.ndarray,
        config: TrainConfig,
        device: torch.device,
        on_progress: OnProgress | None,
    ) -> None:
        self.network, self.pixels, self.labels, self.config, self.device = network, pixels, labels, config, device
        self.on_progress = on_progress
        self.rng = np.random.default_rng(config.seed)
        self.generator = torch.Generator().manual_seed(config.seed)
        self.train_part, self.validation_part = validation_split(labels, self.rng)
        self.steps_max = config.epochs_max * len(epoch_minibatches(self.train_part, config.minibatch_size, self.rng))
        self.steps = 0
        weights = class_weights(labels[self.train_part], network.class_count) if config.class_balance else None
        self.loss = nn.CrossEntropyLoss(weight=weights, label_smoothing=config.label_smoothing).to(device)
        self.optimiser = torch.optim.AdamW(
            network.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay
        )
        self.train_losses: list[float] = []
        self.validation_losses: list[float] = []
        self.best_epoch, self.best_loss = 0, math.inf
        self.best_weights: dict[str, Tensor] = {}

    def to_the_end(self) -> str:
        """Run epochs until one of the three reasons to stop, which comes back; then put the best weights in."""
        stop_reason = "epochs_max"
        plateau_loss, plateau_epoch = math.inf, 0
        for epoch in range(1, self.config.epochs_max + 1):
            self.train_losses.append(self._one_epoch(epoch))
            if len(self.validation_part):
                self.validation_losses.append(self._validation_loss())
            watched = self.validation_losses[-1] if len(self.validation_part) else self.train_losses[-1]
            if watched < self.best_loss:
                self.best_epoch, self.best_loss = epoch, watched
                self.best_weights = {key: value.clone() for key, value in self.network.state_dict().items()}
            if watched < plateau_loss * (1 - _PLATEAU_IMPROVEMENT):
                plateau_loss, plateau_epoch = watched, epoch
            if epoch - plateau_epoch >= self.config.patience and epoch < self.config.epochs_max:
                stop_reason = "validation_plateau" if len(self.validation_part) else "training_plateau"
                break
        self.network.load_state_dict(self.best_weights)
        self.network.eval()
        return stop_reason

    def _one_epoch(self, epoch: int) -> float:
        self.network.train()
        total, count = 0.0, 0
        for rows in epoch_minibatches(self.train_part, self.config.minibatch_size, self.rng):
            images, targets = self._load(rows)
            images = augment(images, self.config.augment, self.generator)
            for group in self.optimiser.param_groups:
                group["lr"] = self.config.learning_rate * schedule(self.steps, self.steps_max)
            loss = self.loss(self.network(images.permute(0, 3, 1, 2)), targets)
            self.optimiser.zero_grad(set_to_none=True)
            loss.backward()
            self.optimiser.step()
            value = float(loss.detach())
            if not math.isfinite(value):
                raise TrainingDivergedError(
                    f"the loss became {value} in epoch {epoch} at learning_rate {self.config.learning_rate}; lower it"
                )
            total, count = total + value * len(rows), count + len(rows)
            self.steps += 1
            if self.on_progress is not None:
                self.on_progress(self.steps, self.steps_max)
        return total / count

    def _validation_loss(self) -> float:
        self.network.eval()
        total = 0.0
        with torch.inference_mode():
            for start in range(0, len(self.validation_part), self.config.minibatch_size):
                rows = self.validation_part[start : start + self.config.minibatch_size]
                images, targets = self._load(rows)
                total += float(self.loss(self.network(images.permute(0, 3, 1, 2)), targets)) * len(rows)
        return total / len(self.validation_part)

    def _load(self, rows: np.ndarray) -> tuple[Tensor, Tensor]:
        """(n, px, px, 3) uint8 images and (n,) targets, on the device."""
        images = torch.from_numpy(np.array(self.pixels[rows]))
        return images.to(self.device), torch.from_numpy(self.labels[rows]).to(self.device)


def schedule(step: int, steps_max: int) -> float:
    """The share of the learning rate at a step: up along a line for a twentieth of all steps, then down along a cosine.

    >>> [round(schedule(step, 4), 2) for step in range(4)]
    [1.0, 0.85, 0.5, 0.15]
    """
    warm_up = max(1, int(steps_max * _WARM_UP_FRACTION))
    return min(1.0, (step + 1) / warm_up) * 0.5 * (1 + math.cos(math.pi * step / steps_max))


def class_weights(labels: np.ndarray, class_count: int) -> Tensor:
    """(C,) weights that make every present class count the same, 1 on average over samples; 1 for absent classes."""
    counts = np.bincount(labels, minlength=class_count)
    present = np.count_nonzero(counts)
    weights = np.where(counts > 0, len(labels) / (present * np.maximum(counts, 1)), 1.0)
    return torch.tensor(weights, dtype=torch.float32)


def _checked_labels(class_indices: Any, count: int, class_count: int) -> np.ndarray:
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


def _cuda_indices(device: torch.device) -> list[int]:
    if device.type != "cuda":
        return []
    return [torch.cuda.current_device() if device.index is None else device.index]

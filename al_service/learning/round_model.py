"""A round's model, from arrays: what a worker's train stage, a simulation and a notebook do alike.

Given a project's settings, labelled images, an evaluation set and perhaps unlabelled images, it trains the way the
settings say, finds the temperature, measures, and says in plain facts what it did. It stores nothing.

The evaluation set is the project's protected random slice: nothing is trained on it, pseudo-labels never come near it,
and its calibrated figures are cross-fitted (calibration.py). Where a model also learned from unlabelled images, the
same model without them is trained and measured beside it, so that the difference is a number and not a hope.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch

from al_service.domain.project_config import ProjectConfig
from al_service.learning import training
from al_service.learning.calibration import Calibration, calibrate
from al_service.learning.checkpoints import Checkpoint
from al_service.learning.evaluation import Evaluation
from al_service.learning.inference import Inference, head_outputs, predict
from al_service.learning.minibatch_size import MinibatchSizes
from al_service.learning.networks import Network
from al_service.learning.probe import fit_probe, install
from al_service.learning.train_config import TrainReport

#: (done, total, words)
OnProgress = Callable[[int, int, str], None]
Trainer = Callable[..., TrainReport]


class TrainingStates(Protocol):
    """Where a training under way is kept, so that another attempt goes on from there."""

    def find(self, name: str) -> bytes | None:
        """The state kept under that name, or None."""

    def keep(self, name: str, state: bytes) -> None:
        """Replace the state of that name."""


@dataclass(frozen=True, eq=False)
class Examples:
    """Labelled images: pixels (N, px, px, 3) uint8 or embeddings (N, D), an array-like, and (N,) class indices."""

    values: Any
    class_indices: np.ndarray


@dataclass(frozen=True, eq=False)
class Lesson:
    """What a round may learn from.

    Args:
        config: the project's settings.
        class_names: in class_index order.
        seed: of every random choice.
        labelled: at least one; pixels for `finetune`, embeddings for `fit_head`.
        evaluation: never learned from; None where there is none yet.
        unlabelled: array-like of the same kind; read only where `semi_supervised` asks for it.
        previous: the last round's model, for warm starts and as the judge of what is hard.
    """

    config: ProjectConfig
    class_names: tuple[str, ...]
    seed: int
    labelled: Examples
    evaluation: Examples | None = None
    unlabelled: Any = None
    previous: Checkpoint | None = None


@dataclass(frozen=True, eq=False)
class Learned:
    """A trained network with its temperature, what training did (facts) and how good it is (metrics), JSON-able."""

    network: Network
    temperature: float
    facts: dict[str, Any]
    metrics: dict[str, Any]


@dataclass(frozen=True, eq=False)
class Means:
    """With what to learn: the device, who trains, where and how often states are kept, whom to tell."""

    device: str | torch.device = "cpu"
    trainer: Trainer = training.train
    states: TrainingStates | None = None
    state_every_s: float = 30.0
    sizes: MinibatchSizes | None = None
    on_progress: OnProgress = field(default=lambda done, total, words: None)


# -- all layers --------------------------------------------------------------------------------------------------


def finetune(lesson: Lesson, network: Network, means: Means) -> Learned:
    """Train all layers of the network, in place.

    Raises:
        TrainingDivergedError, InvalidTrainingSetError, InvalidPixelsError: as training.train.
    """
    facts: dict[str, Any] = {"mode": "finetune", "labels": len(lesson.labelled.class_indices)}
    report = _train(lesson, network, means, "main", words="training")
    facts |= {
        "epochs": report.epochs,
        "best_epoch": report.best_epoch,
        "stop_reason": report.stop_reason,
        "fit_seconds": report.seconds,
        "train_loss": report.train_loss,
        "validation_loss": report.validation_loss,
        "resumed_from_epoch": report.resumed_from_epoch,
    }
    return _learned(lesson, network, means, facts, {})


def _train(lesson: Lesson, network: Network, means: Means, name: str, *, words: str, **hooks: Any) -> TrainReport:
    states = means.states
    return means.trainer(
        network,
        lesson.labelled.values,
        lesson.labelled.class_indices,
        train_config(lesson.config, lesson.seed),
        on_progress=lambda done, total: means.on_progress(done, total, words),
        device=means.device,
        state=None if states is None else states.find(name),
        on_state=None if states is None else lambda state: states.keep(name, state),
        state_every_s=means.state_every_s,
        **hooks,
    )


def train_config(config: ProjectConfig, seed: int) -> training.TrainConfig:
    """The part of a project's settings that says how to train."""
    return training.TrainConfig(
        epochs_max=config.epochs_max,
        learning_rate=config.learning_rate,
        weight_decay=config.weight_decay,
        minibatch_size=config.minibatch_size,
        label_smoothing=config.label_smoothing,
        augment=config.augment,
        class_balance=config.class_balance,
        focal_gamma=config.focal_gamma,
        ema_decay=config.ema_decay,
        mixed_precision=config.mixed_precision,
        seed=seed,
    )


# -- the head alone ----------------------------------------------------------------------------------------------


def fit_head(lesson: Lesson, network: Network, means: Means) -> Learned:
    """Fit the head of a network whose backbone is frozen, on embeddings; the head is replaced in place.

    Raises:
        InvalidProbeDataError: as probe.fit_probe.
    """
    config, labelled = lesson.config, lesson.labelled
    embeddings = np.asarray(labelled.values[:])
    means.on_progress(0, 1, "fitting the head")
    probe = fit_probe(
        embeddings,
        labelled.class_indices,
        len(lesson.class_names),
        l2=config.probe_l2 or None,
        seed=lesson.seed,
    )
    install(probe, network.head)
    facts = {
        "mode": "probe",
        "labels": len(labelled.class_indices),
        "fit_seconds": probe.seconds,
        "l2": probe.l2,
        "iterations": probe.iterations,
        "converged": probe.converged,
    }
    return _learned(lesson, network, means, facts, {})


# -- shared ------------------------------------------------------------------------------------------------------


def _learned(lesson: Lesson, network: Network, means: Means, facts: dict[str, Any], metrics: dict[str, Any]) -> Learned:
    measured = _measured(lesson, network, means)
    if measured is None:
        return Learned(network, 1.0, facts, metrics | {"evaluation_samples": 0})
    found = metrics_of(measured.after, lesson.class_names)
    temperature = measured.temperature
    found["calibration"] = {
        "temperature": temperature.value,
        "count": temperature.count,
        "before": _calibration_figures(measured.before),
        "after": _calibration_figures(measured.after),
    }
    return Learned(network, temperature.value, facts, metrics | found)


def _measured(lesson: Lesson, network: Network, means: Means) -> Calibration | None:
    """The network on the evaluation set, before and after calibration; None where there is nothing to measure on."""
    evaluation = lesson.evaluation
    if evaluation is None or not len(evaluation.class_indices):
        return None
    outputs = _outputs(network, evaluation.values, means, "measuring")
    return calibrate(outputs.logits, evaluation.class_indices, lesson.seed)


def _outputs(network: Network, values: Any, means: Means, words: str) -> Inference:
    """What the network says of images, or of embeddings."""
    if len(values.shape) == 2:
        return head_outputs(network, values, device=means.device)
    return predict(
        network,
        values,
        device=means.device,
        sizes=means.sizes,
        on_progress=lambda done, total: means.on_progress(done, total, words),
    )


def metrics_of(evaluation: Evaluation, class_names: Sequence[str]) -> dict[str, Any]:
    """The round's metrics as plain data, with class names."""
    return {
        **summary_of(evaluation),
        "evaluation_samples": evaluation.count,
        "per_class": {name: vars(one) for name, one in zip(class_names, evaluation.per_class, strict=True)},
        "confusion": {"classes": list(class_names), "counts": np.asarray(evaluation.confusion).tolist()},
    }


def summary_of(evaluation: Evaluation) -> dict[str, Any]:
    """The few numbers that two models are compared by."""
    return {
        "accuracy": evaluation.accuracy,
        "accuracy_ci95": list(evaluation.accuracy_ci95),
        "macro_f1": evaluation.macro_f1,
        "ece": evaluation.ece,
        "brier": evaluation.brier,
        "nll": evaluation.nll,
    }


def _calibration_figures(evaluation: Evaluation) -> dict[str, Any]:
    return {
        "ece": evaluation.ece,
        "brier": evaluation.brier,
        "nll": evaluation.nll,
        "reliability": [
            {
                "count": one.count,
                "confidence": one.confidence,
                "accuracy": one.accuracy,
                "low": one.accuracy_ci95[0],
                "high": one.accuracy_ci95[1],
            }
            for one in evaluation.reliability
        ],
    }

"""A round's model, from arrays: what a worker's train stage, a simulation and a notebook do alike.

Given a project's settings, labelled images, an evaluation set and perhaps unlabelled images, it trains the way the
settings say, finds the temperature, measures, and says in plain facts what it did. It stores nothing.

The evaluation set is the project's protected random slice: nothing is trained on it, pseudo-labels never come near it,
and its calibrated figures are cross-fitted (calibration.py). Where a model also learned from unlabelled images, the
same model without them is trained and measured beside it, so that the difference is a number and not a hope.
"""

import copy
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np
import torch

from al_service.domain.project_config import ProjectConfig
from al_service.learning import curriculum, training
from al_service.learning.calibration import calibrate
from al_service.learning.checkpoints import Checkpoint
from al_service.learning.consistency import ConsistencyLoss
from al_service.learning.inference import Inference, head_outputs, predict
from al_service.learning.label_noise import LABELS_MAX, LABELS_MIN, estimate
from al_service.learning.minibatch_size import MinibatchSizes
from al_service.learning.neighbours import knn_disagreement
from al_service.learning.networks import Network
from al_service.learning.probe import Probe, fit_probe, held_out_probabilities, install
from al_service.learning.round_metrics import Measured, noise_metrics, unused_settings
from al_service.learning.semi_supervised import spread_probe
from al_service.learning.train_config import TrainReport
from al_service.learning.warm_start import warm_start

#: (done, total, words)
OnProgress = Callable[[int, int, str], None]
Trainer = Callable[..., TrainReport]
_NOISE_BLOCK = 512


class TrainingStates(Protocol):
    """Where a training under way is kept, so that another attempt goes on from there."""

    def find(self, name: str) -> bytes | None:
        """The state kept under that name, or None."""

    def keep(self, name: str, state: bytes) -> bool:
        """Replace the state of that name; whether that went well."""


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
        start: the last round's head on the same backbone, where `fit_head` begins; the end is the same without.
    """

    config: ProjectConfig
    class_names: tuple[str, ...]
    seed: int
    labelled: Examples
    evaluation: Examples | None = None
    unlabelled: Any = None
    previous: Checkpoint | None = None
    start: Probe | None = None


@dataclass(frozen=True, eq=False)
class Learned:
    """A trained network with its temperature, what training did (facts) and how good it is (metrics), JSON-able.

    predicted: (N,) class indices of the evaluation set; None where there is none.
    """

    network: Network
    temperature: float
    facts: dict[str, Any]
    metrics: dict[str, Any]
    predicted: np.ndarray | None = None


@dataclass(frozen=True, eq=False)
class Means:
    """With what to learn: the device, who trains, where and how often states are kept, whom to tell.

    looks_for_wrong_labels: whether to estimate how many labels are wrong, at the price of a few more fits of a head.
    """

    device: str | torch.device = "cpu"
    trainer: Trainer = training.train
    states: TrainingStates | None = None
    state_every_s: float = 30.0
    sizes: MinibatchSizes | None = None
    precision: str = "auto"
    looks_for_wrong_labels: bool = True
    on_progress: OnProgress = field(default=lambda done, total, words: None)


# -- all layers --------------------------------------------------------------------------------------------------


def finetune(lesson: Lesson, network: Network, means: Means) -> Learned:
    """Train all layers of the network, in place.

    Raises:
        TrainingDivergedError, InvalidTrainingSetError, InvalidPixelsError: as training.train.
    """
    facts: dict[str, Any] = {"mode": "finetune", "labels": len(lesson.labelled.class_indices)}
    facts |= _warm_started(lesson, network)
    order, words = _order(lesson, means)
    without: Measured | None = None
    if _learns_from_unlabelled(lesson, "pseudo_labels"):
        consistency = ConsistencyLoss(
            lesson.unlabelled,
            lesson.labelled.class_indices,
            len(lesson.class_names),
            augment=lesson.config.augment,
            minibatch_size=lesson.config.minibatch_size,
            seed=lesson.seed,
        )
        plain = copy.deepcopy(network)
        _train(lesson, plain, means, "plain", order=order, words="training without unlabelled images")
        without = _measured(lesson, plain, means)
        # A loss that reads images of its own stays in this process, also where several could share the work.
        alone = replace(means, trainer=training.train)
        report = _train(lesson, network, alone, "main", order=order, extra_loss=consistency, words="training")
        facts |= {"unlabelled_seen": consistency.seen, "unlabelled_used": consistency.used}
    else:
        report = _train(lesson, network, means, "main", order=order, words="training")
    facts |= words | {
        "epochs": report.epochs,
        "best_epoch": report.best_epoch,
        "stop_reason": report.stop_reason,
        "fit_seconds": report.seconds,
        "train_loss": report.train_loss,
        "validation_loss": report.validation_loss,
        "resumed_from_epoch": report.resumed_from_epoch,
        "state_refused": report.state_refused,
    }
    return _learned(lesson, network, means, facts, without)


def _learns_from_unlabelled(lesson: Lesson, how: str) -> bool:
    return lesson.config.semi_supervised == how and lesson.unlabelled is not None and len(lesson.unlabelled) > 0


def _warm_started(lesson: Lesson, network: Network) -> dict[str, Any]:
    """Put the last model's weights into the network where the settings say so; what was done."""
    previous, mode = lesson.previous, lesson.config.warm_start
    if previous is None or mode == "none":
        return {}
    done = warm_start(
        network,
        previous.network,
        mode,
        lesson.seed,
        class_names=lesson.class_names,
        previous_class_names=previous.class_names,
    )
    return {"warm_start": mode, "classes_taken": done.classes_taken}


def _order(lesson: Lesson, means: Means) -> tuple[curriculum.Curriculum | None, dict[str, Any]]:
    """The curriculum, and what to say of it; None where every epoch takes all rows."""
    config, labels = lesson.config, lesson.labelled.class_indices
    if config.curriculum == "none":
        return None, {}
    if lesson.previous is None:
        return None, {"curriculum": "none yet: no earlier model can say what is hard"}
    outputs = _outputs(lesson.previous.network, lesson.labelled.values, means, "asking the last model what is hard")
    if config.curriculum_difficulty == "knn":
        difficulty = knn_disagreement(outputs.embeddings, labels)
    else:
        difficulty = curriculum.entropy_difficulty(outputs.probabilities)
    order = curriculum.Curriculum(
        difficulty,
        labels,
        order=config.curriculum,
        pacing=config.curriculum_pacing,
        epochs_max=config.epochs_max,
        seed=lesson.seed,
    )
    return order, {"curriculum": f"{config.curriculum}, {config.curriculum_pacing}, by {config.curriculum_difficulty}"}


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
        start=lesson.start,
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
    without: Measured | None = None
    if _learns_from_unlabelled(lesson, "label_spreading"):
        without = _measured(lesson, network, means)
        means.on_progress(0, 1, "spreading labels to unlabelled images")
        both = spread_probe(
            embeddings,
            labelled.class_indices,
            lesson.unlabelled,
            len(lesson.class_names),
            plain=probe,
            seed=lesson.seed,
            device=means.device,
        )
        install(both.spread, network.head)
        facts |= {"spread_labels": both.used, "unlabelled": both.unlabelled}
    return _learned(lesson, network, means, facts, without, l2=probe.l2)


# -- shared ------------------------------------------------------------------------------------------------------


def _learned(
    lesson: Lesson,
    network: Network,
    means: Means,
    facts: dict[str, Any],
    without: Measured | None,
    l2: float | None = None,
) -> Learned:
    """Measured, with advice.

    Args:
        without: the same model that learned from no unlabelled images, where there is one.
        l2: of the probe; None after finetune.
    """
    metrics = _noise_metrics(lesson, network, means, l2)
    metrics["advice"] = metrics.get("advice", []) + unused_settings(lesson.config)
    measured = _measured(lesson, network, means)
    if measured is None:
        return Learned(network, 1.0, facts, metrics | {"evaluation_samples": 0})
    metrics |= measured.metrics(lesson.class_names)
    if without is not None:
        metrics["plain"] = without.as_plain_beside(measured)
    return Learned(network, measured.calibration.temperature.value, facts, metrics, measured.predicted)


def _noise_metrics(lesson: Lesson, network: Network, means: Means, l2: float | None) -> dict[str, Any]:
    """How many labels are likely wrong, and what to do about it; nothing where there are too few to say."""
    labels = lesson.labelled.class_indices
    if len(labels) < LABELS_MIN or not means.looks_for_wrong_labels:
        return {}
    some = np.sort(np.random.default_rng(lesson.seed).permutation(len(labels))[:LABELS_MAX])
    is_frozen = l2 is not None
    parts = [lesson.labelled.values[some[start : start + _NOISE_BLOCK]] for start in range(0, len(some), _NOISE_BLOCK)]
    if not is_frozen:
        parts = [_outputs(network, part, means, "looking at labelled images").embeddings for part in parts]
    rows, labels, classes = np.concatenate(parts), labels[some], len(lesson.class_names)
    penalty = l2 or fit_probe(rows, labels, classes, seed=lesson.seed).l2
    held_out = held_out_probabilities(rows, labels, classes, l2=penalty, seed=lesson.seed)
    return noise_metrics(estimate(held_out, labels, embeddings_saw_labels=not is_frozen), lesson.config.training_mode)


def _measured(lesson: Lesson, network: Network, means: Means) -> Measured | None:
    """The network on the evaluation set; None where there is nothing to measure on."""
    evaluation = lesson.evaluation
    if evaluation is None or not len(evaluation.class_indices):
        return None
    outputs = _outputs(network, evaluation.values, means, "measuring")
    predicted = outputs.logits.argmax(1)
    is_right = predicted == evaluation.class_indices
    return Measured(calibrate(outputs.logits, evaluation.class_indices, lesson.seed), is_right, predicted)


def _outputs(network: Network, values: Any, means: Means, words: str) -> Inference:
    """What the network says of images, or of embeddings."""
    if len(values.shape) == 2:
        return head_outputs(network, values, device=means.device)
    return predict(
        network,
        values,
        device=means.device,
        sizes=means.sizes,
        precision=means.precision,
        on_progress=lambda done, total: means.on_progress(done, total, words),
    )

"""The train job: a model from the labels up to the round's watermark, measured on the evaluation set and stored.

How a model is trained, calibrated and measured is in al_service/learning/round_model.py; this is where rows of the
database, images and earlier models become its arrays, and its result becomes rows again.
"""

import shutil
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch

from al_service.domain.model_kinds import ModelKind
from al_service.domain.records import LabelledImage, ModelRecord
from al_service.domain.states import Stage
from al_service.domain.strategy_names import STRATEGIES
from al_service.errors import InvalidInputError
from al_service.learning import checkpoints, device, networks, round_model, training
from al_service.learning.checkpoints import Checkpoint
from al_service.learning.distributed import train_distributed
from al_service.learning.round_model import Examples, Learned, Lesson, Means
from al_service.learning.threads import threads_for
from al_service.loop.rounds import StageResult, data_fingerprint
from workers.caches import Rows, embeddings_of, pixels_of
from workers.context import WorkerContext
from workers.models import (
    find_last_head,
    in_names_of_round,
    keep_warm,
    read_checkpoint,
    registered_backbone,
    starting_network,
)
from workers.round_inputs import RoundInputs, class_indices, precision_of, read_round_inputs
from workers.running import JobRun
from workers.stop_facts import note_predictions
from workers.training_states import KeptStates

CLASSES_TO_TRAIN = 2
PROBE = "probe"
#: Metrics that the model's record repeats, so that models can be compared without their rounds.
KEPT_METRICS = (
    "accuracy", "accuracy_ci95", "macro_f1", "ece", "brier", "nll", "evaluation_samples", "evaluation_fingerprint"
)  # fmt: skip


def train(context: WorkerContext, run: JobRun) -> None:
    """Train on the labels up to the round's watermark, measure on the evaluation set, store the checkpoint."""
    inputs = read_round_inputs(context, run)
    if (why := _too_little(inputs.labelled)) is not None:
        _skip(context, run, inputs, why)
        return
    network = starting_network(context, inputs)
    material = _Material(context, run, inputs, network)
    labelled = material.of([row.sha256 for row in inputs.labelled])
    readable = [inputs.labelled[position] for position in labelled.positions]
    if not readable:
        raise InvalidInputError(
            f"none of the {len(inputs.labelled)} labelled images can be read; they have vanished from the storage, or "
            "are damaged there. Bring the files back and retry the job: the labels are kept."
        )
    if (why := _too_little(readable)) is not None:
        _skip(context, run, inputs, why)
        return
    _clear_states_of_over_rounds(context, inputs)
    states = KeptStates(context.services.artifacts, _states_prefix(inputs.record.id))
    learned, seconds = _learn(material, labelled, states)
    facts = learned.facts | {
        "unreadable": len(labelled.unreadable),
        "image_px": inputs.image_px,
        "device": str(material.device),
        "learn_seconds": seconds,
    }
    model = _store_model(context, run, inputs, learned, readable)
    following = Stage.SCORE if STRATEGIES[inputs.config.strategy].needs_model else Stage.SELECT
    result = StageResult(
        facts, following, metrics=learned.metrics, model=model, data_fingerprint=model.data_fingerprint
    )
    context.services.rounds.complete_stage(run.job, Stage.TRAIN, result)
    states.clear()


def _too_little(labelled: Sequence[LabelledImage]) -> str | None:
    """Why these labels are too few to train on, or None."""
    present = len({row.class_name for row in labelled})
    if present >= CLASSES_TO_TRAIN:
        return None
    classes = f"{present} class{'' if present == 1 else 'es'}"
    return f"{len(labelled)} labels of {classes}; a model needs {CLASSES_TO_TRAIN}"


def _skip(context: WorkerContext, run: JobRun, inputs: RoundInputs, why: str) -> None:
    # Without a model a strategy with a cold start still looks at embeddings.
    following = Stage.SCORE if STRATEGIES[inputs.config.strategy].cold_start else Stage.SELECT
    context.services.rounds.complete_stage(run.job, Stage.TRAIN, StageResult({"skipped": why}, following))


class _Material:
    """Images of the round as arrays: pixels for finetune, embeddings by the frozen backbone for the probe."""

    def __init__(self, context: WorkerContext, run: JobRun, inputs: RoundInputs, network: networks.Network) -> None:
        self.context, self.run, self.inputs, self.network = context, run, inputs, network
        self.is_frozen = inputs.config.training_mode == PROBE
        self.device: torch.device = device.choose(context.settings.device)

    def of(self, hashes: Sequence[str]) -> Rows:
        """The images of these content hashes."""
        if self.is_frozen:
            return embeddings_of(self.context, self.run, self.network, hashes)
        return pixels_of(self.context, self.run, hashes, self.inputs.image_px)

    def examples(self, rows: Sequence[LabelledImage], found: Rows) -> Examples:
        """Labelled images with their classes."""
        indices = class_indices(rows, self.inputs.record.class_names)
        return Examples(found.values, indices[found.positions])

    def unlabelled(self, states: KeptStates) -> Any:
        """The pool, where the settings learn from it; None otherwise. A training that can be gone on with has that of
        its first attempt: its states fit no other.
        """
        wanted = "label_spreading" if self.is_frozen else "pseudo_labels"
        if self.inputs.config.semi_supervised != wanted:
            return None
        return self.of(self._pool() if self.is_frozen else states.first_list("unlabelled", self._pool)).values

    def _pool(self) -> list[str]:
        with self.context.services.store.read() as tx:
            return [sha256 for _, sha256 in tx.samples.selectable(self.inputs.record.project_id)]

    def previous(self) -> Checkpoint | None:
        """The last round's model, where the settings ask it something and it saw images of the same size."""
        config = self.inputs.config
        if self.is_frozen or (config.warm_start == "none" and config.curriculum == "none"):
            return None
        with self.context.services.store.read() as tx:
            model = tx.models.find_newest(self.inputs.record.project_id, ModelKind.ROUND)
        if model is None or (model.network_name, model.image_px) != (config.network, self.inputs.image_px):
            return None
        return in_names_of_round(read_checkpoint(self.context, model), self.inputs)


def _learn(material: _Material, labelled: Rows, states: KeptStates) -> tuple[Learned, float]:
    inputs, context, run = material.inputs, material.context, material.run
    started = time.perf_counter()
    evaluation = material.of([row.sha256 for row in inputs.evaluation]) if inputs.evaluation else None
    lesson = Lesson(
        config=inputs.config,
        class_names=inputs.record.class_names,
        seed=inputs.record.seed,
        labelled=material.examples(inputs.labelled, labelled),
        evaluation=None if evaluation is None else material.examples(inputs.evaluation, evaluation),
        unlabelled=material.unlabelled(states),
        previous=material.previous(),
        start=find_last_head(context, inputs, material.network) if material.is_frozen else None,
    )
    means = Means(
        device=material.device,
        trainer=_trainer(context, run),
        precision=precision_of(inputs.config),
        states=states,
        state_every_s=context.settings.training_state_every_s,
        sizes=context.minibatch_sizes,
        on_progress=run.progress,
    )
    learn = round_model.fit_head if material.is_frozen else round_model.finetune
    try:
        with threads_for(inputs.image_px, material.device):
            learned = learn(lesson, material.network, means)
    finally:
        shutil.rmtree(_scratch(context, run, run.job.attempt), ignore_errors=True)
    if evaluation is not None:
        measured_on = [inputs.evaluation[position] for position in evaluation.positions]
        learned.metrics["evaluation_fingerprint"] = data_fingerprint(measured_on)
        note_predictions(context, run, inputs, learned, measured_on)
    return learned, time.perf_counter() - started


def _trainer(context: WorkerContext, run: JobRun) -> round_model.Trainer:
    """Trains in this process, or in as many as the setting says."""
    processes = context.settings.train_processes
    if processes == 1:
        return training.train
    for attempt in range(1, run.job.attempt):  # what killed attempts left
        shutil.rmtree(_scratch(context, run, attempt), ignore_errors=True)
    work_dir = _scratch(context, run, run.job.attempt)
    work_dir.mkdir(parents=True, exist_ok=True)
    return partial(train_distributed, processes=processes, work_dir=work_dir)


def _scratch(context: WorkerContext, run: JobRun, attempt: int) -> Path:
    return context.settings.data_dir.resolve() / "scratch" / f"train-{run.job.id}-{attempt}"


def _clear_states_of_over_rounds(context: WorkerContext, inputs: RoundInputs) -> None:
    """Remove what failed and cancelled rounds before this one left; a round that another has followed never goes on."""
    with context.services.store.read() as tx:
        before = [one for one in tx.rounds.all(inputs.record.project_id, limit=5) if one.id != inputs.record.id]
    for one in before:
        KeptStates(context.services.artifacts, _states_prefix(one.id)).clear()


def _states_prefix(round_id: int) -> str:
    return f"rounds/{round_id}/training-"


def _store_model(
    context: WorkerContext, run: JobRun, inputs: RoundInputs, learned: Learned, trained_on: Sequence[LabelledImage]
) -> ModelRecord:
    record, network = inputs.record, learned.network
    artifacts = context.services.artifacts
    backbone = None
    if inputs.config.training_mode == PROBE:
        # Stored once: every round's file holds only a head, and names this one.
        backbone = registered_backbone(context, inputs.project, network)
    name = f"models/{record.project_id}/round-{record.number}-job-{run.job.id}-{run.job.attempt}.safetensors"
    data = checkpoints.to_bytes(
        network,
        record.class_names,
        seed=record.seed,
        extra={"project_id": record.project_id, "round": record.number},
        temperature=learned.temperature,
        backbone_name=None if backbone is None else backbone.artifact,
    )
    artifacts.put(name, data)
    model = ModelRecord(
        id=0,
        project_id=record.project_id,
        round_id=record.id,
        artifact=name,
        model_hash=checkpoints.model_hash(network),
        data_fingerprint=data_fingerprint(trained_on),
        metrics={key: learned.metrics[key] for key in KEPT_METRICS if key in learned.metrics},
        created_at=context.services.clock(),
        network_name=network.name,
        image_px=network.image_px,
        class_names=record.class_names,
        byte_count=len(data),
        backbone_id=None if backbone is None else backbone.id,
    )
    checkpoint = Checkpoint(network, record.class_names, record.seed, temperature=learned.temperature)
    keep_warm(context, checkpoint, model.artifact)
    return model

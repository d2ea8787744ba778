"""The train job: a model from the labels up to the round's watermark, measured on the evaluation set."""

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from al_service.domain.project_config import ProjectConfig
from al_service.domain.records import ModelRecord
from al_service.domain.states import Stage
from al_service.domain.strategy_names import STRATEGIES
from al_service.learning import checkpoints, device, networks, training
from al_service.learning.evaluation import Evaluation, evaluate
from al_service.learning.inference import predict
from al_service.learning.threads import threads_for
from al_service.loop.rounds import StageResult, data_fingerprint
from workers.caches import pixels_of
from workers.context import WorkerContext
from workers.round_inputs import RoundInputs, class_indices, read_round_inputs
from workers.running import JobRun

CLASSES_TO_TRAIN = 2


# -- train -------------------------------------------------------------------------------------------------------


def train(context: WorkerContext, run: JobRun) -> None:
    """Train on the labels up to the round's watermark, measure on the evaluation set, store the checkpoint."""
    inputs = read_round_inputs(context, run)
    present = {row.class_name for row in inputs.labelled}
    if len(present) < CLASSES_TO_TRAIN:
        classes = f"{len(present)} class{'' if len(present) == 1 else 'es'}"
        why = f"{len(inputs.labelled)} labels of {classes}; a model needs {CLASSES_TO_TRAIN}"
        context.services.rounds.complete_stage(run.job, Stage.TRAIN, StageResult({"skipped": why}, Stage.SELECT))
        return
    config, class_names = inputs.config, inputs.record.class_names
    torch_device = device.choose(context.settings.device)
    rows = pixels_of(context, run, [row.sha256 for row in inputs.labelled], inputs.image_px)
    network = networks.build(
        config.network, len(class_names), inputs.image_px, weights=config.weights, seed=inputs.record.seed
    )
    with threads_for(inputs.image_px, torch_device):
        report = training.train(
            network,
            rows.values,
            class_indices(inputs.labelled, class_names)[rows.positions],
            _train_config(config, inputs.record.seed),
            on_progress=lambda done, total: run.progress(done, total, "training"),
            device=torch_device,
        )
        metrics = _measure(context, run, network, inputs, torch_device)
    facts: dict[str, Any] = {
        "labels": len(rows.positions),
        "unreadable": len(rows.unreadable),
        "epochs": report.epochs,
        "best_epoch": report.best_epoch,
        "stop_reason": report.stop_reason,
        "fit_seconds": report.seconds,
        "train_loss": report.train_loss,
        "image_px": inputs.image_px,
        "device": str(torch_device),
    }
    model = _store_model(context, run, network, inputs, metrics)
    context.network, context.network_hash = network, model.model_hash
    following = Stage.SCORE if STRATEGIES[config.strategy].needs_model else Stage.SELECT
    result = StageResult(facts, following, metrics=metrics, model=model, data_fingerprint=model.data_fingerprint)
    context.services.rounds.complete_stage(run.job, Stage.TRAIN, result)


def _train_config(config: ProjectConfig, seed: int) -> training.TrainConfig:
    return training.TrainConfig(
        epochs_max=config.epochs_max,
        learning_rate=config.learning_rate,
        weight_decay=config.weight_decay,
        minibatch_size=config.minibatch_size,
        augment=config.augment,
        seed=seed,
    )


def _measure(
    context: WorkerContext, run: JobRun, network: networks.Network, inputs: RoundInputs, torch_device: torch.device
) -> dict[str, Any]:
    if not inputs.evaluation:
        return {"evaluation_samples": 0}
    started = time.perf_counter()
    rows = pixels_of(context, run, [row.sha256 for row in inputs.evaluation], inputs.image_px)
    inference = predict(
        network,
        rows.values,
        device=torch_device,
        on_progress=lambda done, total: run.progress(done, total, "measuring"),
    )
    class_names = inputs.record.class_names
    evaluation = evaluate(inference.probabilities, class_indices(inputs.evaluation, class_names)[rows.positions])
    return {**metrics_of(evaluation, class_names), "evaluate_seconds": time.perf_counter() - started}


def metrics_of(evaluation: Evaluation, class_names: Sequence[str]) -> dict[str, Any]:
    """The round's metrics as plain data, with class names."""
    return {
        "accuracy": evaluation.accuracy,
        "accuracy_ci95": list(evaluation.accuracy_ci95),
        "macro_f1": evaluation.macro_f1,
        "evaluation_samples": evaluation.count,
        "ece": evaluation.ece,
        "brier": evaluation.brier,
        "nll": evaluation.nll,
        "per_class": {name: vars(one) for name, one in zip(class_names, evaluation.per_class, strict=True)},
        "confusion": {"classes": list(class_names), "counts": np.asarray(evaluation.confusion).tolist()},
    }


def _store_model(
    context: WorkerContext, run: JobRun, network: networks.Network, inputs: RoundInputs, metrics: dict[str, Any]
) -> ModelRecord:
    record = inputs.record
    extra = {"project_id": record.project_id, "round": record.number}
    name = f"models/{record.project_id}/round-{record.number}-job-{run.job.id}-{run.job.attempt}.safetensors"
    context.services.artifacts.put(
        name, checkpoints.to_bytes(network, record.class_names, seed=record.seed, extra=extra)
    )
    return ModelRecord(
        id=0,
        project_id=record.project_id,
        round_id=record.id,
        artifact=name,
        model_hash=checkpoints.model_hash(network),
        data_fingerprint=data_fingerprint(inputs.labelled),
        metrics={key: metrics[key] for key in ("accuracy", "macro_f1", "evaluation_samples") if key in metrics},
        created_at=context.services.clock(),
    )

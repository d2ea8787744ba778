"""The three jobs of a round. Each reads rows in one transaction, computes without any, and hands over its result in
one.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from al_service.acquisition.scored_pool import ScoredPool
from al_service.domain.project_config import ProjectConfig
from al_service.domain.records import Chosen, ModelRecord, Round
from al_service.domain.states import Stage
from al_service.domain.strategy_names import STRATEGIES
from al_service.learning import checkpoints, device, networks, training
from al_service.learning.evaluation import Evaluation, evaluate
from al_service.learning.inference import predict
from al_service.learning.pixels import stack_pixels
from al_service.learning.threads import threads_for
from al_service.loop.ports import LabelledImage, Transaction
from al_service.loop.rounds import StageResult, data_fingerprint
from al_service.storage.artifacts import image_name
from workers.context import WorkerContext
from workers.running import JobRun

SMALL_CNN_SIDES = (8, 16, 24, 32, 48, 64)
TORCHVISION_PX = 224
SIZES_LOOKED_AT = 2000
CLASSES_TO_TRAIN = 2


@dataclass(frozen=True)
class TrainingData:
    """What a round may learn from and is measured on."""

    record: Round
    labelled: list[LabelledImage]
    evaluation: list[LabelledImage]
    image_px: int


# -- train -------------------------------------------------------------------------------------------------------


def train(context: WorkerContext, run: JobRun) -> None:
    """Train on the labels up to the round's watermark, measure on the evaluation set, store the checkpoint."""
    data = _read_training_data(context, run)
    present = {row.class_name for row in data.labelled}
    if len(present) < CLASSES_TO_TRAIN:
        why = f"{len(data.labelled)} labels of {len(present)} classes; a model needs {CLASSES_TO_TRAIN}"
        context.services.rounds.complete_stage(run.job, Stage.TRAIN, StageResult({"skipped": why}, Stage.SELECT))
        return
    config, class_names = data.record.config, data.record.class_names
    torch_device = device.choose(context.settings.device)
    pixels = _pixels(context, run, [row.sha256 for row in data.labelled], data.image_px, "reading images")
    network = networks.build(
        config.network, len(class_names), data.image_px, weights=config.weights, seed=data.record.seed
    )
    with threads_for(data.image_px, torch_device):
        report = training.train(
            network,
            pixels,
            _class_indices(data.labelled, class_names),
            _train_config(config, data.record.seed),
            on_progress=lambda done, total: run.progress(done, total, "training"),
            device=torch_device,
        )
        metrics = _measure(context, run, network, data, torch_device)
    facts: dict[str, Any] = {
        "labels": len(data.labelled),
        "epochs": report.epochs,
        "best_epoch": report.best_epoch,
        "stop_reason": report.stop_reason,
        "fit_seconds": report.seconds,
        "train_loss": report.train_loss,
        "image_px": data.image_px,
        "device": str(torch_device),
    }
    model = _store_model(context, run, network, data, metrics)
    context.network, context.network_hash = network, model.model_hash
    following = Stage.SCORE if STRATEGIES[config.strategy].needs_model else Stage.SELECT
    result = StageResult(facts, following, metrics=metrics, model=model, data_fingerprint=model.data_fingerprint)
    context.services.rounds.complete_stage(run.job, Stage.TRAIN, result)


def _read_training_data(context: WorkerContext, run: JobRun) -> TrainingData:
    with context.services.store.read() as tx:
        record = _round_of(tx, run)
        labelled = tx.samples.training_set(record.project_id, record.watermark)
        evaluation = tx.samples.evaluation_set(record.project_id)
        sizes = tx.samples.image_sizes(record.project_id, SIZES_LOOKED_AT)
    known = set(record.class_names)
    return TrainingData(
        record,
        [row for row in labelled if row.class_name in known],
        [row for row in evaluation if row.class_name in known],
        choose_image_px(record.config, sizes),
    )


def choose_image_px(config: ProjectConfig, sizes: Sequence[tuple[int, int]]) -> int:
    """Side of the square the model sees: as set, else from the images' median short side.

    small_cnn takes the smallest of its usual sides that is not below it (at most 64); torchvision networks take 224,
    or the images' own size when that is smaller and at least 32.
    """
    if config.image_px:
        return config.image_px
    short = int(np.median([min(size) for size in sizes])) if sizes else SMALL_CNN_SIDES[-1]
    if config.network == networks.SMALL_CNN:
        return next((side for side in SMALL_CNN_SIDES if side >= short), SMALL_CNN_SIDES[-1])
    return min(TORCHVISION_PX, max(32, short))


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
    context: WorkerContext, run: JobRun, network: networks.Network, data: TrainingData, torch_device: torch.device
) -> dict[str, Any]:
    if not data.evaluation:
        return {"evaluation_samples": 0}
    started = time.perf_counter()
    pixels = _pixels(context, run, [row.sha256 for row in data.evaluation], data.image_px, "reading evaluation images")
    inference = predict(
        network,
        pixels,
        device=torch_device,
        on_progress=lambda done, total: run.progress(done, total, "measuring"),
    )
    class_names = data.record.class_names
    evaluation = evaluate(inference.probabilities, _class_indices(data.evaluation, class_names))
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
    context: WorkerContext, run: JobRun, network: networks.Network, data: TrainingData, metrics: dict[str, Any]
) -> ModelRecord:
    record = data.record
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
        data_fingerprint=data_fingerprint(data.labelled),
        metrics={key: metrics[key] for key in ("accuracy", "macro_f1", "evaluation_samples") if key in metrics},
        created_at=context.services.clock(),
    )


# -- score -------------------------------------------------------------------------------------------------------


def score(context: WorkerContext, run: JobRun) -> None:
    """Run the round's model once over the unlabelled pool and the training set; store what selectors need."""
    with context.services.store.read() as tx:
        record = _round_of(tx, run)
        model = tx.rounds.find_model(record.id)
        pool = tx.samples.selectable(record.project_id)
        labelled = tx.samples.training_set(record.project_id, record.watermark)
    if model is None:
        raise RuntimeError(f"round {record.number} reached scoring without a model")
    network = _load_network(context, model)
    needs = STRATEGIES[record.config.strategy]
    torch_device = device.choose(context.settings.device)
    pool_pixels = _pixels(context, run, [sha256 for _, sha256 in pool], network.image_px, "reading the pool")
    started = time.perf_counter()
    inference = predict(
        network,
        pool_pixels,
        device=torch_device,
        mc_passes=record.config.mc_passes if needs.needs_sampled else 0,
        seed=record.seed,
        on_progress=lambda done, total: run.progress(done, total, "scoring"),
    )
    seconds = time.perf_counter() - started
    labelled_embeddings = None
    if needs.needs_embeddings and labelled:
        labelled_pixels = _pixels(context, run, [row.sha256 for row in labelled], network.image_px, "reading images")
        labelled_embeddings = predict(network, labelled_pixels, device=torch_device).embeddings
    scored = ScoredPool(
        np.array([sample_id for sample_id, _ in pool], np.int64),
        inference.probabilities,
        inference.embeddings if needs.needs_embeddings else None,
        inference.sampled_probabilities,
        labelled_embeddings,
    )
    name = f"rounds/{record.id}/scores-{run.job.id}-{run.job.attempt}.npz"
    context.services.artifacts.put(name, scored.to_bytes())
    rate = len(pool) / seconds if seconds > 0 else None
    facts = {"artifact": name, "scored": len(pool), "forward_seconds": seconds, "images_per_second": rate}
    context.services.rounds.complete_stage(run.job, Stage.SCORE, StageResult(facts, Stage.SELECT))


def _load_network(context: WorkerContext, model: ModelRecord) -> networks.Network:
    """The network of a model record: the warm one when it is that one, else from its checkpoint."""
    if context.network is None or context.network_hash != model.model_hash:
        checkpoint = checkpoints.from_bytes(context.services.artifacts.get(model.artifact), model.artifact)
        context.network, context.network_hash = checkpoint.network, model.model_hash
    return context.network


# -- select ------------------------------------------------------------------------------------------------------


def select(context: WorkerContext, run: JobRun) -> None:
    """Choose the batch among samples that are still unlabelled and in nobody's hands; store ids, ranks, scores,
    reasons.
    """
    with context.services.store.read() as tx:
        record = _round_of(tx, run)
        selectable = [sample_id for sample_id, _ in tx.samples.selectable(record.project_id)]
        held = tx.queue.held_sample_ids(record.project_id)
        evaluation_ids = tx.samples.unlabelled_evaluation_ids(record.project_id)
        counts = tx.samples.counts(record.project_id)
    artifact = record.stage_record(Stage.SCORE).result.get("artifact")
    free = np.setdiff1d(np.array(selectable, np.int64), np.array(sorted(held), np.int64))
    scored = ScoredPool.from_bytes(context.services.artifacts.get(artifact)) if artifact else ScoredPool(free)
    candidates = scored.restricted_to(free)
    config = record.config
    budget = config.labels_per_round
    if config.label_budget:
        budget = min(budget, max(0, config.label_budget - counts.all_labelled))
    selection = candidates.choose(config.strategy, budget, seed=record.seed, random_fraction=config.random_fraction)
    sample_ids = [int(sample_id) for sample_id in selection.sample_ids]
    chosen = [
        Chosen(sample_id, rank, selection.scores[rank], selection.reasons[rank])
        for rank, sample_id in enumerate(sample_ids)
    ]
    missing = max(0, config.evaluation_labels - counts.evaluation_labelled)
    chosen += _evaluation_picks(evaluation_ids, missing, len(chosen), config, record.seed)
    name = f"rounds/{record.id}/candidates-{run.job.id}-{run.job.attempt}.npz"
    context.services.artifacts.put(name, ScoredPool(candidates.sample_ids).to_bytes())
    facts = {
        "scores_artifact": artifact,
        "candidates_artifact": name,
        "candidates": len(candidates.sample_ids),
        "budget": budget,
        "evaluation_picks": len(chosen) - len(selection.sample_ids),
    }
    result = StageResult(facts, Stage.ANNOTATE, chosen=chosen, metrics={"selected_per_reason": _count_reasons(chosen)})
    context.services.rounds.complete_stage(run.job, Stage.SELECT, result)


def _evaluation_picks(ids: list[int], missing: int, rank: int, config: ProjectConfig, seed: int) -> list[Chosen]:
    """Evaluation samples that people still have to label: at most half a round's worth at a time, drawn at random."""
    count = min(len(ids), missing, max(1, config.labels_per_round // 2))
    drawn = np.random.default_rng([seed, 1]).permutation(np.array(sorted(ids), np.int64))[:count]
    return [Chosen(int(sample_id), rank + at, None, {"code": "evaluation"}) for at, sample_id in enumerate(drawn)]


def _count_reasons(chosen: Sequence[Chosen]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for pick in chosen:
        counts[str(pick.reason["code"])] = counts.get(str(pick.reason["code"]), 0) + 1
    return counts


# -- shared ------------------------------------------------------------------------------------------------------


def _round_of(tx: Transaction, run: JobRun) -> Round:
    return tx.rounds.get(run.job.round_id or 0)


def _class_indices(rows: Sequence[LabelledImage], class_names: Sequence[str]) -> np.ndarray:
    index = {name: position for position, name in enumerate(class_names)}
    return np.array([index[row.class_name] for row in rows], np.int64)


def _pixels(context: WorkerContext, run: JobRun, hashes: Sequence[str], image_px: int, words: str) -> np.ndarray:
    return stack_pixels(
        lambda sha256: context.services.artifacts.get(image_name(sha256)),
        hashes,
        image_px,
        on_progress=lambda done, total: run.progress(done, total, words),
        cache=context.pixels,
    )

"""The score jobs: a round's model looks at the unlabelled pool, as a whole where it is small, else in shards.

A shard is a range of sample ids and one job, so several workers and GPUs share a pool, a lost worker costs one shard,
and no worker ever holds more than one. The last shard to finish opens the select stage (loop/rounds.py).
"""

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from al_service.acquisition.scored_pool import ScoredPool, first_look_size
from al_service.domain.records import LabelledImage, ModelRecord, Round
from al_service.domain.states import Stage
from al_service.domain.strategy_names import STRATEGIES
from al_service.errors import InvalidInputError
from al_service.learning import device
from al_service.learning.committee import Committee
from al_service.learning.inference import Inference, head_outputs, predict
from al_service.learning.mc_dropout import drops_in_head_only
from al_service.learning.networks import Network
from al_service.learning.opinions import committee_of
from al_service.learning.threads import threads_for
from al_service.loop.rounds import StageResult
from al_service.loop.shards import shard_size
from workers.caches import Rows, embeddings_of, embeddings_of_round, pixels_of
from workers.context import WorkerContext
from workers.models import scoring_network, starting_network
from workers.round_inputs import class_indices, precision_of, read_round_inputs, round_of, rows_of_round
from workers.running import JobRun

#: Second word of the seed of the draw of a first look, and of proposals; see select_stage.
FIRST_LOOK_DRAW = 3
PROPOSAL_DRAW = 4


def score(context: WorkerContext, run: JobRun) -> None:
    """Score a small pool at once; cut a large one into shards, a job each. Without a model, look at some of it."""
    with context.services.store.read() as tx:
        record = round_of(tx, run)
        model = tx.models.find_of_round(record.id)
    if model is None:
        _look_first(context, run, record)
        return
    with context.services.store.read() as tx:
        unlabelled = tx.samples.counts(record.project_id).unlabelled
        size = shard_size(unlabelled, record.config.score_shard_samples)
        ranges = tx.samples.selectable_ranges(record.project_id, size)
    if len(ranges) > 1:
        proposes = unlabelled > record.config.select_whole_samples
        payloads = [
            {"first_id": first, "last_id": last, "count": count, "proposes": proposes} for first, last, count in ranges
        ]
        context.services.rounds.fan_out(run.job, payloads)
        return
    facts, unreadable = _score_range(context, run, record, first_id=None, last_id=None, with_labelled=True)
    result = StageResult(facts, Stage.SELECT, unreadable=unreadable)
    context.services.rounds.complete_stage(run.job, Stage.SCORE, result)


def _look_first(context: WorkerContext, run: JobRun, record: Round) -> None:
    """Embeddings of some of the pool by the network that training will start from: what a first batch is chosen by.

    Of a large pool some are drawn, so that people do not wait for their first image.
    """
    inputs = read_round_inputs(context, run)
    with context.services.store.read() as tx:
        pool = tx.samples.selectable(record.project_id)
    most = first_look_size(record.config.labels_per_round)
    drawn = np.sort(np.random.default_rng([record.seed, FIRST_LOOK_DRAW]).permutation(len(pool))[:most])
    some = [pool[position] for position in drawn]
    try:
        network = starting_network(context, inputs)
    except InvalidInputError as error:
        # No backbone yet: the first batch is drawn at random, and training says what to do once there are labels.
        result = StageResult({"skipped": error.message}, Stage.SELECT)
        context.services.rounds.complete_stage(run.job, Stage.SCORE, result)
        return
    rows = embeddings_of(context, run, network, [sha256 for _, sha256 in some])
    known = embeddings_of(context, run, network, [row.sha256 for row in inputs.labelled]) if inputs.labelled else None
    sample_ids = np.array([sample_id for sample_id, _ in some], np.int64)
    scored = ScoredPool(
        sample_ids[rows.positions],
        embeddings=np.asarray(rows.values[:]),
        labelled_embeddings=None if known is None else np.asarray(known.values[:]),
        labelled_ids=None if known is None else _ids_of(inputs.labelled, known),
    )
    name = f"rounds/{record.id}/scores-{run.job.id}-{run.job.attempt}.npz"
    context.services.artifacts.put(name, scored.to_bytes())
    facts = {"artifact": name, "first_look": True, "scored": len(rows.positions), "unreadable": len(rows.unreadable)}
    unreadable = np.delete(sample_ids, rows.positions).tolist()
    result = StageResult(facts, Stage.SELECT, unreadable=unreadable)
    context.services.rounds.complete_stage(run.job, Stage.SCORE, result)


def score_shard(context: WorkerContext, run: JobRun) -> None:
    """Score one range of the pool."""
    with context.services.store.read() as tx:
        record = round_of(tx, run)
    payload = run.job.payload
    # Distances are measured from labelled images: by the shard that proposes, else by whoever holds all shards.
    proposal_of = payload["shard"] if payload.get("proposes") else None
    facts, unreadable = _score_range(
        context,
        run,
        record,
        first_id=payload["first_id"],
        last_id=payload["last_id"],
        with_labelled=payload["shard"] == 0 or proposal_of is not None,
        proposal_of=proposal_of,
    )
    context.services.rounds.complete_shard(run.job, {"shard": payload["shard"], **facts}, unreadable)


def score_artifacts(result: dict[str, Any]) -> list[str]:
    """The files that a selection reads, by the score stage's result: one, one for each shard, or none (it was skipped).

    Of shards that propose, their proposals.
    """
    parts = [part for part in result.get("shards", [result]) if "artifact" in part]
    return [part.get("proposals_artifact", part["artifact"]) for part in parts]


def is_in_two_stages(result: dict[str, Any]) -> bool:
    """Whether the files of `score_artifacts` hold proposals, not the pool."""
    return any("proposals_artifact" in part for part in result.get("shards", ()))


def _score_range(
    context: WorkerContext,
    run: JobRun,
    record: Round,
    *,
    first_id: int | None,
    last_id: int | None,
    with_labelled: bool,
    proposal_of: int | None = None,
) -> tuple[dict[str, Any], list[int]]:
    """Score the pool's samples of that range; the stored file with its figures, and samples that cannot be read.

    Args:
        proposal_of: the shard's number where it proposes samples for the batch, too.
    """
    with context.services.store.read() as tx:
        model = tx.models.find_of_round(record.id)
        pool = tx.samples.selectable(record.project_id, first_id, last_id)
        labelled = tx.samples.training_set(record.project_id, record.watermark) if with_labelled else []
    if model is None:
        raise RuntimeError(f"round {record.number} reached scoring without a model")
    scorer = _Scorer(context, run, record, model)
    started = time.perf_counter()
    outputs, there = scorer.outputs([sha256 for _, sha256 in pool])
    seconds = time.perf_counter() - started
    needs = STRATEGIES[record.config.strategy]
    labelled_embeddings = labelled_ids = None
    if needs.needs_embeddings and labelled:
        known = scorer.embeddings([row.sha256 for row in labelled])
        labelled_embeddings, labelled_ids = np.asarray(known.values[:]), _ids_of(labelled, known)
    sample_ids = np.array([sample_id for sample_id, _ in pool], np.int64)
    scored = ScoredPool(
        sample_ids[there],
        outputs.probabilities,
        outputs.embeddings if needs.needs_embeddings else None,
        outputs.sampled_probabilities,
        labelled_embeddings,
        labelled_ids=labelled_ids,
    )
    name = f"rounds/{record.id}/scores-{run.job.id}-{run.job.attempt}.npz"
    context.services.artifacts.put(name, scored.to_bytes())
    facts = {
        "artifact": name,
        "scored": len(there),
        "unreadable": len(pool) - len(there),
        "seconds": seconds,
        "images_per_second": len(pool) / seconds if seconds > 0 else None,
    }
    if proposal_of is not None:
        facts["proposals_artifact"] = _propose(context, run, record, scored, proposal_of)
    return facts, np.delete(sample_ids, there).tolist()


def _ids_of(labelled: Sequence[LabelledImage], rows: Rows) -> np.ndarray:
    """(L,) sample ids of those images that could be read."""
    return np.array([row.sample_id for row in labelled], np.int64)[rows.positions]


def _propose(context: WorkerContext, run: JobRun, record: Round, scored: ScoredPool, shard: int) -> str:
    """Store what this shard has to offer; the file's name."""
    config = record.config
    count = config.labels_per_round + round(config.reserve_factor * config.labels_per_round)
    offered = scored.proposals(
        config.strategy, count, seed=[record.seed, PROPOSAL_DRAW, shard], **config.selection_options
    )
    name = f"rounds/{record.id}/proposals-{run.job.id}-{run.job.attempt}.npz"
    context.services.artifacts.put(name, offered.to_bytes())
    return name


class _Scorer:
    """A round's model over images: the backbone for images that it has not seen yet, the head for all."""

    def __init__(self, context: WorkerContext, run: JobRun, record: Round, model: ModelRecord) -> None:
        self._context, self._run, self._record = context, run, record
        self._network: Network = scoring_network(context, model)
        self._device: torch.device = device.choose(context.settings.device)
        self._is_frozen = record.config.training_mode == "probe"
        needs_sampled = STRATEGIES[record.config.strategy].needs_sampled
        self._passes = record.config.mc_passes if needs_sampled else 0

    def outputs(self, hashes: list[str]) -> tuple[Inference, np.ndarray]:
        """What the model says of the images, and the positions of those that could be read."""
        if self._passes and self._record.config.committee != "dropout":
            return self._committee_outputs(hashes)
        if self._passes and not self._is_frozen and not drops_in_head_only(self._network):
            return self._whole_passes(hashes)
        rows = self.embeddings(hashes)
        outputs = head_outputs(
            self._network, rows.values, mc_passes=self._passes, seed=self._record.seed, device=self._device
        )
        return outputs, rows.positions

    def embeddings(self, hashes: list[str]) -> Rows:
        """(n, D) float16 of the images that could be read."""
        if self._is_frozen:
            return embeddings_of(self._context, self._run, self._network, hashes)
        precision = precision_of(self._record.config)
        return embeddings_of_round(self._context, self._run, self._network, hashes, precision=precision)

    def _committee_outputs(self, hashes: list[str]) -> tuple[Inference, np.ndarray]:
        """Opinions of several heads on the round's embeddings instead of dropout passes."""
        rows = self.embeddings(hashes)
        outputs = head_outputs(self._network, rows.values, device=self._device)
        sampled = self._committee().sampled_probabilities(rows.values, device=self._device)
        return replace(outputs, sampled_probabilities=sampled), rows.positions

    def _committee(self) -> Committee:
        """Fitted on the round's labels anew: all shards get the same heads, whoever works on them."""
        record = self._record
        with self._context.services.store.read() as tx:
            known = tx.samples.training_set(record.project_id, record.watermark)
            book = tx.projects.class_book(record.project_id)
        labelled = rows_of_round(known, record, book)
        rows = self.embeddings([row.sha256 for row in labelled])
        labels = class_indices(labelled, record.class_names)[rows.positions]
        embeddings = np.asarray(rows.values[:])
        return committee_of(record.config, embeddings, labels, len(record.class_names), seed=record.seed)

    def _whole_passes(self, hashes: list[str]) -> tuple[Inference, np.ndarray]:
        """A backbone with dropout of its own must be run for every pass."""
        rows = pixels_of(self._context, self._run, hashes, self._network.image_px)
        with threads_for(self._network.image_px, self._device):
            outputs = predict(
                self._network,
                rows.values,
                device=self._device,
                mc_passes=self._passes,
                seed=self._record.seed,
                precision=precision_of(self._record.config),
                sizes=self._context.minibatch_sizes,
                on_progress=lambda done, total: self._run.progress(done, total, "scoring"),
            )
        return outputs, rows.positions

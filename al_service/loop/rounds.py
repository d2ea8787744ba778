"""The round: train -> score -> select -> annotate -> close, a state machine in the database.

Each stage is one transaction plus one job: the transaction that stores a stage's result also stores the next stage's
job; the broker is told afterwards. Scoring a large pool is several jobs, its shards (loop/shards.py). Single flight is
a partial unique index (one running or annotating round per project).
"""

import hashlib
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from al_service.domain.records import Chosen, Job, LabelledImage, ModelRecord, Project, Round, StageUpdate
from al_service.domain.states import JobKind, RoundState, Stage, StageState
from al_service.errors import ConflictError, InvalidInputError, NotFoundError
from al_service.loop import batches
from al_service.loop.annotations import settle
from al_service.loop.assignments import active_project, locked_project
from al_service.loop.jobs import Jobs
from al_service.loop.models import keep_round_model
from al_service.loop.ports import Store, Transaction
from al_service.loop.shards import check_payloads, merged_facts, numbered, shards_of
from al_service.loop.triggers import decide, loop_facts

log = logging.getLogger(__name__)
JOB_OF_STAGE = {Stage.TRAIN: JobKind.TRAIN, Stage.SCORE: JobKind.SCORE, Stage.SELECT: JobKind.SELECT}


class RoundNotOpenError(ConflictError):
    """The round is over already."""

    code = "round_not_open"


@dataclass(frozen=True)
class StageResult:
    """What a stage's job hands over for storage.

    Attributes:
        facts: JSON-able facts of the stage, shown with it (counts, seconds per step, skipped reason).
        metrics: merged into the round's metrics.
        next_stage: which stage follows; a cold start goes from train straight to select.
        chosen: the batch, in the order in which people are asked.
        reserve: what people get who finish the batch while the next round is at work; ranks go on after the batch's.
        unreadable: samples whose images have vanished or are damaged; they are flagged.
    """

    facts: dict[str, Any]
    next_stage: Stage
    metrics: dict[str, Any] = field(default_factory=dict)
    model: ModelRecord | None = None
    data_fingerprint: str | None = None
    chosen: Sequence[Chosen] = ()
    reserve: Sequence[Chosen] = ()
    unreadable: Sequence[int] = ()


class Rounds:
    """Start, advance, close, cancel. Thread-safe: holds no state but its collaborators."""

    def __init__(self, store: Store, jobs: Jobs, clock: Callable[[], datetime]) -> None:
        self._store = store
        self._jobs = jobs
        self._clock = clock

    # -- starting ------------------------------------------------------------------------------------------------

    def start(
        self,
        project_name: str,
        *,
        trigger: str = "manual",
        idempotency_key: str | None = None,
        user_id: int | None = None,
    ) -> tuple[Round, bool]:
        """Start a round: (round, True) when new, (the running round, False) when there is one already.

        A round that only waits for people is closed and followed by a new one if any label came in since it started;
        without new labels there is nothing to learn, and that round is given back.

        Raises:
            NotFoundError: no such project, or it is archived.
        """
        try:
            with self._store.write() as tx:
                project = locked_project(tx, project_name)
                started, job = self._start(tx, project, trigger, idempotency_key, user_id)
        except ConflictError:
            # Two starters met at the unique index: the other one's round is the answer.
            with self._store.read() as tx:
                other = tx.rounds.find_open(active_project(tx, project_name).id)
            if other is None:
                raise
            return other, False
        self._jobs.ring(job)
        return started, job is not None

    def start_if_due(self, project_id: int) -> Round | None:
        """Start a round if the project's trigger says so; the facts and the start share one transaction."""
        now = self._clock()
        with self._store.read() as tx:
            config = tx.projects.get(project_id).config
            if not config.auto_start or decide(config, loop_facts(tx, project_id), now) is None:
                return None
        with self._store.write() as tx:
            tx.projects.lock(project_id)
            project = tx.projects.get(project_id)
            trigger = decide(project.config, loop_facts(tx, project_id), now)
            if trigger is None or project.archived_at is not None:
                return None
            started, job = self._start(tx, project, trigger, None, None)
        self._jobs.ring(job)
        return started if job is not None else None

    def _start(
        self, tx: Transaction, project: Project, trigger: str, key: str | None, user_id: int | None
    ) -> tuple[Round, Job | None]:
        now = self._clock()
        if key is not None and (known := tx.rounds.find_by_key(project.id, key)) is not None:
            return known, None
        current = tx.rounds.find_open(project.id)
        if current is not None:
            fresh = tx.annotations.new_label_count(project.id, current.watermark)
            if current.state is RoundState.RUNNING or fresh == 0:
                return current, None
            why = "enough new labels" if trigger == "labels" else f"next round started ({trigger})"
            batches.close(tx, current, why, now)
        last = tx.rounds.find_last(project.id)
        number = last.number + 1 if last else 1
        watermark = tx.annotations.latest_id(project.id)
        counts = tx.samples.counts(project.id)
        label_count = counts.all_labelled
        record = tx.rounds.add(
            project,
            trigger=trigger,
            seed=round_seed(project.config.seed, number),
            watermark=watermark,
            label_count=label_count,
            idempotency_key=key,
            now=now,
        )
        job = self._begin_stage(tx, record, Stage.TRAIN)
        tx.accounts.add_audit(
            user_id=user_id,
            action="round.start",
            subject=f"{project.name}/{number}",
            details={"trigger": trigger},
            now=now,
        )
        log.info("%s round %d starts (%s) with %d labels", project.name, number, trigger, label_count)
        return tx.rounds.get(record.id), job

    def _begin_stage(self, tx: Transaction, record: Round, stage: Stage) -> Job:
        job = self._jobs.submit(
            tx,
            project_id=record.project_id,
            kind=JOB_OF_STAGE[stage],
            payload={"round": record.number},
            round_id=record.id,
        )
        tx.rounds.set_round(record.id, stage=stage)
        tx.rounds.set_stage(record.id, stage, StageUpdate(job_id=job.id, attempt=job.attempt))
        return job

    # -- results of jobs -----------------------------------------------------------------------------------------

    def complete_stage(self, job: Job, stage: Stage, result: StageResult) -> Round:
        """Store a stage's result and begin the next stage, all or nothing.

        Raises:
            SupersededError: the attempt no longer counts; nothing was stored.
        """
        with self._store.write() as tx:
            tx.projects.lock(job.project_id)
            self._jobs.finish(tx, job, result.facts)
            record = tx.rounds.get(job.round_id or 0)
            follower = self._complete(tx, record, stage, result)
            stored = tx.rounds.get(record.id)
        self._jobs.ring(follower)
        return stored

    def fan_out(self, job: Job, payloads: Sequence[dict[str, Any]]) -> list[Job]:
        """End the job that began scoring and leave the stage to shards, one job each, all or nothing.

        Args:
            payloads: what each shard's job is told, in order; `count`: how many images it scores. `round`, `shard`
                (from 0) and `shards` (how many) are added.

        Returns:
            The shards' jobs, in order.

        Raises:
            InvalidInputError: the payloads cannot be carried out (see `shards.check_payloads`), or the job is no SCORE
                job.
            SupersededError: the attempt no longer counts; nothing was stored.
        """
        if job.kind is not JobKind.SCORE:
            raise InvalidInputError(f"job {job.id} is a {job.kind} job; only scoring is divided into shards")
        check_payloads(payloads)
        with self._store.write() as tx:
            tx.projects.lock(job.project_id)
            self._jobs.finish(tx, job, {"shards": len(payloads)})
            record = tx.rounds.get(job.round_id or 0)
            shards = [
                self._jobs.submit(
                    tx, project_id=job.project_id, kind=JobKind.SCORE_SHARD, payload=payload, round_id=record.id
                )
                for payload in numbered(record.number, payloads)
            ]
        self._jobs.ring_all(shards)
        return shards

    def complete_shard(self, job: Job, facts: dict[str, Any], unreadable: Sequence[int] = ()) -> Round:
        """Store a shard's facts; the shard that is last completes the stage and begins the next, all or nothing.

        Args:
            facts: JSON-able; `scored`: how many images (without it, the `count` it was given).
            unreadable: as in StageResult.

        Raises:
            InvalidInputError: the job is no shard.
            SupersededError: the attempt no longer counts; nothing was stored.
        """
        if job.kind is not JobKind.SCORE_SHARD:
            raise InvalidInputError(f"job {job.id} is a {job.kind} job, not a shard; use complete_stage")
        follower: Job | None = None
        with self._store.write() as tx:
            tx.projects.lock(job.project_id)
            self._jobs.finish(tx, job, facts)
            record = tx.rounds.get(job.round_id or 0)
            _flag_unreadable(tx, record, unreadable)
            merged = merged_facts(shards_of(tx, record.id), self._clock())
            if merged is not None:
                follower = self._complete(tx, record, Stage.SCORE, StageResult(merged, Stage.SELECT))
            stored = tx.rounds.get(record.id)
        self._jobs.ring(follower)
        return stored

    def _complete(self, tx: Transaction, record: Round, stage: Stage, result: StageResult) -> Job | None:
        """Store a stage's result and begin what follows; the next stage's job, to be rung for after the commit."""
        now = self._clock()
        started = record.stage_record(stage).started_at or now
        update = StageUpdate(
            state=StageState.DONE,
            finished_at=now,
            seconds=(now - started).total_seconds(),
            result=result.facts,
            error="",
        )
        if result.facts.get("skipped"):
            update = StageUpdate(state=StageState.SKIPPED, finished_at=now, seconds=0.0, result=result.facts, error="")
        tx.rounds.set_stage(record.id, stage, update)
        _flag_unreadable(tx, record, result.unreadable)
        self._store_result(tx, record, result)
        if result.next_stage in JOB_OF_STAGE:
            self._skip_between(tx, record, stage, result.next_stage, now)
            return self._begin_stage(tx, record, result.next_stage)
        ahead = batches.hand_over(tx, record, result.chosen, result.reserve, now)
        tx.rounds.set_stage(record.id, stage, StageUpdate(result=result.facts | {"reserve": ahead}))
        return None

    def _store_result(self, tx: Transaction, record: Round, result: StageResult) -> None:
        if result.model is not None:
            keep_round_model(tx, record, result.model, self._clock())
        tx.rounds.set_round(
            record.id,
            metrics=result.metrics or None,
            data_fingerprint=result.data_fingerprint,
            model_hash=result.model.model_hash if result.model else None,
        )

    def _skip_between(self, tx: Transaction, record: Round, done: Stage, following: Stage, now: datetime) -> None:
        order = list(Stage)
        for stage in order[order.index(done) + 1 : order.index(following)]:
            tx.rounds.set_stage(record.id, stage, StageUpdate(state=StageState.SKIPPED, finished_at=now, seconds=0.0))

    # -- ending --------------------------------------------------------------------------------------------------

    def close_if_answered(self, project_id: int) -> Round | None:
        """Close the annotating round once every sample it asked for is answered, flagged or given up."""
        self._ask_whom_there_is(project_id)
        with self._store.read() as tx:
            if not batches.is_answered(tx, tx.rounds.find_open(project_id)):
                return None
        with self._store.write() as tx:
            tx.projects.lock(project_id)
            current = tx.rounds.find_open(project_id)
            if current is None or not batches.is_answered(tx, current):
                return None
            batches.close(tx, current, "all answered", self._clock())
            return tx.rounds.get(current.id)

    def _ask_whom_there_is(self, project_id: int) -> None:
        """Where a sample never comes back to who skipped it and people have left since the round chose, those who are
        left may all have skipped it: nobody is waited for.
        """
        with self._store.read() as tx:
            record = tx.rounds.find_open(project_id)
            if record is None or record.config.skip_policy != "others_only":
                return
            most = batches.skips_asked(tx, record.config)
            if not tx.queue.asks_more_skips(record.id, most):
                return
        with self._store.write() as tx:
            tx.projects.lock(project_id)
            for sample_id in tx.queue.lower_skips(record.id, most):
                answers = tx.annotations.active_of_sample(sample_id)
                if answers:
                    settle(tx, tx.samples.get(sample_id), None, answers[-1], answers, self._clock())

    def cancel(self, project_name: str, number: int, *, user_id: int | None = None) -> Round:
        """End an open round: its jobs are stopped, its unanswered samples leave the queue, its labels stay.

        Raises:
            RoundNotOpenError: it is over already.
        """
        now = self._clock()
        with self._store.write() as tx:
            project = locked_project(tx, project_name)
            record = get_round(tx, project, number)
            if not record.state.is_open:
                raise RoundNotOpenError(f"round {number} is {record.state}; only an open round can be cancelled")
            batches.cancel(tx, record, now)
            tx.accounts.add_audit(
                user_id=user_id, action="round.cancel", subject=f"{project.name}/{number}", details={}, now=now
            )
            return tx.rounds.get(record.id)

    # -- reading -------------------------------------------------------------------------------------------------

    def get(self, project_name: str, number: int) -> Round:
        """That round, or NotFoundError."""
        with self._store.read() as tx:
            return get_round(tx, active_project(tx, project_name), number)

    def all(self, project_name: str) -> list[Round]:
        """Rounds of a project by number."""
        with self._store.read() as tx:
            return tx.rounds.all(active_project(tx, project_name).id)


def _flag_unreadable(tx: Transaction, record: Round, sample_ids: Sequence[int]) -> None:
    # Left unlabelled, they would start one round after the other: each finds nothing that it could ask.
    if sample_ids:
        count = tx.samples.flag_unreadable(sample_ids)
        log.warning(
            "round %d of project %d: %d images cannot be read, flagged", record.number, record.project_id, count
        )


def get_round(tx: Transaction, project: Project, number: int) -> Round:
    """That round of the project, or NotFoundError."""
    record = tx.rounds.find(project.id, number)
    if record is None:
        last = tx.rounds.find_last(project.id)
        raise NotFoundError(
            f"{project.name} has no round {number}; the last one is {last.number if last else 'none yet'}"
        )
    return record


def round_seed(project_seed: int, number: int) -> int:
    """Seed of a round: differs between rounds, the same in every replay. In [0, 2**31)."""
    digest = hashlib.sha256(f"{project_seed}/{number}".encode()).digest()
    return int.from_bytes(digest[:4], "big") >> 1


def data_fingerprint(rows: Sequence[LabelledImage]) -> str:
    """SHA-256 of what a model was trained on: every (content hash, class), independent of order and of ids."""
    digest = hashlib.sha256()
    for line in sorted(f"{row.sha256}:{row.class_name}" for row in rows):
        digest.update(line.encode() + b"\n")
    return digest.hexdigest()

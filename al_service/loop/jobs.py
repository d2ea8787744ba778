"""Jobs as the database knows them: submit, claim, beat, fail with backoff, and re-announce what a crash swallowed.

Commit, then announce: a job is stored in the transaction that makes it necessary; the broker hears of it afterwards,
and hears again (from `reconcile`) if it forgot. An attempt number rides along everywhere; only the newest attempt
counts.
"""

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from al_service.domain.records import Job, StageUpdate
from al_service.domain.states import JobKind, JobState, RoundState, StageState
from al_service.errors import ConflictError, NotFoundError, UnavailableError
from al_service.loop.ports import JobQueue, Store, Transaction
from al_service.loop.shards import named, shards_of

log = logging.getLogger(__name__)
Clock = Callable[[], datetime]

#: A queued job is announced again when the broker does not know it this long after the last announcement.
REANNOUNCE_AFTER = timedelta(seconds=2)
ERROR_LENGTH_MAX = 2000
#: Kinds of which a project has one at a time, in words.
_ALONE = {JobKind.PRETRAIN: "pretraining", JobKind.SIMULATE: "a study"}
RETRY_DELAY_MAX_S = 300.0


class SupersededError(ConflictError):
    """The result of an attempt that no longer counts; nothing of it was stored."""

    code = "superseded"


class JobNotRetryableError(ConflictError):
    """Only failed and cancelled jobs can be retried."""

    code = "job_not_retryable"


@dataclass(frozen=True)
class JobLimits:
    """How often and how soon a job is tried again."""

    attempts_max: int = 3
    retry_delay_s: float = 2.0
    lost_after_s: float = 20.0

    def delay_after(self, attempt: int, attempts_max: int) -> timedelta:
        """Wait before the next attempt: doubles with each failed one, at most five minutes.

        Attempts that were given back without fault have raised `attempts_max` and do not count.
        """
        failed = max(1, attempt - (attempts_max - self.attempts_max))
        return timedelta(seconds=min(RETRY_DELAY_MAX_S, self.retry_delay_s * 2 ** min(failed - 1, 20)))


class Jobs:
    """The life of jobs. Thread-safe: holds no state but its collaborators."""

    def __init__(self, store: Store, queue: JobQueue, clock: Clock, limits: JobLimits | None = None) -> None:
        self._store = store
        self._queue = queue
        self._clock = clock
        self._limits = limits or JobLimits()

    def submit(
        self, tx: Transaction, *, project_id: int, kind: JobKind, payload: dict[str, Any], round_id: int | None = None
    ) -> Job:
        """Store a job inside the caller's transaction; call `ring` after the commit."""
        now = self._clock()
        job = tx.jobs.add(
            project_id=project_id,
            round_id=round_id,
            kind=kind,
            payload=payload,
            attempts_max=self._limits.attempts_max,
            now=now,
        )
        tx.jobs.set_announced(job.id, job.attempt, now)
        return job

    def ring(self, job: Job | None) -> None:
        """Tell the workers; a broker that does not answer is only logged, because `reconcile` tells them again."""
        if job is not None:
            self.ring_all([job])

    def ring_all(self, jobs: Iterable[Job]) -> None:
        """As `ring`, for several; a broker that does not answer is asked once."""
        for job in jobs:
            try:
                self._queue.announce(job)
            except UnavailableError as error:
                log.warning("job %d and what follows it wait for the broker: %s", job.id, error)
                return

    def get(self, job_id: int) -> Job:
        """The job, or NotFoundError."""
        with self._store.read() as tx:
            return tx.jobs.get(job_id)

    def claim(self, job_id: int, attempt: int, worker: str) -> Job | None:
        """Begin an attempt; None when it was superseded, cancelled or is already running (then leave it alone)."""
        now = self._clock()
        with self._store.write() as tx:
            if self._locked(tx, job_id) is None or not tx.jobs.claim(job_id, attempt, worker, now):
                return None
            job = tx.jobs.get(job_id)
            _begin_stage(tx, job, now)
            return job

    def _locked(self, tx: Transaction, job_id: int) -> Job | None:
        """The job, read after taking its project's lock, so that its round changes in one place at a time; None when
        there is no such job.
        """
        try:
            tx.projects.lock(tx.jobs.get(job_id).project_id)
        except NotFoundError:
            return None
        return tx.jobs.get(job_id)

    def beat(
        self, job_id: int, attempt: int, done: int | None = None, total: int | None = None, text: str | None = None
    ) -> bool:
        """Heartbeat and progress; False when the attempt no longer counts and should stop.

        An attempt that has stored its result is not to be stopped: its worker still has to ring for what follows.
        """
        with self._store.write() as tx:
            if tx.jobs.beat(job_id, attempt, self._clock(), done=done, total=total, text=text):
                return True
            job = tx.jobs.get(job_id)
            return job.attempt == attempt and job.state is JobState.DONE

    def finish(self, tx: Transaction, job: Job, result: dict[str, Any]) -> None:
        """End an attempt well, inside the transaction that stores what it made.

        Raises:
            SupersededError: another attempt counts by now; the caller's transaction must roll back.
        """
        if not tx.jobs.finish(job.id, job.attempt, result, self._clock()):
            raise SupersededError(f"job {job.id} attempt {job.attempt} was superseded; its result is dropped")

    def fail(self, job_id: int, attempt: int, message: str, *, retryable: bool) -> None:
        """End an attempt badly: back to the queue with backoff while attempts are left, else visible as failed."""
        now = self._clock()
        with self._store.write() as tx:
            tx.projects.lock(tx.jobs.get(job_id).project_id)
            self._fail(tx, tx.jobs.get(job_id), attempt, message[:ERROR_LENGTH_MAX], now, retryable)

    def release(self, job_id: int, attempt: int, message: str) -> None:
        """A worker that is being stopped gives its attempt back: due at once, not counted against attempts_max."""
        now = self._clock()
        with self._store.write() as tx:
            if not tx.jobs.requeue(job_id, attempt, now, message[:ERROR_LENGTH_MAX], now, counted=False):
                return
            job = tx.jobs.get(job_id)
            tx.jobs.set_announced(job_id, job.attempt, now)
        self.ring(job)

    def _fail(self, tx: Transaction, job: Job, attempt: int, message: str, now: datetime, retryable: bool) -> None:
        if retryable and attempt < job.attempts_max:
            delay = self._limits.delay_after(attempt, job.attempts_max)
            if tx.jobs.requeue(job.id, attempt, now + delay, message, now):
                log.warning(
                    "job %d (%s) attempt %d failed, next try in %s: %s", job.id, job.kind, attempt, delay, message
                )
            return
        if tx.jobs.fail(job.id, attempt, message, now):
            log.error("job %d (%s) failed after %d attempts: %s", job.id, job.kind, attempt, message)
            _fail_round(tx, job, message, now)

    def retry(self, job_id: int, *, user_id: int | None = None) -> Job:
        """Queue a failed or cancelled job again (the button and `al job retry`).

        A shard takes the other shards that failed or were stopped along; finished ones are kept.

        Raises:
            JobNotRetryableError: it is queued, running or done, its round was cancelled or followed by another one,
                or it is a pretraining or a study and another one of its project is queued or running.
        """
        now = self._clock()
        with self._store.write() as tx:
            tx.projects.lock(tx.jobs.get(job_id).project_id)
            job = tx.jobs.get(job_id)
            _check_alone(tx, job)
            if not tx.jobs.reset(job_id, now):
                raise JobNotRetryableError(f"job {job_id} is {job.state}; only failed or cancelled jobs can be retried")
            again = [job_id]
            if job.round_id is not None:
                _revive_round(tx, job, job.round_id)
                again += _reset_other_shards(tx, job, job.round_id, now)
            fresh = [tx.jobs.get(one) for one in again]
            for one in fresh:
                tx.jobs.set_announced(one.id, one.attempt, now)
            tx.accounts.add_audit(user_id=user_id, action="job.retry", subject=str(job_id), details={}, now=now)
        self.ring_all(fresh)
        return fresh[0]

    def cancel(self, job_id: int, *, user_id: int | None = None) -> Job:
        """Stop a queued or running job; its worker notices at its next heartbeat.

        A round whose job is stopped counts as failed, so that retrying the job takes it up again; a shard that is
        stopped stops the others.
        """
        now = self._clock()
        with self._store.write() as tx:
            tx.projects.lock(tx.jobs.get(job_id).project_id)
            job = tx.jobs.get(job_id)
            if tx.jobs.cancel(job_id, now):
                _fail_round(tx, job, f"job {job_id} was cancelled", now)
                tx.accounts.add_audit(user_id=user_id, action="job.cancel", subject=str(job_id), details={}, now=now)
            return tx.jobs.get(job_id)

    def reconcile(self) -> int:
        """Requeue jobs whose worker fell silent and announce due jobs that the broker does not know; how many."""
        now = self._clock()
        with self._store.read() as tx:
            lost = tx.jobs.lost(now - timedelta(seconds=self._limits.lost_after_s))
        for job in lost:
            self._release_lost(job, now)
        with self._store.read() as tx:
            due = tx.jobs.due(now, now - REANNOUNCE_AFTER)
        return len(lost) + self._announce_again(due, now)

    def _release_lost(self, job: Job, now: datetime) -> None:
        with self._store.write() as tx:
            tx.projects.lock(job.project_id)
            current = tx.jobs.get(job.id)
            if (current.state, current.attempt, current.heartbeat_at) != (job.state, job.attempt, job.heartbeat_at):
                return
            words = f"worker {job.worker} fell silent during attempt {job.attempt}"
            self._fail(tx, job, job.attempt, words, now, True)

    def _announce_again(self, due: list[Job], now: datetime) -> int:
        """Announce those that the broker does not know; how many. All are noted in one transaction."""
        seen, announced = [], 0
        try:
            for job in due:
                if not self._queue.knows(job):
                    self._queue.announce(job)
                    announced += 1
                seen.append(job)
        except UnavailableError as error:
            # One silent answer is enough: asking on for each job would hold up everything else the scheduler does.
            log.warning("%d due jobs wait for the broker: %s", len(due) - len(seen), error)
        if seen:
            with self._store.write() as tx:
                # In the order in which a failing round stops its jobs, so that the two cannot wait for each other.
                for job in sorted(seen, key=lambda one: one.id):
                    tx.jobs.set_announced(job.id, job.attempt, now)
        return announced


def _begin_stage(tx: Transaction, job: Job, now: datetime) -> None:
    """Note in the round's record that its stage runs. Shards share the stage: the first one (again) starts it."""
    if job.round_id is None:
        return
    record = tx.rounds.get(job.round_id)
    update = StageUpdate(state=StageState.RUNNING, attempt=job.attempt, started_at=now, error="")
    if job.kind is JobKind.SCORE_SHARD:
        if record.stage_record(record.stage).state is StageState.RUNNING:
            return
        update = StageUpdate(state=StageState.RUNNING, started_at=now, error="")
    tx.rounds.set_stage(record.id, record.stage, update)


def _check_alone(tx: Transaction, job: Job) -> None:
    """A project has one pretraining and one study at a time, however the job was begun."""
    if job.kind not in _ALONE:
        return
    alive = [JobState.QUEUED, JobState.RUNNING]
    for other in tx.jobs.all(project_id=job.project_id, states=alive, kind=job.kind):
        if other.id != job.id:
            raise JobNotRetryableError(
                f"job {job.id}: {_ALONE[job.kind]} of this project is {other.state} already as job {other.id}; "
                "wait for it, or cancel it first"
            )


def _reset_other_shards(tx: Transaction, job: Job, round_id: int, now: datetime) -> list[int]:
    """Queue the round's other failed and stopped shards again if this job is one; their ids."""
    if job.kind is not JobKind.SCORE_SHARD:
        return []
    return [other.id for other in shards_of(tx, round_id) if tx.jobs.reset(other.id, now)]


def _revive_round(tx: Transaction, job: Job, round_id: int) -> None:
    record, last = tx.rounds.get(round_id), tx.rounds.find_last(job.project_id)
    if record.state is not RoundState.FAILED or (last is not None and last.id != record.id):
        raise JobNotRetryableError(
            f"job {job.id} belongs to round {record.number}, which is {record.state}; start a new round instead"
        )
    tx.rounds.set_round(record.id, state=RoundState.RUNNING, error="")
    tx.rounds.set_stage(record.id, record.stage, StageUpdate(state=StageState.PENDING, error=""))


def _fail_round(tx: Transaction, job: Job, message: str, now: datetime) -> None:
    """The round of a job that failed for good fails with it, and its other jobs stop."""
    if job.round_id is None:
        return
    record = tx.rounds.get(job.round_id)
    if record.state is not RoundState.RUNNING:
        return
    message = named(job, message)
    for other in tx.jobs.of_round(record.id):
        if not other.state.is_over:
            tx.jobs.cancel(other.id, now, why=f"stopped with the round: {message}"[:ERROR_LENGTH_MAX])
    tx.rounds.set_stage(record.id, record.stage, StageUpdate(state=StageState.FAILED, finished_at=now, error=message))
    tx.rounds.set_round(record.id, state=RoundState.FAILED, finished_at=now, error=message)

"""Jobs in SQL. Every change of an attempt is one UPDATE that also checks that the attempt still counts."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from al_service.domain.records import Job
from al_service.domain.states import JobKind, JobState
from al_service.errors import InvalidInputError, NotFoundError
from al_service.storage.schema import is_, jobs

#: What a fresh attempt starts with.
FRESH_ATTEMPT: dict[str, Any] = {
    "state": JobState.QUEUED,
    "result": {},
    "progress_done": 0,
    "progress_total": None,
    "progress_text": "",
    "worker": None,
    "announced_at": None,
    "started_at": None,
    "heartbeat_at": None,
    "finished_at": None,
    "progress_since": None,
}


class SqlJobRows:
    """As in `loop.round_ports.JobRows`."""

    def __init__(self, connection: sa.Connection) -> None:
        self._connection = connection

    def add(
        self,
        *,
        project_id: int,
        round_id: int | None,
        kind: JobKind,
        payload: dict[str, Any],
        attempts_max: int,
        now: datetime,
    ) -> Job:
        """Store a queued job, attempt 1, due now."""
        values = FRESH_ATTEMPT | {
            "project_id": project_id,
            "round_id": round_id,
            "kind": kind,
            "attempt": 1,
            "attempts_max": attempts_max,
            "payload": payload,
            "error": None,
            "created_at": now,
            "not_before": now,
        }
        return _job(self._connection.execute(sa.insert(jobs).values(values).returning(jobs)).one())

    def get(self, job_id: int) -> Job:
        """The job, or NotFoundError."""
        row = self._connection.execute(sa.select(jobs).where(jobs.c.id == job_id)).one_or_none()
        if row is None:
            raise NotFoundError(f"no job with id {job_id}", job=job_id)
        return _job(row)

    def all(
        self,
        *,
        project_id: int | None = None,
        states: Iterable[str] | None = None,
        kind: JobKind | None = None,
        limit: int = 100,
    ) -> list[Job]:
        """Jobs, newest first."""
        statement = sa.select(jobs).order_by(jobs.c.id.desc()).limit(limit)
        if project_id is not None:
            statement = statement.where(jobs.c.project_id == project_id)
        if kind is not None:
            statement = statement.where(is_(jobs.c.kind, kind))
        if states is not None:
            statement = statement.where(jobs.c.state.in_([_known_state(state) for state in states]))
        return self._read(statement)

    def of_round(self, round_id: int, kind: JobKind | None = None) -> list[Job]:
        """Jobs of one round, of one kind if given, oldest first."""
        statement = sa.select(jobs).where(jobs.c.round_id == round_id).order_by(jobs.c.id)
        return self._read(statement if kind is None else statement.where(is_(jobs.c.kind, kind)))

    def due(self, now: datetime, announced_before: datetime, limit: int = 100) -> list[Job]:
        """Queued jobs whose not_before has come and that were never announced or last announced before that time."""
        silent = jobs.c.announced_at.is_(None) | (jobs.c.announced_at < announced_before)
        statement = sa.select(jobs).where(is_(jobs.c.state, JobState.QUEUED), jobs.c.not_before <= now, silent)
        # Those never announced first, then those that waited longest for another word: many waiting shards must not
        # keep a later job from being heard.
        longest = (jobs.c.announced_at.is_not(None), jobs.c.announced_at, jobs.c.not_before, jobs.c.id)
        return self._read(statement.order_by(*longest).limit(limit))

    def lost(self, heartbeat_before: datetime) -> list[Job]:
        """Running jobs whose last heartbeat is older."""
        statement = sa.select(jobs).where(is_(jobs.c.state, JobState.RUNNING), jobs.c.heartbeat_at < heartbeat_before)
        return self._read(statement.order_by(jobs.c.id))

    def _read(self, statement: "sa.Select[Any]") -> list[Job]:
        return [_job(row) for row in self._connection.execute(statement)]

    def set_announced(self, job_id: int, attempt: int, now: datetime) -> None:
        """Note that the broker was told about this attempt."""
        self._change(job_id, (jobs.c.attempt == attempt,), announced_at=now)

    def claim(self, job_id: int, attempt: int, worker: str, now: datetime) -> bool:
        """queued -> running if this attempt still counts and is queued; False otherwise (then leave it alone)."""
        values = {"state": JobState.RUNNING, "worker": worker}
        times = dict.fromkeys(("started_at", "heartbeat_at", "progress_since"), now)
        return self._move(job_id, attempt, (JobState.QUEUED,), **values, **times)

    def beat(
        self,
        job_id: int,
        attempt: int,
        now: datetime,
        *,
        done: int | None = None,
        total: int | None = None,
        text: str | None = None,
    ) -> bool:
        """Heartbeat and progress of a running attempt; False when it no longer counts (superseded, cancelled, over).

        A new text or a smaller `done` is new work; it began at the heartbeat before this one.
        """
        progress = {"progress_done": done, "progress_total": total, "progress_text": text}
        given: dict[str, Any] = {name: value for name, value in progress.items() if value is not None}
        if given:
            is_new_text = sa.false() if text is None else jobs.c.progress_text != text
            is_less_done = sa.false() if done is None else jobs.c.progress_done > done
            is_new_work = sa.or_(is_new_text, is_less_done)
            given["progress_since"] = sa.case((is_new_work, jobs.c.heartbeat_at), else_=jobs.c.progress_since)
        return self._move(job_id, attempt, (JobState.RUNNING,), heartbeat_at=now, **given)

    def finish(self, job_id: int, attempt: int, result: dict[str, Any], now: datetime) -> bool:
        """running -> done if this attempt still counts; False when it was superseded (then store nothing)."""
        values = {"state": JobState.DONE, "result": result, "error": None, "finished_at": now}
        return self._move(job_id, attempt, (JobState.RUNNING,), **values)

    def fail(self, job_id: int, attempt: int, error: str, now: datetime) -> bool:
        """running or queued -> failed if this attempt still counts."""
        values = {"state": JobState.FAILED, "error": error, "finished_at": now}
        return self._move(job_id, attempt, (JobState.RUNNING, JobState.QUEUED), **values)

    def requeue(
        self, job_id: int, attempt: int, not_before: datetime, error: str, now: datetime, *, counted: bool = True
    ) -> bool:
        """This attempt failed or was lost: back to queued as attempt + 1, not before that time; never announced.

        With `counted` False attempts_max grows with it: the attempt was nobody's fault.
        """
        values: dict[str, Any] = FRESH_ATTEMPT | {"attempt": attempt + 1, "not_before": not_before, "error": error}
        if not counted:
            values["attempts_max"] = jobs.c.attempts_max + 1
        return self._move(job_id, attempt, (JobState.RUNNING, JobState.QUEUED), **values)

    def cancel(self, job_id: int, now: datetime, *, why: str | None = None) -> bool:
        """queued or running -> cancelled; why: kept as the job's error (None: a person stopped this very job)."""
        alive = is_(jobs.c.state, JobState.QUEUED, JobState.RUNNING)
        return self._change(job_id, (alive,), state=JobState.CANCELLED, finished_at=now, error=why)

    def reset(self, job_id: int, now: datetime) -> bool:
        """failed or cancelled -> queued as attempt + 1 with attempts_max raised to allow it (a person asked)."""
        over = is_(jobs.c.state, JobState.FAILED, JobState.CANCELLED)
        following = jobs.c.attempt + 1
        values = FRESH_ATTEMPT | {
            "attempt": following,
            "attempts_max": sa.case((jobs.c.attempts_max < following, following), else_=jobs.c.attempts_max),
            "not_before": now,
            "error": None,
        }
        return self._change(job_id, (over,), **values)

    def _move(self, job_id: int, current: int, states: tuple[JobState, ...], **values: Any) -> bool:
        return self._change(job_id, (jobs.c.attempt == current, is_(jobs.c.state, *states)), **values)

    def _change(self, job_id: int, conditions: "tuple[sa.ColumnElement[bool], ...]", **values: Any) -> bool:
        statement = sa.update(jobs).where(jobs.c.id == job_id, *conditions).values(values)
        return self._connection.execute(statement).rowcount == 1


def _known_state(state: str) -> JobState:
    try:
        return JobState(state)
    except ValueError:
        raise InvalidInputError(f"{state!r} is not a job state; known: {', '.join(JobState)}") from None


def _job(row: "sa.Row[Any]") -> Job:
    return Job(**row._mapping)

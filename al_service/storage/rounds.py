"""Rounds and their stages in SQL."""

import hashlib
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from al_service.domain.project_config import ProjectConfig
from al_service.domain.records import Project, Round, RoundProgress, RoundStage, StageUpdate
from al_service.domain.states import STAGE_ORDER, RoundState, SelectionState, Stage, StageState
from al_service.errors import ConflictError, NotFoundError
from al_service.storage.column_types import ID
from al_service.storage.dialect import insert_into, wait_for
from al_service.storage.prepared import Prepared
from al_service.storage.schema import is_, round_stages, rounds, selection_counts

#: How far back `asking` looks for a round that has chosen.
ROUNDS_LOOKED_AT = 5
OPEN_STATES = tuple(state for state in RoundState if state.is_open)

#: What people see of a round without the columns that grow with the number of classes; for `versions`.
SEEN = ("state", "stage", "data_fingerprint", "model_hash", "started_at", "finished_at", "error")
SEEN_OF_STAGE = ("round_id", "stage", "state", "job_id", "attempt", "started_at", "finished_at", "seconds", "error")


def _counted(*conditions: "sa.ColumnElement[bool]") -> "sa.ColumnElement[int]":
    total = sa.cast(sa.func.coalesce(sa.func.sum(selection_counts.c.count), 0), sa.BigInteger())
    return sa.select(total).where(selection_counts.c.round_id == rounds.c.id, *conditions).scalar_subquery()


_IN_RESERVE, _DONE = selection_counts.c.is_reserve, is_(selection_counts.c.state, SelectionState.DONE)
COUNTS = (
    _counted(~_IN_RESERVE).label("selected_count"),
    _counted(~_IN_RESERVE, _DONE).label("answered_count"),
    _counted(_IN_RESERVE, _DONE).label("answered_ahead"),
)
SELECT = sa.select(rounds, *COUNTS)
#: Made once, because every answer asks. Parameter: in_project.
ASKING = Prepared(
    sa.select(rounds.c.number, *COUNTS)
    .where(rounds.c.project_id == sa.bindparam("in_project", type_=ID))
    .order_by(rounds.c.number.desc())
    .limit(ROUNDS_LOOKED_AT)
)


class SqlRoundRows:
    """As in `loop.round_ports.RoundRows`."""

    def __init__(self, connection: sa.Connection) -> None:
        self._connection = connection

    def add(
        self,
        project: Project,
        *,
        trigger: str,
        seed: int,
        watermark: int,
        label_count: int,
        idempotency_key: str | None,
        now: datetime,
    ) -> Round:
        """Store the next round (number = last + 1) with its five pending stages, in state running, stage train.

        Raises:
            ConflictError: the project has an open round (a partial unique index says so), or the key was used.
        """
        last = sa.select(sa.func.max(rounds.c.number)).where(rounds.c.project_id == project.id)
        values = {
            "project_id": project.id,
            "number": (self._connection.execute(last).scalar_one() or 0) + 1,
            "state": RoundState.RUNNING,
            "stage": Stage.TRAIN,
            "trigger": trigger,
            "config": project.config.to_json(),
            "class_names": list(project.class_names),
            "class_ids": [info.id for info in project.classes],
            "seed": seed,
            "watermark": watermark,
            "label_count": label_count,
            "idempotency_key": idempotency_key,
            "metrics": {},
            "started_at": now,
        }
        insert = insert_into(self._connection, rounds).values(values).on_conflict_do_nothing().returning(rounds.c.id)
        round_id = self._connection.execute(insert).scalar_one_or_none()
        if round_id is None:
            raise self._collision(project, idempotency_key)
        pending = {"round_id": round_id, "state": StageState.PENDING, "attempt": 0, "result": {}}
        self._connection.execute(sa.insert(round_stages), [{**pending, "stage": stage} for stage in STAGE_ORDER])
        return self.get(round_id)

    def _collision(self, project: Project, idempotency_key: str | None) -> ConflictError:
        known = self.find_by_key(project.id, idempotency_key) if idempotency_key is not None else None
        if known is not None:
            return ConflictError(f"idempotency key {idempotency_key!r} started round {known.number} of {project.name}")
        current = self.find_open(project.id)
        what = (
            f"round {current.number} of {project.name} is {current.state}"
            if current
            else f"{project.name} started a round just now"
        )
        return ConflictError(f"{what}; a project has one open round at a time", project=project.name)

    def find_open(self, project_id: int) -> Round | None:
        """The running or annotating round, or None."""
        return self._find(rounds.c.project_id == project_id, is_(rounds.c.state, *OPEN_STATES))

    def find_last(self, project_id: int) -> Round | None:
        """The round with the highest number, or None."""
        last = sa.select(sa.func.max(rounds.c.number)).where(rounds.c.project_id == project_id).scalar_subquery()
        return self._find(rounds.c.project_id == project_id, rounds.c.number == last)

    def find_by_key(self, project_id: int, idempotency_key: str) -> Round | None:
        """The round that was started under that key, or None."""
        return self._find(rounds.c.project_id == project_id, rounds.c.idempotency_key == idempotency_key)

    def get(self, round_id: int) -> Round:
        """The round, or NotFoundError."""
        found = self._find(rounds.c.id == round_id)
        if found is None:
            raise _no_round(round_id)
        return found

    def find(self, project_id: int, number: int) -> Round | None:
        """The round of that number, or None."""
        return self._find(rounds.c.project_id == project_id, rounds.c.number == number)

    def all(self, project_id: int, *, limit: int = 200) -> list[Round]:
        """Rounds by number, the newest `limit`."""
        newest = SELECT.where(rounds.c.project_id == project_id).order_by(rounds.c.number.desc()).limit(limit)
        return self._read(newest)[::-1]

    def asking(self, project_id: int) -> Callable[[], RoundProgress | None]:
        """How far people are with the newest round that has chosen, or with the newest of all before any has; None
        before the first. As of now, told from the commit on at the latest: nothing has to wait for it before.

        Cost: some rows of `selection_counts` for each of the newest rounds.
        """
        found = ASKING.rows_later(self._connection, {"in_project": project_id})

        def progress() -> RoundProgress | None:
            rows = found()
            row = next((row for row in rows if row.selected_count), rows[0] if rows else None)
            if row is None:
                return None
            return RoundProgress(row.number, row.selected_count, row.answered_count, row.answered_ahead)

        return progress

    def count_by_state(self, project_id: int) -> dict[str, int]:
        """How many rounds are in each state; states without rounds are left out."""
        statement = (
            sa.select(rounds.c.state, sa.func.count().label("found"))
            .where(rounds.c.project_id == project_id)
            .group_by(rounds.c.state)
        )
        return {str(row.state): row.found for row in self._connection.execute(statement)}

    def versions(self, project_id: int, limit: int) -> dict[int, str]:
        """Round id -> a word that changes with what people see of the round; by number, the newest `limit`."""
        here = rounds.c.project_id == project_id
        newest = sa.select(rounds.c.id).where(here).order_by(rounds.c.number.desc()).limit(limit)
        wanted = sa.select(rounds.c.id, *(rounds.c[name] for name in SEEN), *COUNTS).where(rounds.c.id.in_(newest))
        facts = {row.id: [tuple(row)] for row in self._connection.execute(wanted.order_by(rounds.c.number))}
        columns = [round_stages.c[name] for name in SEEN_OF_STAGE]
        stages = sa.select(*columns).where(round_stages.c.round_id.in_(newest)).order_by(round_stages.c.stage)
        for row in self._connection.execute(stages):
            facts[row.round_id].append(tuple(row))
        return {round_id: hashlib.sha256(repr(seen).encode()).hexdigest()[:32] for round_id, seen in facts.items()}

    def _find(self, *conditions: "sa.ColumnElement[bool]") -> Round | None:
        return next(iter(self._read(SELECT.where(*conditions))), None)

    def _read(self, statement: "sa.Select[Any]") -> list[Round]:
        rows = self._connection.execute(statement).all()
        stages: dict[int, list[RoundStage]] = {row.id: [] for row in rows}
        wanted = sa.select(round_stages).where(round_stages.c.round_id.in_(list(stages)))
        for row in self._connection.execute(wanted) if rows else ():
            stages[row.round_id].append(_stage(row))
        return [_round(row, sorted(stages[row.id], key=_stage_position)) for row in rows]

    def set_round(
        self,
        round_id: int,
        *,
        state: RoundState | None = None,
        stage: Stage | None = None,
        metrics: dict[str, Any] | None = None,
        data_fingerprint: str | None = None,
        model_hash: str | None = None,
        finished_at: datetime | None = None,
        error: str | None = None,
    ) -> None:
        """Change the given fields (metrics: merged into what is there). error="" clears it.

        A round that is open (again) has no end: such a state clears finished_at.
        """
        values: dict[str, Any] = {
            "state": state,
            "stage": stage,
            "data_fingerprint": data_fingerprint,
            "model_hash": model_hash,
            "finished_at": finished_at,
            "error": error,
        }
        values = _given(values)
        if state is not None and state.is_open:
            values["finished_at"] = None
        if metrics is not None:
            wait_for(self._connection, rounds, round_id)
            statement = sa.select(rounds.c.metrics).where(rounds.c.id == round_id)
            values["metrics"] = (self._connection.execute(statement).scalar_one_or_none() or {}) | metrics
        if not values:
            return
        done = self._connection.execute(sa.update(rounds).where(rounds.c.id == round_id).values(values))
        if done.rowcount == 0:
            raise _no_round(round_id)

    def set_stage(self, round_id: int, stage: Stage, update: StageUpdate) -> None:
        """Change the given fields of one stage. error="" clears it.

        A stage that waits or runs (again) has no end: such a state clears finished_at and seconds.
        """
        values = _given({name: getattr(update, name) for name in StageUpdate.__dataclass_fields__})
        if update.state in (StageState.PENDING, StageState.RUNNING):
            values |= {"finished_at": None, "seconds": None}
        if not values:
            return
        here = (round_stages.c.round_id == round_id) & (round_stages.c.stage == stage)
        if self._connection.execute(sa.update(round_stages).where(here).values(values)).rowcount == 0:
            raise _no_round(round_id)


def _given(values: dict[str, Any]) -> dict[str, Any]:
    """Without the None values; an empty error becomes NULL."""
    given = {name: value for name, value in values.items() if value is not None}
    return given | {"error": None} if given.get("error") == "" else given


def _round(row: "sa.Row[Any]", stages: Sequence[RoundStage]) -> Round:
    return Round(
        id=row.id,
        project_id=row.project_id,
        number=row.number,
        state=row.state,
        stage=row.stage,
        trigger=row.trigger,
        config=ProjectConfig.from_json(row.config),
        class_names=tuple(row.class_names),
        class_ids=None if row.class_ids is None else tuple(row.class_ids),
        seed=row.seed,
        watermark=row.watermark,
        label_count=row.label_count,
        data_fingerprint=row.data_fingerprint,
        model_hash=row.model_hash,
        metrics=row.metrics,
        started_at=row.started_at,
        finished_at=row.finished_at,
        stages=tuple(stages),
        selected_count=row.selected_count,
        answered_count=row.answered_count,
        answered_ahead=row.answered_ahead,
        error=row.error,
    )


def _stage(row: "sa.Row[Any]") -> RoundStage:
    return RoundStage(
        stage=row.stage,
        state=row.state,
        job_id=row.job_id,
        attempt=row.attempt,
        started_at=row.started_at,
        finished_at=row.finished_at,
        seconds=row.seconds,
        result=row.result,
        error=row.error,
    )


def _stage_position(record: RoundStage) -> int:
    return STAGE_ORDER.index(record.stage)


def _no_round(round_id: int) -> NotFoundError:
    return NotFoundError(f"no round with id {round_id}", round=round_id)

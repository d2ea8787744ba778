"""Selections in SQL: the batches that rounds chose, and which of them a person may be given now."""

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from al_service.domain.project_config import ProjectConfig
from al_service.domain.records import Chosen, Selection
from al_service.domain.states import AnnotationKind, AssignmentState, SampleState, SelectionState, Split
from al_service.errors import NotFoundError
from al_service.storage.annotations import is_undone
from al_service.storage.dialect import chunks
from al_service.storage.schema import annotations, assignments, is_, projects, rounds, samples, selections

OPEN = is_(selections.c.state, SelectionState.OPEN)
#: A selection with its round's number, for `selection_from`.
SELECTION_WITH_ROUND = selections.join(rounds, rounds.c.id == selections.c.round_id)
SELECTION_COLUMNS = (
    *(column.label(f"selection_{column.name}") for column in selections.c),
    rounds.c.number.label("round_number"),
)


class SqlSelectionRows:
    """The selections' half of `loop.ports.QueueRows`."""

    def __init__(self, connection: sa.Connection) -> None:
        self._connection = connection

    def add_selections(self, round_id: int, chosen: Sequence[Chosen]) -> None:
        """Store a round's batch. (round, sample) is unique."""
        statement = sa.select(rounds.c.project_id).where(rounds.c.id == round_id)
        project_id = self._connection.execute(statement).scalar_one_or_none()
        if project_id is None:
            raise NotFoundError(f"no round with id {round_id}", round=round_id)
        for part in chunks(chosen):
            self._connection.execute(
                sa.insert(selections), [_selection_row(project_id, round_id, pick) for pick in part]
            )

    def retire_open_selections(self, project_id: int, *, except_round_id: int) -> int:
        """Retire open selections of other rounds that nobody holds, except evaluation ones; how many."""
        evaluation = sa.exists().where(samples.c.id == selections.c.sample_id, is_(samples.c.split, Split.EVALUATION))
        here = (selections.c.project_id == project_id) & (selections.c.round_id != except_round_id)
        return self._retire(here & ~evaluation)

    def retire_all(self, round_id: int) -> int:
        """Retire every open selection of one round that nobody holds; how many."""
        return self._retire(selections.c.round_id == round_id)

    def _retire(self, condition: "sa.ColumnElement[bool]") -> int:
        statement = sa.update(selections).where(OPEN, condition, ~_is_held())
        return self._connection.execute(statement.values(state=SelectionState.RETIRED)).rowcount

    def selections(self, round_id: int) -> list[Selection]:
        """A round's batch by rank."""
        statement = _select().where(selections.c.round_id == round_id).order_by(selections.c.rank, selections.c.id)
        return [selection_from(row) for row in self._connection.execute(statement)]

    def get_selection(self, selection_id: int) -> Selection:
        """The selection, or NotFoundError."""
        row = self._connection.execute(_select().where(selections.c.id == selection_id)).one_or_none()
        if row is None:
            raise _no_selection(selection_id)
        return selection_from(row)

    def find_open_selection(self, sample_id: int) -> Selection | None:
        """The open selection that asks for this sample (there is at most one), or None."""
        row = self._connection.execute(_select().where(selections.c.sample_id == sample_id, OPEN)).one_or_none()
        return None if row is None else selection_from(row)

    def set_selection_state(self, selection_id: int, state: SelectionState) -> None:
        """Change a selection's state. ConflictError when another selection already asks for the sample."""
        statement = sa.update(selections).where(selections.c.id == selection_id).values(state=state)
        if self._connection.execute(statement).rowcount == 0:
            raise _no_selection(selection_id)

    def free_selections(self, project_id: int, user_id: int, limit: int) -> list[Selection]:
        """Open selections this person may be given now: fewer leases and votes than overlap asks, not held and not answered by
        this person, whose sample has no active label; ones that this person skipped come last; then by round, rank.

        Two statements, so that the first can stop at `limit` along ix_selections_queue however long the queue is; only when
        it finds too few does the second look through what this person skipped.

        Cost: one row of the index for each selection given or passed over.
        """
        config = self._connection.execute(
            sa.select(projects.c.config).where(projects.c.id == project_id)
        ).scalar_one_or_none()
        if config is None:
            return []
        overlap = ProjectConfig.from_json(config).overlap
        may_be_given = sa.and_(
            selections.c.project_id == project_id,
            OPEN,
            _has_no_answer_yet(),
            ~_is_held(by=user_id),
            _lease_count() + _vote_count() < overlap,
        )
        in_order = _select().order_by(selections.c.round_id, selections.c.rank, selections.c.id)
        fresh = in_order.where(may_be_given, ~_has_answer(user_id)).limit(limit)
        found = [selection_from(row) for row in self._connection.execute(fresh)]
        if len(found) < limit:
            only_skipped = selections.c.sample_id.in_(_skipped_samples(project_id, user_id)) & ~_has_answer(
                user_id, AnnotationKind.LABEL, AnnotationKind.FLAG
            )
            skipped = in_order.where(may_be_given, only_skipped).limit(limit - len(found))
            found += [selection_from(row) for row in self._connection.execute(skipped)]
        return found

    def open_count(self, project_id: int) -> int:
        """Open selections of the project, evaluation ones included."""
        return self._count(selections.c.project_id == project_id, OPEN)

    def open_count_of_round(self, round_id: int) -> int:
        """Open selections of one round."""
        return self._count(selections.c.round_id == round_id, OPEN)

    def _count(self, *conditions: "sa.ColumnElement[bool]") -> int:
        return self._connection.execute(
            sa.select(sa.func.count()).select_from(selections).where(*conditions)
        ).scalar_one()

    def skip_count(self, selection_id: int) -> int:
        """Skips given on this selection that are not undone."""
        statement = (
            sa.select(sa.func.count())
            .select_from(annotations)
            .join(assignments, assignments.c.id == annotations.c.assignment_id)
            .join(selections, selections.c.sample_id == annotations.c.sample_id)
            .where(
                selections.c.id == selection_id,
                assignments.c.selection_id == selection_id,
                is_(annotations.c.kind, AnnotationKind.SKIP),
                ~is_undone(),
            )
        )
        return self._connection.execute(statement).scalar_one()


def selection_from(row: "sa.Row[Any]") -> Selection:
    """A selection from a row that has SELECTION_COLUMNS."""
    return Selection(
        id=row.selection_id,
        round_id=row.selection_round_id,
        round_number=row.round_number,
        sample_id=row.selection_sample_id,
        rank=row.selection_rank,
        score=row.selection_score,
        reason=row.selection_reason,
        state=row.selection_state,
    )


def _select() -> "sa.Select[Any]":
    return sa.select(*SELECTION_COLUMNS).select_from(SELECTION_WITH_ROUND)


def _selection_row(project_id: int, round_id: int, pick: Chosen) -> dict[str, Any]:
    return {
        "project_id": project_id,
        "round_id": round_id,
        "sample_id": pick.sample_id,
        "rank": pick.rank,
        "score": pick.score,
        "reason": pick.reason,
        "state": SelectionState.OPEN,
    }


def _is_held(*, by: int | None = None) -> "sa.ColumnElement[bool]":
    lease = sa.exists().where(
        assignments.c.selection_id == selections.c.id, is_(assignments.c.state, AssignmentState.OPEN)
    )
    return lease if by is None else lease.where(assignments.c.user_id == by)


def _has_no_answer_yet() -> "sa.ColumnElement[bool]":
    # A scalar look-up by primary key: neither planner can turn it into a join that starts from the samples.
    state = sa.select(samples.c.state).where(samples.c.id == selections.c.sample_id).scalar_subquery()
    return is_(state, SampleState.UNLABELLED)


def _lease_count() -> "sa.ColumnElement[int]":
    leases = sa.select(sa.func.count()).where(
        assignments.c.selection_id == selections.c.id, is_(assignments.c.state, AssignmentState.OPEN)
    )
    return leases.correlate(selections).scalar_subquery()


def _vote_count() -> "sa.ColumnElement[int]":
    vote = annotations.alias("vote")
    votes = sa.select(sa.func.count()).where(
        vote.c.sample_id == selections.c.sample_id, is_(vote.c.kind, AnnotationKind.LABEL), ~is_undone(vote)
    )
    return votes.correlate(selections).scalar_subquery()


def _has_answer(user_id: int, *kinds: AnnotationKind) -> "sa.ColumnElement[bool]":
    """True where this person has an answer that is not undone (any, or one of these kinds)."""
    answer = annotations.alias("answer")
    wanted = kinds or (AnnotationKind.LABEL, AnnotationKind.SKIP, AnnotationKind.FLAG)
    return sa.exists().where(
        answer.c.sample_id == selections.c.sample_id,
        answer.c.user_id == user_id,
        is_(answer.c.kind, *wanted),
        ~is_undone(answer),
    )


def _skipped_samples(project_id: int, user_id: int) -> "sa.Select[tuple[int]]":
    skip = annotations.alias("skip")
    return sa.select(skip.c.sample_id).where(
        skip.c.project_id == project_id,
        skip.c.user_id == user_id,
        is_(skip.c.kind, AnnotationKind.SKIP),
        ~is_undone(skip),
    )


def _no_selection(selection_id: int) -> NotFoundError:
    return NotFoundError(f"no selection with id {selection_id}", selection=selection_id)

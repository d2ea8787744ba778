"""The people's queue in SQL: selections (next door) and the leases on them."""

from datetime import datetime
from typing import Any

import sqlalchemy as sa

from al_service.domain.records import Assignment, Selection
from al_service.domain.states import AssignmentState
from al_service.errors import ConflictError, NotFoundError
from al_service.storage.column_types import ID, UtcTime
from al_service.storage.dialect import insert_into
from al_service.storage.samples import SAMPLE_COLUMNS, SAMPLE_WITH_CLASS, get_sample, sample_from
from al_service.storage.schema import assignments, is_, rounds, samples, selections, users
from al_service.storage.selections import SELECTION_COLUMNS, SqlSelectionRows, selection_from

OPEN_LEASE = is_(assignments.c.state, AssignmentState.OPEN)

# SELECTION_COLUMNS brings the selection's id under the name that the lease's own column has.
LEASE_COLUMNS = [column for column in assignments.c if column.name != "selection_id"]
SELECT = sa.select(*LEASE_COLUMNS, *SELECTION_COLUMNS, *SAMPLE_COLUMNS).select_from(
    SAMPLE_WITH_CLASS.join(selections, selections.c.sample_id == samples.c.id)
    .join(rounds, rounds.c.id == selections.c.round_id)
    .join(assignments, assignments.c.selection_id == selections.c.id)
)

#: Made once, because every lease begins with one of them. Parameters: now, in_project.
EXPIRE = (
    sa.update(assignments)
    .where(OPEN_LEASE, assignments.c.lease_expires_at <= sa.bindparam("now", type_=UtcTime()))
    .values(state=AssignmentState.EXPIRED)
)
EXPIRE_IN_PROJECT = EXPIRE.where(assignments.c.project_id == sa.bindparam("in_project", type_=ID))


class SqlQueueRows(SqlSelectionRows):
    """As in `loop.ports.QueueRows`."""

    def add_assignment(
        self, selection: Selection, user_id: int, slot: int, expires_at: datetime, now: datetime
    ) -> Assignment:
        """Lease. ConflictError when the (selection, slot) or (selection, user) already has an open lease."""
        sample = get_sample(self._connection, selection.sample_id)
        values = {
            "project_id": sample.project_id,
            "selection_id": selection.id,
            "user_id": user_id,
            "slot": slot,
            "state": AssignmentState.OPEN,
            "lease_expires_at": expires_at,
            "created_at": now,
        }
        insert = insert_into(self._connection, assignments).values(values).on_conflict_do_nothing()
        new_id = self._connection.execute(insert.returning(assignments.c.id)).scalar_one_or_none()
        if new_id is None:
            raise ConflictError(
                f"selection {selection.id} is leased already (slot {slot}, user {user_id})",
                selection=selection.id,
                slot=slot,
            )
        return Assignment(new_id, selection, user_id, AssignmentState.OPEN, slot, expires_at, now, sample)

    def free_slot(self, selection_id: int) -> int:
        """The smallest slot number without an open lease, from 0."""
        statement = sa.select(assignments.c.slot).where(assignments.c.selection_id == selection_id, OPEN_LEASE)
        taken = set(self._connection.execute(statement).scalars())
        return next(slot for slot in range(len(taken) + 1) if slot not in taken)

    def get_assignment(self, assignment_id: int) -> Assignment:
        """The assignment, or NotFoundError."""
        row = self._connection.execute(SELECT.where(assignments.c.id == assignment_id)).one_or_none()
        if row is None:
            raise _no_assignment(assignment_id)
        return _assignment(row)

    def open_assignments_of_user(self, project_id: int, user_id: int) -> list[Assignment]:
        """Leases this person holds, oldest first."""
        mine = (assignments.c.project_id == project_id) & (assignments.c.user_id == user_id)
        statement = SELECT.where(mine, OPEN_LEASE).order_by(assignments.c.id)
        return [_assignment(row) for row in self._connection.execute(statement)]

    def set_assignment(self, assignment_id: int, state: AssignmentState, *, expires_at: datetime | None = None) -> None:
        """Change a lease's state and, if given, its end."""
        values: dict[str, Any] = {"state": state}
        if expires_at is not None:
            values["lease_expires_at"] = expires_at
        statement = sa.update(assignments).where(assignments.c.id == assignment_id).values(values)
        if self._connection.execute(statement).rowcount == 0:
            raise _no_assignment(assignment_id)

    def expire(self, now: datetime, project_id: int | None = None) -> int:
        """Turn open leases whose time is over (lease_expires_at <= now) into expired ones; how many."""
        if project_id is None:
            return self._connection.execute(EXPIRE, {"now": now}).rowcount
        return self._connection.execute(EXPIRE_IN_PROJECT, {"now": now, "in_project": project_id}).rowcount

    def held_sample_ids(self, project_id: int) -> set[int]:
        """Samples that somebody holds a lease on."""
        joined = selections.join(assignments, assignments.c.selection_id == selections.c.id)
        held = sa.select(selections.c.sample_id).select_from(joined)
        return set(self._connection.execute(held.where(assignments.c.project_id == project_id, OPEN_LEASE)).scalars())

    def holders(self, project_id: int) -> dict[str, int]:
        """User name -> how many open leases."""
        statement = (
            sa.select(users.c.name, sa.func.count().label("held"))
            .join(assignments, assignments.c.user_id == users.c.id)
            .where(assignments.c.project_id == project_id, OPEN_LEASE)
            .group_by(users.c.name)
        )
        return dict(sorted((row.name, row.held) for row in self._connection.execute(statement)))


def _assignment(row: "sa.Row[Any]") -> Assignment:
    return Assignment(
        id=row.id,
        selection=selection_from(row),
        user_id=row.user_id,
        state=row.state,
        slot=row.slot,
        lease_expires_at=row.lease_expires_at,
        created_at=row.created_at,
        sample=sample_from(row),
    )


def _no_assignment(assignment_id: int) -> NotFoundError:
    return NotFoundError(f"no assignment with id {assignment_id}", assignment=assignment_id)

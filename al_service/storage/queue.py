"""The people's queue in SQL: selections (next door) and the leases on them."""

from collections.abc import Callable, Sequence
from datetime import datetime
from functools import cache, partial
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from al_service.domain.records import Asked, Assignment, LeaseBegun, Offer, Selection, SuggestionCount
from al_service.domain.states import AnnotationKind, AssignmentState
from al_service.errors import ConflictError, NotFoundError
from al_service.storage.annotations import CLASS_TODAY, NAMED, is_undone
from al_service.storage.column_types import ID, UtcTime
from al_service.storage.dialect import insert_into, is_postgres
from al_service.storage.prepared import Prepared
from al_service.storage.projects import BY_NAME, LOCK_BY_NAME, projects_from
from al_service.storage.samples import SAMPLE_COLUMNS, SAMPLE_WITH_CLASS, get_sample, sample_from
from al_service.storage.schema import (
    annotations,
    assignments,
    class_aliases,
    classes,
    is_,
    projects,
    rounds,
    samples,
    selections,
    users,
)
from al_service.storage.selections import SELECTION_COLUMNS, SqlSelectionRows, fresh, selection_from

OPEN_LEASE = is_(assignments.c.state, AssignmentState.OPEN)
TODAY = classes.alias("today")
#: The class that the model found likeliest when the sample was chosen; what it is today is `TODAY`.
LIKELIEST = classes.alias("likeliest")
LIKELIEST_TODAY = sa.func.coalesce(LIKELIEST.c.merged_into_id, LIKELIEST.c.id)

#: In `connection.info`: project name -> its id when it was last asked for.
PROJECT_IDS = "al_project_ids"
# SELECTION_COLUMNS brings the selection's id under the name that the lease's own column has.
LEASE_COLUMNS = [column for column in assignments.c if column.name != "selection_id"]
SELECT = sa.select(*LEASE_COLUMNS, *SELECTION_COLUMNS, *SAMPLE_COLUMNS).select_from(
    SAMPLE_WITH_CLASS.join(selections, selections.c.sample_id == samples.c.id)
    .outerjoin(rounds, rounds.c.id == selections.c.round_id)
    .join(assignments, assignments.c.selection_id == selections.c.id)
)

# Made once, because making a statement takes longer than running it.
_SAID = sa.bindparam("class_name", type_=sa.Text())
_OLD_NAME = (
    sa.select(class_aliases.c.class_id)
    .where(class_aliases.c.project_id == assignments.c.project_id, class_aliases.c.name == _SAID)
    .correlate(assignments)
    .scalar_subquery()
)


def _class_said(column: "sa.Column[Any]") -> "sa.ScalarSelect[Any]":
    """That column of the class of today that the name in an answer means, as `domain.class_book` has it."""
    is_named = (NAMED.c.name == _SAID) | (NAMED.c.id == _OLD_NAME)
    return (
        sa.select(column)
        .join_from(NAMED, TODAY, TODAY.c.id == CLASS_TODAY)
        .where(NAMED.c.project_id == assignments.c.project_id, is_named, TODAY.c.retired_at.is_(None))
        .correlate(assignments)
        .scalar_subquery()
    )


#: Parameters: wanted, class_name.
ANSWER_SO_FAR = SELECT.add_columns(
    _class_said(TODAY.c.id).label("named_class_id"),
    _class_said(TODAY.c.name).label("named_class_name"),
    (~sa.exists().where(annotations.c.sample_id == samples.c.id).correlate(samples)).label("is_first"),
).where(assignments.c.id == sa.bindparam("wanted", type_=ID))
ASKED = Prepared(ANSWER_SO_FAR)
#: There the answer's own id comes first, so that nothing has to wait for it. Parameters: also in_hands_of, client_key.
KNOWN = annotations.alias("known")
ASKED_ON_POSTGRES = Prepared(
    ANSWER_SO_FAR.add_columns(
        sa.func.nextval(sa.func.pg_get_serial_sequence("annotations", "id")).label("next_id"),
        sa.exists()
        .where(
            KNOWN.c.user_id == sa.bindparam("in_hands_of", type_=ID), KNOWN.c.client_key == sa.bindparam("client_key")
        )
        .label("is_known"),
    )
)
#: On PostgreSQL, before `ASKED`. Parameter: wanted.
LOCK_PROJECT_OF = Prepared(
    sa.select(projects.c.id)
    .where(
        projects.c.id
        == sa.select(assignments.c.project_id)
        .where(assignments.c.id == sa.bindparam("wanted", type_=ID))
        .scalar_subquery()
    )
    .with_for_update(key_share=True)
)
#: Parameters: wanted, new_state.
SET_STATE = (
    sa.update(assignments)
    .where(assignments.c.id == sa.bindparam("wanted", type_=ID))
    .values(state=sa.bindparam("new_state", type_=assignments.c.state.type))
)
PREPARED_SET_STATE = Prepared(SET_STATE)
#: Parameters: in_project, in_hands_of.
HELD = Prepared(
    SELECT.where(
        assignments.c.project_id == sa.bindparam("in_project", type_=ID),
        assignments.c.user_id == sa.bindparam("in_hands_of", type_=ID),
        OPEN_LEASE,
    ).order_by(assignments.c.id)
)
#: Parameters: now; in one project also in_project, or its name (wanted).
EXPIRE = (
    sa.update(assignments)
    .where(OPEN_LEASE, assignments.c.lease_expires_at <= sa.bindparam("now", type_=UtcTime()))
    .values(state=AssignmentState.EXPIRED)
)
EXPIRE_IN_PROJECT = Prepared(EXPIRE.where(assignments.c.project_id == sa.bindparam("in_project", type_=ID)))
OF_NAME = sa.select(projects.c.id).where(projects.c.name == sa.bindparam("wanted")).scalar_subquery()
EXPIRE_BY_NAME = Prepared(EXPIRE.where(assignments.c.project_id == OF_NAME))
#: Parameters: wanted, in_hands_of.
HELD_BY_NAME = Prepared(
    SELECT.where(
        assignments.c.project_id == OF_NAME, assignments.c.user_id == sa.bindparam("in_hands_of", type_=ID), OPEN_LEASE
    ).order_by(assignments.c.id)
)


def _take_one() -> "sa.Select[Any]":
    """A lease on the first free selection, in its first free slot, for who holds nothing in the project."""
    person = sa.bindparam("user_id", type_=ID)
    holds = sa.exists().where(
        assignments.c.project_id == sa.bindparam("project_id", type_=ID), assignments.c.user_id == person, OPEN_LEASE
    )
    offered = fresh(1).where(~holds).cte("offered")
    number = sa.func.generate_series(0, offered.c.selection_overlap - 1).column_valued("number")
    in_slot = (assignments.c.selection_id == offered.c.selection_id) & (assignments.c.slot == number)
    is_free = ~sa.exists().where(in_slot, OPEN_LEASE).correlate_except(assignments)
    slot = sa.select(sa.func.min(number)).where(is_free).correlate(offered).scalar_subquery()
    values = {
        "project_id": offered.c.selection_project_id,
        "selection_id": offered.c.selection_id,
        "slot": slot,
        "user_id": person,
        "state": sa.literal_column(f"'{AssignmentState.OPEN.value}'"),
        "lease_expires_at": sa.bindparam("until", type_=UtcTime()),
        "created_at": sa.bindparam("now", type_=UtcTime()),
    }
    leased = (
        postgresql.insert(assignments)
        .from_select(list(values), sa.select(*values.values()).select_from(offered))
        .on_conflict_do_nothing()
        .returning(assignments.c.id, assignments.c.selection_id, assignments.c.slot)
        .cte("leased")
    )
    columns = (leased.c.id.label("lease_id"), leased.c.slot.label("lease_slot"))
    return sa.select(offered, *columns).join_from(offered, leased, leased.c.selection_id == offered.c.selection_id)


#: On PostgreSQL. Parameters: project_id, user_id, until, now.
TAKE_ONE = Prepared(_take_one())


def _lease_row(at: int) -> dict[str, "sa.ColumnElement[Any]"]:
    """Parameters of one lease of several: person, until, now and project_N, selection_N, slot_N."""
    return {
        "project_id": sa.bindparam(f"project_{at}", type_=ID),
        "selection_id": sa.bindparam(f"selection_{at}", type_=ID),
        "slot": sa.bindparam(f"slot_{at}", type_=assignments.c.slot.type),
        "user_id": sa.bindparam("person", type_=ID),
        "state": sa.literal_column(f"'{AssignmentState.OPEN.value}'"),
        "lease_expires_at": sa.bindparam("until", type_=UtcTime()),
        "created_at": sa.bindparam("now", type_=UtcTime()),
    }


@cache
def _leasing(count: int, on_postgres: bool) -> Prepared:
    """Leases so many at once."""
    rows = [_lease_row(at) for at in range(count)]
    insert = (postgresql.insert if on_postgres else sqlite.insert)(assignments).values(rows).on_conflict_do_nothing()
    return Prepared(insert.returning(assignments.c.id, assignments.c.selection_id, assignments.c.slot))


class SqlQueueRows(SqlSelectionRows):
    """As in `loop.queue_ports.QueueRows`."""

    def __init__(self, connection: sa.Connection) -> None:
        super().__init__(connection)
        #: Samples whose answers were fetched for in this transaction.
        self._answered: set[int] = set()
        #: Projects, by name, that somebody asked for in this transaction.
        self._begun: dict[str, Callable[[], list[Any]]] = {}

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
            raise _leased_already(selection.id, slot, user_id)
        return Assignment(new_id, selection, user_id, AssignmentState.OPEN, slot, expires_at, now, sample)

    def add_assignments(
        self, offers: Sequence[Offer], user_id: int, expires_at: datetime, now: datetime
    ) -> list[Assignment]:
        """Lease what was offered in this transaction, each in its first free slot; ConflictError as `add_assignment`.

        One statement, and one more where several people answer a sample: of a selection that asks one person only,
        being free says that nobody holds it.
        """
        if not offers:
            return []
        slots = self._free_slots([offer.selection.id for offer in offers if offer.selection.overlap > 1])
        values: dict[str, Any] = {"person": user_id, "until": expires_at, "now": now}
        for at, offer in enumerate(offers):
            values[f"project_{at}"] = offer.sample.project_id
            values[f"selection_{at}"] = offer.selection.id
            values[f"slot_{at}"] = slots.get(offer.selection.id, 0)
        leasing = _leasing(len(offers), is_postgres(self._connection))
        made = {row.selection_id: row.id for row in leasing.rows(self._connection, values)}
        lost = next((offer.selection.id for offer in offers if offer.selection.id not in made), None)
        if lost is not None:
            raise _leased_already(lost, slots.get(lost, 0), user_id)
        return [
            Assignment(
                id=made[offer.selection.id],
                selection=offer.selection,
                user_id=user_id,
                state=AssignmentState.OPEN,
                slot=values[f"slot_{at}"],
                lease_expires_at=expires_at,
                created_at=now,
                sample=offer.sample,
            )
            for at, offer in enumerate(offers)
        ]

    def free_slot(self, selection_id: int) -> int:
        """The smallest slot number without an open lease, from 0."""
        return self._free_slots([selection_id])[selection_id]

    def _free_slots(self, selection_ids: Sequence[int]) -> dict[int, int]:
        """The smallest slot number without an open lease, from 0, by selection."""
        taken: dict[int, set[int]] = {selection_id: set() for selection_id in selection_ids}
        columns = sa.select(assignments.c.selection_id, assignments.c.slot)
        if taken:
            for row in self._connection.execute(columns.where(assignments.c.selection_id.in_(taken), OPEN_LEASE)):
                taken[row.selection_id].add(row.slot)
        return {
            selection_id: next(slot for slot in range(len(slots) + 1) if slot not in slots)
            for selection_id, slots in taken.items()
        }

    def get_assignment(self, assignment_id: int) -> Assignment:
        """The assignment, or NotFoundError."""
        row = self._connection.execute(SELECT.where(assignments.c.id == assignment_id)).one_or_none()
        if row is None:
            raise _no_assignment(assignment_id)
        return _assignment(row)

    def asked(self, assignment_id: int, user_id: int, class_name: str | None, client_key: str) -> Callable[[], Asked]:
        """What an answer of this person to this assignment, under that key, rests on, read after taking its project's
        lock; or NotFoundError. Fetched later, it knows of every answer to the sample that was fetched for before.
        """
        connection, with_ids = self._connection, is_postgres(self._connection)
        values: dict[str, Any] = {"wanted": assignment_id, "class_name": class_name}
        if with_ids:
            LOCK_PROJECT_OF.change_later(connection, values)
            values |= {"in_hands_of": user_id, "client_key": client_key}
        statement = ASKED_ON_POSTGRES if with_ids else ASKED
        later = statement.rows_later(connection, values)

        def asked() -> Asked:
            row = next(iter(later()), None)
            if row is not None and row.sample_id in self._answered:
                row = statement.row(connection, values)
            if row is None:
                raise _no_assignment(assignment_id)
            self._answered.add(row.sample_id)
            next_id = row.next_id if with_ids and not row.is_known else None
            return Asked(_assignment(row), row.named_class_id, row.named_class_name, bool(row.is_first), next_id)

        return asked

    def begin_lease(
        self, project_name: str, user_id: int, now: datetime, *, wanted: int, until: datetime
    ) -> Callable[[], LeaseBegun]:
        """Take the project's lock and end what is over in it (lease_expires_at <= now); then what is there.

        Where one is wanted PostgreSQL leases the next free sample in the same message: waiting for a second answer
        would take longer. The message needs the project's id before the name was looked up: that of the last time.
        """
        connection = self._connection
        project_rows = self._locked(project_name, now)
        values = {"wanted": project_name, "in_hands_of": user_id}
        held_rows = HELD_BY_NAME.rows_later(connection, values)
        known: dict[str, int] = connection.info.setdefault(PROJECT_IDS, {})
        taken_rows: Callable[[], list[Any]] = list
        if wanted == 1 and project_name in known and is_postgres(connection):
            values = {"project_id": known[project_name], "user_id": user_id, "until": until, "now": now}
            taken_rows = TAKE_ONE.rows_later(connection, values)

        def begun() -> LeaseBegun:
            project = next(iter(projects_from(project_rows())), None)
            if project is not None:
                known[project_name] = project.id
            held = [_assignment(row) for row in held_rows()]
            taken = next((_taken(row, user_id, until, now) for row in taken_rows()), None)
            return LeaseBegun(project, held, taken)

        return begun

    def _locked(self, project_name: str, now: datetime) -> Callable[[], list[Any]]:
        """The project's row, after what was over in it has been ended; once in a transaction."""
        if project_name not in self._begun:
            of_name = {"wanted": project_name}
            if is_postgres(self._connection):
                LOCK_BY_NAME.change_later(self._connection, of_name)
            EXPIRE_BY_NAME.change_later(self._connection, of_name | {"now": now})
            self._begun[project_name] = BY_NAME.rows_later(self._connection, of_name)
        return self._begun[project_name]

    def open_assignments_of_user(self, project_id: int, user_id: int) -> list[Assignment]:
        """Leases this person holds, oldest first."""
        values = {"in_project": project_id, "in_hands_of": user_id}
        return [_assignment(row) for row in HELD.rows(self._connection, values)]

    def set_assignment(self, assignment_id: int, state: AssignmentState, *, expires_at: datetime | None = None) -> None:
        """Change a lease's state and, if given, its end."""
        values = {"wanted": assignment_id, "new_state": state}
        if expires_at is None:
            PREPARED_SET_STATE.change_later(self._connection, values, missing=partial(_no_assignment, assignment_id))
        elif not self._connection.execute(SET_STATE.values(lease_expires_at=expires_at), values).rowcount:
            raise _no_assignment(assignment_id)

    def mark_suggestion(self, assignment_id: int, *, asked_at: datetime, seen_at: datetime | None) -> None:
        """This person asked what the model thinks, and was told (or not: None)."""
        values = {"suggestion_asked_at": asked_at, "suggestion_seen_at": seen_at}
        self._connection.execute(sa.update(assignments).where(assignments.c.id == assignment_id).values(values))

    def suggestion_counts(self, project_id: int) -> list[SuggestionCount]:
        """How often people's labels named the class that the model found likeliest, by person and by whether they asked
        for and saw it. Answers that were taken back do not count, nor does an opinion of a class that was split.

        Cost: one look-up for each answer to a selection for which the model's opinion is known.
        """
        # Who looks at what the model thinks after answering was not swayed by it.
        told, asked = (
            sa.func.coalesce(column <= annotations.c.created_at, sa.false()).label(name)
            for column, name in (
                (assignments.c.suggestion_seen_at, "seen"),
                (assignments.c.suggestion_asked_at, "asked"),
            )
        )
        joined = (
            annotations.join(assignments, assignments.c.id == annotations.c.assignment_id)
            .join(selections, selections.c.id == assignments.c.selection_id)
            .join(NAMED, NAMED.c.id == annotations.c.class_id)
            .join(LIKELIEST, LIKELIEST.c.id == selections.c.likely[(0, 0)].as_integer())
            .join(TODAY, TODAY.c.id == LIKELIEST_TODAY)
        )
        here = (annotations.c.project_id == project_id) & is_(annotations.c.kind, AnnotationKind.LABEL) & ~is_undone()
        is_known = TODAY.c.retired_at.is_(None)
        statement = (
            sa.select(annotations.c.user_id, asked, told, sa.func.count().label("answered"))
            .add_columns(sa.func.sum(sa.case((TODAY.c.id == CLASS_TODAY, 1), else_=0)).label("agreed"))
            .select_from(joined)
            .where(here, is_known)
            .group_by(annotations.c.user_id, asked, told)
            .order_by(annotations.c.user_id, asked, told)
        )
        return [
            SuggestionCount(row.user_id, bool(row.asked), bool(row.seen), row.answered, int(row.agreed))
            for row in self._connection.execute(statement)
        ]

    def answer_leases(self, sample_id: int, user_id: int) -> None:
        """Every open lease of this person on that sample is answered."""
        of_sample = sa.select(samples.c.project_id).where(samples.c.id == sample_id).scalar_subquery()
        mine = (assignments.c.project_id == of_sample) & (assignments.c.user_id == user_id)
        asking = sa.exists().where(selections.c.id == assignments.c.selection_id, selections.c.sample_id == sample_id)
        statement = sa.update(assignments).where(mine, OPEN_LEASE, asking)
        self._connection.execute(statement.values(state=AssignmentState.ANSWERED))

    def extend_assignments(self, project_id: int, user_id: int, expires_at: datetime) -> None:
        """Give every lease that this person holds in the project a new end."""
        mine = (assignments.c.project_id == project_id) & (assignments.c.user_id == user_id)
        statement = sa.update(assignments).where(mine, OPEN_LEASE)
        self._connection.execute(statement.values(lease_expires_at=expires_at))

    def release_all(self, user_id: int) -> int:
        """Give back every lease of this person, in all projects; how many."""
        statement = sa.update(assignments).where(assignments.c.user_id == user_id, OPEN_LEASE)
        return self._connection.execute(statement.values(state=AssignmentState.RELEASED)).rowcount

    def expire(self, now: datetime) -> int:
        """Turn open leases whose time is over (lease_expires_at <= now) into expired ones; how many."""
        return self._connection.execute(EXPIRE, {"now": now}).rowcount

    def expire_in(self, project_id: int, now: datetime) -> None:
        """As `expire`, in one project."""
        EXPIRE_IN_PROJECT.change_later(self._connection, {"now": now, "in_project": project_id})

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
        suggestion_asked_at=row.suggestion_asked_at,
        suggestion_seen_at=row.suggestion_seen_at,
    )


def _taken(row: "sa.Row[Any]", user_id: int, until: datetime, now: datetime) -> Assignment:
    return Assignment(
        id=row.lease_id,
        selection=selection_from(row),
        user_id=user_id,
        state=AssignmentState.OPEN,
        slot=row.lease_slot,
        lease_expires_at=until,
        created_at=now,
        sample=sample_from(row),
    )


def _leased_already(selection_id: int, slot: int, user_id: int) -> ConflictError:
    return ConflictError(
        f"selection {selection_id} is leased already (slot {slot}, user {user_id})", selection=selection_id, slot=slot
    )


def _no_assignment(assignment_id: int) -> NotFoundError:
    return NotFoundError(f"no assignment with id {assignment_id}", assignment=assignment_id)

"""What each person did in a project, in SQL: answers by kind, how many they took back, how long they looked."""

from datetime import datetime
from typing import Any

import sqlalchemy as sa

from al_service.domain.records import PersonWork
from al_service.domain.states import AnnotationKind
from al_service.storage.annotations import ANSWERS, UNDO
from al_service.storage.class_changes import SPLIT_KEY_PREFIX
from al_service.storage.schema import annotations, is_, users


def _count(*conditions: "sa.ColumnElement[bool]") -> "sa.ColumnElement[Any]":
    return sa.func.sum(sa.case((sa.and_(*conditions), 1), else_=0))


#: The person took it back: not a reviewer who asked for it anew, nor a split of its class.
TAKEN_BACK = (
    sa.exists()
    .where(UNDO.c.undoes_id == annotations.c.id, UNDO.c.user_id == annotations.c.user_id)
    .where(~UNDO.c.client_key.startswith(SPLIT_KEY_PREFIX, autoescape=True))
    .correlate(annotations)
)
#: Work that was done counts as such, whatever others made of it later.
STANDS = ~TAKEN_BACK
IS_LABEL = is_(annotations.c.kind, AnnotationKind.LABEL)
IS_TIMED = annotations.c.lead_time_s.is_not(None)
WORK: "sa.Select[Any]" = (
    sa.select(
        users.c.id,
        users.c.name,
        users.c.role,
        _count(IS_LABEL, STANDS, ~annotations.c.is_review).label("labels"),
        _count(annotations.c.is_review, STANDS).label("verdicts"),
        _count(is_(annotations.c.kind, AnnotationKind.SKIP), STANDS).label("skips"),
        _count(is_(annotations.c.kind, AnnotationKind.FLAG), STANDS).label("flags"),
        _count(TAKEN_BACK).label("taken_back"),
        _count(annotations.c.is_extra_vote, STANDS).label("extra_votes"),
        _count(IS_TIMED).label("timed"),
        sa.func.sum(annotations.c.lead_time_s).label("active_s"),
        sa.func.min(annotations.c.created_at, type_=annotations.c.created_at.type).label("first_at"),
        sa.func.max(annotations.c.created_at, type_=annotations.c.created_at.type).label("last_at"),
    )
    .join(annotations, annotations.c.user_id == users.c.id)
    .where(is_(annotations.c.kind, *ANSWERS), ~annotations.c.is_import)
    .group_by(users.c.id, users.c.name, users.c.role)
)


class SqlPeopleRows:
    """As in `loop.queue_ports.PeopleRows`."""

    def __init__(self, connection: sa.Connection) -> None:
        self._connection = connection

    def work(self, project_id: int, since: datetime) -> list[PersonWork]:
        """What each person did in the project since then, by name; imports aside.

        Cost: one look-up for each answer of the project since then.
        """
        here = (annotations.c.project_id == project_id) & (annotations.c.created_at >= since)
        found = [
            PersonWork(
                user_id=row.id,
                name=row.name,
                role=row.role,
                labels=int(row.labels),
                verdicts=int(row.verdicts),
                skips=int(row.skips),
                flags=int(row.flags),
                taken_back=int(row.taken_back),
                extra_votes=int(row.extra_votes),
                timed=int(row.timed),
                active_s=float(row.active_s or 0.0),
                first_at=row.first_at,
                last_at=row.last_at,
            )
            for row in self._connection.execute(WORK.where(here))
        ]
        # By code point, on both databases.
        return sorted(found, key=lambda person: person.name)

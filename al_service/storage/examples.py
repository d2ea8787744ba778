"""Example images of classes, in SQL."""

from datetime import datetime
from typing import Any

import sqlalchemy as sa

from al_service.domain.records import Example, Sample
from al_service.storage.dialect import insert_into
from al_service.storage.projects import class_meant
from al_service.storage.samples import SAMPLE_COLUMNS, SAMPLE_WITH_CLASS, sample_from
from al_service.storage.schema import assignments, classes, examples, samples, selections
from al_service.storage.selections import IN_HANDS, OPEN

OF_CLASS = classes.alias("of_class")


class SqlExampleRows:
    """As in `loop.sample_ports.ExampleRows`."""

    def __init__(self, connection: sa.Connection) -> None:
        self._connection = connection

    def all(self, project_id: int) -> list[Example]:
        """A project's examples in class order, the oldest first, also those that are not shown now."""
        return self._found(project_id)

    def shown(self, project_id: int) -> list[Example]:
        """As `all`, without those that somebody is asked about or holds."""
        return self._found(project_id, ~_is_asked(project_id))

    def _found(self, project_id: int, *conditions: "sa.ColumnElement[bool]") -> list[Example]:
        joined = SAMPLE_WITH_CLASS.join(examples, examples.c.sample_id == samples.c.id).join(
            OF_CLASS, OF_CLASS.c.id == examples.c.class_id
        )
        statement: sa.Select[Any] = (
            sa.select(*SAMPLE_COLUMNS, OF_CLASS.c.name.label("of_class"), examples.c.note)
            .select_from(joined)
            .where(examples.c.project_id == project_id, OF_CLASS.c.retired_at.is_(None), *conditions)
            .order_by(OF_CLASS.c.position, examples.c.created_at, examples.c.sample_id)
        )
        return [Example(sample_from(row), row.of_class, row.note) for row in self._connection.execute(statement)]

    def set(self, sample: Sample, class_name: str, note: str, user_id: int, now: datetime) -> None:
        """Show this sample as an example of that class; InvalidInputError where the project has no such class."""
        values = {
            "project_id": sample.project_id,
            "class_id": class_meant(self._connection, sample.project_id, class_name).id,
            "note": note,
            "user_id": user_id,
            "created_at": now,
        }
        statement = insert_into(self._connection, examples).values(sample_id=sample.id, **values)
        self._connection.execute(statement.on_conflict_do_update(index_elements=[examples.c.sample_id], set_=values))

    def remove(self, sample_id: int) -> bool:
        """Show it no more; False when it was none."""
        return self._connection.execute(sa.delete(examples).where(examples.c.sample_id == sample_id)).rowcount > 0

    def is_one(self, sample_id: int) -> bool:
        """Whether people are shown this sample as an example."""
        here = sa.select(examples.c.sample_id).where(examples.c.sample_id == sample_id)
        return self._connection.execute(here).one_or_none() is not None

    def shown_count(self, project_id: int) -> int:
        """How many `shown` brings."""
        joined = examples.join(OF_CLASS, OF_CLASS.c.id == examples.c.class_id)
        here = (examples.c.project_id == project_id) & OF_CLASS.c.retired_at.is_(None)
        return self._connection.execute(
            sa.select(sa.func.count()).select_from(joined).where(here, ~_is_asked(project_id))
        ).scalar_one()


def _is_asked(project_id: int) -> "sa.ColumnElement[bool]":
    """Somebody is to say what the example is, in whatever lane: nobody may read the answer in the guidelines."""
    is_open = sa.exists().where(selections.c.sample_id == examples.c.sample_id, OPEN)
    return is_open | examples.c.sample_id.in_(IN_HANDS.where(assignments.c.project_id == project_id))

"""Example images of classes, in SQL."""

from datetime import datetime
from typing import Any

import sqlalchemy as sa

from al_service.domain.records import Example, Sample
from al_service.storage.dialect import insert_into
from al_service.storage.projects import class_meant
from al_service.storage.samples import SAMPLE_COLUMNS, SAMPLE_WITH_CLASS, sample_from
from al_service.storage.schema import classes, examples, samples

OF_CLASS = classes.alias("of_class")


class SqlExampleRows:
    """As in `loop.sample_ports.ExampleRows`."""

    def __init__(self, connection: sa.Connection) -> None:
        self._connection = connection

    def all(self, project_id: int) -> list[Example]:
        """A project's examples in class order, the oldest first; those of classes that are no more are left out."""
        joined = SAMPLE_WITH_CLASS.join(examples, examples.c.sample_id == samples.c.id).join(
            OF_CLASS, OF_CLASS.c.id == examples.c.class_id
        )
        statement: sa.Select[Any] = (
            sa.select(*SAMPLE_COLUMNS, OF_CLASS.c.name.label("of_class"), examples.c.note)
            .select_from(joined)
            .where(examples.c.project_id == project_id, OF_CLASS.c.retired_at.is_(None))
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

    def count(self, project_id: int) -> int:
        """How many a project has."""
        statement = sa.select(sa.func.count()).select_from(examples).where(examples.c.project_id == project_id)
        return self._connection.execute(statement).scalar_one()

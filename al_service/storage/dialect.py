"""The few statements that SQLite and PostgreSQL write differently, and lists that are too long for one statement."""

from collections.abc import Iterator, Sequence
from typing import TypeVar

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

#: Rows or ids in one statement: far below SQLite's 32,766 and PostgreSQL's 65,535 parameters even with a dozen columns.
CHUNK = 1000

T = TypeVar("T")


def is_postgres(connection: sa.Connection) -> bool:
    """True on PostgreSQL, False on SQLite."""
    return connection.dialect.name == "postgresql"


def insert_into(connection: sa.Connection, table: sa.Table) -> "postgresql.Insert | sqlite.Insert":
    """INSERT that knows ON CONFLICT, which both databases spell alike.

    Refusals by ON CONFLICT DO NOTHING, unlike errors, leave a PostgreSQL transaction usable.
    """
    return postgresql.insert(table) if is_postgres(connection) else sqlite.insert(table)


def chunks(items: Sequence[T], size: int = CHUNK) -> Iterator[Sequence[T]]:
    """Consecutive slices of at most `size`.

    >>> [list(part) for part in chunks([1, 2, 3], 2)]
    [[1, 2], [3]]
    """
    for start in range(0, len(items), size):
        yield items[start : start + size]


def wait_for(connection: sa.Connection, table: sa.Table, row_id: int) -> None:
    """Lock one row until the transaction ends; SQLite has a single writer anyway.

    FOR NO KEY UPDATE, not FOR UPDATE: rows that merely refer to this one can still be inserted meanwhile.
    """
    if is_postgres(connection):
        connection.execute(sa.select(table.c.id).where(table.c.id == row_id).with_for_update(key_share=True))

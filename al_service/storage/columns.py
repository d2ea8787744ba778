"""Short names for the columns and indexes that `schema` is made of."""

from enum import StrEnum
from typing import Any

import sqlalchemy as sa

from al_service.storage.column_types import ID, KEY_BYTES_MAX, CleanText, UtcTime


def id_column() -> "sa.Column[int]":
    return sa.Column("id", ID, primary_key=True)


def ref(target: str, name: str | None = None, *, nullable: bool = False) -> "sa.Column[int]":
    singular = {"classes": "class"}.get(target, target.removesuffix("s"))
    return sa.Column(name or f"{singular}_id", ID, sa.ForeignKey(f"{target}.id"), nullable=nullable)


def key(name: str, *, nullable: bool = False) -> "sa.Column[str]":
    return sa.Column(name, CleanText(KEY_BYTES_MAX), nullable=nullable)


def text(name: str, *, nullable: bool = False) -> "sa.Column[str]":
    return sa.Column(name, CleanText(), nullable=nullable)


def time(name: str, *, nullable: bool = False) -> "sa.Column[object]":
    return sa.Column(name, UtcTime(), nullable=nullable)


def json(name: str, *, nullable: bool = False) -> "sa.Column[object]":
    # none_as_null: None is SQL's NULL, not the JSON text "null".
    return sa.Column(name, sa.JSON(none_as_null=nullable), nullable=nullable)


def integer(name: str, *, nullable: bool = False) -> "sa.Column[int]":
    return sa.Column(name, sa.BigInteger(), nullable=nullable)


def index(name: str, *columns: str, unique: bool = False, where: str | None = None) -> sa.Index:
    """An index; `where` is SQL that both databases read alike. Queries must repeat it literally."""
    condition = sa.text(where) if where else None
    return sa.Index(name, *columns, unique=unique, sqlite_where=condition, postgresql_where=condition)


def state(name: str, kind: type[StrEnum]) -> sa.Column[Any]:
    """A column that holds a value of `kind`, with a CHECK constraint of that name."""
    values = [member.value for member in kind]
    column_type = sa.Enum(
        kind, name=name, native_enum=False, create_constraint=True, length=20, values_callable=lambda _: values
    )
    return sa.Column(name, column_type, nullable=False)

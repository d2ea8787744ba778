"""Column types that keep the same promises on SQLite and PostgreSQL: UTC times, clean text, exact JSON, checked states.

A value that one of the two databases could not give back unchanged is refused on both.
"""

import json
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Dialect
from sqlalchemy.exc import DontWrapMixin

from al_service.errors import InvalidInputError

#: Primary keys: SQLite counts rows only through a column declared INTEGER.
ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
#: Text that stands in an index: a PostgreSQL index row holds at most 2704 bytes.
KEY_BYTES_MAX = 2000


_encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False).encode


class UnstorableValueError(InvalidInputError, DontWrapMixin):
    """A value that the database could not give back unchanged; says which kind and why."""

    code = "unstorable_value"


class UtcTime(sa.types.TypeDecorator[datetime]):
    """Aware datetimes, stored as UTC and given back as UTC; naive ones are refused."""

    impl = sa.DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """UTC, without the zone where the database has no type for it."""
        if value is None:
            return None
        if value.tzinfo is None or value.utcoffset() is None:
            raise UnstorableValueError(f"{value!r} has no time zone; pass an aware datetime, e.g. datetime.now(UTC)")
        utc = value.astimezone(UTC)
        return utc.replace(tzinfo=None) if dialect.name == "sqlite" else utc

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Aware UTC."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class CleanText(sa.types.TypeDecorator[str]):
    """Text without NUL and without lone surrogates, which PostgreSQL cannot hold.

    Args:
        bytes_max: longest UTF-8 form, for text that stands in an index; None: no limit.
    """

    impl = sa.Text
    cache_ok = True

    def __init__(self, bytes_max: int | None = None) -> None:
        super().__init__()
        self.bytes_max = bytes_max

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        """The text itself, checked."""
        if value is None:
            return None
        size = len(_checked_utf8(value))
        if self.bytes_max is not None and size > self.bytes_max:
            raise UnstorableValueError(
                f"text of {size} bytes starting with {value[:40]!r}; at most {self.bytes_max} are allowed"
            )
        return value


def json_text(value: Any) -> str:
    """JSON that both databases give back unchanged.

    Raises:
        UnstorableValueError: NaN, infinity, NUL, a lone surrogate, or something JSON does not know.
    """
    try:
        text = _encode(value)
    except (TypeError, ValueError) as error:
        raise UnstorableValueError(f"not storable as JSON: {error}") from error
    _checked_utf8(text)
    if "\\u0000" in text and _has_nul(value):
        raise UnstorableValueError("JSON text contains a NUL character, which PostgreSQL cannot read back")
    return text


def _checked_utf8(text: str) -> bytes:
    if "\x00" in text:
        raise UnstorableValueError(f"text contains a NUL character: {text[:80]!r}")
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise UnstorableValueError(
            f"text is not valid Unicode (lone surrogate at {error.start}): {text[:80]!r}"
        ) from error


def _has_nul(value: Any) -> bool:
    if isinstance(value, str):
        return "\x00" in value
    if isinstance(value, dict):
        return any(_has_nul(key) or _has_nul(item) for key, item in value.items())
    return isinstance(value, list | tuple) and any(_has_nul(item) for item in value)

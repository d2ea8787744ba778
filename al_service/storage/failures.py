"""Database errors turned into the service's own, at the one seam where SQLAlchemy meets the driver.

Unique and foreign keys become ConflictError; locks, timeouts, full disks and lost servers become UnavailableError;
values that do not fit become InvalidInputError. Anything else (a CHECK, a missing column, a trigger that refuses) is a
bug and stays.
"""

import sqlite3
from typing import Any, NoReturn

import sqlalchemy as sa
from sqlalchemy.engine import ExceptionContext

from al_service.errors import AlServiceError, ConflictError, InvalidInputError, UnavailableError

#: Primary result codes of SQLite (https://www.sqlite.org/rescode.html) that mean "not now" or "not here".
SQLITE_UNAVAILABLE = {
    5: "is locked by another process for too long",
    6: "is locked by another connection",
    7: "ran out of memory",
    8: "is not writable; check the owner and the rights of the file and its folder",
    10: "could not be read or written (disk error)",
    11: "is damaged; restore it from a backup",
    13: "could not grow: the disk is full",
    14: "could not be opened; check that the folder exists and is writable",
    15: "could not be locked",
    26: "is not an SQLite database",
}
SQLITE_READONLY = 8
#: Options of an engine: what to call its database in messages, and whether it may write.
DATABASE, IS_WRITING = "al_database", "al_is_writing"
SQLITE_UNIQUE = (1555, 2067, 2579)
SQLITE_FOREIGN_KEY = 787

#: Classes and codes of SQLSTATE (PostgreSQL, appendix A) that mean "try again later".
POSTGRES_UNAVAILABLE = ("08", "28", "3D", "53", "55P03", "57", "58", "25P03")
POSTGRES_UNIQUE = "23505"
POSTGRES_FOREIGN_KEY = "23503"
#: A deadlock, or a transaction that cannot be put in order with others.
POSTGRES_COLLIDED = "40"
#: 22: the value does not fit its type; 54: it is too large (e.g. for an index row).
POSTGRES_INVALID = ("22", "54")


class DatabaseConflictError(ConflictError):
    """A unique or foreign key refused a row: somebody was faster, or a row that is referred to does not exist."""

    code = "database_conflict"


class DatabaseUnavailableError(UnavailableError):
    """The database does not answer, is locked for too long, or cannot write."""

    code = "database_unavailable"


class TransactionsCollidedError(DatabaseUnavailableError):
    """Transactions waited for each other, and the database gave this one up; by itself it may go through."""


class RefusedStatement(Exception):  # noqa: N818 (never leaves the storage; what it holds does)
    """PostgreSQL refused one of several statements that were sent together; those after it did not run.

    Attributes:
        at: which one, from 0.
        error: what the server said, as its driver raises it.
    """

    def __init__(self, at: int, error: Any) -> None:
        super().__init__(str(error))
        self.at = at
        self.error = error


def translate_failures(engine: sa.Engine, name: str, *, writing: bool) -> None:
    """Raise own errors from every statement, commit and connect of that engine.

    Args:
        name: what to call the database in messages (never with a password).
        writing: False for engines that only read, where a refused write is a bug of ours.
    """

    engine.update_execution_options(**{DATABASE: name, IS_WRITING: writing})

    @sa.event.listens_for(engine, "handle_error")
    def _translate(context: ExceptionContext) -> AlServiceError | None:
        return own_error(context.original_exception, name, writing=writing)


def raise_own(error: Exception, connection: sa.Connection) -> NoReturn:
    """Raise what that error of the driver means; for statements that do not go through SQLAlchemy."""
    dialect = connection.dialect
    driver: Any = connection.connection.driver_connection
    if isinstance(error, dialect.loaded_dbapi.Error) and dialect.is_disconnect(error, driver, None):
        connection.invalidate(error)
    options = connection.get_execution_options()
    own = own_error(error, options.get(DATABASE, "the database"), writing=options.get(IS_WRITING, True))
    if own is None:
        raise error
    raise own from error


def own_error(error: BaseException, name: str, *, writing: bool = True) -> AlServiceError | None:
    """The own error that stands for a driver's error, or None when it is a bug.

    >>> own_error(OverflowError("too large"), "al.db").code
    'invalid_input'
    """
    if isinstance(error, OverflowError):
        return InvalidInputError(f"a number does not fit into 64 bits: {error}")
    if isinstance(error, sqlite3.Error):
        return _from_sqlite(error, name, writing)
    if hasattr(error, "sqlstate"):
        return _from_postgres(error, name)
    return None


def _from_sqlite(error: sqlite3.Error, name: str, writing: bool) -> AlServiceError | None:
    code = getattr(error, "sqlite_errorcode", None) or 0
    if code in SQLITE_UNIQUE:
        return DatabaseConflictError(f"there already: {str(error).removeprefix('UNIQUE constraint failed: ')}")
    if code == SQLITE_FOREIGN_KEY:
        return DatabaseConflictError("a row that this one refers to does not exist")
    primary = code & 0xFF
    if primary == SQLITE_READONLY and not writing:
        return None
    if primary in SQLITE_UNAVAILABLE:
        return DatabaseUnavailableError(f"{name} {SQLITE_UNAVAILABLE[primary]} ({error})")
    return None


def _from_postgres(error: Any, name: str) -> AlServiceError | None:
    state = error.sqlstate
    if state is None:
        # psycopg's own OperationalError: the server could not be reached or hung up. DataError: e.g. a NUL in text.
        if type(error).__name__ == "DataError":
            return InvalidInputError(str(error))
        return DatabaseUnavailableError(f"{name} does not answer: {error}") if _is_operational(error) else None
    if state == POSTGRES_UNIQUE:
        return DatabaseConflictError(f"there already: {error.diag.table_name}, {error.diag.message_detail}")
    if state == POSTGRES_FOREIGN_KEY:
        return DatabaseConflictError(f"a row that this one refers to does not exist: {error.diag.message_detail}")
    if state.startswith(POSTGRES_COLLIDED):
        return TransactionsCollidedError(f"{name} gave up a transaction that met others: {error}")
    if state.startswith(POSTGRES_UNAVAILABLE):
        return DatabaseUnavailableError(f"{name} does not answer in time or cannot write: {error}")
    return InvalidInputError(f"a value does not fit: {error}") if state.startswith(POSTGRES_INVALID) else None


def _is_operational(error: BaseException) -> bool:
    return any(kind.__name__ in ("OperationalError", "InterfaceError") for kind in type(error).__mro__)

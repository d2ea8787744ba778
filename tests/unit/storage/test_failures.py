"""Which own error a driver's error becomes, and what stays a bug."""

import sqlite3
from pathlib import Path

import psycopg
import pytest

from al_service.errors import ConflictError, InvalidInputError, UnavailableError
from al_service.storage.failures import own_error


def sqlite_error(path: Path, *statements: str) -> sqlite3.Error:
    connection = sqlite3.connect(path, isolation_level=None)
    try:
        connection.execute("PRAGMA foreign_keys = ON")
        for statement in statements:
            connection.execute(statement)
    except sqlite3.Error as error:
        return error
    finally:
        connection.close()
    raise AssertionError("no error")


TABLES = ("CREATE TABLE a (x INTEGER PRIMARY KEY, y TEXT UNIQUE NOT NULL)", "CREATE TABLE b (z REFERENCES a)")


@pytest.mark.parametrize(
    ("statements", "expected", "words"),
    [
        (("INSERT INTO a VALUES (1, 'p')", "INSERT INTO a VALUES (2, 'p')"), ConflictError, "a.y"),
        (("INSERT INTO a VALUES (1, 'p')", "INSERT INTO a VALUES (1, 'q')"), ConflictError, "a.x"),
        (("INSERT INTO b VALUES (7)",), ConflictError, "does not exist"),
        (("INSERT INTO a VALUES (1, NULL)",), None, ""),
        (("SELECT nothing FROM a",), None, ""),
        (("PRAGMA query_only = ON", "INSERT INTO a VALUES (1, 'p')"), UnavailableError, "not writable"),
    ],
)
def test_sqlite(tmp_path: Path, statements: tuple[str, ...], expected: type[Exception] | None, words: str) -> None:
    found = own_error(sqlite_error(tmp_path / "x.db", *TABLES, *statements), "x.db")
    assert type(found) is type(None) if expected is None else isinstance(found, expected)
    assert words in str(found)


def test_a_refused_write_of_a_reader_is_a_bug(tmp_path: Path) -> None:
    error = sqlite_error(tmp_path / "x.db", *TABLES, "PRAGMA query_only = ON", "INSERT INTO a VALUES (1, 'p')")
    assert own_error(error, "x.db", writing=False) is None


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (psycopg.errors.UniqueViolation("x"), ConflictError),
        (psycopg.errors.ForeignKeyViolation("x"), ConflictError),
        (psycopg.errors.DeadlockDetected("x"), UnavailableError),
        (psycopg.errors.LockNotAvailable("x"), UnavailableError),
        (psycopg.errors.QueryCanceled("x"), UnavailableError),
        (psycopg.errors.DiskFull("x"), UnavailableError),
        (psycopg.errors.AdminShutdown("x"), UnavailableError),
        (psycopg.errors.TooManyConnections("x"), UnavailableError),
        (psycopg.errors.InvalidPassword("x"), UnavailableError),
        (psycopg.OperationalError("connection failed"), UnavailableError),
        (psycopg.errors.NumericValueOutOfRange("x"), InvalidInputError),
        (psycopg.errors.ProgramLimitExceeded("x"), InvalidInputError),
        (psycopg.DataError("NUL"), InvalidInputError),
        (psycopg.errors.NotNullViolation("x"), type(None)),
        (psycopg.errors.CheckViolation("x"), type(None)),
        (psycopg.errors.UndefinedColumn("x"), type(None)),
        (psycopg.errors.RaiseException("append-only"), type(None)),
        (psycopg.errors.ReadOnlySqlTransaction("x"), type(None)),
        (psycopg.ProgrammingError("x"), type(None)),
        (OverflowError("x"), InvalidInputError),
        (ValueError("x"), type(None)),
    ],
)
def test_postgres_and_others(error: Exception, expected: type[Exception]) -> None:
    assert isinstance(own_error(error, "database"), expected)

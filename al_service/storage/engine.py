"""How the service talks to its database: one writer and one reader engine for a URL, with every durability knob set.

SQLite: a file in WAL mode, synchronous=FULL, foreign keys on; a write is BEGIN IMMEDIATE, a read is a snapshot on a
connection that cannot write. PostgreSQL: writes are READ COMMITTED with synchronous_commit=on, reads are a REPEATABLE
READ snapshot, and a single look-up is a statement of its own. Nothing is retried here.
"""

import sqlite3
import time
from dataclasses import dataclass
from functools import partial
from typing import Any

import sqlalchemy as sa

from al_service.errors import InvalidInputError
from al_service.storage.column_types import json_text
from al_service.storage.failures import DatabaseUnavailableError, raise_own, translate_failures
from al_service.storage.prepared import WAITING, commit_waiting, forget_waiting, make_way

BUSY_TIMEOUT_S = 30.0
STATEMENT_TIMEOUT_S = 60.0
IDLE_IN_TRANSACTION_TIMEOUT_S = 300.0
CONNECT_TIMEOUT_S = 10
PINGED_AFTER_S = 1.0
SQLITE_CACHE_KIB = 32_768
#: Option of an engine whose connections are used for one statement: it is a transaction by itself.
WITHOUT_TRANSACTION = "al_without_transaction"
#: Connections of a process to PostgreSQL for single look-ups. They take turns, together with whoever else waits.
LOOKERS = 1


@dataclass(frozen=True)
class Engines:
    """The ways into one database: for writing, for reading a snapshot, and for one look-up without a transaction."""

    name: str
    writer: sa.Engine
    reader: sa.Engine
    looker: sa.Engine
    is_sqlite: bool

    def dispose(self) -> None:
        """Close every idle connection."""
        for engine in (self.writer, self.reader, self.looker):
            engine.dispose()


def create_engines(url: str, *, pool_size: int) -> Engines:
    """Engines for `sqlite:///file` or `postgresql://…`; nothing is opened yet.

    Args:
        pool_size: connections that one process may hold at once (SQLite: for each of reading and writing; PostgreSQL:
            and LOOKERS more).

    Raises:
        InvalidInputError: another database, SQLite in memory, or not a URL.
    """
    try:
        parsed = sa.make_url(url)
    except sa.exc.ArgumentError as error:
        raise InvalidInputError("the database URL is not a URL; expected sqlite:///file or postgresql://…") from error
    if parsed.get_backend_name() == "sqlite":
        return _sqlite_engines(parsed, pool_size)
    if parsed.get_backend_name() in ("postgresql", "postgres"):
        return _postgres_engines(parsed.set(drivername="postgresql+psycopg"), pool_size)
    raise InvalidInputError(f"{parsed.get_backend_name()} is not supported; use sqlite:///file or postgresql://…")


def _pooled(url: sa.URL, pool_size: int, **more: Any) -> sa.Engine:
    return sa.create_engine(
        url,
        pool_size=pool_size,
        max_overflow=0,
        pool_timeout=BUSY_TIMEOUT_S,
        # The connection used last has its pages, and its plans, at hand; SQLite's others would read theirs again.
        pool_use_lifo=True,
        json_serializer=json_text,
        **more,
    )


# -- SQLite ----------------------------------------------------------------------------------------------------------


def _sqlite_engines(url: sa.URL, pool_size: int) -> Engines:
    if not url.database or url.database == ":memory:":
        raise InvalidInputError(
            "SQLite in memory is not supported: threads and processes could not share it; name a file"
        )
    options: dict[str, Any] = {"connect_args": {"timeout": BUSY_TIMEOUT_S, "check_same_thread": False}}
    writer, reader = (_pooled(url, pool_size, **options) for _ in range(2))
    _prepare_sqlite(writer, begin="BEGIN IMMEDIATE", query_only=False)
    _prepare_sqlite(reader, begin="BEGIN", query_only=True)
    translate_failures(writer, url.database, writing=True)
    translate_failures(reader, url.database, writing=False)
    return Engines(url.database, writer, reader, reader.execution_options(**{WITHOUT_TRANSACTION: True}), True)


def _prepare_sqlite(engine: sa.Engine, *, begin: str, query_only: bool) -> None:
    @sa.event.listens_for(engine, "connect")
    def _connected(connection: sqlite3.Connection, _record: object) -> None:
        # None: the driver begins nothing by itself; the event below does.
        connection.isolation_level = None
        _switch_to_wal(connection)
        for pragma in (
            "synchronous=FULL",
            "foreign_keys=ON",
            f"cache_size=-{SQLITE_CACHE_KIB}",
            f"query_only={'ON' if query_only else 'OFF'}",
        ):
            connection.execute(f"PRAGMA {pragma}")

    @sa.event.listens_for(engine, "begin")
    def _begun(connection: sa.Connection) -> None:
        if connection.get_execution_options().get(WITHOUT_TRANSACTION):
            return
        try:
            driver: Any = connection.connection.driver_connection
            driver.execute(begin)
        except sqlite3.Error as error:
            raise_own(error, connection)


def _switch_to_wal(connection: sqlite3.Connection) -> None:
    """WAL, kept in the file; SQLite does not wait for its busy timeout while several processes switch a new file."""
    deadline = time.monotonic() + BUSY_TIMEOUT_S
    while True:
        try:
            if connection.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
                connection.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(0.01)


# -- PostgreSQL ------------------------------------------------------------------------------------------------------


def _postgres_engines(url: sa.URL, pool_size: int) -> Engines:
    name = f"PostgreSQL database {url.database or ''} at {url.host or 'the local socket'}"
    options: dict[str, Any] = {
        "connect_args": {
            "connect_timeout": CONNECT_TIMEOUT_S,
            "application_name": "al_service",
            # psycopg would throw away every prepared statement with its own at each ROLLBACK.
            "prepare_threshold": None,
        },
        # `_end_transaction` does it, and only where there is something to roll back.
        "pool_reset_on_return": None,
    }
    writer = _pooled(url, pool_size, isolation_level="READ COMMITTED", **options)
    # Of its own, because switching a connection's isolation back and forth takes longer than a look-up.
    looker = _pooled(url, LOOKERS, isolation_level="AUTOCOMMIT", **options)
    for engine, writing in ((writer, True), (looker, False)):
        sa.event.listen(engine, "connect", partial(_postgres_connected, writing))
        sa.event.listen(engine, "reset", _end_transaction)
        _ping_after_idling(engine)
        translate_failures(engine, name, writing=writing)
    for moment, work in (("commit", commit_waiting), ("rollback", forget_waiting)):
        sa.event.listen(writer, moment, work)
    sa.event.listen(writer, "before_cursor_execute", _before_own_statement)
    reader = writer.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
    return Engines(name, writer, reader, looker, False)


def _before_own_statement(connection: sa.Connection, cursor: Any, *_: Any) -> None:
    # A prepared statement, which is told of without a cursor, sends what waits together with itself.
    if cursor is not None:
        make_way(connection)


def _end_transaction(connection: Any, record: Any, state: Any) -> None:
    """Nobody is given a connection in the middle of a transaction, e.g. of one whose commit was refused, or with what
    somebody else wanted to send.
    """
    record.info.pop(WAITING, None)
    if not state.terminate_only and connection.info.transaction_status.name != "IDLE":
        connection.rollback()


def _postgres_connected(writing: bool, connection: Any, _record: object) -> None:
    # SET instead of the `options` of the connection string, which connection poolers refuse.
    settings = {
        "timezone": "UTC",
        "synchronous_commit": "on",
        "statement_timeout": f"{STATEMENT_TIMEOUT_S:.0f}s",
        "lock_timeout": f"{BUSY_TIMEOUT_S:.0f}s",
        # The queue's statements look at a few rows of large tables: compiling them takes longer than running them.
        "jit": "off",
        "default_transaction_read_only": "off" if writing else "on",
        "idle_in_transaction_session_timeout": f"{IDLE_IN_TRANSACTION_TIMEOUT_S:.0f}s",
    }
    with connection.cursor() as cursor:
        for key, value in settings.items():
            cursor.execute(f"SET SESSION {key} = '{value}'")
    connection.commit()


def _ping_after_idling(engine: sa.Engine) -> None:
    """Replace a connection that broke while nobody used it, before somebody is given it.

    SQLAlchemy's own pre-ping asks at every checkout, which is a round trip of each request.
    """

    @sa.event.listens_for(engine, "checkin")
    def _given_back(_connection: Any, record: Any) -> None:
        record.info["idle_since"] = time.monotonic()

    @sa.event.listens_for(engine, "checkout")
    def _taken(connection: Any, record: Any, _fairy: Any) -> None:
        if time.monotonic() - record.info.get("idle_since", time.monotonic()) < PINGED_AFTER_S:
            return
        try:
            engine.dialect.do_ping(connection)
        except engine.dialect.loaded_dbapi.Error as error:
            raise sa.exc.DisconnectionError from error


def checkout(engine: sa.Engine, name: str) -> sa.Connection:
    """A connection from the pool, or DatabaseUnavailableError when all stay busy."""
    try:
        return engine.connect()
    except sa.exc.TimeoutError as error:
        raise DatabaseUnavailableError(
            f"{name}: every connection of this process stayed busy for {BUSY_TIMEOUT_S:.0f} s"
        ) from error

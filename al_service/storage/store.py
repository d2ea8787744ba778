"""The store: one SQL database, SQLite or PostgreSQL, seen through short transactions. As in `loop.ports.Store`."""

import os
import threading
from collections.abc import Callable, Hashable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Generic, TypeVar

import sqlalchemy as sa

from al_service.storage.accounts import SqlAccountRows
from al_service.storage.annotations import SqlAnnotationRows
from al_service.storage.class_changes import SqlClassRows
from al_service.storage.engine import BUSY_TIMEOUT_S, Engines, checkout, create_engines
from al_service.storage.examples import SqlExampleRows
from al_service.storage.failures import DatabaseConflictError, DatabaseUnavailableError
from al_service.storage.group_commit import GroupCommit
from al_service.storage.invitations import SqlInvitationRows
from al_service.storage.jobs import SqlJobRows
from al_service.storage.lanes import SqlLaneRows
from al_service.storage.migrate import upgrade_schema, word_about_schema
from al_service.storage.models import SqlModelRows
from al_service.storage.own_settings import SqlOwnSettingRows
from al_service.storage.people import SqlPeopleRows
from al_service.storage.projects import SqlProjectRows
from al_service.storage.queue import SqlQueueRows
from al_service.storage.review_list import SqlReviewListRows
from al_service.storage.rounds import SqlRoundRows
from al_service.storage.samples import SqlSampleRows
from al_service.storage.skills import SqlSkillRows

R = TypeVar("R")
T = TypeVar("T")


class _Rows(Generic[R]):
    """An attribute of a transaction: one kind of rows, made when it is first asked for."""

    def __init__(self, kind: Callable[[sa.Connection], R]) -> None:
        self._kind = kind

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, tx: "SqlTransaction", owner: type) -> R:
        rows = tx.__dict__[self._name] = self._kind(tx.connection)
        return rows


class SqlTransaction:
    """As in `loop.ports.Transaction`: all rows, seen through one connection."""

    projects = _Rows(SqlProjectRows)
    classes = _Rows(SqlClassRows)
    samples = _Rows(SqlSampleRows)
    annotations = _Rows(SqlAnnotationRows)
    queue = _Rows(SqlQueueRows)
    lanes = _Rows(SqlLaneRows)
    people = _Rows(SqlPeopleRows)
    examples = _Rows(SqlExampleRows)
    skills = _Rows(SqlSkillRows)
    review_list = _Rows(SqlReviewListRows)
    rounds = _Rows(SqlRoundRows)
    models = _Rows(SqlModelRows)
    jobs = _Rows(SqlJobRows)
    accounts = _Rows(SqlAccountRows)
    invitations = _Rows(SqlInvitationRows)
    own_settings = _Rows(SqlOwnSettingRows)

    def __init__(self, connection: sa.Connection) -> None:
        self.connection = connection


class SqlStore:
    """As in `loop.ports.Store`. Safe for threads; a forked child gets connections of its own.

    Args:
        url: `sqlite:///file` or `postgresql://…`; nothing is opened before the first use.
        pool_size: as in `create_engines`.
    """

    def __init__(self, url: str, *, pool_size: int = 20) -> None:
        self._url = url
        self._pool_size = pool_size
        self._process_id = os.getpid()
        self._inherited: list[Engines] = []
        self._engines = create_engines(url, pool_size=pool_size)
        self._begin_turns()

    def _begin_turns(self) -> None:
        self._turn = _WriterTurn()
        self._group = GroupCommit(self.write)
        self._looks = GroupCommit(lambda: _looking(self._engines))

    def read(self) -> AbstractContextManager[SqlTransaction]:
        """A snapshot for reading; the database refuses writes through it.

        Raises:
            UnavailableError: the database does not answer.
        """
        engines = self._own_engines()
        return _reading(engines.reader, engines.name)

    def look(self, ask: Callable[[SqlTransaction], Callable[[], T]]) -> T:
        """What one short look-up gives, which may share its message with those of other threads.

        Args:
            ask: asks, and gives the way to fetch the answer; it may be asked again. It asks once: what a second
                look-up saw could be newer.

        Raises:
            UnavailableError: the database does not answer.
        """
        engines = self._own_engines()
        if not engines.is_sqlite:
            return self._looks.run(ask, about=object())
        with _looking(engines) as tx:
            return ask(tx)()

    @contextmanager
    def write(self) -> Iterator[SqlTransaction]:
        """A short write transaction: committed and on disk when the block ends without an exception.

        Raises:
            UnavailableError: the database does not answer or stays locked.
            ConflictError: PostgreSQL gave the transaction up because of an error that the block swallowed.
        """
        with self._writing() as connection:
            yield SqlTransaction(connection)

    def write_together(self, begin: Callable[[SqlTransaction], Callable[[], T]], *, about: Hashable) -> T:
        """Do short work in a write transaction that it may share with that of other threads; what it gives, once it is
        committed and on disk.

        Args:
            begin: asks what has to be known first and gives the rest of the work. Both do nothing but read and write
                through the transaction; they may be taken back and done again. Others' work may come in between.
            about: work about the same thing never shares a transaction.

        Raises:
            What the work raises, and what `write` raises.
        """
        self._own_engines()
        return self._group.run(begin, about=about)

    @contextmanager
    def _writing(self) -> Iterator[sa.Connection]:
        engines = self._own_engines()
        if not engines.is_sqlite:
            with checkout(engines.writer, engines.name) as connection, connection.begin():
                yield connection
                _check_alive(connection)
            return
        with self._turn.taken(engines.name), checkout(engines.writer, engines.name) as connection, connection.begin():
            yield connection

    def migrate(self) -> None:
        """Bring the schema to what this code expects; safe when several processes start at once.

        Raises:
            SchemaTooNewError: a newer version of the service has migrated this database.
            UnavailableError: the database does not answer.
        """
        with self._writing() as connection:
            upgrade_schema(connection)

    def check(self) -> str:
        """A word about the database: dialect, version, schema revision.

        Raises:
            SchemaTooNewError: as in `migrate`.
            UnavailableError: the database does not answer, or was not migrated yet.
        """
        engines = self._own_engines()
        with checkout(engines.reader, engines.name) as connection, connection.begin():
            version = ".".join(str(part) for part in connection.dialect.server_version_info or ())
            return f"{connection.dialect.name} {version}, {word_about_schema(connection)}"

    def close(self) -> None:
        """Close idle connections; the store can still be used and opens new ones."""
        self._own_engines().dispose()

    def _own_engines(self) -> Engines:
        """The engines of this process: neither SQLite's file locks nor a PostgreSQL session survive a fork."""
        if self._process_id != os.getpid():
            # Kept, not closed: closing here would speak on the parent's connections.
            self._inherited.append(self._engines)
            self._engines = create_engines(self._url, pool_size=self._pool_size)
            self._begin_turns()
            self._process_id = os.getpid()
        return self._engines


@contextmanager
def _reading(engine: sa.Engine, name: str) -> Iterator[SqlTransaction]:
    with checkout(engine, name) as connection, connection.begin():
        yield SqlTransaction(connection)


@contextmanager
def _looking(engines: Engines) -> Iterator[SqlTransaction]:
    """Nothing begins and nothing ends a transaction around one look-up: two answers less to wait for."""
    with checkout(engines.looker, engines.name) as connection:
        yield SqlTransaction(connection)


class _WriterTurn:
    """Lets the threads of a process write to SQLite in turn: a lock wakes the next at once, SQLite's would poll."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._holder: int | None = None

    @contextmanager
    def taken(self, name: str) -> Iterator[None]:
        if self._holder == threading.get_ident():
            raise RuntimeError("Store.write() inside Store.write() of the same thread would wait for itself")
        if not self._lock.acquire(timeout=BUSY_TIMEOUT_S):
            raise DatabaseUnavailableError(
                f"{name} is being written by another thread for more than {BUSY_TIMEOUT_S:.0f} s"
            )
        self._holder = threading.get_ident()
        try:
            yield
        finally:
            self._holder = None
            self._lock.release()


def _check_alive(connection: sa.Connection) -> None:
    """Refuse to "commit" a transaction that PostgreSQL has given up: its COMMIT would silently roll back."""
    driver = connection.connection.driver_connection
    if driver is not None and driver.info.transaction_status.name == "INERROR":
        raise DatabaseConflictError("an earlier statement of this transaction failed; nothing of it was stored")

"""Statements of the hot path, made once for each kind of database and then given straight to its driver.

SQLAlchemy writes them, and its types convert what goes in and what comes out, exactly as in `connection.execute`. What
is left out is its work on every single run: finding the compiled statement, a context, a result with a cursor of its
own. For the short look-ups of the queue that work takes several times as long as the database does.

On PostgreSQL each answer waited for costs as much again. What needs no answer waits for the next statement and goes in
one message with it (`change_later`, `rows_later`), or with the commit; `send_waiting` does so before SQLAlchemy's own
statements.
"""

from collections import namedtuple
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Union

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg
from sqlalchemy.engine import Dialect

from al_service.storage.failures import RefusedStatement, raise_own

if TYPE_CHECKING:
    from al_service.storage.exchange import Exchange, Message, Result

#: In `connection.info`, which lives as long as the connection to the server: what waits for the next statement, and on
#: PostgreSQL the way to send it.
WAITING, EXCHANGE = "al_waiting", "al_exchange"

#: SQLSTATE of a division by zero: what `text_with_check` says where no row was changed.
NO_ROW = "22012"

Converter = Callable[[Any], Any]


class Prepared:
    """A statement with a fixed text; its parameters are named by `sa.bindparam`.

    Args:
        statement: a SELECT, or an INSERT, UPDATE or DELETE with or without RETURNING. What it returns must have
            different names.
        columns: of an INSERT without values: the columns that it fills, which are then its parameters.

    Example:
        >>> from al_service.storage.schema import users
        >>> by_id = Prepared(sa.select(users.c.name).where(users.c.id == sa.bindparam("wanted")))
        >>> with sa.create_engine("sqlite://").connect() as connection:
        ...     _ = connection.exec_driver_sql("CREATE TABLE users (id INTEGER, name TEXT)")
        ...     _ = connection.exec_driver_sql("INSERT INTO users VALUES (7, 'mia')")
        ...     by_id.rows(connection, {"wanted": 7})[0].name
        'mia'
    """

    def __init__(self, statement: "sa.Select[Any] | sa.UpdateBase", *, columns: Sequence[str] | None = None) -> None:
        self.statement = statement
        self._columns = columns
        self._compiled: dict[str, _Compiled] = {}

    def rows(self, connection: sa.Connection, values: Mapping[str, Any]) -> list[Any]:
        """All rows, as named tuples.

        Raises:
            AlServiceError: what `storage.failures` makes of the driver's errors.
        """
        compiled = self._for(connection)
        return _rows(connection, compiled, self._run(connection, compiled, values))

    def row(self, connection: sa.Connection, values: Mapping[str, Any]) -> Any | None:
        """The first row, or None."""
        return next(iter(self.rows(connection, values)), None)

    def change_later(
        self, connection: sa.Connection, values: Mapping[str, Any], *, missing: Callable[[], Exception] | None = None
    ) -> None:
        """Change rows before the next statement of this transaction, or with its commit.

        Args:
            missing: what to raise then if no row was there to be changed. It must not ask the database: PostgreSQL has
                given the transaction up by then.
        """

        # On SQLite, where it is done at once; what PostgreSQL is sent checks itself.
        def check(result: "_Result") -> None:
            if missing is not None and result.changed == 0:
                raise missing()

        self._later(connection, values, check, missing)

    def rows_later(self, connection: sa.Connection, values: Mapping[str, Any]) -> Callable[[], list[Any]]:
        """As `rows`, sent together with the next statement, or when the rows are asked for."""
        compiled = self._for(connection)
        if not compiled.is_postgres:
            now = self.rows(connection, values)
            return lambda: now
        found: list[_Result] = []
        self._later(connection, values, found.append, None)

        def rows() -> list[Any]:
            if not found:
                send_waiting(connection)
            # Not before: a row that cannot be read must not make a commit that is done look like one that failed.
            return _rows(connection, compiled, found[0])

        return rows

    def _later(
        self,
        connection: sa.Connection,
        values: Mapping[str, Any],
        then: Callable[["_Result"], None],
        missing: Callable[[], Exception] | None,
    ) -> None:
        compiled = self._for(connection)
        if not compiled.is_postgres:
            then(self._run(connection, compiled, values))
            return
        text = compiled.text if missing is None else compiled.text_with_check
        message = _message(connection, text, self._hear(connection, compiled, values))
        connection.info.setdefault(WAITING, []).append(_Waiting(message, then, missing))

    def _for(self, connection: sa.Connection) -> "_Compiled":
        dialect = connection.dialect
        compiled = self._compiled.get(dialect.name)
        if compiled is None:
            compiled = self._compiled[dialect.name] = _Compiled(self.statement, self._columns, dialect)
        return compiled

    def _run(self, connection: sa.Connection, compiled: "_Compiled", values: Mapping[str, Any]) -> "_Result":
        given = self._hear(connection, compiled, values)
        if compiled.is_postgres:
            return _send(connection, _message(connection, compiled.text, given))
        driver: Any = connection.connection.driver_connection
        try:
            return _SqliteResult(driver.execute(compiled.text, given))
        except (connection.dialect.loaded_dbapi.Error, OverflowError) as error:
            raise_own(error, connection)

    @staticmethod
    def _hear(connection: sa.Connection, compiled: "_Compiled", values: Mapping[str, Any]) -> list[Any]:
        given = compiled.parameters(values)
        # Whoever counts statements or writes them down hears of these as well.
        for listener in connection.dispatch.before_cursor_execute:
            listener(connection, None, compiled.text, given, None, False)
        return given


def send_waiting(connection: sa.Connection) -> None:
    """Run what waits for the next statement; raises what is missing."""
    if connection.info.get(WAITING):
        _send(connection)


def make_way(connection: sa.Connection) -> None:
    """Before a statement of SQLAlchemy's own, which is planned for its values: as `send_waiting`."""
    exchange = _known_exchange(connection)
    if exchange is not None and exchange.plans_once:
        _send(connection, exchange.plan_as_it_likes)
    else:
        send_waiting(connection)


def commit_waiting(connection: sa.Connection) -> None:
    """As `send_waiting`, and commit in the same message, so that nobody waits for both one after the other. What
    prepared statements have begun is committed in their way, which takes less time than the driver's.
    """
    exchange = _known_exchange(connection)
    if connection.info.get(WAITING) or (exchange is not None and exchange.has_begun):
        _send(connection, _message(connection, "COMMIT", ()))


def _known_exchange(connection: sa.Connection) -> "Exchange | None":
    found: Exchange | None = connection.info.get(EXCHANGE)
    return found


def forget_waiting(connection: sa.Connection) -> None:
    """The transaction is given up, and with it what still waits; a lost connection took that along."""
    if not connection.invalidated:
        connection.info.pop(WAITING, None)


@dataclass(frozen=True)
class _Waiting:
    """A statement that needs no answer before the next one, and what to do with its result then."""

    message: "Message"
    then: Callable[["_Result"], None]
    missing: Callable[[], Exception] | None


@dataclass(frozen=True)
class _SqliteResult:
    """As `exchange.Result`."""

    cursor: Any

    @property
    def changed(self) -> int:
        return int(self.cursor.rowcount)

    def column_types(self) -> list[None]:
        return [column[1] for column in self.cursor.description]

    def rows(self, make: Callable[[Sequence[Any]], Any]) -> list[Any]:
        return list(map(make, self.cursor.fetchall()))


_Result = Union[_SqliteResult, "Result"]


def _exchange(connection: sa.Connection) -> "Exchange":
    if EXCHANGE not in connection.info:
        # Here, so that who uses SQLite does not wait for PostgreSQL's driver to be loaded.
        from al_service.storage.exchange import Exchange

        driver: Any = connection.connection.driver_connection
        connection.info[EXCHANGE] = Exchange(driver)
    found: Exchange = connection.info[EXCHANGE]
    return found


def _message(connection: sa.Connection, text: str, given: Sequence[Any]) -> "Message":
    try:
        return _exchange(connection).message(text, given)
    except (connection.dialect.loaded_dbapi.Error, OverflowError) as error:
        raise_own(error, connection)


def _rows(connection: sa.Connection, compiled: "_Compiled", result: "_Result") -> list[Any]:
    try:
        return compiled.rows(result)
    except connection.dialect.loaded_dbapi.Error as error:
        raise_own(error, connection)


def _send(connection: sa.Connection, *last: "Message") -> "Result":
    """What waits and then the last one, all in one message; the last one's result."""
    waiting: list[_Waiting] = connection.info.pop(WAITING, [])
    try:
        results = _exchange(connection).run([*(one.message for one in waiting), *last])
    except connection.dialect.loaded_dbapi.Error as error:
        raise_own(error, connection)
    except RefusedStatement as refused:
        missing = waiting[refused.at].missing if refused.at < len(waiting) else None
        if missing is not None and refused.error.sqlstate == NO_ROW:
            raise missing() from refused.error
        raise_own(refused.error, connection)
    except BaseException as stopped:
        # Whoever was stopped while waiting left the connection closed; a ROLLBACK on it would hide why.
        connection.invalidate(stopped)
        raise
    for one, result in zip(waiting, results, strict=False):
        one.then(result)
    return results[-1]


class _Compiled:
    """A statement for one driver: its text, and what converts values on their way in and out."""

    def __init__(
        self, statement: "sa.Select[Any] | sa.UpdateBase", columns: Sequence[str] | None, dialect: Dialect
    ) -> None:
        self.is_postgres = is_postgres = dialect.name == "postgresql"
        # Numbered parameters: psycopg would take a text with named ones apart again at every run.
        writer: Dialect = PGDialect_psycopg(paramstyle="numeric_dollar") if is_postgres else dialect  # type: ignore[no-untyped-call]
        options = {"render_postcompile": True}
        compiled: Any = statement.compile(dialect=writer, column_keys=columns, compile_kwargs=options)
        self.text: str = compiled.string
        # Fails in the server, so that what comes after it in the same message, a COMMIT, is not done.
        self.text_with_check = f"WITH changed AS ({self.text} RETURNING 1) SELECT 1 / count(*) FROM changed"  # noqa: S608 (our own statements)
        self._into = [_parameter(name, compiled, dialect) for name in compiled.positiontup or ()]
        self._returned = statement.exported_columns
        self._dialect = dialect
        self._make: Callable[[Sequence[Any]], Any] | None = None

    def parameters(self, values: Mapping[str, Any]) -> list[Any]:
        """The values in the order of the text."""
        return [
            fixed if name is None else values[name] if convert is None else convert(values[name])
            for name, fixed, convert in self._into
        ]

    def rows(self, result: _Result) -> list[Any]:
        """What the driver found, as named tuples."""
        if self._make is None:
            self._make = self._row_maker(result.column_types())
        return result.rows(self._make)

    def _row_maker(self, driver_types: Sequence[Any]) -> Callable[[Sequence[Any]], Any]:
        names: Any = self._returned.keys()
        kind: Any = namedtuple("Row", names)  # type: ignore[misc]
        converters = [
            (at, column.type.dialect_impl(self._dialect).result_processor(self._dialect, driver_type))
            for at, (column, driver_type) in enumerate(zip(self._returned, driver_types, strict=True))
        ]
        out = [(at, convert) for at, convert in converters if convert is not None]

        def row(values: Sequence[Any]) -> Any:
            if out:
                values = list(values)
                for at, convert in out:
                    values[at] = convert(values[at])
            return kind._make(values)

        return row


def _parameter(name: str, compiled: Any, dialect: Dialect) -> tuple[str | None, Any, Converter | None]:
    """Name, value and converter of one parameter; one whose value stands in the statement is converted here, once."""
    bind = compiled.binds[name]
    convert = bind.type.dialect_impl(dialect).bind_processor(dialect)
    if bind.required:
        return name, None, convert
    value = compiled.params[name]
    return None, value if convert is None else convert(value), None

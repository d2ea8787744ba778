"""Several statements in one message to PostgreSQL: what comes back, what is refused, and what a lost server leaves."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from functools import partial
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa

from al_service.domain.project_config import ProjectConfig
from al_service.errors import UnavailableError
from al_service.storage.column_types import ID
from al_service.storage.exchange import Exchange
from al_service.storage.failures import RefusedStatement
from al_service.storage.prepared import WAITING, Prepared
from al_service.storage.schema import users
from al_service.storage.store import SqlStore, SqlTransaction

pytestmark = pytest.mark.parametrize("database_kind", ["postgresql"])
NUMBER = "SELECT $1::bigint AS number"
ADD, COUNT = "INSERT INTO notes VALUES ($1, $2)", "SELECT count(*) FROM notes"


@pytest.fixture
def conninfo(store_url: str) -> str:
    """As psycopg wants it."""
    return sa.make_url(store_url).set(drivername="postgresql").render_as_string(hide_password=False)


@pytest.fixture
def driver(conninfo: str) -> Iterator["psycopg.Connection[Any]"]:
    """A connection with an empty table."""
    with psycopg.connect(conninfo, prepare_threshold=None) as connection:
        connection.execute("CREATE TABLE notes (id BIGINT PRIMARY KEY, text TEXT)")
        connection.commit()
        yield connection


@pytest.fixture
def exchange(driver: "psycopg.Connection[Any]") -> Exchange:
    """What is tested."""
    return Exchange(driver)


def run(exchange: Exchange, *statements: tuple[str, list[Any]]) -> list[list[Any]]:
    results = exchange.run([exchange.message(text, values) for text, values in statements])
    return [result.rows(tuple) if result.column_types() else [result.changed] for result in results]


def test_each_statement_sees_what_came_before_it_and_gives_its_own_rows(exchange: Exchange) -> None:
    sent = [(COUNT, []), (ADD, [1, "a"]), (ADD, [2, None]), (COUNT, []), ("SELECT * FROM notes ORDER BY id", [])]
    assert run(exchange, *sent) == [[(0,)], [1], [1], [(2,)], [(1, "a"), (2, None)]]
    assert run(exchange, ("DELETE FROM notes", [])) == [[2]]


def test_they_share_the_transaction_of_the_connection(driver: "psycopg.Connection[Any]", exchange: Exchange) -> None:
    driver.execute("INSERT INTO notes VALUES (1, 'a')")
    assert run(exchange, (ADD, [2, "b"]), (COUNT, [])) == [[1], [(2,)]]
    driver.rollback()
    assert run(exchange, (COUNT, [])) == [[(0,)]]
    assert driver.info.transaction_status.name == "INTRANS"
    run(exchange, (ADD, [3, "c"]), ("COMMIT", []))
    assert driver.info.transaction_status.name == "IDLE"
    driver.rollback()
    assert run(exchange, (COUNT, [])) == [[(1,)]]


def test_a_refused_one_is_named_and_nothing_after_it_happens(
    driver: "psycopg.Connection[Any]", exchange: Exchange
) -> None:
    run(exchange, (ADD, [1, "a"]), ("COMMIT", []))
    with pytest.raises(RefusedStatement) as raised:
        run(exchange, (ADD, [2, "b"]), (ADD, [1, "again"]), (NUMBER, [1]), ("COMMIT", []))
    assert raised.value.at == 1
    assert isinstance(raised.value.error, psycopg.errors.UniqueViolation)
    assert "notes_pkey" in str(raised.value)
    driver.rollback()
    # What was prepared along with it, before and after, is as good as before.
    assert run(exchange, (COUNT, []), (ADD, [2, "b"]), (NUMBER, [7])) == [[(1,)], [1], [(7,)]]


def test_a_statement_that_cannot_be_prepared_leaves_the_others_usable(
    driver: "psycopg.Connection[Any]", exchange: Exchange
) -> None:
    with pytest.raises(psycopg.errors.UndefinedTable):
        run(exchange, (NUMBER, [1]), ("SELECT * FROM nowhere", []), (COUNT, []))
    driver.rollback()
    assert run(exchange, (NUMBER, [1]), (COUNT, [])) == [[(1,)], [(0,)]]


def test_a_value_without_a_text_is_refused_before_anything_is_sent(exchange: Exchange) -> None:
    with pytest.raises(psycopg.DataError):
        exchange.message(ADD, [1, "\0"])
    assert run(exchange, (ADD, [1, "a"])) == [[1]]


def test_more_than_fits_into_both_buffers_at_once(exchange: Exchange) -> None:
    long = "x" * 200_000
    sent = [("SELECT $1::text || $1::text", [long])] * 60
    found = run(exchange, *sent)
    assert {len(text) for ((text,),) in found} == {400_000}
    assert len(found) == 60


def test_a_server_that_hangs_up_is_an_error_at_once(
    conninfo: str, driver: "psycopg.Connection[Any]", exchange: Exchange
) -> None:
    run(exchange, (ADD, [1, "a"]))
    with psycopg.connect(conninfo, autocommit=True) as other:
        other.execute("SELECT pg_terminate_backend(%s)", [driver.info.backend_pid])
    for _ in range(2):
        with pytest.raises(psycopg.OperationalError):
            run(exchange, (COUNT, []))
    assert driver.closed


@contextmanager
def stopping() -> Iterator[None]:
    """Ctrl-C, a moment after the block has begun to wait."""

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, 0.2)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def test_whoever_stops_waiting_leaves_no_answer_for_the_next_one(
    driver: "psycopg.Connection[Any]", exchange: Exchange
) -> None:
    with pytest.raises(KeyboardInterrupt), stopping():
        run(exchange, ("SELECT pg_sleep($1)", [30]))
    assert driver.closed


def test_a_stopped_wait_says_why_through_the_store_as_well(store_url: str) -> None:
    store = SqlStore(store_url)
    wait = Prepared(sa.select(sa.func.pg_sleep(30)))
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt), stopping(), store._writing() as connection:
            wait.rows(connection, {})
        with store.read() as tx:
            assert tx.accounts.users() == []
    store.close()


def test_what_is_not_valid_any_more_fails_once(store_url: str) -> None:
    store = SqlStore(store_url)
    by_id = Prepared(sa.select(users.c.id, users.c.name).where(users.c.id == sa.bindparam("wanted", type_=ID)))
    for change in ("ALTER TABLE users ALTER name TYPE varchar(300)", "DEALLOCATE ALL"):
        with store._writing() as connection:
            assert by_id.rows(connection, {"wanted": 1}) == []
        with store._writing() as connection:
            connection.exec_driver_sql(change)
        with pytest.raises(UnavailableError, match="not valid any more"), store._writing() as connection:
            by_id.rows(connection, {"wanted": 1})
        with store._writing() as connection:
            assert by_id.rows(connection, {"wanted": 1}) == []
    store.close()


def test_what_nobody_asked_for_is_not_sent_by_the_next_one(store: SqlStore) -> None:
    rename = Prepared(sa.update(users).values(name="nobody"))
    infos: list[Any] = []

    def only_renames(tx: SqlTransaction) -> Callable[[], None]:
        rename.change_later(tx.connection, {})
        infos.append(tx.connection.info)
        assert tx.connection.info[WAITING]
        return lambda: None

    def signed_in(tx: SqlTransaction) -> Callable[[], object]:
        infos.append(tx.connection.info)
        assert not tx.connection.info.get(WAITING)
        return tx.accounts.find_signed_in(1)

    store.look(only_renames)
    assert store.look(signed_in) is None
    assert infos[0] is infos[1]


def test_a_look_up_cannot_write(store: SqlStore) -> None:
    rename = Prepared(sa.update(users).values(name="x"))
    with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
        store.look(lambda tx: rename.rows_later(tx.connection, {}))


def test_two_groups_that_hold_what_the_other_waits_for_both_go_through(store: SqlStore) -> None:
    """As two web processes whose people work in the same two projects, which came in another order in each."""
    for name in ("a", "b"):
        with store.write() as tx:
            tx.projects.add(name, ["cat"], ProjectConfig(), datetime.now(UTC))
    other = SqlStore(store._url)
    has_locked = {name: threading.Event() for name in ("a", "b")}
    begun: list[str] = []

    def work(name: str, after: str | None = None) -> Callable[[SqlTransaction], Callable[[], str]]:
        def begin(tx: SqlTransaction) -> Callable[[], str]:
            begun.append(name)
            if after is not None:
                has_locked[after].wait(10)
            assert tx.projects.find_locked(name) is not None
            has_locked[name].set()
            return lambda: name

        return begin

    told: list[str] = []
    threads: list[threading.Thread] = []
    with ExitStack() as stack:
        for one, order in ((store, "ab"), (other, "ba")):
            may_go_on = stack.enter_context(led(one))
            for at, name in enumerate(order):
                # The second of each group waits until the other group holds what it wants.
                piece = partial(one.write_together, work(name, after=name if at else None), about=name)
                waiting = len(one._group._waiting)
                threads.append(threading.Thread(target=lambda piece=piece: told.append(piece())))
                threads[-1].start()
                while len(one._group._waiting) == waiting:
                    threading.Event().wait(0.001)
            stack.callback(may_go_on.set)
    for thread in threads:
        thread.join(60)
    assert sorted(told) == ["a", "a", "b", "b"]
    assert len(begun) > 4
    other.close()


@contextmanager
def led(store: SqlStore) -> Iterator[threading.Event]:
    """Whoever comes meanwhile waits for the event, and is then one group."""
    is_at_work, may_go_on = threading.Event(), threading.Event()

    def begin(_tx: SqlTransaction) -> Callable[[], None]:
        is_at_work.set()
        may_go_on.wait(30)
        return lambda: None

    thread = threading.Thread(target=lambda: store.write_together(begin, about="the first"))
    thread.start()
    assert is_at_work.wait(30)
    yield may_go_on
    thread.join(30)

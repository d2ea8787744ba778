"""Statements sent to PostgreSQL in one message and answered in one, through libpq's pipeline mode.

psycopg has pipelines too, but its cursors take every statement through several layers and wait for the connection once
for each; for the queue's short look-ups that is most of the time of this process. Here a message is written, sent and
waited for once. psycopg converts the values both ways, and its connection can be used for anything else before and
after.
"""

import hashlib
import select
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from psycopg import Connection, Error, OperationalError, errors
from psycopg.adapt import PyFormat, Transformer
from psycopg.pq import ConnStatus, ExecStatus, TransactionStatus
from psycopg.pq.abc import PGresult

from al_service.storage.failures import RefusedStatement

DONE = (ExecStatus.TUPLES_OK, ExecStatus.COMMAND_OK)
#: A plan for whatever values may come is made once. Left to itself PostgreSQL may find, after looking at the tables
#: anew, that plans for the very values are a little better, and then makes one at every run, which takes longer than
#: the run.
PLAN_ONCE = "SET LOCAL plan_cache_mode = force_generic_plan"
PLAN_AS_IT_LIKES = "SET LOCAL plan_cache_mode = auto"
#: SQLSTATE of a prepared statement whose columns have changed, and of one that is gone.
UNPREPARED = ("0A000", "26000")


@dataclass(frozen=True)
class Message:
    """One statement with its parameters ($1, $2, …) as they are sent."""

    text: str
    values: Sequence[Any]


class Result:
    """What the server gave for one statement."""

    def __init__(self, result: PGresult, transformer: Any) -> None:
        self._result = result
        self._transformer = transformer

    @property
    def changed(self) -> int:
        """How many rows were changed or found."""
        return self._result.command_tuples or 0

    def column_types(self) -> list[int]:
        """PostgreSQL's type of each column (an OID)."""
        return [self._result.ftype(at) for at in range(self._result.nfields)]

    def rows(self, make: Callable[[Sequence[Any]], Any]) -> list[Any]:
        """Every row, made from its tuple of values."""
        self._transformer.set_pgresult(self._result)
        found: list[Any] = self._transformer.load_rows(0, self._result.ntuples, make)
        return found


class Exchange:
    """One connection to PostgreSQL: the statements prepared in it, and the way to run several of them at once."""

    def __init__(self, driver: "Connection[Any]") -> None:
        self._driver = driver
        self._names: dict[str, bytes] = {}
        self._transformer = Transformer(driver)
        self._has_begun = False
        self._plans_once = False
        #: Ends `plans_once`.
        self.plan_as_it_likes = Message(PLAN_AS_IT_LIKES, ())

    def message(self, text: str, values: Sequence[Any]) -> Message:
        """Make a statement ready to be sent.

        Raises:
            psycopg.DataError: a value that PostgreSQL has no text for.
        """
        return Message(text, self._transformer.dump_sequence(values, [PyFormat.TEXT] * len(values)))

    @property
    def has_begun(self) -> bool:
        """Whether `run` has begun the transaction that is under way."""
        self._has_begun &= self._driver.pgconn.transaction_status == TransactionStatus.INTRANS
        return self._has_begun

    @property
    def plans_once(self) -> bool:
        """Whether that transaction plans statements once, for whatever values may come."""
        return self.has_begun and self._plans_once

    def run(self, messages: Sequence[Message]) -> list[Result]:
        """Run statements one after the other in the connection's transaction, which is begun where there is none; what
        each of them gave.

        Raises:
            RefusedStatement: the server refused one; those after it did not run.
            psycopg.Error: the connection is lost, and closed; or a statement cannot be prepared.
        """
        libpq = self._driver.pgconn
        begins = libpq.transaction_status == TransactionStatus.IDLE and not self._driver.autocommit
        names = self._names
        fresh = list(dict.fromkeys(message.text for message in messages if message.text not in names))
        if fresh:
            names = names | {text: _name(text) for text in fresh}
        try:
            libpq.enter_pipeline_mode()
            if begins:
                libpq.send_query_params(self._begin(), None)
                libpq.send_query_params(PLAN_ONCE.encode(), None)
            for text in fresh:
                libpq.send_prepare(names[text], text.encode())
            for message in messages:
                libpq.send_query_prepared(names[message.text], message.values)
            libpq.pipeline_sync()
            results = self._receive()
            libpq.exit_pipeline_mode()
        except BaseException:
            # What is still on its way would be taken for the answer to the next statement.
            self._driver.close()
            raise
        self._has_begun |= begins
        self._plans_once = (self._plans_once or begins) and self.plan_as_it_likes not in messages
        for text, result in zip(fresh, results[2 * begins :], strict=False):
            if result.status in DONE:
                self._names[text] = names[text]
        first = len(results) - len(messages)
        for at, result in enumerate(results, -first):
            if result.status not in DONE:
                raise self._refusal(at, errors.error_from_result(result))
        return [Result(result, self._transformer) for result in results[first:]]

    def _refusal(self, at: int, error: Error) -> Exception:
        if error.sqlstate in UNPREPARED:
            # For ever, on this connection: the next one prepares its statements anew.
            self._driver.close()
            return OperationalError(f"a prepared statement is not valid any more: {error}")
        return RefusedStatement(at, error) if at >= 0 else error

    def _begin(self) -> bytes:
        words = ["BEGIN"]
        if self._driver.isolation_level is not None:
            words.append(f"ISOLATION LEVEL {self._driver.isolation_level.name.replace('_', ' ')}")
        if self._driver.read_only:
            words.append("READ ONLY")
        return " ".join(words).encode()

    def _receive(self) -> list[PGresult]:
        """Send what is written, and read one result for each command."""
        libpq = self._driver.pgconn
        poll = select.poll()
        if libpq.flush():
            # Reading as well: a server that cannot get rid of its answers would read nothing more.
            poll.register(libpq.socket, select.POLLIN | select.POLLOUT)
            while libpq.flush():
                poll.poll()
                libpq.consume_input()
        poll.register(libpq.socket, select.POLLIN)
        results: list[PGresult] = []
        while True:
            while libpq.is_busy():
                poll.poll()
                libpq.consume_input()
            result = libpq.get_result()
            if libpq.status != ConnStatus.OK:
                # What the server said last, if it said why it hangs up.
                raise errors.error_from_result(result) if result else OperationalError(libpq.get_error_message())
            if result is None:
                continue
            if result.status == ExecStatus.PIPELINE_SYNC:
                return results
            results.append(result)


def _name(text: str) -> bytes:
    """By the text, so that behind a pooler that mixes connections nobody runs what somebody else prepared."""
    return b"al_" + hashlib.sha256(text.encode()).hexdigest()[:24].encode()

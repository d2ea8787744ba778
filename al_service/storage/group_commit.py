"""Short pieces of work that share a transaction, and so its commit, while they wait for each other anyway.

A database makes one writer after the other wait for the disk, and threads that wake up one by one for their turn cost
more than what they then do. Here whoever comes first does its own work; what comes meanwhile is done next, all of it in
one transaction by one of those who wait. Nobody waits for more to come, and nobody is told "stored" before the commit.
This is the group commit of databases (DeWitt and others, SIGMOD 1984), one level up.

Work has two halves: what it asks the database first, and what it does with the answers. All of a group ask before the
first goes on, so that what they ask can travel in one message.
"""

import threading
from collections.abc import Callable, Hashable
from contextlib import AbstractContextManager
from typing import Any, Generic, TypeVar

from al_service.errors import UnavailableError
from al_service.storage.failures import TransactionsCollidedError

T = TypeVar("T")
Tx = TypeVar("Tx")

#: Bounds how long the first of a group waits for the last.
TOGETHER_MAX = 64


class _Work(Generic[Tx]):
    """One piece of work: done when it has a result or an error."""

    def __init__(self, begin: Callable[[Tx], Callable[[], Any]], about: Hashable) -> None:
        self.begin = begin
        self.about = about
        self.result: Any = None
        self.error: BaseException | None = None
        self.is_done = False
        # Released once: when the work is done, or when it is this thread's turn to do it.
        self.wake = threading.Lock()
        self.wake.acquire()

    def outcome(self) -> Any:
        """The result; raises the error."""
        if self.error is not None:
            raise self.error
        return self.result


class GroupCommit(Generic[Tx]):
    """Does work of many threads in shared transactions.

    Args:
        write: opens a transaction, which is committed when the block ends without an exception.
    """

    def __init__(self, write: Callable[[], AbstractContextManager[Tx]]) -> None:
        self._write = write
        self._guard = threading.Lock()
        self._waiting: list[_Work[Tx]] = []
        self._is_busy = False

    def run(self, begin: Callable[[Tx], Callable[[], T]], *, about: Hashable) -> T:
        """Do the work and commit; what it gives.

        Args:
            begin: the first half, which gives the second. Both only read and write through the transaction: where
                something in a group fails, all of it is taken back and each piece done again in a transaction of its
                own, so that only the one at fault hears of it. A group may hold what others wait for who hold what it
                waits for; each piece alone does not. Where the database does not answer, all hear that at once: each
                would only wait for it again.
            about: whom the work is about. A second piece about the same would be asked too early in the group of the
                first, and waits for the next one.
        """
        mine = _Work(begin, about)
        with self._guard:
            self._waiting.append(mine)
            leads, self._is_busy = not self._is_busy, True
        if not leads:
            mine.wake.acquire()
        if not mine.is_done:
            self._lead(mine)
        result: T = mine.outcome()
        return result

    def _lead(self, mine: _Work[Tx]) -> None:
        """Do what waits, and make the first of those who came meanwhile the next to lead."""
        with self._guard:
            group, self._waiting = _together(self._waiting)
        try:
            self._do(group)
        finally:
            with self._guard:
                following = self._waiting[0] if self._waiting else None
                self._is_busy = following is not None
            for one in group:
                if one is not mine:
                    one.wake.release()
            if following is not None:
                following.wake.release()

    def _do(self, group: list[_Work[Tx]]) -> None:
        """Do all of it; afterwards each is done, with its result or its error."""
        try:
            with self._write() as tx:
                begun = [(one, one.begin(tx)) for one in group]
                for one, go_on in begun:
                    one.result = go_on()
        except BaseException as error:  # noqa: BLE001 (it is raised where the work came from)
            if len(group) > 1 and _may_go_through_alone(error):
                for one in group:
                    self._do([one])
                return
            for one in group:
                one.result, one.error = None, error
        for one in group:
            one.is_done = True


def _may_go_through_alone(error: BaseException) -> bool:
    return isinstance(error, TransactionsCollidedError) or not isinstance(error, UnavailableError)


def _together(waiting: list[_Work[Tx]]) -> tuple[list[_Work[Tx]], list[_Work[Tx]]]:
    """The next group, and what waits for a later one, each in the order in which it came."""
    group: dict[Hashable, _Work[Tx]] = {}
    later: list[_Work[Tx]] = []
    for one in waiting:
        if one.about in group or len(group) == TOGETHER_MAX:
            later.append(one)
        else:
            group[one.about] = one
    return list(group.values()), later

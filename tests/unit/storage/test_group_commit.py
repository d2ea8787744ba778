"""Work of many threads shares transactions; nobody is told before the commit, and only who is at fault hears of it."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from al_service.errors import UnavailableError
from al_service.storage.failures import TransactionsCollidedError
from al_service.storage.group_commit import TOGETHER_MAX, GroupCommit


class Log:
    """A store whose transactions append to a list; what is committed stays, in groups."""

    def __init__(self) -> None:
        self.groups: list[list[str]] = []
        self.begun = 0
        self.commit_fails = False
        self.is_locked = False

    @contextmanager
    def write(self) -> Iterator[list[str]]:
        self.begun += 1
        if self.is_locked:
            raise UnavailableError("the database is locked")
        rows: list[str] = []
        yield rows
        if self.commit_fails:
            raise OSError("the disk is full")
        self.groups.append(rows)

    @property
    def rows(self) -> list[str]:
        return [row for group in self.groups for row in group]


Work = Callable[[list[str]], Callable[[], str]]


def append(row: str) -> Work:
    """Work that appends in its second half."""

    def begin(rows: list[str]) -> Callable[[], str]:
        def go_on() -> str:
            rows.append(row)
            return row.upper()

        return go_on

    return begin


class Threads:
    """People who come while the first one is at work."""

    def __init__(self, group: GroupCommit[list[str]]) -> None:
        self._group = group
        self._threads: list[threading.Thread] = []
        self.told: dict[str, object] = {}
        self._may_go_on = threading.Event()
        self._is_at_work = threading.Event()

    def first(self) -> None:
        """One whose work lasts until `go_on`."""

        def begin(rows: list[str]) -> Callable[[], str]:
            self._is_at_work.set()
            self._may_go_on.wait(30)
            return append("first")(rows)

        self._start("first", begin)
        assert self._is_at_work.wait(30)

    def come(self, name: str, begin: Work | None = None, *, about: str | None = None) -> None:
        """One more, who waits behind the first."""
        waiting = len(self._group._waiting)
        self._start(name, begin or append(name), about)
        while len(self._group._waiting) == waiting:
            threading.Event().wait(0.001)

    def go_on(self) -> None:
        """Everybody is told, or this fails."""
        self._may_go_on.set()
        for thread in self._threads:
            thread.join(30)
            assert not thread.is_alive()

    def _start(self, name: str, begin: Work, about: str | None = None) -> None:
        def run() -> None:
            try:
                self.told[name] = self._group.run(begin, about=about or name)
            except (ValueError, OSError, UnavailableError) as error:
                self.told[name] = error

        self._threads.append(threading.Thread(target=run))
        self._threads[-1].start()


@pytest.fixture
def log() -> Log:
    return Log()


@pytest.fixture
def group(log: Log) -> GroupCommit[list[str]]:
    return GroupCommit(log.write)


@pytest.fixture
def people(group: GroupCommit[list[str]]) -> Threads:
    return Threads(group)


def test_alone_it_is_a_transaction_of_its_own(log: Log, group: GroupCommit[list[str]]) -> None:
    assert [group.run(append(name), about=1) for name in "ab"] == ["A", "B"]
    assert log.groups == [["a"], ["b"]]


def test_those_who_come_meanwhile_share_the_next_in_their_order(log: Log, people: Threads) -> None:
    people.first()
    for name in "abc":
        people.come(name)
    people.go_on()
    assert log.groups == [["first"], ["a", "b", "c"]]
    assert people.told == {"first": "FIRST", "a": "A", "b": "B", "c": "C"}


def test_only_who_is_at_fault_hears_of_it(log: Log, people: Threads) -> None:
    def wrong(rows: list[str]) -> Callable[[], str]:
        def go_on() -> str:
            rows.append("half done")
            raise ValueError("no such class")

        return go_on

    people.first()
    people.come("a")
    people.come("wrong", wrong)
    people.come("b")
    people.go_on()
    assert log.groups == [["first"], ["a"], ["b"]]
    assert (people.told["a"], people.told["b"]) == ("A", "B")
    assert str(people.told["wrong"]) == "no such class"


def test_all_ask_before_the_first_goes_on(log: Log, people: Threads) -> None:
    def asks(name: str) -> Work:
        def begin(rows: list[str]) -> Callable[[], str]:
            rows.append(f"{name} asks")
            return append(name)(rows)

        return begin

    people.first()
    for name in "ab":
        people.come(name, asks(name))
    people.go_on()
    assert log.groups[1:] == [["a asks", "b asks", "a", "b"]]


def test_work_about_the_same_waits_for_the_next_group(log: Log, people: Threads) -> None:
    people.first()
    for name, about in (("a", "mia"), ("b", "mia"), ("c", "ben"), ("d", "mia"), ("e", "eve")):
        people.come(name, about=about)
    people.go_on()
    assert log.groups[1:] == [["a", "c", "e"], ["b"], ["d"]]
    assert all(people.told[name] == name.upper() for name in "abcde")


def test_who_could_not_even_ask_is_at_fault_alone(log: Log, people: Threads) -> None:
    def wrong(rows: list[str]) -> Callable[[], str]:
        raise ValueError("no such project")

    people.first()
    people.come("a")
    people.come("wrong", wrong)
    people.go_on()
    assert log.groups == [["first"], ["a"]]
    assert str(people.told["wrong"]) == "no such project"


def test_nobody_is_told_before_the_commit_and_all_hear_when_it_fails(log: Log, people: Threads) -> None:
    people.first()
    people.come("a")
    people.come("b")
    log.commit_fails = True
    people.go_on()
    assert log.groups == []
    assert {str(error) for error in people.told.values()} == {"the disk is full"}


def test_a_database_that_does_not_answer_is_asked_once_for_all(log: Log, people: Threads) -> None:
    people.first()
    people.come("a")
    people.come("b")
    people.come("c")
    log.is_locked = True
    people.go_on()
    assert log.begun == 2
    assert {str(people.told[name]) for name in "abc"} == {"the database is locked"}


def test_a_group_that_met_another_one_is_done_one_by_one(log: Log, people: Threads) -> None:
    collides = [True]

    def meets(rows: list[str]) -> Callable[[], str]:
        if collides:
            raise TransactionsCollidedError(f"deadlock {collides.pop()}")
        return append("b")(rows)

    people.first()
    people.come("a")
    people.come("b", meets)
    people.go_on()
    assert log.groups == [["first"], ["a"], ["b"]]
    assert (people.told["a"], people.told["b"]) == ("A", "B")


def test_after_a_failure_the_next_ones_go_on(log: Log, group: GroupCommit[list[str]]) -> None:
    log.commit_fails = True
    with pytest.raises(OSError, match="full"):
        group.run(append("a"), about=1)
    log.commit_fails = False
    assert group.run(append("b"), about=1) == "B"
    assert log.groups == [["b"]]


def test_a_group_has_an_end(log: Log, people: Threads) -> None:
    people.first()
    names = [f"{number:03}" for number in range(TOGETHER_MAX + 3)]
    for name in names:
        people.come(name)
    people.go_on()
    assert [len(rows) for rows in log.groups] == [1, TOGETHER_MAX, 3]
    assert log.rows == ["first", *names]


def test_many_threads_at_once_lose_nothing_and_do_nothing_twice(log: Log, group: GroupCommit[list[str]]) -> None:
    told: list[str] = []

    def many(thread: int) -> None:
        for number in range(200):
            told.append(group.run(append(f"{thread}-{number}"), about=thread))

    threads = [threading.Thread(target=many, args=(thread,)) for thread in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()
    assert (
        sorted(log.rows)
        == sorted(told)
        == sorted(f"{thread}-{number}" for thread in range(12) for number in range(200))
    )
    assert log.begun == len(log.groups)

"""Answers that are slow to get, kept for a short while, so that many callers cost as little as one.

A broker that hangs takes seconds to fail. Without this, every page that is open would hold a web thread for as long.
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Generic, TypeVar

from al_service.errors import UnavailableError
from al_service.loop.ports import JobQueue

KEPT_FOR = timedelta(seconds=2)

T = TypeVar("T")


@dataclass(frozen=True)
class _Outcome(Generic[T]):
    at: datetime
    answer: T | UnavailableError


class Kept(Generic[T]):
    """The newest answer to one question, at most KEPT_FOR old unless somebody is asking right now. Thread-safe.

    One caller at a time asks; meanwhile the others get the answer before, or, when there is none yet, wait for that
    one caller. UnavailableError is an answer too. Any other exception is a bug: its caller gets it, nothing is kept.

    Args:
        ask: gets a fresh answer; called outside the lock, by one thread at a time.
    """

    def __init__(self, ask: Callable[[], T], clock: Callable[[], datetime]) -> None:
        self._ask = ask
        self._clock = clock
        self._changed = threading.Condition()
        self._last: _Outcome[T] | None = None
        self._is_asking = False

    def get(self) -> T:
        """The answer.

        Raises:
            UnavailableError: that was the answer.
        """
        with self._changed:
            while self._is_asking and self._last is None:
                self._changed.wait()
            last = self._last
            if last is not None and (self._is_asking or self._is_fresh(last)):
                return _unpack(last)
            self._is_asking = True
        return _unpack(self._refresh())

    def _is_fresh(self, outcome: _Outcome[T]) -> bool:
        # A clock that was set back must not make an answer last for hours.
        return timedelta(0) <= self._clock() - outcome.at < KEPT_FOR

    def _refresh(self) -> _Outcome[T]:
        outcome: _Outcome[T] | None = None
        try:
            answer = self._answer()
            outcome = _Outcome(self._clock(), answer)
            return outcome
        finally:
            with self._changed:
                self._last = outcome or self._last
                self._is_asking = False
                self._changed.notify_all()

    def _answer(self) -> T | UnavailableError:
        try:
            return self._ask()
        except UnavailableError as error:
            return error


def _unpack(outcome: _Outcome[T]) -> T:
    if isinstance(outcome.answer, UnavailableError):
        # A new one each time: threads that raise one object would pile their tracebacks onto it.
        raise UnavailableError(outcome.answer.message, **outcome.answer.details) from outcome.answer
    return outcome.answer


@dataclass(frozen=True)
class BrokerFacts:
    """What the broker says at one moment: a word about itself, live workers, jobs waiting by queue."""

    words: str
    workers: list[dict[str, Any]]
    depths: dict[str, int]


def kept_broker_facts(queue: JobQueue, clock: Callable[[], datetime]) -> Kept[BrokerFacts]:
    """The broker's facts, asked for together: a broker that hangs then holds one thread, whoever wants to know what."""
    return Kept(lambda: BrokerFacts(queue.check(), queue.workers(), queue.depths()), clock)

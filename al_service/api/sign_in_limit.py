"""Slows down guessing of passwords without letting a stranger lock anybody out. Counted in this process.

Four sliding windows count attempts that failed or are not over yet:

- one name from one address: somebody who tries passwords for a person;
- one address: somebody who tries the same password for many names;
- one name from anywhere: many machines that try passwords for a person;
- one name in one browser that signed in with it before (`known_browsers`): such a browser is counted in this window
  only, so whatever strangers do, behind the same proxy or anywhere else, the person gets in where they got in before.

An attempt that is refused is not counted, so going on does not make the wait longer, and a new browser gets its turn
even while others try. With several web processes each counts for itself: the limits are up to that many times higher.
"""

import threading
from collections import OrderedDict, deque
from collections.abc import Hashable
from dataclasses import dataclass
from datetime import datetime, timedelta

from al_service.errors import UnavailableError

KEYS_MAX = 10_000


class TooManyRequestsError(UnavailableError):
    """Too many failed attempts; try again after Retry-After. HTTP 429."""

    code = "too_many_requests"
    http_status = 429


@dataclass(frozen=True)
class Limit:
    """At most so many failures in so long a time, and what to say after that; `{wait_s}` stands for the seconds."""

    failures_max: int
    span: timedelta
    words: str


PAIR = Limit(10, timedelta(minutes=1), "Too many wrong passwords. Try again in {wait_s} s.")
ADDRESS = Limit(
    100,
    timedelta(minutes=10),
    "Too many failed sign-ins from your network. Try again in {wait_s} s, or use a browser that signed in before.",
)
NAME = Limit(
    30,
    timedelta(minutes=15),
    "Somebody keeps trying to sign in with this name. Try again in {wait_s} s, or use a browser that signed in before.",
)
LINKS = Limit(
    30, timedelta(minutes=10), "Too many links that are worth nothing came from your network. Try again in {wait_s} s."
)


class Window:
    """Times of attempts by key under one limit; the keys that were used longest ago are forgotten above KEYS_MAX."""

    def __init__(self, limit: Limit) -> None:
        self.limit = limit
        self._times: OrderedDict[Hashable, deque[datetime]] = OrderedDict()

    def wait_s(self, key: Hashable, now: datetime) -> int:
        """Whole seconds until the next attempt may be made; 0: now."""
        times = self._times.get(key)
        while times and times[0] <= now - self.limit.span:
            times.popleft()
        if not times or len(times) < self.limit.failures_max:
            return 0
        return max(1, int((times[0] + self.limit.span - now).total_seconds()) + 1)

    def add(self, key: Hashable, now: datetime) -> None:
        """Count an attempt."""
        self._times.setdefault(key, deque()).append(now)
        self._times.move_to_end(key)
        while len(self._times) > KEYS_MAX:
            self._times.popitem(last=False)

    def take_back(self, key: Hashable, at: datetime) -> None:
        """Forget the attempt of that time."""
        times = self._times.get(key)
        if times and at in times:
            times.remove(at)

    def forget(self, key: Hashable) -> None:
        """Forget all attempts of that key."""
        self._times.pop(key, None)


@dataclass(frozen=True)
class Attempt:
    """An attempt that was let through; give it back to `forgive` when the password was right."""

    name: str
    address: str
    browser: str | None
    at: datetime


class SignInLimit:
    """The windows. Thread-safe.

    An attempt is counted before the password is checked and forgiven when it was right, so that attempts sent at the
    same moment cannot slip through together.
    """

    def __init__(self) -> None:
        self._pairs, self._addresses, self._names = Window(PAIR), Window(ADDRESS), Window(NAME)
        self._browsers = Window(PAIR)
        self._lock = threading.Lock()

    def admit(self, name: str, address: str, now: datetime, *, browser: str | None = None) -> Attempt:
        """Count one attempt.

        Args:
            browser: what `known_browsers` knows this browser by, when it signed in with that name before.

        Raises:
            TooManyRequestsError: one of the windows is full; says which, and for how long.
        """
        attempt = Attempt(name, address, browser, now)
        with self._lock:
            counted = self._counted(attempt)
            wait_s, words = max((window.wait_s(key, now), window.limit.words) for window, key in counted)
            if wait_s:
                raise TooManyRequestsError(words.format(wait_s=wait_s), retry_after_s=wait_s)
            for window, key in counted:
                window.add(key, now)
        return attempt

    def forgive(self, attempt: Attempt) -> None:
        """The password was right: forget the mistakes of that person here, and only this attempt of the address.

        Otherwise somebody with an account could sign in now and then to have their guesses at other names forgotten.
        """
        with self._lock:
            for window, key in self._counted(attempt):
                if window.limit is PAIR:
                    window.forget(key)
                else:
                    window.take_back(key, attempt.at)

    def _counted(self, attempt: Attempt) -> list[tuple[Window, Hashable]]:
        if attempt.browser is not None:
            return [(self._browsers, (attempt.name, attempt.browser))]
        return [
            (self._pairs, (attempt.name, attempt.address)),
            (self._addresses, attempt.address),
            (self._names, attempt.name),
        ]


class LinkLimit:
    """Slows down guessing of the secrets of links: failures from one address. Thread-safe."""

    def __init__(self) -> None:
        self._addresses = Window(LINKS)
        self._lock = threading.Lock()

    def admit(self, address: str, now: datetime) -> datetime:
        """Count one attempt; give what comes back to `forgive` when the secret was right.

        Raises:
            TooManyRequestsError: too many were wrong.
        """
        with self._lock:
            if wait_s := self._addresses.wait_s(address, now):
                raise TooManyRequestsError(LINKS.words.format(wait_s=wait_s), retry_after_s=wait_s)
            self._addresses.add(address, now)
        return now

    def forgive(self, address: str, at: datetime) -> None:
        """The secret was right."""
        with self._lock:
            self._addresses.take_back(address, at)

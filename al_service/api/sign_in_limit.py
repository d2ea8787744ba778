"""Slows down guessing of passwords: at most so many failures a minute for one name from one address, in this process.

With several web processes each counts for itself, so the limit is up to that many times higher.
"""

import threading
from collections import OrderedDict, deque
from datetime import datetime, timedelta

from al_service.errors import UnavailableError

FAILURES_MAX = 10
WINDOW = timedelta(minutes=1)
KEYS_MAX = 10_000


class TooManyRequestsError(UnavailableError):
    """Too many failed attempts; try again after Retry-After. HTTP 429."""

    code = "too_many_requests"
    http_status = 429


class SignInLimit:
    """A sliding window per (name, address). Thread-safe.

    An attempt is counted before the password is checked and forgiven when it was right, so that attempts sent at the
    same moment cannot slip through together.
    """

    def __init__(self) -> None:
        self._attempts: OrderedDict[tuple[str, str], deque[datetime]] = OrderedDict()
        self._lock = threading.Lock()

    def admit(self, name: str, address: str, now: datetime) -> None:
        """Count one attempt.

        Raises:
            TooManyRequestsError: FAILURES_MAX attempts failed within the last minute.
        """
        with self._lock:
            times = self._attempts.setdefault((name, address), deque())
            self._attempts.move_to_end((name, address))
            while times and times[0] <= now - WINDOW:
                times.popleft()
            if len(times) >= FAILURES_MAX:
                wait_s = max(1, int((times[0] + WINDOW - now).total_seconds()) + 1)
                raise TooManyRequestsError(
                    f"{FAILURES_MAX} failed sign-ins for this name within a minute; try again in {wait_s} s",
                    retry_after_s=wait_s,
                )
            times.append(now)
            while len(self._attempts) > KEYS_MAX:
                self._attempts.popitem(last=False)

    def forgive(self, name: str, address: str) -> None:
        """Forget the attempts of somebody who knew the password."""
        with self._lock:
            self._attempts.pop((name, address), None)

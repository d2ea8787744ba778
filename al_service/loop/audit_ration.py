"""A bound on rows of the audit log that people cause who are not signed in: no stranger may fill the database."""

import threading
from collections import deque
from datetime import datetime, timedelta

SPAN = timedelta(hours=1)
ROWS_MAX = 60


class AuditRation:
    """At most ROWS_MAX rows in any SPAN, in this process; what is left out is counted. Thread-safe."""

    def __init__(self) -> None:
        self._taken: deque[datetime] = deque()
        self._left_out = 0
        self._lock = threading.Lock()

    def take(self, now: datetime) -> int | None:
        """How many were left out since the last row, if one more may be written now; else None."""
        with self._lock:
            while self._taken and self._taken[0] <= now - SPAN:
                self._taken.popleft()
            if len(self._taken) >= ROWS_MAX:
                self._left_out += 1
                return None
            self._taken.append(now)
            left_out, self._left_out = self._left_out, 0
            return left_out

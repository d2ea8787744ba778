"""When a signal may end a job's body by an exception: never in the middle of storage, broker or context managers.

Python runs a signal's handler between any two bytecodes. An exception from it right after a lock was taken, and before
the `try` that gives it back, leaves the lock closed for good: the process lives on and can never write again. So the
handlers of this process look where they are first, and come back later if that is such a place.
"""

import signal
from types import FrameType
from typing import Any

from rq.timeouts import UnixSignalDeathPenalty

#: Rooms whose functions hold locks, transactions or connections while they run.
DELICATE_ROOMS = ("al_service.storage", "al_service.job_queue")
AGAIN_AFTER_S = 1


def is_delicate(frame: FrameType | None) -> bool:
    """True when the interrupted code may be between taking something and being sure to give it back.

    A `with` statement whose manager is a generator has such a moment inside contextlib, when the manager has just
    entered or is about to leave; the block of the statement itself is safe.
    """
    if frame is not None and _room(frame) == "contextlib":
        return True
    while frame is not None:
        if _room(frame).startswith(DELICATE_ROOMS):
            return True
        frame = frame.f_back
    return False


def _room(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__", ""))


class SafeTimeLimit(UnixSignalDeathPenalty):
    """RQ's time limit of a job, which waits for a safe moment."""

    def handle_death_penalty(self, signum: int, frame: FrameType | None) -> Any:
        """Called by SIGALRM in the main thread."""
        if is_delicate(frame):
            signal.alarm(AGAIN_AFTER_S)
            return
        super().handle_death_penalty(signum, frame)

"""A queue without broker and without workers: announced jobs wait in memory until `run_all` runs them by hand.

For tests and notebooks. It keeps the contract of the RQ queue (tests/contract/test_job_queue.py), including that it
may forget everything at any moment.
"""

from collections import deque
from collections.abc import Callable
from typing import Any

from al_service.domain.records import Job
from al_service.domain.states import QUEUE_OF_JOB, QUEUES


class InlineQueue:
    """Implements `loop.ports.JobQueue` in one process; not thread-safe.

    Args:
        run: runs one announced job to its end, in the caller's thread.
    """

    def __init__(self, run: Callable[[Job], None]) -> None:
        self._run = run
        self._waiting: dict[str, deque[Job]] = {name: deque() for name in QUEUES}
        self._running: Job | None = None

    def announce(self, job: Job) -> None:
        """Append the job unless this attempt is known already."""
        if not self.knows(job):
            self._waiting[QUEUE_OF_JOB[job.kind]].append(job)

    def knows(self, job: Job) -> bool:
        """True when this attempt is waiting or running here."""
        candidates = [*self._waiting[QUEUE_OF_JOB[job.kind]], *([self._running] if self._running else [])]
        return any((known.id, known.attempt) == (job.id, job.attempt) for known in candidates)

    def check(self) -> str:
        """A word about the queue; it always answers."""
        return "inline queue in this process"

    def workers(self) -> list[dict[str, Any]]:
        """The one worker there is: whoever calls `run_all`. It has no heartbeat (None)."""
        return [
            {
                "name": "inline",
                "state": "busy" if self._running else "idle",
                "queues": list(QUEUES),
                "current_job": self._running.id if self._running else None,
                "heartbeat_at": None,
            }
        ]

    def depths(self) -> dict[str, int]:
        """Jobs waiting by queue."""
        return {name: len(jobs) for name, jobs in self._waiting.items()}

    def run_all(self) -> int:
        """Run what waits, and what these jobs announce, until nothing waits; how many were run.

        Queues in the order of `QUEUES`, first in first out within one. An exception of a job passes through at once;
        that job counts as run, the others keep waiting for the next call.
        """
        count = 0
        while (job := self._pop()) is not None:
            self._running = job
            count += 1
            try:
                self._run(job)
            finally:
                self._running = None
        return count

    def forget_all(self) -> None:
        """Lose everything that waits, as a flushed broker does."""
        for jobs in self._waiting.values():
            jobs.clear()

    def _pop(self) -> Job | None:
        return next((self._waiting[name].popleft() for name in QUEUES if self._waiting[name]), None)

"""From a doorbell to a settled attempt: claim it, run its body under a heartbeat, and translate how it ended.

This is one of the three places where errors are translated (the others: api, cli). It knows nothing of RQ's loop
(`process.py`) and nothing of what a job does (`jobs.py`).

How a body is stopped from outside: somebody calls `Interrupts.request(reason)` from any thread. The reason is raised in
the main thread by a signal, or at the body's next `progress` call, whichever comes first. Limits of that: Python
handles a signal between two bytecodes only, so one long call into native code (a CUDA kernel, a large matrix product)
is interrupted when it returns; an exception that lands in a `__del__` or a broad `except` is swallowed, so the
heartbeat raises it again until the body has ended; and storage and broker code is never interrupted, for the sake of
its locks (`safe_moments.py`): the next heartbeat tries again.
"""

import logging
import signal
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import Protocol

from rq.timeouts import JobTimeoutException

from al_service.domain.records import Job
from al_service.errors import (
    AlServiceError,
    ConflictError,
    InvalidInputError,
    NotFoundError,
    PermissionDeniedError,
    UnavailableError,
)
from al_service.ingest.names import storable_text
from al_service.loop.jobs import SupersededError
from workers.safe_moments import is_delicate

log = logging.getLogger(__name__)

#: Wakes the main thread; used for nothing else in a worker process.
WAKE_SIGNAL = signal.SIGUSR1


class JobInterruptedError(ConflictError):
    """This attempt no longer counts: superseded, cancelled or given to another worker. It ends quietly."""

    code = "job_interrupted"


class WorkerStoppingError(ConflictError):
    """The worker process was asked to stop: the attempt goes back to the queue at once and does not count as failed."""

    code = "worker_stopping"


class PausedError(WorkerStoppingError):
    """A long job has kept its state and gives way to others: the attempt goes back to the queue and is not counted."""

    code = "paused"


class StoppedByOperatorError(ConflictError):
    """Somebody sent RQ's stop-job command: the job is failed and not tried again by itself."""

    code = "stopped_by_operator"


class MemoryLimitError(UnavailableError):
    """The worker process grew above `worker_memory_max_bytes`: the attempt is retried in a fresh process."""

    code = "memory_limit"


class AttemptFailedError(InvalidInputError):
    """Stands in, for RQ's records, for an error whose text no database takes."""

    code = "attempt_failed"


class JobLedger(Protocol):
    """What running a job needs of `al_service.loop.jobs.Jobs`."""

    def claim(self, job_id: int, attempt: int, worker: str) -> Job | None:
        """Begin the attempt; None when it must be left alone."""

    def beat(
        self, job_id: int, attempt: int, done: int | None = None, total: int | None = None, text: str | None = None
    ) -> bool:
        """Heartbeat and progress; False when the attempt no longer counts."""

    def fail(self, job_id: int, attempt: int, message: str, *, retryable: bool) -> None:
        """End the attempt badly; nothing happens when it no longer counts."""

    def release(self, job_id: int, attempt: int, message: str) -> None:
        """Back to the queue, due now, as a new attempt that is not counted against attempts_max; nothing happens when
        the attempt no longer counts."""


class Interrupts:
    """Stops the body that the main thread is running. One per process; without `install` only `check` raises."""

    def __init__(self) -> None:
        self._pending: AlServiceError | None = None
        self._inside = False
        self._may_raise = False
        self._installed = False

    def install(self) -> None:
        """Let `request` wake the main thread by a signal. Call it in the main thread."""
        signal.signal(WAKE_SIGNAL, self._on_signal)
        self._installed = True

    def request(self, reason: AlServiceError) -> None:
        """Stop the current body. From any thread and from signal handlers; the first reason stands."""
        if self._pending is None:
            self._pending = reason
        self.poke()

    def poke(self) -> None:
        """Raise a pending reason once more if the body still runs: the first one may have been swallowed."""
        if self._pending is not None and self._inside and self._installed:
            self._may_raise = True
            signal.pthread_kill(threading.main_thread().ident or 0, WAKE_SIGNAL)

    def check(self) -> None:
        """Raise the pending reason, if there is one."""
        if self._pending is not None:
            raise self._pending

    @property
    def is_stopping(self) -> bool:
        """True when the process was asked to stop; no body may begin any more."""
        return isinstance(self._pending, WorkerStoppingError)

    def __enter__(self) -> "Interrupts":
        self._inside = True
        self.check()
        return self

    def __exit__(self, *error: object) -> None:
        self.leave()

    def leave(self) -> None:
        """The body is over; nothing is raised from here on. Safe to repeat."""
        self._inside = False
        self._may_raise = False

    def forget(self) -> None:
        """Drop a reason that was meant for an earlier body; a request to stop the process stands."""
        if not self.is_stopping:
            self._pending = None

    def _on_signal(self, signum: int, frame: FrameType | None) -> None:
        # One exception for each poke: a second one must not hit the code that handles the first.
        if self._inside and self._may_raise and self._pending is not None and not is_delicate(frame):
            self._may_raise = False
            raise self._pending


class JobRun:
    """One attempt as its body sees it."""

    def __init__(self, job: Job, jobs: JobLedger, heartbeat_s: float, interrupts: Interrupts) -> None:
        self.job = job
        self._jobs = jobs
        self._heartbeat_s = heartbeat_s
        self._interrupts = interrupts
        self._progress: tuple[int | None, int | None, str | None] = (None, None, None)
        self._last_sent = float("-inf")

    def progress(self, done: int, total: int, text: str = "") -> None:
        """Report progress; written at most once per heartbeat, so call it as often as you like.

        Raises:
            JobInterruptedError: the attempt no longer counts; stop and store nothing.
            AlServiceError: another reason to stop (see the errors of this module). Do not catch it.
        """
        self._progress = (done, total, text)
        if time.monotonic() - self._last_sent >= self._heartbeat_s:
            self.beat()
        self._interrupts.check()

    def beat(self) -> None:
        """Write a heartbeat with the newest progress, and ask the body to stop when the attempt no longer counts."""
        self._last_sent = time.monotonic()
        done, total, text = self._progress
        try:
            counts = self._jobs.beat(self.job.id, self.job.attempt, done, total, text)
        except UnavailableError as error:
            log.warning("job %d attempt %d: heartbeat not written: %s", self.job.id, self.job.attempt, error)
            return
        if not counts:
            reason = f"job {self.job.id} attempt {self.job.attempt} no longer counts (superseded, cancelled or over)"
            self._interrupts.request(JobInterruptedError(reason))


class _Heartbeat(threading.Thread):
    """Beats while the block runs, so that a body that reports no progress is not taken for lost."""

    def __init__(self, run: JobRun, heartbeat_s: float, interrupts: Interrupts) -> None:
        super().__init__(name=f"heartbeat-{run.job.id}", daemon=True)
        self._run, self._heartbeat_s, self._interrupts = run, heartbeat_s, interrupts
        self._over = threading.Event()

    def run(self) -> None:
        while not self._over.wait(self._heartbeat_s):
            try:
                self._run.beat()
            except Exception:  # a bug here must not make a healthy job look lost
                log.exception("job %d: heartbeat failed", self._run.job.id)
            self._interrupts.poke()

    def __enter__(self) -> "_Heartbeat":
        self.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._over.set()
        self.join()  # a late beat of this attempt must not stop the next job


def run_job(
    jobs: JobLedger,
    job_id: int,
    attempt: int,
    body: Callable[[JobRun], None],
    *,
    worker_name: str,
    heartbeat_s: float,
    interrupts: Interrupts,
) -> None:
    """Claim the attempt, run `body` under a heartbeat, settle how it ended.

    The body records success itself (`Jobs.finish`, in the transaction that stores what it made). Returns normally when
    the body did, when the attempt must be left alone, and when it ended quietly.

    | the body raises | the attempt |
    |---|---|
    | WorkerStoppingError, PausedError | is released: due at once, not counted |
    | SupersededError, JobInterruptedError: the attempt no longer counts | ends quietly; nothing is stored |
    | StoppedByOperatorError, InvalidInputError, NotFoundError, PermissionDeniedError | fails without retry |
    | UnavailableError, time-out, MemoryError, anything else | fails and is retried with backoff |

    Raises:
        BaseException: whatever made the attempt fail, after `jobs.fail`, so that RQ records a failed job too.
        UnavailableError: the claim could not be written; the job stays queued and is announced again.
    """
    interrupts.forget()
    # A stopping worker begins nothing: the job is still queued in the database and is announced again.
    if interrupts.is_stopping or (job := jobs.claim(job_id, attempt, worker_name)) is None:
        log.info("job %d attempt %d is left alone: superseded, cancelled, running, or we stop", job_id, attempt)
        return
    run = JobRun(job, jobs, heartbeat_s, interrupts)
    try:
        with _Heartbeat(run, heartbeat_s, interrupts), interrupts:
            body(run)
    except BaseException as error:  # also SystemExit of a library: no way out of a body may leave the attempt running
        interrupts.leave()
        if _settle(jobs, job, error):
            return
        text = str(error)
        if text == storable_text(text):
            raise
        # RQ writes the traceback down and dies of characters that cannot be encoded, and the worker with it.
        raise AttemptFailedError(storable_text(text)) from None


def _settle(jobs: JobLedger, job: Job, error: BaseException) -> bool:
    """Write how the attempt ended; True when that is a quiet end."""
    if isinstance(error, WorkerStoppingError):
        log.info("job %d attempt %d goes back to the queue: %s", job.id, job.attempt, error)
        jobs.release(job.id, job.attempt, error.message)
        return True
    if isinstance(error, SupersededError | JobInterruptedError):
        log.info("job %d attempt %d ended quietly: %s", job.id, job.attempt, error)
        return True
    final = (StoppedByOperatorError, InvalidInputError, NotFoundError, PermissionDeniedError)
    try:
        message = storable_text(_message(job, error))
        jobs.fail(job.id, job.attempt, message, retryable=not isinstance(error, final))
    except AlServiceError as trouble:
        log.error(
            "job %d attempt %d: failure not written, it will count as lost: %s",
            job.id,
            job.attempt,
            trouble,
        )
    return False


def _message(job: Job, error: BaseException) -> str:
    if isinstance(error, AlServiceError):
        return error.message
    if isinstance(error, JobTimeoutException):
        return f"{error}; raise AL_JOB_TIMEOUT_S if the job is right to take longer"
    log.error("job %d (%s) attempt %d failed", job.id, job.kind.value, job.attempt, exc_info=error)
    return f"{type(error).__name__}: {error} (the traceback is in the log of the worker that ran it, at job {job.id})"

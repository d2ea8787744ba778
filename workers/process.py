"""The worker process: one long-lived Python process that runs RQ jobs in itself, so that device and model stay warm.

It survives the broker: a lost connection, a restart or FLUSHALL at any moment costs a doorbell at most (the scheduler
rings again), never the process. What stops a job, from gentle to hard:

1. cancelled or superseded in the database: its next heartbeat interrupts it (`running.py`), it ends quietly;
2. SIGTERM or SIGINT: a running job is interrupted at once and released, so that another worker can begin it right away,
   then the process exits; the half-done work of that attempt is lost. A second signal a second later exits at once;
3. RQ's stop-job command, and more memory than `worker_memory_max_bytes`: interrupted with that reason;
4. the time limit: RQ's SIGALRM raises JobTimeoutException. Like every signal it waits for native code to return;
5. a minute after the time limit the interpreter's watchdog thread, which needs no lock of Python's, prints all
   stacks to the log and ends the process; the supervisor starts it anew, the database gives the job to another.

RQ's kill-horse command does nothing here: there is no horse.
"""

import faulthandler
import importlib
import logging
import os
import secrets
import signal
import socket
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Any

import redis
from rq import Queue, SimpleWorker
from rq.exceptions import DequeueTimeout
from rq.executions import Execution
from rq.job import Job as RqJob
from rq.serializers import JSONSerializer
from rq.worker import WorkerStatus

from al_service.domain.states import QUEUES
from al_service.errors import InvalidInputError
from al_service.job_queue.broker import resolve_broker_url
from al_service.job_queue.connection import connect
from al_service.settings import Settings
from al_service.supervisor import PARENT_VARIABLE
from workers.running import Interrupts, MemoryLimitError, StoppedByOperatorError, WorkerStoppingError
from workers.safe_moments import SafeTimeLimit

log = logging.getLogger(__name__)

EXIT_OK = 0
#: The process grew too large and wants to be started anew.
EXIT_MEMORY = 75
#: Two stop signals, or the parent died and the job did not end.
EXIT_HARD = 76

DEQUEUE_TIMEOUT_S = 1
REGISTRATION_TTL_S = 30
HEARTBEAT_EVERY_S = 5.0
WATCH_EVERY_S = 0.25
BACKOFF_MIN_S = 0.05
BACKOFF_MAX_S = 2.0
HANG_GRACE_S = 60
PARENT_EVERY_S = 0.5
ORPHAN_GRACE_S = 10.0


class WarmWorker(SimpleWorker):
    """RQ's in-process worker, made to outlive its broker. Use `serve`, not RQ's `work`.

    Args:
        queues: names, most urgent first.
        connection: not yet connected is fine.
        interrupts: the process's own; job functions pass the same one to `running.run_job`.
        memory_max_bytes: resident memory above it stops the job and then the process; 0 = no limit.
        hang_grace_s: from the time limit of a job that cannot be interrupted to the end of the process.
    """

    death_penalty_class = SafeTimeLimit

    def __init__(
        self,
        queues: Sequence[str],
        connection: redis.Redis,
        *,
        interrupts: Interrupts,
        memory_max_bytes: int = 0,
        hang_grace_s: float = HANG_GRACE_S,
    ) -> None:
        super().__init__(
            list(queues),
            name=worker_name(),
            connection=connection,
            serializer=JSONSerializer,
            worker_ttl=REGISTRATION_TTL_S,
            log_job_description=False,
            prepare_for_work=False,  # preparing asks the broker for our address, which would need it to be up already
        )
        self.hostname, self.pid, self._state = socket.gethostname(), os.getpid(), WorkerStatus.IDLE
        self.exit_code = EXIT_OK
        self._interrupts, self._memory_max_bytes, self._hang_grace_s = interrupts, memory_max_bytes, hang_grace_s
        self._stop_signal_at: float | None = None

    @property
    def dequeue_timeout(self) -> int:
        """Short, so that a stop request or a lost registration waits a second at most."""
        return DEQUEUE_TIMEOUT_S

    @property
    def connection_timeout(self) -> int:
        """How long any command may take."""
        return DEQUEUE_TIMEOUT_S + 4

    def serve(self) -> int:
        """Work until told to stop or too large; the process's exit code. Call it in the main thread."""
        self._install_signal_handlers()
        self._interrupts.install()
        pause = BACKOFF_MIN_S
        while not self._stop_requested:
            try:
                self._serve_once()
                pause = BACKOFF_MIN_S
            except redis.RedisError as error:
                log.warning("worker %s: the broker does not answer, next try in %.2f s: %s", self.name, pause, error)
                self._sleep(pause)
                pause = min(pause * 2, BACKOFF_MAX_S)
        log.info("worker %s ends with code %d", self.name, self.exit_code)
        self._sign_off()
        return self.exit_code

    def execute_job(self, job: RqJob, queue: Queue) -> None:
        """Run the job here, with RQ's registries and our limits looked after from a second thread."""
        self._stopped_job_id = None
        execution = self.prepare_execution(job)
        over = threading.Event()
        watch = threading.Thread(target=self._watch, args=(job, execution, over), name="worker-watch", daemon=True)
        limit_s = int(job.timeout or Queue.DEFAULT_TIMEOUT)
        watch.start()
        if limit_s > 0:
            faulthandler.dump_traceback_later(limit_s + self._hang_grace_s, exit=True, file=sys.__stderr__ or 2)
        try:
            self.perform_job(job, queue, execution)
        finally:
            faulthandler.cancel_dump_traceback_later()
            over.set()
            watch.join()
            self.executions.pop(execution.id, None)
            self._state = WorkerStatus.IDLE
        self._check_memory()
        self.set_state(WorkerStatus.IDLE)

    def get_heartbeat_ttl(self, job: RqJob, working_time: float = 0.0) -> int:
        """Short whatever the job's time limit is, so that a killed worker's job is not taken for running."""
        return REGISTRATION_TTL_S

    def heartbeat(self, timeout: int | None = None, pipeline: Any = None) -> None:
        """As in RQ, but the registration always expires soon after the last one."""
        super().heartbeat(REGISTRATION_TTL_S, pipeline=pipeline)

    def kill_horse(self, sig: signal.Signals = signal.SIGTERM) -> None:
        """What RQ calls for stop-job and stop-execution: interrupt the body that runs in this process."""
        self._interrupts.request(StoppedByOperatorError("stopped by an operator (RQ stop-job command)"))

    def request_stop(self, signum: int, frame: FrameType | None) -> None:
        """First SIGTERM or SIGINT: release the running job, then exit. Another one a second later: exit at once."""
        now = time.monotonic()
        if self._stop_signal_at is None:
            self._stop_signal_at = now
            self._stop_requested = True
            name = signal.Signals(signum).name
            self._interrupts.request(WorkerStoppingError(f"worker {self.name} was asked to stop ({name})"))
        elif now - self._stop_signal_at > 1:
            os._exit(EXIT_HARD)

    def _serve_once(self) -> None:
        self._register_if_unknown()
        self.check_for_suspension(burst=False)
        if self.should_run_maintenance_tasks:
            self.run_maintenance_tasks()
        self.heartbeat()
        with suppress(DequeueTimeout):
            found = Queue.dequeue_any(
                self.queues, self.dequeue_timeout, connection=self.connection, serializer=self.serializer
            )
            if found is not None:
                self.execute_job(*found)

    def _register_if_unknown(self) -> None:
        """Make the broker know this worker (again): at the start, and after it lost its memory."""
        with self.connection.pipeline(transaction=False) as pipe:
            pipe.sismember(self.redis_workers_keys, self.key)
            pipe.hexists(self.key, "birth")
            known = all(pipe.execute())
        if not known:
            self.connection.delete(self.key)  # what single heartbeats have left after a FLUSHALL
            self.register_birth()
            self.set_state(self.get_state())
            log.info("worker %s is registered for %s", self.name, ", ".join(self.queue_names()))
        if self.pubsub_thread is None or not self.pubsub_thread.is_alive():
            self.subscribe()

    def _watch(self, job: RqJob, execution: Execution, over: threading.Event) -> None:
        heartbeat_at = time.monotonic() + HEARTBEAT_EVERY_S
        while not over.wait(WATCH_EVERY_S):
            self._check_memory()
            try:
                self._register_if_unknown()
                if time.monotonic() >= heartbeat_at:
                    heartbeat_at = time.monotonic() + HEARTBEAT_EVERY_S
                    self.maintain_heartbeats(job, execution)
            except redis.RedisError as error:
                log.warning("worker %s: no heartbeat at the broker, the job goes on: %s", self.name, error)
                over.wait(BACKOFF_MAX_S)

    def _check_memory(self) -> None:
        if not self._memory_max_bytes or self.exit_code == EXIT_MEMORY:
            return
        resident = resident_bytes()
        if resident > self._memory_max_bytes:
            self.exit_code = EXIT_MEMORY
            self._stop_requested = True
            limit = f"AL_WORKER_MEMORY_MAX_BYTES={self._memory_max_bytes:,}"
            reason = f"the worker uses {resident:,} bytes of memory, more than {limit}; it is started anew"
            log.warning("worker %s: %s", self.name, reason)
            self._interrupts.request(MemoryLimitError(reason))

    def _sleep(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while not self._stop_requested and time.monotonic() < deadline:
            time.sleep(0.02)

    def _sign_off(self) -> None:
        with suppress(redis.RedisError, OSError):
            self.register_death()
        with suppress(redis.RedisError, OSError, ValueError):
            self.unsubscribe()

    def _pubsub_exception_handler(self, exc: Exception, pubsub: Any, pubsub_thread: Any) -> None:
        # RQ ends the thread at a time-out; then stop-job would be deaf for good. redis-py subscribes again by itself.
        if isinstance(exc, redis.ConnectionError | redis.TimeoutError):
            self._sleep(BACKOFF_MAX_S / 2)
        elif self._stop_requested:
            pubsub_thread.stop()
        else:
            raise exc


def worker_name() -> str:
    """host-pid and four random letters: in containers both host and pid come back while the old name still lives."""
    return f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(2)}"


def resident_bytes() -> int:
    """Memory of this process that is in RAM now (macOS: the most it ever was)."""
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
        return int(next(line for line in lines if line.startswith("VmRSS:")).split()[1]) * 1024
    except OSError:
        import resource  # not there on every platform

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def watch_supervisor() -> None:
    """Stop this process when the supervisor named in the environment is gone (ORPHAN_GRACE_S later: end it)."""
    pid = os.environ.pop(PARENT_VARIABLE, "")  # not meant for processes that a job may start
    if pid.isdigit():
        threading.Thread(target=_stop_without_parent, args=(int(pid),), name="parent-watch", daemon=True).start()


def _stop_without_parent(parent_pid: int) -> None:
    while os.getppid() == parent_pid:
        time.sleep(PARENT_EVERY_S)
    log.warning("the supervisor (process %d) is gone; stopping", parent_pid)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(ORPHAN_GRACE_S)
    os._exit(EXIT_HARD)


def main(settings: Settings, queues: Sequence[str] = QUEUES) -> int:
    """Run a worker process until it is told to stop; its exit code. Logging is the caller's.

    Raises:
        InvalidInputError: a queue that does not exist.
        UnavailableError: the database cannot be used; the broker may be away.
    """
    unknown = [name for name in queues if name not in QUEUES]
    if unknown or not queues:
        raise InvalidInputError(f"queues {unknown or 'missing'}: choose from {', '.join(QUEUES)}")
    watch_supervisor()
    from workers import context  # here, because it loads torch: only a process that will run jobs pays for that

    interrupts = Interrupts()
    worker = WarmWorker(
        queues,
        connect(resolve_broker_url(settings)),
        interrupts=interrupts,
        memory_max_bytes=settings.worker_memory_max_bytes,
    )
    # Ready means ready: the jobs with torch are loaded now, not when the first message calls them by name.
    importlib.import_module("workers.jobs")
    opened = context.open_context(settings, worker.name)
    opened.interrupts = interrupts
    context.install(opened)
    return worker.serve()

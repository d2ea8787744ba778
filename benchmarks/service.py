"""Services to measure: one inside this process, whose jobs are run by hand, and the real processes of `al up`."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import requests

from al_service.bootstrap import open_services, prepare_data_dir, utc_now
from al_service.cli.processes import free_port
from al_service.domain.records import Job
from al_service.errors import UnavailableError
from al_service.job_queue.inline_queue import InlineQueue
from al_service.loop.services import Services, assemble
from al_service.scheduler import Scheduler
from al_service.settings import Settings, environment_of
from al_service.storage.artifacts import FileArtifacts
from al_service.storage.store import SqlStore

START_TIMEOUT_S = 300.0
STOP_TIMEOUT_S = 30.0
POLL_S = 0.1


@dataclass(frozen=True)
class InProcess:
    """A service without processes: real SQLite, real files, the real jobs; `work` runs what is due."""

    services: Services
    queue: InlineQueue
    scheduler: Scheduler
    settings: Settings

    def work(self) -> None:
        """Tick and run jobs until nothing more happens."""
        while self.scheduler.tick() + self.queue.run_all():
            pass


@contextmanager
def in_process(folder: Path, *, database_url: str = "") -> Iterator[InProcess]:
    """A service over an empty folder, on the CPU; with its own SQLite unless another database is named."""
    # torch, which the benchmark of the web service alone does without.
    from workers import context, jobs
    from workers.running import Interrupts

    settings = Settings(data_dir=folder, device="cpu", database_url=database_url)
    prepare_data_dir(settings)
    store = SqlStore(settings.database)
    store.migrate()

    def run(job: Job) -> None:
        getattr(jobs, job.kind.value)(job.id, job.attempt)

    queue = InlineQueue(run)
    artifacts = FileArtifacts(settings.artifact_dir)
    services = assemble(store, queue, artifacts, utc_now, lease_ttl_s=settings.lease_ttl_s)
    context.install(context.WorkerContext(settings, services, "bench", interrupts=Interrupts()))
    try:
        yield InProcess(services, queue, Scheduler(services), settings)
    finally:
        store.close()


@contextmanager
def processes(folder: Path, *, workers: int, database_url: str = "") -> Iterator[tuple[Settings, Services]]:
    """`al up` on a folder: broker, web, scheduler and workers; ended, with all they started, when the block ends."""
    settings = Settings(data_dir=folder.resolve(), workers=workers, database_url=database_url)
    settings = replace(settings, port=free_port("127.0.0.1", 0))
    prepare_data_dir(settings)
    ready = f"{settings.url}/health/ready"
    command = [sys.executable, "-m", "al_service", "up"]
    with started(command, folder / "up.log", environment_of(settings), ready if workers else f"{settings.url}/health"):
        yield settings, open_services(settings)


@contextmanager
def started(command: list[str], log: Path, more: dict[str, str], url: str) -> Iterator[subprocess.Popen[bytes]]:
    """A server that answers at a URL, as a child process.

    Raises:
        UnavailableError: it ended, or did not answer within five minutes; the log's path is in the message.
    """
    environment = {**{key: value for key, value in os.environ.items() if not key.startswith("AL_")}, **more}
    with log.open("wb") as file:
        child = subprocess.Popen(command, env=environment, stdout=file, stderr=file, start_new_session=True)
    try:
        _wait_for(child, url, log)
        yield child
    finally:
        child.send_signal(signal.SIGTERM)
        try:
            child.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


def _wait_for(child: subprocess.Popen[bytes], url: str, log: Path) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline:
        if child.poll() is not None:
            raise UnavailableError(f"{child.args!r} ended with {child.returncode}; see {log}")
        try:
            if requests.get(url, timeout=5).status_code == 200:
                return
        except requests.RequestException:
            pass
        time.sleep(POLL_S)
    raise UnavailableError(f"{url} did not answer within {START_TIMEOUT_S:.0f} s; see {log}")


def cpu_seconds(process_id: int) -> float | None:
    """Processor time that a process and those it started have used so far; None where /proc does not tell."""
    folder = Path("/proc") / str(process_id)
    try:
        fields = (folder / "stat").read_text().rpartition(")")[2].split()
        children = (folder / "task" / str(process_id) / "children").read_text().split()
    except OSError:
        return None
    # utime and stime, the 14th and 15th of all fields; the first two went with the name.
    own = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return own + sum(cpu_seconds(int(child)) or 0.0 for child in children)

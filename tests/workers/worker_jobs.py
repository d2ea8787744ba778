"""Job functions that a real worker process runs in the tests: `run(folder, job_id, attempt, body name)`."""

import time
from contextlib import suppress
from pathlib import Path

from al_service.errors import ConflictError, InvalidInputError
from tests.workers.file_ledger import FileLedger
from workers.running import Interrupts, JobRun, run_job

#: The process's own; put here by start_worker.
INTERRUPTS: list[Interrupts] = []


def run(folder: str, job_id: int, attempt: int, body_name: str) -> None:
    ledger = FileLedger(Path(folder))
    run_job(
        ledger,
        job_id,
        attempt,
        lambda job_run: BODIES[body_name](ledger, job_run),
        worker_name="w",
        heartbeat_s=0.1,
        interrupts=INTERRUPTS[0],
    )


def _quick(ledger: FileLedger, run: JobRun) -> None:
    ledger.note("done", run.job.id, run.job.attempt)


def _spin(ledger: FileLedger, run: JobRun) -> None:
    """Never reports, never ends."""
    ledger.note("spinning", run.job.id)
    while True:
        time.sleep(0.01)


def _until_told(ledger: FileLedger, run: JobRun) -> None:
    ledger.note("spinning", run.job.id)
    while not ledger.has_flag("finish"):
        time.sleep(0.01)
    ledger.note("done", run.job.id, run.job.attempt)


def _stubborn(ledger: FileLedger, run: JobRun) -> None:
    """Swallows the first interrupt, as a broad except or a __del__ does."""
    ledger.note("spinning", run.job.id)
    try:
        while True:
            time.sleep(0.01)
    except Exception:  # noqa: BLE001 - the very mistake that is tested
        ledger.note("swallowed", run.job.id)
    while True:
        time.sleep(0.01)


def _deaf(ledger: FileLedger, run: JobRun) -> None:
    """Survives every interrupt."""
    ledger.note("spinning", run.job.id)
    while True:
        with suppress(Exception):
            while True:
                time.sleep(0.01)


def _hog(ledger: FileLedger, run: JobRun) -> None:
    held = []
    while True:
        held.append(bytes(bytearray(b"x") * 10_000_000))
        time.sleep(0.02)


def _boom(ledger: FileLedger, run: JobRun) -> None:
    raise ValueError("boom")


def _invalid(ledger: FileLedger, run: JobRun) -> None:
    raise InvalidInputError("class_name: 'dgo' is not a class of this project")


def _conflict(ledger: FileLedger, run: JobRun) -> None:
    raise ConflictError("job 1 attempt 1 was superseded")


BODIES = {
    "quick": _quick,
    "spin": _spin,
    "until_told": _until_told,
    "stubborn": _stubborn,
    "deaf": _deaf,
    "hog": _hog,
    "boom": _boom,
    "invalid": _invalid,
    "conflict": _conflict,
}

"""A job ledger in a folder, so that a test and a worker process see the same: events as JSON lines, flags as files."""

import json
import os
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from al_service.domain.records import Job
from al_service.domain.states import JobKind, JobState
from al_service.errors import UnavailableError

NOW = datetime(2026, 1, 2, tzinfo=UTC)


def make_job(job_id: int, attempt: int) -> Job:
    return Job(
        id=job_id,
        project_id=1,
        round_id=None,
        kind=JobKind.TRAIN,
        state=JobState.RUNNING,
        attempt=attempt,
        attempts_max=3,
        payload={},
        result={},
        progress_done=0,
        progress_total=None,
        progress_text="",
        worker="w",
        error=None,
        created_at=NOW,
        not_before=NOW,
        announced_at=None,
        started_at=None,
        heartbeat_at=None,
        finished_at=None,
    )


@dataclass(frozen=True)
class FileLedger:
    """Implements workers.running.JobLedger. Flags: `superseded` (claim refuses), `cancelled` (beat says False),
    `claim-down` and `beat-down` (the database does not answer)."""

    folder: Path

    def claim(self, job_id: int, attempt: int, worker: str) -> Job | None:
        if self.has_flag("claim-down"):
            raise UnavailableError("the database is down")
        self.note("claim", job_id, attempt, worker=worker)
        return None if self.has_flag("superseded") else make_job(job_id, attempt)

    def beat(
        self, job_id: int, attempt: int, done: int | None = None, total: int | None = None, text: str | None = None
    ) -> bool:
        if self.has_flag("beat-down"):
            self.note("beat-down", job_id, attempt)
            raise UnavailableError("the database is down")
        self.note("beat", job_id, attempt, done=done, total=total, text=text)
        return not self.has_flag("cancelled")

    def fail(self, job_id: int, attempt: int, message: str, *, retryable: bool) -> None:
        self.note("fail", job_id, attempt, message=message, retryable=retryable)

    def release(self, job_id: int, attempt: int, message: str) -> None:
        self.note("release", job_id, attempt, message=message)

    def note(self, event: str, job_id: int, attempt: int = 1, **more: Any) -> None:
        line = json.dumps({"event": event, "job": job_id, "attempt": attempt, "pid": os.getpid(), **more}) + "\n"
        handle = os.open(self.folder / "events", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.write(handle, line.encode())
        os.close(handle)

    def events(self, event: str, job_id: int | None = None) -> list[dict[str, Any]]:
        path = self.folder / "events"
        lines = path.read_text(encoding="utf-8").split("\n")[:-1] if path.exists() else []
        found = [json.loads(line) for line in lines]
        return [row for row in found if row["event"] == event and job_id in (None, row["job"])]

    def set_flag(self, name: str) -> None:
        (self.folder / name).touch()

    def clear_flag(self, name: str) -> None:
        (self.folder / name).unlink()

    def has_flag(self, name: str) -> bool:
        return (self.folder / name).exists()

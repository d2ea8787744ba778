"""The whole loop in one process: real SQLite, real files, real training; the queue is run by hand, the clock is
ours.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from al_service.domain.records import Assignment, Job, User
from al_service.domain.states import AnnotationKind, Role
from al_service.ingest.digits import write_digits
from al_service.job_queue.inline_queue import InlineQueue
from al_service.loop.annotations import Answer
from al_service.loop.jobs import JobLimits
from al_service.loop.services import Services, assemble
from al_service.scheduler import Scheduler
from al_service.settings import Settings
from al_service.storage.artifacts import FileArtifacts
from al_service.storage.store import SqlStore
from workers import context, jobs
from workers.running import Interrupts

DIGITS = tuple("0123456789")


class Clock:
    """Time that moves when told."""

    def __init__(self) -> None:
        self.now = datetime(2026, 3, 1, 9, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


@dataclass
class Loop:
    """A service without processes: `work` runs due jobs, `tick` is one look of the scheduler."""

    services: Services
    queue: InlineQueue
    clock: Clock
    scheduler: Scheduler
    settings: Settings
    truth: dict[str, str]

    def work(self) -> None:
        """Tick and run jobs until nothing more happens."""
        for _ in range(100):
            done = self.scheduler.tick() + self.queue.run_all()
            self.clock.advance(1)
            if not done:
                return
        raise AssertionError("the loop does not come to rest")

    def person(self, name: str, role: Role = Role.LABELER) -> User:
        return self.services.accounts.ensure_user(name, role)

    def answer(self, assignment: Assignment, user: User, class_name: str | None = None) -> None:
        name = class_name or self.truth[assignment.sample.sha256]
        answer = Answer(AnnotationKind.LABEL, name, f"key-{user.id}-{assignment.id}")
        self.services.annotations.annotate(assignment.id, user, answer)

    def answer_all(self, project: str, user: User) -> int:
        """Answer like a person until the queue is empty; how many."""
        count = 0
        while leased := self.services.assignments.lease_next(project, user, 10).assignments:
            for assignment in leased:
                self.answer(assignment, user)
                self.clock.advance(0.5)
                count += 1
        return count


@pytest.fixture
def settings_values() -> dict[str, Any]:
    """Settings of the process, for tests that override this."""
    return {}


@pytest.fixture
def loop(tmp_path: Path, database_url: str, settings_values: dict[str, Any]) -> Iterator[Loop]:
    values = {"data_dir": tmp_path / "data", "database_url": database_url, "device": "cpu", "heartbeat_s": 0.5}
    settings = Settings(**{**values, **settings_values})
    settings.data_dir.mkdir()
    store = SqlStore(settings.database)
    store.migrate()

    def run(job: Job) -> None:
        getattr(jobs, job.kind.value)(job.id, job.attempt)

    clock, queue = Clock(), InlineQueue(run)
    services = assemble(
        store, queue, FileArtifacts(settings.artifact_dir), clock, lease_ttl_s=300, limits=JobLimits(retry_delay_s=1)
    )
    context.install(context.WorkerContext(settings, services, "test-worker", interrupts=Interrupts()))
    yield Loop(services, queue, clock, Scheduler(services), settings, {})
    store.close()


@pytest.fixture(scope="session")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The handwritten digits as PNG files in class folders."""
    folder = tmp_path_factory.mktemp("digits")
    write_digits(folder)
    return folder


def truth_of(folder: Path) -> dict[str, str]:
    """Content hash -> class of an ImageFolder."""
    return {hashlib.sha256(path.read_bytes()).hexdigest(): path.parent.name for path in folder.glob("*/*.png")}


@pytest.fixture
def digits_loop(loop: Loop, digits: Path) -> Loop:
    """A project `digits` whose images are in; only the evaluation samples have labels."""
    loop.truth = truth_of(digits)
    settings = {"labels_per_round": 30, "epochs_max": 20, "network": "small_cnn"}
    loop.services.projects.create("digits", DIGITS, settings)
    loop.services.projects.import_images("digits", str(digits), use_labels="evaluation")
    return loop


@pytest.fixture
def mia(loop: Loop) -> User:
    return loop.person("mia")


@pytest.fixture
def tom(loop: Loop) -> User:
    return loop.person("tom")


@pytest.fixture(autouse=True)
def _counts_add_up(loop: Loop) -> Iterator[None]:
    """After every test: the counts of the pool add up."""
    yield
    for project in loop.services.projects.all():
        counts = loop.services.projects.summary(project.name).counts
        parts = (counts.free, counts.leased, counts.labelled, counts.skipped, counts.flagged, counts.not_queued)
        assert sum(parts) == counts.total

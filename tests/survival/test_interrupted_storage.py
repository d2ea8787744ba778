"""A job that is stopped from outside while it writes: its process must be able to write again afterwards."""

import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from rq.timeouts import JobTimeoutException

from al_service.bootstrap import utc_now
from al_service.domain.project_config import ProjectConfig
from al_service.domain.states import JobKind
from al_service.job_queue.inline_queue import InlineQueue
from al_service.loop.jobs import Jobs
from al_service.storage.store import SqlStore
from workers.running import WAKE_SIGNAL, Interrupts, JobInterruptedError
from workers.safe_moments import SafeTimeLimit

TIMES = 20


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqlStore]:
    store = SqlStore(f"sqlite:///{tmp_path / 'al.db'}")
    store.migrate()
    yield store
    store.close()


@pytest.fixture
def interrupts() -> Iterator[Interrupts]:
    before = signal.getsignal(WAKE_SIGNAL)
    interrupts = Interrupts()
    interrupts.install()
    yield interrupts
    signal.signal(WAKE_SIGNAL, before)


def can_write(store: SqlStore) -> bool:
    """From another thread, as the heartbeat does."""

    def write() -> None:
        with store.write():
            written.append(True)

    written: list[bool] = []
    thread = threading.Thread(target=write, daemon=True)
    thread.start()
    thread.join(10)
    return bool(written)


def test_an_interrupt_while_the_job_writes_leaves_the_database_usable(store: SqlStore, interrupts: Interrupts) -> None:
    for _ in range(TIMES):
        interrupts.forget()
        asked = threading.Event()

        def ask(asked: threading.Event = asked) -> None:
            with store.write():  # a heartbeat, which finds out that the attempt no longer counts
                pass
            interrupts.request(JobInterruptedError("the job was cancelled"))
            asked.set()

        with pytest.raises(JobInterruptedError), interrupts:
            threading.Thread(target=ask).start()
            while True:
                with store.write():
                    pass
                if asked.wait(0.001):  # what a body's `progress` does now and then
                    interrupts.check()
        assert can_write(store)


def test_a_time_limit_that_ends_while_the_job_writes_waits(store: SqlStore) -> None:
    never = threading.Event()
    with pytest.raises(JobTimeoutException), SafeTimeLimit(1, JobTimeoutException):
        while True:
            with store.write() as tx:
                tx.projects.all()
            never.wait(0.001)
    assert can_write(store)


def test_an_attempt_that_has_stored_its_result_is_not_stopped(store: SqlStore) -> None:
    """Its heartbeat may come between the commit and the ring for the next stage."""
    jobs = Jobs(store, InlineQueue(lambda job: None), utc_now)
    with store.write() as tx:
        project = tx.projects.add("digits", ["a", "b"], ProjectConfig(), utc_now())
        job = jobs.submit(tx, project_id=project.id, kind=JobKind.TRAIN, payload={})
    claimed = jobs.claim(job.id, 1, "worker")
    assert claimed is not None
    assert jobs.beat(job.id, 1)
    with store.write() as tx:
        jobs.finish(tx, claimed, {})
    assert jobs.beat(job.id, 1)
    assert not jobs.beat(job.id, 2)

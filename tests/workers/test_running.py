"""run_job in the test's own process: who is told what, for every way a body can end."""

import signal
import threading
import time

import pytest
from rq.timeouts import JobTimeoutException

from al_service.errors import (
    ConflictError,
    InvalidInputError,
    NotFoundError,
    PermissionDeniedError,
    UnavailableError,
)
from al_service.loop.jobs import SupersededError
from tests.valkey_server import wait_for
from tests.workers.file_ledger import FileLedger
from workers.running import (
    WAKE_SIGNAL,
    AttemptFailedError,
    Interrupts,
    JobInterruptedError,
    MemoryLimitError,
    StoppedByOperatorError,
    WorkerStoppingError,
    run_job,
)


@pytest.fixture
def ledger(tmp_path):
    return FileLedger(tmp_path)


@pytest.fixture
def interrupts():
    before = signal.getsignal(WAKE_SIGNAL)
    interrupts = Interrupts()
    interrupts.install()
    yield interrupts
    signal.signal(WAKE_SIGNAL, before)


def run(ledger, body, interrupts=None, heartbeat_s=60.0):
    run_job(ledger, 7, 2, body, worker_name="w1", heartbeat_s=heartbeat_s, interrupts=interrupts or Interrupts())


def raising(error):
    def body(run):
        raise error

    return body


def test_a_good_body_gets_its_job_and_nothing_is_settled_here(ledger):
    seen = []
    run(ledger, lambda run: seen.append((run.job.id, run.job.attempt)))
    assert seen == [(7, 2)]
    assert ledger.events("claim")[0]["worker"] == "w1"
    assert not ledger.events("fail") and not ledger.events("release")


def test_an_attempt_that_may_not_begin_is_left_alone(ledger):
    ledger.set_flag("superseded")
    run(ledger, raising(AssertionError("the body ran")))
    assert not ledger.events("fail")


def test_a_claim_that_cannot_be_written_is_an_error_and_nothing_else(ledger):
    ledger.set_flag("claim-down")
    with pytest.raises(UnavailableError):
        run(ledger, raising(AssertionError("the body ran")))
    assert not ledger.events("fail")


@pytest.mark.parametrize(
    ("error", "retryable", "message"),
    [
        (InvalidInputError("bad column"), False, "bad column"),
        (NotFoundError("no project 3"), False, "no project 3"),
        (PermissionDeniedError("not yours"), False, "not yours"),
        (StoppedByOperatorError("stopped"), False, "stopped"),
        (UnavailableError("disk full"), True, "disk full"),
        (ConflictError("another one was faster"), True, "another one was faster"),
        (MemoryLimitError("too large"), True, "too large"),
        (JobTimeoutException("exceeded 3 seconds"), True, "exceeded 3 seconds; raise AL_JOB_TIMEOUT_S"),
        (MemoryError("cuda"), True, "MemoryError: cuda (the traceback is in the log"),
        (ZeroDivisionError("x"), True, "ZeroDivisionError: x (the traceback is in the log"),
        (SystemExit(3), True, "SystemExit: 3 (the traceback is in the log"),
    ],
)
def test_a_failure_is_written_and_raised_again(ledger, error, retryable, message):
    with pytest.raises(type(error)) as caught:
        run(ledger, raising(error))
    assert caught.value is error
    (failure,) = ledger.events("fail")
    assert (failure["job"], failure["attempt"], failure["retryable"]) == (7, 2, retryable)
    assert failure["message"].startswith(message)


@pytest.mark.parametrize("error", [SupersededError("superseded"), JobInterruptedError("cancelled")])
def test_an_attempt_that_no_longer_counts_ends_quietly(ledger, error):
    run(ledger, raising(error))
    assert not ledger.events("fail") and not ledger.events("release")


def test_a_failure_that_cannot_be_written_still_raises_the_cause(ledger):
    class Down(FileLedger):
        def fail(self, *args, **more):
            raise UnavailableError("the database is down")

    with pytest.raises(ValueError, match="cause"):
        run(Down(ledger.folder), raising(ValueError("cause")))


def test_progress_is_written_once_per_heartbeat(ledger):
    def body(run):
        for done in range(1000):
            run.progress(done, 1000, "training")

    run(ledger, body)
    assert [(row["done"], row["total"], row["text"]) for row in ledger.events("beat")] == [(0, 1000, "training")]


def test_the_heartbeat_carries_the_newest_progress(ledger):
    def body(run):
        run.progress(1, 9)
        run.progress(5, 9, "epoch 5")
        wait_for(lambda: [row for row in ledger.events("beat") if row["done"] == 5], "the progress is written")

    run(ledger, body, heartbeat_s=0.05)


def test_progress_raises_when_the_attempt_no_longer_counts(ledger):
    ledger.set_flag("cancelled")
    reached = []

    def body(run):
        run.progress(1, 2)
        reached.append("after")

    run(ledger, body, heartbeat_s=0)
    assert not reached and not ledger.events("fail")


def test_a_silent_body_keeps_its_heartbeat_through_a_database_outage(ledger):
    ledger.set_flag("beat-down")

    def body(run):
        wait_for(lambda: len(ledger.events("beat-down")) > 1, "beats have failed")
        run.progress(1, 2)
        ledger.clear_flag("beat-down")
        wait_for(lambda: ledger.events("beat"), "a beat got through")

    run(ledger, body, heartbeat_s=0.05)
    assert not ledger.events("fail")


def test_the_main_thread_is_interrupted_in_the_middle_of_a_blocking_call(ledger, interrupts):
    threading.Timer(0.1, ledger.set_flag, ["cancelled"]).start()
    run(ledger, lambda run: threading.Event().wait(60), interrupts, heartbeat_s=0.05)
    assert ledger.has_flag("cancelled")
    assert not ledger.events("fail")


def test_a_stopping_worker_releases_its_attempt_and_begins_no_other(ledger, interrupts):
    def body(run):
        interrupts.request(WorkerStoppingError("asked to stop"))
        time.sleep(60)

    run(ledger, body, interrupts)
    assert [row["message"] for row in ledger.events("release")] == ["asked to stop"]
    run(ledger, raising(AssertionError("the body ran")), interrupts)
    assert len(ledger.events("claim")) == 1


def test_a_late_interrupt_does_not_hit_the_next_job(ledger, interrupts):
    run(ledger, lambda run: None, interrupts)
    interrupts.request(JobInterruptedError("meant for the job before"))
    done = []
    run(ledger, lambda run: done.append(run.progress(1, 1)), interrupts)
    assert done == [None]


def test_nothing_is_raised_while_a_failure_is_being_written(ledger, interrupts):
    class Slow(FileLedger):
        def fail(self, job_id, attempt, message, *, retryable):
            interrupts.request(StoppedByOperatorError("too late"))
            super().fail(job_id, attempt, message, retryable=retryable)

    with pytest.raises(ValueError, match="cause"):
        run(Slow(ledger.folder), raising(ValueError("cause")), interrupts)
    assert len(ledger.events("fail")) == 1


def test_an_error_text_that_no_database_takes_is_escaped_and_kills_nobody(ledger):
    with pytest.raises(AttemptFailedError) as caught:
        run(ledger, raising(InvalidInputError("no file /tmp/\udcff")))
    assert caught.value.__cause__ is None
    assert ledger.events("fail")[0]["message"] == "no file /tmp/\\udcff"
    str(caught.value).encode()

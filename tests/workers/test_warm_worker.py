"""The worker process, for real: a Valkey, RQ, a process, and everything that can happen to them."""

import os
import pickle
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from rq import Queue
from rq.command import (
    PUBSUB_CHANNEL_TEMPLATE,
    send_kill_horse_command,
    send_shutdown_command,
    send_stop_job_command,
)
from rq.job import Job as RqJob
from rq.serializers import JSONSerializer

from al_service.job_queue.rq_queue import RqJobQueue
from tests.valkey_server import client_of, is_alive, running_broker, wait_for
from tests.workers.file_ledger import FileLedger
from workers.process import EXIT_HARD, EXIT_MEMORY, EXIT_OK

ROOT = Path(__file__).parents[2]


class Bench:
    """One broker, one ledger and the worker processes of one test."""

    def __init__(self, broker, client, folder):
        self.broker, self.client, self.folder = broker, client, folder
        self.ledger = FileLedger(folder)
        self.processes = []

    def start_worker(self, *, extra_bytes=0, hang_grace_s=60.0):
        with (self.folder / "worker.log").open("ab") as log_file:
            process = subprocess.Popen(
                self.command(extra_bytes, hang_grace_s),
                cwd=ROOT,
                stdout=log_file,
                stderr=subprocess.STDOUT,
            )
        self.processes.append(process)
        return process

    def command(self, extra_bytes=0, hang_grace_s=60.0):
        module = "tests.workers.start_worker"
        return [sys.executable, "-m", module, self.broker.url, str(extra_bytes), str(hang_grace_s)]

    def ring(self, job_id, body, *, queue="gpu", timeout=600, attempt=1):
        """What RqJobQueue.announce does, with a function of the tests."""
        Queue(queue, connection=self.client, serializer=JSONSerializer).enqueue_call(
            "tests.workers.worker_jobs.run",
            args=(str(self.folder), job_id, attempt, body),
            timeout=timeout,
            job_id=f"al-{job_id}-{attempt}",
        )

    def wait_event(self, event, job_id):
        def look():
            for process in self.processes[-1:]:
                assert process.poll() is None or self.ledger.events(event, job_id), self.log()
            return self.ledger.events(event, job_id)

        try:
            return wait_for(look, f"job {job_id} has the event {event!r}")[0]
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.log()}") from None

    def status_of(self, job_id):
        return RqJob.fetch(f"al-{job_id}-1", connection=self.client, serializer=JSONSerializer).get_status().value

    def wait_status(self, job_id, status):
        wait_for(lambda: self.status_of(job_id) == status, f"RQ says {status} of job {job_id}")

    def workers(self):
        queue = RqJobQueue(self.broker.url, job_timeout_s=10)
        try:
            return queue.workers()
        finally:
            queue.close()

    def log(self):
        return (self.folder / "worker.log").read_text()


@pytest.fixture(scope="module")
def broker(tmp_path_factory):
    with running_broker(tmp_path_factory.mktemp("broker")) as broker:
        yield broker


@pytest.fixture
def bench(broker, tmp_path):
    broker.start()  # a test may have killed it
    with client_of(broker.url) as client:
        client.flushall()
        bench = Bench(broker, client, tmp_path)
        yield bench
        for process in bench.processes:
            process.kill()
            process.wait()


def test_two_jobs_run_in_the_same_process_and_rq_knows(bench):
    worker = bench.start_worker()
    bench.ring(1, "quick")
    bench.ring(2, "quick", queue="high")
    assert bench.wait_event("done", 1)["pid"] == bench.wait_event("done", 2)["pid"] == worker.pid
    bench.wait_status(1, "finished")
    assert bench.client.zscore("rq:finished:gpu", "al-1-1")


def test_urgent_queues_come_first(bench):
    for job_id, queue in enumerate(["low", "gpu", "default", "high"], start=1):
        bench.ring(job_id, "quick", queue=queue)
    bench.start_worker()
    for job_id in (1, 2, 3, 4):
        bench.wait_event("done", job_id)
    assert [row["job"] for row in bench.ledger.events("done")] == [4, 3, 2, 1]


def test_a_job_over_its_time_ends_with_retry_and_the_worker_lives(bench):
    worker = bench.start_worker()
    bench.ring(1, "spin", timeout=1)
    failure = bench.wait_event("fail", 1)
    assert failure["retryable"] and "AL_JOB_TIMEOUT_S" in failure["message"]
    bench.ring(2, "quick")
    assert bench.wait_event("done", 2)["pid"] == worker.pid
    assert bench.status_of(1) == "failed"


def test_stop_job_ends_it_without_retry_and_kill_horse_does_nothing(bench):
    worker = bench.start_worker()
    bench.ring(1, "spin")
    bench.wait_event("spinning", 1)
    bench.wait_status(1, "started")
    name = bench.workers()[0]["name"]
    send_kill_horse_command(bench.client, name)
    send_stop_job_command(bench.client, "al-1-1", serializer=JSONSerializer)
    failure = bench.wait_event("fail", 1)
    assert not failure["retryable"] and "stop-job" in failure["message"]
    bench.wait_status(1, "stopped")
    bench.ring(2, "quick")
    assert bench.wait_event("done", 2)["pid"] == worker.pid


def test_an_interrupt_that_the_job_swallows_comes_again(bench):
    bench.start_worker()
    bench.ring(1, "stubborn")
    bench.wait_event("spinning", 1)
    bench.ledger.set_flag("cancelled")
    bench.wait_event("swallowed", 1)
    bench.wait_status(1, "finished")
    assert not bench.ledger.events("fail")


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_signal_ends_an_idle_worker(bench, signum):
    worker = bench.start_worker()
    wait_for(bench.workers, "the worker is registered")
    worker.send_signal(signum)
    assert worker.wait(30) == EXIT_OK
    assert bench.workers() == []


def test_a_stop_signal_releases_the_running_job_at_once(bench):
    worker = bench.start_worker()
    bench.ring(1, "spin")
    bench.wait_event("spinning", 1)
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(30) == EXIT_OK
    assert "SIGTERM" in bench.ledger.events("release", 1)[0]["message"]
    assert not bench.ledger.events("fail")
    assert bench.workers() == []


def test_the_shutdown_command_stops_the_worker_too(bench):
    worker = bench.start_worker()
    name = wait_for(bench.workers, "the worker is registered")[0]["name"]
    # It is registered a moment before it listens, and a command that nobody hears is lost.
    channel = PUBSUB_CHANNEL_TEMPLATE % name
    wait_for(lambda: bench.client.pubsub_numsub(channel)[0][1], "the worker listens")
    send_shutdown_command(bench.client, name)
    assert worker.wait(30) == EXIT_OK


def test_after_kill_9_the_next_worker_takes_the_next_job(bench):
    first = bench.start_worker()
    bench.ring(1, "spin")
    bench.wait_event("spinning", 1)
    first.kill()
    first.wait()
    second = bench.start_worker()
    bench.ring(1, "quick", attempt=2)
    assert bench.wait_event("done", 1)["pid"] == second.pid


def test_flushall_while_idle_costs_nothing(bench):
    worker = bench.start_worker()
    wait_for(bench.workers, "the worker is registered")
    bench.client.flushall()
    wait_for(bench.workers, "the worker is registered again")
    assert bench.workers()[0]["queues"] == ["high", "default", "gpu", "low"]
    bench.ring(1, "quick")
    assert bench.wait_event("done", 1)["pid"] == worker.pid


def test_flushall_while_busy_costs_nothing(bench):
    worker = bench.start_worker()
    bench.ring(1, "until_told")
    bench.wait_event("spinning", 1)
    bench.client.flushall()
    wait_for(bench.workers, "the busy worker is registered again")
    bench.ledger.set_flag("finish")
    bench.wait_event("done", 1)
    bench.ring(2, "quick")
    assert bench.wait_event("done", 2)["pid"] == worker.pid
    assert [row["queues"] for row in bench.workers()] == [["high", "default", "gpu", "low"]]
    assert not bench.ledger.events("fail")


def kill_broker(broker):
    pid = broker.pid
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: not broker.answers(), "the broker is gone")
    broker.stop()


def test_a_broker_that_dies_and_comes_back_while_idle(bench):
    worker = bench.start_worker()
    wait_for(bench.workers, "the worker is registered")
    kill_broker(bench.broker)
    wait_for(lambda: "next try in 0.2" in bench.log(), "the worker has tried a few times")
    bench.broker.start()
    wait_for(bench.workers, "the worker is registered again")
    bench.ring(1, "spin")
    bench.wait_event("spinning", 1)
    bench.wait_status(1, "started")

    def stop_job():  # its subscription comes back within a second or two
        send_stop_job_command(bench.client, "al-1-1", serializer=JSONSerializer)
        return bench.ledger.events("fail", 1)

    wait_for(stop_job, "stop-job is heard again")
    assert worker.poll() is None


def test_a_broker_that_dies_and_comes_back_while_busy(bench):
    worker = bench.start_worker()
    bench.ring(1, "until_told")
    bench.wait_event("spinning", 1)
    kill_broker(bench.broker)
    bench.ledger.set_flag("finish")
    bench.wait_event("done", 1)
    wait_for(lambda: "next try in" in bench.log(), "the worker has noticed")
    bench.broker.start()
    bench.ring(2, "quick")
    assert bench.wait_event("done", 2)["pid"] == worker.pid
    assert not bench.ledger.events("fail")


def test_a_worker_may_start_before_its_broker_and_stop_without_it(bench):
    kill_broker(bench.broker)
    worker = bench.start_worker()
    wait_for(lambda: "next try in" in bench.log(), "the worker waits for the broker")
    worker.terminate()
    assert worker.wait(30) == EXIT_OK


def test_too_much_memory_stops_the_job_then_the_process(bench):
    worker = bench.start_worker(extra_bytes=200_000_000)
    bench.ring(1, "hog")
    failure = bench.wait_event("fail", 1)
    assert failure["retryable"] and "AL_WORKER_MEMORY_MAX_BYTES" in failure["message"]
    assert worker.wait(30) == EXIT_MEMORY
    assert bench.status_of(1) == "failed"


@pytest.mark.parametrize(
    ("body", "retryable", "words"),
    [("boom", True, "ValueError: boom"), ("invalid", False, "is not a class of this project")],
)
def test_a_failing_job_is_failed_in_the_ledger_and_at_rq(bench, body, retryable, words):
    worker = bench.start_worker()
    bench.ring(1, body)
    failure = bench.wait_event("fail", 1)
    assert failure["retryable"] is retryable and words in failure["message"]
    bench.wait_status(1, "failed")
    assert bench.client.zscore("rq:failed:gpu", "al-1-1")
    bench.ring(2, "quick")
    assert bench.wait_event("done", 2)["pid"] == worker.pid


def test_a_superseded_attempt_ends_quietly(bench):
    bench.start_worker()
    bench.ledger.set_flag("superseded")
    bench.ring(1, "quick")
    bench.wait_event("claim", 1)
    bench.wait_status(1, "finished")
    assert not bench.ledger.events("done") and not bench.ledger.events("fail")


def test_an_attempt_that_stops_counting_while_it_runs_ends_quietly(bench):
    worker = bench.start_worker()
    bench.ring(1, "spin")
    bench.wait_event("spinning", 1)
    bench.ledger.set_flag("cancelled")
    bench.wait_status(1, "finished")
    bench.ledger.clear_flag("cancelled")
    assert not bench.ledger.events("fail") and not bench.ledger.events("release")
    bench.ring(2, "quick")
    assert bench.wait_event("done", 2)["pid"] == worker.pid


def test_a_message_that_is_not_ours_does_not_end_the_worker(bench):
    worker = bench.start_worker()
    Queue("gpu", connection=bench.client).enqueue_call("os.getcwd", job_id="pickled")
    assert bench.client.hget("rq:job:pickled", "data")[:1] == b"x"
    bench.client.hset("rq:job:garbage", mapping={"data": pickle.dumps(("os.getcwd", None, (), {}))})
    bench.client.rpush("rq:queue:gpu", "garbage")
    bench.ring(1, "quick")
    assert bench.wait_event("done", 1)["pid"] == worker.pid
    assert bench.client.zscore("rq:failed:gpu", "pickled")


def test_a_worker_ends_when_its_supervisor_is_gone(bench):
    code = (
        "import os, subprocess, sys\n"
        "child = subprocess.Popen(sys.argv[1:], env={**os.environ, 'SUPERVISOR_PID': str(os.getpid())})\n"
        "print(child.pid, flush=True)\n"
        "child.wait()\n"
    )
    with (bench.folder / "worker.log").open("ab") as log_file:
        parent = subprocess.Popen(
            [sys.executable, "-c", code, *bench.command()],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=log_file,
        )
    bench.processes.append(parent)
    worker_pid = int(parent.stdout.readline())
    parent.stdout.close()
    bench.ring(1, "spin")
    bench.wait_event("spinning", 1)
    parent.kill()
    wait_for(lambda: not is_alive(worker_pid), "the worker has ended")
    assert bench.ledger.events("release", 1)


def test_a_second_stop_signal_ends_a_job_that_cannot_be_interrupted(bench):
    worker = bench.start_worker()
    bench.ring(1, "deaf")
    bench.wait_event("spinning", 1)

    def insist():
        worker.terminate()
        return worker.poll() is not None

    wait_for(insist, "the process has ended")
    assert worker.returncode == EXIT_HARD


def test_a_job_that_no_signal_reaches_takes_the_process_down_with_all_stacks_in_the_log(bench):
    worker = bench.start_worker(hang_grace_s=0.5)
    bench.ring(1, "deaf", timeout=1)
    bench.wait_event("spinning", 1)
    assert worker.wait(30) == 1
    assert "in _deaf" in bench.log()

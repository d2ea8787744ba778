"""What loop.ports.JobQueue promises, over the RQ queue on a real Valkey and over the inline queue."""

import json
import zlib
from dataclasses import replace
from datetime import UTC, datetime

import pytest
import redis
from rq import Queue
from rq.job import Job as RqJob
from rq.serializers import JSONSerializer

from al_service.domain.records import Job
from al_service.domain.states import QUEUE_OF_JOB, QUEUES, JobKind, JobState
from al_service.errors import InvalidInputError, UnavailableError
from al_service.job_queue.inline_queue import InlineQueue
from al_service.job_queue.rq_queue import RqJobQueue, rq_job_id
from tests.valkey_server import client_of, running_broker

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def make_job(job_id: int = 1, kind: JobKind = JobKind.TRAIN, attempt: int = 1) -> Job:
    return Job(
        id=job_id,
        project_id=1,
        round_id=None,
        kind=kind,
        state=JobState.QUEUED,
        attempt=attempt,
        attempts_max=3,
        payload={},
        result={},
        progress_done=0,
        progress_total=None,
        progress_text="",
        worker=None,
        error=None,
        created_at=NOW,
        not_before=NOW,
        announced_at=None,
        started_at=None,
        heartbeat_at=None,
        finished_at=None,
    )


@pytest.fixture(scope="module")
def broker_url(tmp_path_factory):
    with running_broker(tmp_path_factory.mktemp("broker")) as broker:
        yield broker.url


@pytest.fixture
def client(broker_url):
    with client_of(broker_url) as client:
        client.flushall()
        yield client


@pytest.fixture
def rq_queue(broker_url, client):
    queue = RqJobQueue(broker_url, job_timeout_s=77)
    yield queue
    queue.close()


@pytest.fixture(params=["rq", "inline"])
def queue_and_flush(request):
    if request.param == "inline":
        queue = InlineQueue(lambda job: None)
        return queue, queue.forget_all
    return request.getfixturevalue("rq_queue"), request.getfixturevalue("client").flushall


class TestJobQueue:
    def test_knows_an_announced_attempt_and_no_other(self, queue_and_flush):
        queue, _ = queue_and_flush
        job = make_job()
        assert not queue.knows(job)
        queue.announce(job)
        assert queue.knows(job)
        assert not queue.knows(replace(job, attempt=2))
        assert not queue.knows(replace(job, id=2))

    def test_announcing_the_same_attempt_again_changes_nothing(self, queue_and_flush):
        queue, _ = queue_and_flush
        for _ in range(3):
            queue.announce(make_job())
        assert queue.depths() == {"high": 0, "default": 0, "gpu": 1, "low": 0}

    def test_each_kind_goes_to_its_queue(self, queue_and_flush):
        queue, _ = queue_and_flush
        for number, kind in enumerate(JobKind, start=1):
            queue.announce(make_job(number, kind))
        expected = dict.fromkeys(QUEUES, 0)
        for kind in JobKind:
            expected[QUEUE_OF_JOB[kind]] += 1
        assert queue.depths() == expected

    def test_a_flushed_queue_knows_nothing_and_can_be_told_again(self, queue_and_flush):
        queue, flush = queue_and_flush
        queue.announce(make_job())
        flush()
        assert not queue.knows(make_job())
        queue.announce(make_job())
        assert queue.knows(make_job())
        assert queue.depths()["gpu"] == 1

    def test_a_new_attempt_is_news(self, queue_and_flush):
        queue, _ = queue_and_flush
        queue.announce(make_job(attempt=1))
        queue.announce(make_job(attempt=2))
        assert queue.depths()["gpu"] == 2

    def test_check_says_a_word(self, queue_and_flush):
        assert queue_and_flush[0].check()

    def test_workers_are_described_by_the_same_keys(self, queue_and_flush, client):
        client.sadd("rq:workers", "rq:worker:w1", "rq:worker:gone")
        client.hset(
            "rq:worker:w1",
            mapping={"state": "busy", "queues": "high,gpu", "last_heartbeat": "2026-01-02T03:04:05.000000Z"},
        )
        client.sadd("rq:worker:w1:executions", "al-12-3:abc")
        for worker in queue_and_flush[0].workers():
            assert set(worker) == {"name", "state", "queues", "current_job", "heartbeat_at"}


class TestRqJobQueue:
    def test_only_json_travels(self, rq_queue, client):
        rq_queue.announce(make_job(5, JobKind.SCORE, attempt=2))
        raw = client.hgetall("rq:job:al-5-2")
        assert json.loads(zlib.decompress(raw[b"data"])) == ["workers.jobs.score", None, [5, 2], {}]
        assert (raw[b"timeout"], raw[b"failure_ttl"], raw[b"origin"]) == (b"77", b"86400", b"gpu")
        for name, value in raw.items():
            assert not value.startswith(b"\x80"), f"{name!r} looks like a pickle"

    def test_a_job_without_queue_entry_is_rung_for_again(self, rq_queue, client):
        job = make_job()
        rq_queue.announce(job)
        client.delete("rq:queue:gpu")
        assert not rq_queue.knows(job)
        rq_queue.announce(job)
        assert client.lrange("rq:queue:gpu", 0, -1) == [b"al-1-1"]

    def test_a_queue_entry_without_its_job_is_rung_for_again(self, rq_queue, client):
        job = make_job()
        rq_queue.announce(job)
        client.delete("rq:job:al-1-1")
        assert not rq_queue.knows(job)
        rq_queue.announce(job)
        assert rq_queue.knows(job)
        assert client.lrange("rq:queue:gpu", 0, -1) == [b"al-1-1"]

    def test_a_running_attempt_is_known_until_its_heartbeat_is_old(self, rq_queue, client):
        job = make_job()
        rq_queue.announce(job)
        client.delete("rq:queue:gpu")
        client.zadd("rq:wip:gpu", {"al-1-1:execution": 4_000_000_000})
        assert rq_queue.knows(job)
        client.zadd("rq:wip:gpu", {"al-1-1:execution": 1_000_000_000})
        assert not rq_queue.knows(job)

    def test_another_attempt_with_a_longer_number_is_not_mistaken(self, rq_queue, client):
        rq_queue.announce(make_job(1, attempt=1))
        client.delete("rq:queue:gpu")
        client.zadd("rq:wip:gpu", {"al-1-11:execution": 4_000_000_000})
        assert not rq_queue.knows(make_job(1, attempt=1))

    def test_an_attempt_that_rq_has_finished_with_is_rung_for_again_without_expiry(self, rq_queue, client):
        job = make_job()
        rq_queue.announce(job)
        client.delete("rq:queue:gpu")
        client.expire("rq:job:al-1-1", 60)
        client.zadd("rq:failed:gpu", {"al-1-1": 4_000_000_000})
        rq_queue.announce(job)
        assert client.ttl("rq:job:al-1-1") == -1
        assert client.zcard("rq:failed:gpu") == 0

    def test_rq_can_fetch_what_was_announced(self, rq_queue, client):
        rq_queue.announce(make_job(9, JobKind.SELECT))
        found, queue = Queue.dequeue_any(
            [Queue("high", connection=client)], None, connection=client, serializer=JSONSerializer
        )
        assert isinstance(found, RqJob)
        assert (found.id, found.func_name, found.args, queue.name) == (
            rq_job_id(make_job(9)),
            "workers.jobs.select",
            [9, 1],
            "high",
        )

    def test_workers_lists_the_living_with_our_job_id(self, rq_queue, client):
        client.sadd("rq:workers", "rq:worker:w1", "rq:worker:w2", "rq:worker:gone")
        client.hset(
            "rq:worker:w1",
            mapping={"state": "busy", "queues": "high,gpu", "last_heartbeat": "2026-01-02T03:04:05.000000Z"},
        )
        client.sadd("rq:worker:w1:executions", "al-12-3:abc")
        client.hset("rq:worker:w2", mapping={"state": "idle", "death": "2026-01-02T03:04:05.000000Z"})
        assert rq_queue.workers() == [
            {"name": "w1", "state": "busy", "queues": ["high", "gpu"], "current_job": 12, "heartbeat_at": NOW}
        ]

    def test_every_call_to_a_missing_broker_is_unavailable_and_keeps_the_password(self, tmp_path):
        queue = RqJobQueue("redis://al:hunter2@127.0.0.1:1/0", job_timeout_s=10)
        for call in (
            lambda: queue.announce(make_job()),
            lambda: queue.knows(make_job()),
            queue.check,
            queue.workers,
            queue.depths,
        ):
            with pytest.raises(UnavailableError) as caught:
                call()
            assert "redis://127.0.0.1:1/0" in caught.value.message
            assert "hunter2" not in str(caught.value)

    def test_check_names_server_and_address(self, rq_queue):
        assert rq_queue.check().startswith("valkey ")
        assert "unix:///" in rq_queue.check()

    def test_a_strange_scheme_is_refused_without_its_password(self):
        with pytest.raises(InvalidInputError) as caught:
            RqJobQueue("http://al:hunter2@example.org", job_timeout_s=10)
        assert "hunter2" not in str(caught.value)

    def test_the_queue_goes_on_after_the_broker_was_restarted(self, tmp_path):
        with running_broker(tmp_path) as broker:
            queue = RqJobQueue(broker.url, job_timeout_s=10)
            queue.announce(make_job())
            broker.stop()
            with pytest.raises(UnavailableError):
                queue.announce(make_job())
            broker.start()
            assert not queue.knows(make_job())
            queue.announce(make_job())
            assert queue.knows(make_job())
            queue.close()


class TestInlineQueue:
    def test_runs_by_priority_then_in_order_and_what_jobs_announce(self):
        ran = []

        def run(job: Job) -> None:
            ran.append(job.id)
            assert queue.knows(job)
            assert queue.workers()[0]["current_job"] == job.id
            if job.id == 3:
                queue.announce(make_job(4, JobKind.SELECT))

        queue = InlineQueue(run)
        queue.announce(make_job(1, JobKind.TRAIN))
        queue.announce(make_job(2, JobKind.INGEST))
        queue.announce(make_job(3, JobKind.INGEST))
        assert queue.run_all() == 4
        assert ran == [2, 3, 4, 1]
        assert queue.run_all() == 0

    def test_an_exception_passes_through_and_the_rest_waits(self):
        def run(job: Job) -> None:
            if job.id == 1:
                raise ValueError("boom")

        queue = InlineQueue(run)
        queue.announce(make_job(1))
        queue.announce(make_job(2))
        with pytest.raises(ValueError, match="boom"):
            queue.run_all()
        assert not queue.knows(make_job(1))
        assert queue.run_all() == 1


def test_a_client_error_is_not_swallowed(rq_queue, client):
    client.set("rq:queue:gpu", "not a list")
    with pytest.raises(UnavailableError) as caught:
        rq_queue.depths()
    assert isinstance(caught.value.__cause__, redis.RedisError)

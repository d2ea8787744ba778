"""The job queue on RQ: a message is only a doorbell that says "attempt A of job J is due".

What is on the wire: an RQ job with id `al-<job>-<attempt>`, function name `workers.jobs.<kind>` and the arguments
`[job, attempt]`, all JSON (never pickle: whoever can write to the broker must not be able to run code in a worker).
RQ's own retries are not used; attempts, backoff and truth live in the database. The broker may be flushed any time.

Needs Redis 6.0.6 or any Valkey (LPOS).
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import redis
from rq import Queue
from rq.executions import WORKER_EXECUTIONS_KEY_TEMPLATE
from rq.job import Job as RqJob
from rq.job import JobStatus
from rq.registry import StartedJobRegistry
from rq.serializers import JSONSerializer
from rq.utils import utcparse
from rq.worker import BaseWorker

from al_service.domain.records import Job
from al_service.domain.states import QUEUE_OF_JOB, QUEUES
from al_service.errors import UnavailableError
from al_service.job_queue.connection import connect, describe_address

RESULT_TTL_S = 60
FAILURE_TTL_S = 86_400
_ID_PREFIX = "al-"


class BrokerUnavailableError(UnavailableError):
    """The broker does not answer, or refuses; names its address, never its password."""

    code = "broker_unavailable"


class RqJobQueue:
    """Implements `loop.ports.JobQueue`; thread-safe; connects at the first call.

    Args:
        broker_url: redis://, rediss:// or unix:// (see `broker.resolve_broker_url`).
        job_timeout_s: after so many seconds a worker stops the job.
    """

    def __init__(self, broker_url: str, *, job_timeout_s: int) -> None:
        self._redis = connect(broker_url)
        self._address = describe_address(broker_url)
        self._job_timeout_s = job_timeout_s

    def announce(self, job: Job) -> None:
        """Ring for this attempt unless it is waiting or running at the broker.

        The RQ job alone does not count: after a partial loss it may be there while no queue names it, and a job that
        RQ has finished or failed is rung for again, because the database says that it is due. Two announcers at the
        same time leave one entry in the queue.

        Raises:
            BrokerUnavailableError: no answer; the scheduler announces again.
        """
        with self._translated():
            if self._knows(job):
                return
            queue = self._queue(job)
            rq_id = rq_job_id(job)
            with self._redis.pipeline() as pipe:
                # An old hash may carry an expiry that writing to it would keep, and old registry entries would lie.
                pipe.delete(RqJob.key_for(rq_id))
                pipe.lrem(queue.key, 0, rq_id)
                pipe.zrem(queue.failed_job_registry.key, rq_id)
                pipe.zrem(queue.finished_job_registry.key, rq_id)
                # Not `enqueue`: it opens a transaction of its own and refuses a pipeline that holds commands already.
                pipe.sadd(queue.redis_queues_keys, queue.key)
                self._rq_job(queue, job).save(pipeline=pipe)
                queue.push_job_id(rq_id, pipeline=pipe)
                pipe.execute()

    def knows(self, job: Job) -> bool:
        """True when this attempt waits in its queue or a worker with a fresh heartbeat runs it."""
        with self._translated():
            return self._knows(job)

    def check(self) -> str:
        """Server and address in a word, such as `valkey 9.1.0 at unix:///data/broker/valkey.sock`."""
        with self._translated():
            info = self._redis.info("server")
        name = info.get("server_name", "redis")
        version = info.get(f"{name}_version", info.get("redis_version", "?"))
        return f"{name} {version} at {self._address}"

    def workers(self) -> list[dict[str, Any]]:
        """Live workers by name: {name, state, queues, current_job (our job id or None), heartbeat_at}.

        A worker that was killed disappears when its registration expires, after about half a minute.
        """
        with self._translated():
            keys = sorted(_text(key) for key in self._redis.smembers(BaseWorker.redis_workers_keys))
            names = [key.removeprefix(BaseWorker.redis_worker_namespace_prefix) for key in keys]
            with self._redis.pipeline(transaction=False) as pipe:
                for key, name in zip(keys, names, strict=True):
                    pipe.hgetall(key)
                    pipe.smembers(WORKER_EXECUTIONS_KEY_TEMPLATE.format(name))
                answers = pipe.execute()
        rows = zip(names, answers[0::2], answers[1::2], strict=True)
        return [
            _describe_worker(name, raw, executions) for name, raw, executions in rows if raw and b"death" not in raw
        ]

    def depths(self) -> dict[str, int]:
        """Jobs waiting at the broker by queue."""
        with self._translated(), self._redis.pipeline(transaction=False) as pipe:
            for name in QUEUES:
                pipe.llen(Queue(name, connection=self._redis).key)
            counts = pipe.execute()
        return dict(zip(QUEUES, counts, strict=True))

    def close(self) -> None:
        """Give the connections back."""
        self._redis.close()

    def _queue(self, job: Job) -> Queue:
        return Queue(QUEUE_OF_JOB[job.kind], connection=self._redis, serializer=JSONSerializer)

    def _rq_job(self, queue: Queue, job: Job) -> RqJob:
        rq_job = queue.create_job(
            func=f"workers.jobs.{job.kind.value}",
            args=(job.id, job.attempt),
            timeout=self._job_timeout_s,
            result_ttl=RESULT_TTL_S,
            failure_ttl=FAILURE_TTL_S,
            description=f"{job.kind.value} job {job.id}, attempt {job.attempt}",
            job_id=rq_job_id(job),
            status=JobStatus.QUEUED,
        )
        rq_job.origin = queue.name
        rq_job.enqueued_at = datetime.now(UTC)
        return rq_job

    def _knows(self, job: Job) -> bool:
        rq_id = rq_job_id(job)
        queue = self._queue(job)
        started = StartedJobRegistry(queue=queue)
        with self._redis.pipeline() as pipe:
            pipe.exists(RqJob.key_for(rq_id))  # a queued id without its hash is silently dropped by the worker
            pipe.lpos(queue.key, rq_id)
            # The score is when the entry expires without a heartbeat; a killed worker leaves entries behind.
            pipe.zrangebyscore(started.key, time.time(), "+inf")
            exists, position, running = pipe.execute()
        is_running = any(_text(entry).startswith(f"{rq_id}:") for entry in running)
        return bool(exists) and (position is not None or is_running)

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except redis.RedisError as error:
            raise BrokerUnavailableError(
                f"the broker at {self._address} does not answer: {str(error).rstrip('.')}. "
                "Nothing is lost: the scheduler announces waiting jobs again when it is back."
            ) from error


def rq_job_id(job: Job) -> str:
    """The RQ job id of one attempt: `al-<job>-<attempt>`."""
    return f"{_ID_PREFIX}{job.id}-{job.attempt}"


def _describe_worker(name: str, raw: dict[bytes, bytes], executions: set[bytes]) -> dict[str, Any]:
    heartbeat = raw.get(b"last_heartbeat")
    heartbeat_at: datetime | None = utcparse(_text(heartbeat)) if heartbeat else None
    queues = _text(raw.get(b"queues", b""))
    return {
        "name": name,
        "state": _text(raw.get(b"state", b"?")),
        "queues": queues.split(",") if queues else [],
        "current_job": next((found for entry in executions if (found := _our_job_id(_text(entry))) is not None), None),
        "heartbeat_at": heartbeat_at,
    }


def _our_job_id(execution: str) -> int | None:
    # RQ's composite key is <rq job id>:<execution id>
    rq_id = execution.partition(":")[0]
    number = rq_id.removeprefix(_ID_PREFIX).partition("-")[0]
    return int(number) if rq_id.startswith(_ID_PREFIX) and number.isdigit() else None


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value

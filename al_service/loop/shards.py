"""Scoring in shards: what a stage that is many jobs adds to one that is one job.

The job that begins the stage plans and ends (`Rounds.fan_out`); each shard is a job of its own; whichever ends last
completes the stage (`Rounds.complete_shard`). A round plans its shards once: every shard of the round is of that plan.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from al_service.domain.records import Job
from al_service.domain.states import JobKind, JobState
from al_service.errors import InvalidInputError
from al_service.loop.ports import Transaction

#: More shards than this would make every look at a round slow; make them larger.
SHARDS_MAX = 1000


def check_payloads(payloads: Sequence[dict[str, Any]]) -> None:
    """Refuse plans that cannot be carried out.

    Raises:
        InvalidInputError: no shard or too many, a shard without a `count` of at least 1, or one that takes a name
            which `numbered` gives.
    """
    if not 1 <= len(payloads) <= SHARDS_MAX:
        raise InvalidInputError(
            f"{len(payloads)} shards; expected 1 to {SHARDS_MAX}. Make them larger, or complete the stage at once."
        )
    for place, payload in enumerate(payloads):
        count = payload.get("count")
        if type(count) is not int or count < 1:
            raise InvalidInputError(f"payloads[{place}] has count={count!r}, expected how many images, at least 1")
        if taken := {"round", "shard", "shards"} & set(payload):
            raise InvalidInputError(f"payloads[{place}] brings {min(taken)!r}, which the loop itself fills in")


def shard_size(samples: int, wanted: int) -> int:
    """Samples in a shard: as wanted, or more, so that there are at most SHARDS_MAX shards.

    >>> shard_size(50_000, 20_000), shard_size(1_000_000, 100)
    (20000, 1000)
    """
    return max(wanted, -(-samples // SHARDS_MAX))


def numbered(round_number: int, payloads: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The payloads with `round`, `shard` (from 0) and `shards` (how many) added."""
    return [
        {"round": round_number, "shard": place, "shards": len(payloads), **payload}
        for place, payload in enumerate(payloads)
    ]


def shards_of(tx: Transaction, round_id: int) -> list[Job]:
    """The shard jobs of a round in the plan's order; none when its scoring was not divided."""
    return tx.jobs.of_round(round_id, JobKind.SCORE_SHARD)


def merged_facts(shards: Sequence[Job], now: datetime) -> dict[str, Any] | None:
    """What the stage's record says once every shard is done; None before.

    Returns:
        shards: each shard's facts, in the plan's order; scored: images; seconds: while at least one shard was being
        worked on, waiting for a retry not counted; images_per_second: over these.
    """
    if not all(job.state is JobState.DONE for job in shards):
        return None
    scored = sum(int(job.result.get("scored", job.payload["count"])) for job in shards)
    seconds = _seconds_covered([(job.started_at or now, job.finished_at or now) for job in shards])
    return {
        "shards": [job.result for job in shards],
        "scored": scored,
        "seconds": seconds,
        "images_per_second": scored / seconds if seconds > 0 else None,
    }


def named(job: Job, message: str) -> str:
    """A failure's message, with the shard's place where it is one."""
    if job.kind is not JobKind.SCORE_SHARD:
        return message
    return f"shard {job.payload['shard'] + 1} of {job.payload['shards']} (job {job.id}): {message}"


def _seconds_covered(spans: Sequence[tuple[datetime, datetime]]) -> float:
    """Length of the union of the spans."""
    total, covered_until = 0.0, None
    for start, end in sorted(spans):
        begin = start if covered_until is None else max(start, covered_until)
        if end > begin:
            total += (end - begin).total_seconds()
            covered_until = end
    return total

"""How far work is, how fast it goes and how long it will take: computed here only, from the database's jobs.

Nothing looks at a clock: progress is as of the newest heartbeat, so the same rows always give the same answer.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from al_service.domain.records import Job
from al_service.domain.states import JobKind, JobState

#: What less work than this shows of a speed is noise.
WORK_MIN_S = 1.0


@dataclass(frozen=True)
class Progress:
    """Of one job, or of all shards of a stage together.

    Attributes:
        done, total: images, epochs or rows, as the jobs count; total None while nobody knows.
        text: what is being done.
        per_second: speed of the work in hand; None while nothing runs, or before a second of work.
        seconds_left: at that speed; None when speed or total are unknown.
        shards, shards_done: how many jobs share the work; None for a single job.
    """

    done: int
    total: int | None
    text: str
    per_second: float | None = None
    seconds_left: float | None = None
    shards: int | None = None
    shards_done: int | None = None


def progress_of_job(job: Job) -> Progress:
    """Progress of one job alone."""
    return _timed(Progress(job.progress_done, job.progress_total, job.progress_text), [job])


def progress_of_shards(jobs: Sequence[Job]) -> Progress:
    """Progress of the shards of one stage together: sums over what each was given to do (`count` in its payload)."""
    running = next((job.progress_text for job in jobs if job.state is JobState.RUNNING and job.progress_text), "")
    finished = sum(job.state is JobState.DONE for job in jobs)
    together = Progress(
        done=sum(_done(job) for job in jobs),
        total=sum(job.payload["count"] for job in jobs),
        text=running,
        shards=len(jobs),
        shards_done=finished,
    )
    return _timed(together, jobs)


def _done(job: Job) -> int:
    if job.kind is not JobKind.SCORE_SHARD:
        return job.progress_done
    count: int = job.payload["count"]
    return count if job.state is JobState.DONE else min(job.progress_done, count)


def _timed(progress: Progress, jobs: Sequence[Job]) -> Progress:
    """With speed and time left: what a worker did per second of work, times the workers that are at it now."""
    worked = [job for job in jobs if job.state in (JobState.RUNNING, JobState.DONE) and job.progress_since is not None]
    at_work = sum(job.state is JobState.RUNNING for job in worked)
    seconds = sum(_seconds(job) for job in worked)
    done = sum(_done(job) for job in worked)
    if not at_work or not done or seconds < WORK_MIN_S:
        return progress
    per_second = at_work * done / seconds
    left = None if progress.total is None else max(0, progress.total - progress.done) / per_second
    return Progress(
        progress.done, progress.total, progress.text, per_second, left, progress.shards, progress.shards_done
    )


def _seconds(job: Job) -> float:
    until = job.finished_at or job.heartbeat_at
    if job.progress_since is None or until is None:
        return 0.0
    return (until - job.progress_since).total_seconds()

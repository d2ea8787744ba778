"""Speed and time left follow from rows alone: sums over shards, waiting not counted, nothing made up."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from al_service.domain.progress import Progress, progress_of_job, progress_of_shards
from al_service.domain.records import Job
from al_service.domain.states import JobKind, JobState

START = datetime(2026, 1, 2, 12, tzinfo=UTC)


def job(state: JobState, done: int, seconds: float, count: int = 100, kind: JobKind = JobKind.SCORE_SHARD) -> Job:
    """A job that has worked for so long; queued ones have not."""
    until = START + timedelta(seconds=seconds)
    is_over = state is JobState.DONE
    begun = None if state is JobState.QUEUED else START
    return Job(
        id=1, project_id=1, round_id=1, kind=kind, state=state, attempt=1, attempts_max=3,
        payload={"count": count}, result={}, progress_done=done, progress_total=count, progress_text="scoring",
        worker=None, error=None, created_at=START, not_before=START, announced_at=None, started_at=begun,
        heartbeat_at=until if begun else None, finished_at=until if is_over else None, progress_since=begun,
    )  # fmt: skip


RUNNING, DONE, QUEUED = JobState.RUNNING, JobState.DONE, JobState.QUEUED


def test_one_job_goes_at_its_own_speed() -> None:
    found = progress_of_job(job(RUNNING, 30, 15, kind=JobKind.TRAIN))
    assert found == Progress(30, 100, "scoring", per_second=2.0, seconds_left=35.0)


def test_the_total_may_be_unknown() -> None:
    found = progress_of_job(replace(job(RUNNING, 30, 15, kind=JobKind.INGEST), progress_total=None))
    assert (found.per_second, found.seconds_left) == (2.0, None)


def test_more_done_than_announced_leaves_nothing_to_wait_for() -> None:
    assert progress_of_job(job(RUNNING, 130, 13, kind=JobKind.TRAIN)).seconds_left == 0.0


@pytest.mark.parametrize(
    "quiet",
    [job(QUEUED, 0, 0), job(RUNNING, 0, 50), job(RUNNING, 9, 0.5), replace(job(RUNNING, 9, 50), progress_since=None)],
    ids=["waits", "nothing done", "less than a second", "begun before this was noted"],
)
def test_no_speed_is_made_up(quiet: Job) -> None:
    for found in (progress_of_job(quiet), progress_of_shards([quiet])):
        assert (found.per_second, found.seconds_left) == (None, None)


def test_shards_add_up_and_a_worker_more_makes_it_faster() -> None:
    alone = progress_of_shards([job(DONE, 100, 50), job(RUNNING, 20, 10), job(QUEUED, 0, 0)])
    assert (alone.done, alone.total, alone.shards, alone.shards_done) == (120, 300, 3, 1)
    assert (alone.per_second, alone.seconds_left) == (2.0, 90.0)
    together = progress_of_shards([job(DONE, 100, 50), job(RUNNING, 20, 10), job(RUNNING, 40, 20)])
    assert together.per_second == 4.0


def test_a_finished_shard_counts_whole_whatever_it_last_reported() -> None:
    found = progress_of_shards([job(DONE, 7, 10), job(RUNNING, 999, 10)])
    assert (found.done, found.total) == (200, 200), "and none counts for more than it was given"


def test_with_nobody_at_work_there_is_no_speed() -> None:
    found = progress_of_shards([job(DONE, 100, 50), job(QUEUED, 0, 0)])
    assert (found.done, found.per_second, found.seconds_left) == (100, None, None)

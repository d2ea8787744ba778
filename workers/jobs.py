"""The jobs by name, as the broker calls them: `workers.jobs.<kind>(job_id, attempt)`. These names never change.

Here the two halves meet: people, rounds and rows on one side, arrays and images on the other. Bodies are in
ingesting and the *_stage and *_job modules; claiming, heartbeats and error translation in running.
"""

from collections.abc import Callable

from al_service.storage.row_view import DamagedRowsError
from workers import ingesting, pretrain_job, score_stage, select_stage, study_job, train_stage
from workers.context import WorkerContext, current
from workers.running import JobRun, run_job

Body = Callable[[WorkerContext, JobRun], None]


def ingest(job_id: int, attempt: int) -> None:
    """Turn a folder, archive or table into samples."""
    _run(job_id, attempt, ingesting.ingest)


def train(job_id: int, attempt: int) -> None:
    """Train on the labels up to the round's watermark and measure on the evaluation set."""
    _run(job_id, attempt, train_stage.train)


def score(job_id: int, attempt: int) -> None:
    """Run the round's model over the unlabelled pool."""
    _run(job_id, attempt, score_stage.score)


def score_shard(job_id: int, attempt: int) -> None:
    """Run the round's model over one range of the unlabelled pool."""
    _run(job_id, attempt, score_stage.score_shard)


def select(job_id: int, attempt: int) -> None:
    """Choose the round's batch."""
    _run(job_id, attempt, select_stage.select)


def pretrain(job_id: int, attempt: int) -> None:
    """Train a backbone on the pool's images, without labels."""
    _run(job_id, attempt, pretrain_job.pretrain)


def simulate(job_id: int, attempt: int) -> None:
    """Compare strategies on the project's labelled images."""
    _run(job_id, attempt, study_job.simulate)


def _run(job_id: int, attempt: int, body: Body) -> None:
    context = current()
    run_job(
        context.services.jobs,
        job_id,
        attempt,
        lambda run: _with_whole_caches(context, run, body),
        worker_name=context.worker_name,
        heartbeat_s=context.settings.heartbeat_s,
        interrupts=context.interrupts,
    )


def _with_whole_caches(context: WorkerContext, run: JobRun, body: Body) -> None:
    """Run the body; where it meets a damaged cache, all that is damaged is removed: one more attempt heals it."""
    try:
        body(context, run)
    except DamagedRowsError:
        context.drop_damaged_rows()
        raise

"""What a project's pages and dashboards show: counts, the current round, and why there is no work right now."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from al_service.domain.progress import Progress, progress_of_job, progress_of_shards
from al_service.domain.records import Job, PoolCounts, Project, Round, User
from al_service.domain.states import JobKind, JobState, RoundState, Stage
from al_service.loop.ports import Transaction
from al_service.loop.shards import shards_of
from al_service.loop.stopping import Stop, stop_of

ACTIVE = (JobState.QUEUED, JobState.RUNNING)
ENDED_BADLY = (JobState.FAILED, JobState.CANCELLED)
RATE_WINDOW = timedelta(minutes=5)
JOBS_LOOKED_AT = 100
ROUNDS_LOOKED_AT = 5
STAGE_WORDS = {
    Stage.TRAIN: "training",
    Stage.SCORE: "looking through the pool",
    Stage.SELECT: "choosing the next images",
}


@dataclass(frozen=True)
class WhyEmpty:
    """Why a person gets no sample: a code for programs, one friendly sentence, the counts behind it, and when to ask
    again.
    """

    code: str
    text: str
    counts: dict[str, int]
    retry_after_s: float


@dataclass(frozen=True)
class Summary:
    """One project at a glance, read in one transaction."""

    project: Project
    counts: PoolCounts
    class_counts: dict[str, int]
    current_round: Round | None
    last_round: Round | None
    asking_round: Round | None
    new_labels: int
    labels_last_5_min: int
    holders: dict[str, int]
    reserve_count: int
    example_count: int
    stage_progress: Progress | None
    active_jobs: tuple[Job, ...]
    failed_jobs: tuple[Job, ...]
    stop: Stop | None


def summarise(tx: Transaction, project: Project, now: datetime) -> Summary:
    """Read everything that the board, `al status` and dashboards show."""
    last = tx.rounds.find_last(project.id)
    counts = tx.samples.counts(project.id)
    active = tx.jobs.all(project_id=project.id, states=ACTIVE, limit=JOBS_LOOKED_AT)
    ended = tx.jobs.all(project_id=project.id, states=ENDED_BADLY, limit=JOBS_LOOKED_AT)
    return Summary(
        project=project,
        counts=counts,
        class_counts=tx.samples.class_counts(project.id),
        current_round=last if last is not None and last.state.is_open else None,
        last_round=last,
        asking_round=asking_round(tx, project.id),
        new_labels=tx.annotations.new_label_count(project.id, last.watermark if last else 0),
        labels_last_5_min=tx.annotations.labels_since(project.id, now - RATE_WINDOW),
        holders=tx.queue.holders(project.id),
        reserve_count=tx.queue.reserve_count(project.id),
        example_count=tx.examples.shown_count(project.id),
        stage_progress=stage_progress(tx, last),
        active_jobs=tuple(active),
        failed_jobs=tuple(job for job in ended if _can_be_retried(job, last)),
        stop=stop_of(tx, project, counts.all_labelled),
    )


def stage_progress(tx: Transaction, record: Round | None) -> Progress | None:
    """How far the round's current stage is; of a stage in shards, all of them together. None when no job is at it."""
    job_id = record.stage_record(record.stage).job_id if record is not None and record.state.is_open else None
    if record is None or job_id is None:
        return None
    job = tx.jobs.get(job_id)
    if not job.state.is_over:
        return progress_of_job(job)
    shards = shards_of(tx, record.id) if job.kind is JobKind.SCORE else []
    return progress_of_shards(shards) if shards else None


def _can_be_retried(job: Job, last: Round | None) -> bool:
    """Failed imports, and what failed or was stopped in a failed round that no other round has followed.

    Jobs that were only stopped along with it say why; retrying the one that failed takes them up again.
    """
    if job.round_id is None:
        return job.state is JobState.FAILED
    is_last = last is not None and last.id == job.round_id and last.state is RoundState.FAILED
    return is_last and (job.state is JobState.FAILED or job.error is None)


def asking_round(tx: Transaction, project_id: int) -> Round | None:
    """The round whose batch people are working on: the newest that has chosen; the newest of all before any has.

    While a round trains, that is the one before it.
    """
    newest_first = tx.rounds.all(project_id, limit=ROUNDS_LOOKED_AT)[::-1]
    return next((record for record in newest_first if record.selected_count), newest_first[0] if newest_first else None)


def why_empty(tx: Transaction, project: Project, user: User) -> WhyEmpty:
    """The reason that fits best, most specific first."""
    counts = tx.samples.counts(project.id)
    last = tx.rounds.find_last(project.id)
    jobs = tx.jobs.all(project_id=project.id, states=ACTIVE)
    code, text, retry_s = _reason(tx, project, user, counts, last, jobs)
    return WhyEmpty(code, text, _plain(counts), retry_s)


def _reason(
    tx: Transaction, project: Project, user: User, counts: PoolCounts, last: Round | None, jobs: list[Job]
) -> tuple[str, str, float]:
    importing = next((job for job in jobs if job.kind is JobKind.INGEST), None)
    if importing is not None and last is None:
        total = f" of {importing.progress_total}" if importing.progress_total else ""
        return "importing", f"Images are being imported: {importing.progress_done}{total} so far.", 2.0
    if counts.total + counts.train_total + counts.evaluation_total == 0:
        return "no_images", "This project has no images yet. Import some, and the first batch appears here.", 10.0
    if last is not None and last.state is RoundState.RUNNING:
        return "round_running", _round_words(last), 1.0
    if tx.queue.has_open(project.id):
        others = {name: held for name, held in tx.queue.holders(project.id).items() if name != user.name}
        if others:
            return "leased_to_others", f"The rest of this batch is with {_names(others)}.", 3.0
        kept = {name: count for name, count in tx.lanes.kept_for(project.id).items() if name != user.name}
        if kept:
            return "kept_for_others", f"The rest of this batch is kept for {_names(kept)}.", 10.0
        return "answered_by_you", "You have answered everything here; the rest waits for a second person.", 10.0
    return _why_no_round(project, counts, last, stop_of(tx, project, counts.all_labelled))


def _why_no_round(
    project: Project, counts: PoolCounts, last: Round | None, stop: Stop | None
) -> tuple[str, str, float]:
    """The queue is empty and nothing runs: why the next round does not start, or that it will."""
    if last is not None and last.state is RoundState.FAILED:
        doing = STAGE_WORDS.get(last.stage, last.stage)
        return "round_failed", f"Round {last.number} failed while {doing}. An engineer can retry it.", 10.0
    if stop is not None:
        return stop.code, f"{stop.text} Thank you.", 30.0
    if counts.unlabelled == 0:
        return "all_labelled", "Every image is labelled, skipped or flagged. Thank you.", 30.0
    if last is not None and last.state is RoundState.CANCELLED:
        words = f"Round {last.number} was cancelled; an engineer will start the next one."
        return "round_cancelled", words, 10.0
    if not project.config.auto_start:
        words = "Rounds start by hand in this project; an engineer will start the next one."
        return "waiting_for_engineer", words, 10.0
    return "round_starting", "The next round is about to start.", 1.0


def _round_words(record: Round) -> str:
    doing = STAGE_WORDS.get(record.stage, record.stage)
    return f"Round {record.number} is {doing}. The next images appear here by themselves."


def _names(holders: dict[str, int]) -> str:
    words = [f"{name} ({held})" for name, held in sorted(holders.items())]
    if len(words) > 3:
        return f"{', '.join(words[:3])} and {len(words) - 3} more"
    return " and ".join(words)


def _plain(counts: PoolCounts) -> dict[str, Any]:
    return {
        "total": counts.total,
        "free": counts.free,
        "leased": counts.leased,
        "labelled": counts.labelled,
        "skipped": counts.skipped,
        "flagged": counts.flagged,
        "not_queued": counts.not_queued,
    }

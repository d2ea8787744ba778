"""`al status`: one project at a glance."""

from dataclasses import asdict
from typing import Any

import click

from al_service.cli.jobs import job_facts
from al_service.cli.session import Session, json_option, print_json
from al_service.domain.progress import Progress
from al_service.domain.records import Round
from al_service.domain.states import JobKind
from al_service.errors import UnavailableError
from al_service.loop.progress import Summary


@click.command()
@click.argument("project_name", metavar="PROJECT")
@json_option
@click.pass_obj
def status(session: Session, project_name: str, as_json: bool) -> None:
    """Pool, queue, round, workers, last metrics and failures of PROJECT."""
    summary = session.services.projects.summary(project_name)
    try:
        workers: list[dict[str, Any]] | None = session.services.queue.workers()
    except UnavailableError:
        workers = None
    if as_json:
        print_json(_status_facts(summary, workers))
    else:
        _print_status(summary, workers)


def _status_facts(summary: Summary, workers: list[dict[str, Any]] | None) -> dict[str, Any]:
    last = summary.last_round
    return {
        "project": summary.project.name,
        "counts": vars(summary.counts),
        "class_counts": summary.class_counts,
        "new_labels": summary.new_labels,
        "labels_per_minute": summary.labels_last_5_min / 5,
        "round": None
        if last is None
        else {"number": last.number, "state": last.state, "stage": last.stage, "metrics": last.metrics},
        "stage_progress": None if summary.stage_progress is None else asdict(summary.stage_progress),
        "holders": summary.holders,
        "jobs": [job_facts(job) for job in summary.active_jobs],
        "failures": [job_facts(job) for job in summary.failed_jobs],
        "workers": workers,
        "stop": None if summary.stop is None else asdict(summary.stop),
    }


def _print_status(summary: Summary, workers: list[dict[str, Any]] | None) -> None:
    counts, last = summary.counts, summary.last_round
    _line("pool", f"{counts.total} samples: {counts.labelled} labelled, {counts.free} waiting in the queue,")
    _line("", f"{counts.leased} with people, {counts.not_queued} not asked yet, {counts.skipped} skipped,")
    _line("", f"{counts.flagged} flagged")
    _line("evaluation", f"{counts.evaluation_total} samples kept aside, {counts.evaluation_labelled} labelled")
    if counts.rejected:
        _line(
            "rejected", f"{counts.rejected} rows of imports; `al job list` shows the imports, `al job show ID` the rows"
        )
    _line("round", "none yet" if last is None else _round_words(last))
    wanted = summary.project.config.labels_to_trigger
    _line("new labels", f"{summary.new_labels} of {wanted} that start the next round")
    if summary.stop is not None:
        _line("stopped", summary.stop.text)
    _line("workers", _worker_words(workers))
    if summary.stage_progress is not None:
        _line("stage", progress_words(summary.stage_progress))
    for job in summary.active_jobs:
        if job.kind is JobKind.SCORE_SHARD:
            continue
        done = f"{job.progress_done}/{job.progress_total or '?'} {job.progress_text}"
        _line("job", f"{job.id} {job.kind} is {job.state}, attempt {job.attempt}, {done}")
    for job in summary.failed_jobs:
        _line("FAILED", f"{job.kind} (job {job.id}): {job.error}")
        _line("", f"retry with: al job retry {job.id}")
        if job.round_id is not None:  # a round keeps the settings that it began with, a wrong one included
            _line("", f"or, once settings are changed: al round start {summary.project.name}")


def _line(head: str, words: str) -> None:
    click.echo(f"{head:<12}{words}")


def progress_words(progress: Progress) -> str:
    """How far, how fast, how long, in one line."""
    words = [f"{progress.done}/{'?' if progress.total is None else progress.total} {progress.text}".strip()]
    if progress.shards is not None:
        words.append(f"{progress.shards_done} of {progress.shards} shards done")
    if progress.per_second is not None:
        words.append(f"{progress.per_second:.1f} per second")
    if progress.seconds_left is not None:
        words.append(f"about {progress.seconds_left:.0f} s left")
    return ", ".join(words)


def _round_words(last: Round) -> str:
    accuracy = last.metrics.get("accuracy")
    measured = "" if accuracy is None else f", accuracy {accuracy:.3f} on {last.metrics['evaluation_samples']} samples"
    return f"{last.number} is {last.state} ({last.stage}), trained on {last.label_count} labels{measured}"


def _worker_words(workers: list[dict[str, Any]] | None) -> str:
    if workers is None:
        return "the broker does not answer"
    return f"{len(workers)} alive" if workers else "none; start one with `al worker`"


COMMANDS = (status,)

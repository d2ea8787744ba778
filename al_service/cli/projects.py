"""`al project …`, `al ingest`, `al status`, `al job …`."""

import time
from pathlib import Path
from typing import Any

import click
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from al_service.cli.session import Session, json_option, print_json, print_table
from al_service.domain.records import Job, Project
from al_service.domain.states import JobState
from al_service.errors import InvalidInputError, UnavailableError
from al_service.loop.progress import Summary

POLL_S = 0.25


@click.group()
def project() -> None:
    """Projects and their settings."""


@project.command("create")
@click.argument("name")
@click.option("--classes", default="", help="Class names, comma separated; may be empty when an import brings labels.")
@click.option("--set", "pairs", multiple=True, metavar="KEY=VALUE", help="A project setting; may be given several times.")
@json_option
@click.pass_obj
def project_create(session: Session, name: str, classes: str, pairs: tuple[str, ...], as_json: bool) -> None:
    """Create a project."""
    names = [item for item in classes.split(",") if item.strip()]
    created = session.services.projects.create(name, names, parse_pairs(pairs))
    if as_json:
        print_json(_facts(created))
    else:
        click.echo(f"project {created.name} is there; next: `al ingest {created.name} PATH`")


@project.command("list")
@click.option("--archived", is_flag=True, help="Archived ones too.")
@json_option
@click.pass_obj
def project_list(session: Session, archived: bool, as_json: bool) -> None:
    """All projects."""
    projects = session.services.projects.all(archived=archived)
    if as_json:
        print_json([_facts(item) for item in projects])
        return
    print_table(
        ["name", "classes", "strategy", "created"],
        [(item.name, len(item.classes), item.config.strategy, item.created_at) for item in projects],
        empty="no projects yet; `al project create NAME --classes a,b,c` makes one",
    )


@project.command("show")
@click.argument("name")
@json_option
@click.pass_obj
def project_show(session: Session, name: str, as_json: bool) -> None:
    """Classes and settings of a project."""
    found = session.services.projects.get(name)
    if as_json:
        print_json(_facts(found))
        return
    click.echo(f"{found.name}: {', '.join(found.class_names) or 'no classes yet'}")
    print_table(["setting", "value"], found.config.to_json().items(), empty="")


@project.command("set")
@click.argument("name")
@click.argument("pairs", nargs=-1, required=True, metavar="KEY=VALUE...")
@click.pass_obj
def project_set(session: Session, name: str, pairs: tuple[str, ...]) -> None:
    """Change settings; they count from the next round on."""
    session.services.projects.change(name, parse_pairs(pairs))
    click.echo(f"{name}: {', '.join(pairs)}")


@project.command("archive")
@click.argument("name")
@click.pass_obj
def project_archive(session: Session, name: str) -> None:
    """Hide a project and stop its loop; nothing is deleted."""
    session.services.projects.archive(name)
    click.echo(f"{name} is archived")


@click.command()
@click.argument("project_name", metavar="PROJECT")
@click.argument("location")
@click.option("--labels", type=click.Choice(["auto", "column", "folder", "none"]), default="auto", show_default=True)
@click.option(
    "--use-labels",
    type=click.Choice(["all", "evaluation", "none"]),
    default="all",
    show_default=True,
    help="Which samples get the labels found; `evaluation` rehearses a loop on labelled data.",
)
@click.option("--split", type=click.Choice(["pool", "train", "test", "evaluation"]), help="Put every row into this split.")
@click.option("--no-wait", is_flag=True, help="Return as soon as the import is queued.")
@json_option
@click.pass_obj
def ingest(
    session: Session, project_name: str, location: str, labels: str, use_labels: str, split: str | None, no_wait: bool, as_json: bool
) -> None:
    """Import a folder, archive, CSV, JSONL or torchvision:NAME into PROJECT."""
    if "://" not in location and not location.startswith("torchvision:"):
        location = str(Path(location).resolve())
    job = session.services.projects.import_images(project_name, location, labels=labels, use_labels=use_labels, split=split)
    if not no_wait:
        job = follow(session, job)
    _report_import(session, job, as_json)


def _report_import(session: Session, job: Job, as_json: bool) -> None:
    with session.services.store.read() as tx:
        rejected = tx.samples.rejections(job.id, 20)
    if as_json:
        print_json({"job": job_facts(job), "rejected": [vars(row) for row in rejected]})
        return
    if not job.state.is_over:
        click.echo(f"import {job.id} is {job.state}; `al job show {job.id}` follows it")
        return
    facts = job.result
    click.echo(", ".join(f"{facts[key]} {key.replace('_', ' ')}" for key in facts if isinstance(facts[key], int)))
    for row in rejected:
        click.echo(f"  rejected {row.external_id}: {row.reason}")
    if job.state is JobState.FAILED:
        raise InvalidInputError(f"import {job.id} failed: {job.error}")


def follow(session: Session, job: Job) -> Job:
    """Show a job's progress until it is over; says so when no worker is there to do it."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, transient=True) as bar:
        task = bar.add_task("waiting for a worker", total=None)
        while not job.state.is_over:
            time.sleep(POLL_S)
            job = session.services.jobs.get(job.id)
            words = job.progress_text or (str(job.kind) if job.state is JobState.RUNNING else _waiting_words(session))
            bar.update(task, completed=job.progress_done, total=job.progress_total, description=words)
    return job


def _waiting_words(session: Session) -> str:
    try:
        alone = not session.services.queue.workers()
    except UnavailableError:
        return "waiting: the broker does not answer; start everything with `al up` in another terminal"
    return "waiting: no worker is running; start one with `al up` in another terminal" if alone else "waiting for a worker"


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
        "round": None if last is None else {"number": last.number, "state": last.state, "stage": last.stage, "metrics": last.metrics},
        "holders": summary.holders,
        "jobs": [job_facts(job) for job in summary.active_jobs],
        "failures": [job_facts(job) for job in summary.failed_jobs],
        "workers": workers,
    }


def _print_status(summary: Summary, workers: list[dict[str, Any]] | None) -> None:
    counts, last = summary.counts, summary.last_round
    click.echo(
        f"pool        {counts.total} samples: {counts.labelled} labelled, {counts.free} waiting in the queue, {counts.leased} with people, "
        f"{counts.not_queued} not asked yet, {counts.skipped} skipped, {counts.flagged} flagged"
    )
    click.echo(f"evaluation  {counts.evaluation_total} samples kept aside, {counts.evaluation_labelled} labelled")
    if counts.rejected:
        click.echo(f"rejected    {counts.rejected} rows of imports (`al job list --project` names them)")
    if last is None:
        click.echo("round       none yet")
    else:
        accuracy = last.metrics.get("accuracy")
        words = f", accuracy {accuracy:.3f} on {last.metrics.get('evaluation_samples')} samples" if accuracy is not None else ""
        click.echo(f"round       {last.number} is {last.state} ({last.stage}), trained on {last.label_count} labels{words}")
    click.echo(f"new labels  {summary.new_labels} of {summary.project.config.labels_to_trigger} that start the next round")
    shown = "the broker does not answer" if workers is None else f"{len(workers)} alive" if workers else "none; start one with `al worker`"
    click.echo(f"workers     {shown}")
    for job in summary.active_jobs:
        click.echo(f"job         {job.id} {job.kind} is {job.state}, attempt {job.attempt}, {job.progress_done}/{job.progress_total or '?'} {job.progress_text}")
    for job in summary.failed_jobs:
        click.echo(f"FAILED      {job.kind} (job {job.id}): {job.error}\n            retry with: al job retry {job.id}")


@click.group()
def job() -> None:
    """Work of the workers."""


@job.command("list")
@click.option("--project", "project_name", help="Only this project.")
@json_option
@click.pass_obj
def job_list(session: Session, project_name: str | None, as_json: bool) -> None:
    """Jobs, newest first."""
    project_id = session.services.projects.get(project_name).id if project_name else None
    with session.services.store.read() as tx:
        jobs = tx.jobs.all(project_id=project_id)
    if as_json:
        print_json([job_facts(item) for item in jobs])
        return
    print_table(
        ["id", "kind", "state", "attempt", "progress", "worker", "error"],
        [(item.id, item.kind, item.state, item.attempt, item.progress_done, item.worker, item.error) for item in jobs],
        empty="no jobs yet",
    )


@job.command("show")
@click.argument("job_id", type=int)
@click.pass_obj
def job_show(session: Session, job_id: int) -> None:
    """One job as JSON, with the rows an import rejected."""
    found = session.services.jobs.get(job_id)
    with session.services.store.read() as tx:
        rejected = tx.samples.rejections(job_id, 1000)
    print_json({**job_facts(found), "rejected": [vars(row) for row in rejected]})


@job.command("retry")
@click.argument("job_id", type=int)
@click.pass_obj
def job_retry(session: Session, job_id: int) -> None:
    """Queue a failed or cancelled job again."""
    again = session.services.jobs.retry(job_id)
    click.echo(f"job {again.id} ({again.kind}) is queued again, attempt {again.attempt}")


@job.command("cancel")
@click.argument("job_id", type=int)
@click.pass_obj
def job_cancel(session: Session, job_id: int) -> None:
    """Stop a job; its worker notices at its next heartbeat."""
    click.echo(f"job {job_id} is {session.services.jobs.cancel(job_id).state}")


def parse_pairs(pairs: tuple[str, ...]) -> dict[str, Any]:
    """KEY=VALUE words as a mapping.

    Raises:
        InvalidInputError: a word without "=".
    """
    for pair in pairs:
        if "=" not in pair:
            raise InvalidInputError(f"{pair!r} is not KEY=VALUE")
    return dict(pair.split("=", 1) for pair in pairs)


def job_facts(item: Job) -> dict[str, Any]:
    """A job as plain data."""
    return {key: value for key, value in vars(item).items() if key != "payload"}


def _facts(item: Project) -> dict[str, Any]:
    return {"name": item.name, "classes": item.class_names, "settings": item.config.to_json(), "created_at": item.created_at}


COMMANDS = (project, ingest, status, job)

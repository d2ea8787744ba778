"""`al project …`, `al ingest` and `al pretrain`."""

import time
from pathlib import Path
from typing import Any

import click
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from al_service.cli.jobs import job_facts
from al_service.cli.session import Session, json_option, print_json, print_table
from al_service.domain.records import Job, Project
from al_service.domain.states import JobState
from al_service.errors import InvalidInputError, UnavailableError

POLL_S = 0.25


@click.group()
def project() -> None:
    """Projects and their settings."""


@project.command("create")
@click.argument("name")
@click.option("--classes", default="", help="Class names, comma separated; may be empty when an import brings labels.")
@click.option(
    "--set", "pairs", multiple=True, metavar="KEY=VALUE", help="A project setting; may be given several times."
)
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
@click.option(
    "--split", type=click.Choice(["pool", "train", "test", "evaluation"]), help="Put every row into this split."
)
@click.option("--no-wait", is_flag=True, help="Return as soon as the import is queued.")
@json_option
@click.pass_obj
def ingest(
    session: Session,
    project_name: str,
    location: str,
    labels: str,
    use_labels: str,
    split: str | None,
    no_wait: bool,
    as_json: bool,
) -> None:
    """Import a folder, archive, CSV, JSONL or torchvision:NAME into PROJECT."""
    if "://" not in location and not location.startswith("torchvision:"):
        location = str(Path(location).resolve())
    job = session.services.projects.import_images(
        project_name, location, labels=labels, use_labels=use_labels, split=split
    )
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


@click.command()
@click.argument("project_name", metavar="PROJECT")
@click.option("--no-wait", is_flag=True, help="Return as soon as it is queued.")
@json_option
@click.pass_obj
def pretrain(session: Session, project_name: str, no_wait: bool, as_json: bool) -> None:
    """Train a backbone on the pool's images, without any label; `weights=pretrained` makes rounds use it."""
    job, is_new = session.services.projects.pretrain(project_name)
    if not no_wait:
        job = follow(session, job)
    if as_json:
        print_json({"started": is_new, "job": job_facts(job)})
    elif job.state is JobState.FAILED:
        raise InvalidInputError(f"pretraining {job.id} failed: {job.error}")
    elif job.state is not JobState.DONE:
        click.echo(f"pretraining {job.id} is {job.state}; `al job show {job.id}` follows it")
    else:
        click.echo(_pretrain_words(project_name, job))


def _pretrain_words(project_name: str, job: Job) -> str:
    facts = job.result
    words = f"{facts['images']} images, {facts['epochs']} epochs, {facts['seconds']:.0f} s"
    before, after = facts.get("knn_accuracy_before"), facts.get("knn_accuracy")
    if after is not None:
        words += f"; k-NN accuracy {'' if before is None else f'{before:.3f} before, '}{after:.3f} after"
    return f"{words}\nnext: `al project set {project_name} weights=pretrained`"


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
    return (
        "waiting: no worker is running; start one with `al up` in another terminal" if alone else "waiting for a worker"
    )


def parse_pairs(pairs: tuple[str, ...]) -> dict[str, Any]:
    """KEY=VALUE words as a mapping.

    Raises:
        InvalidInputError: a word without "=".
    """
    for pair in pairs:
        if "=" not in pair:
            raise InvalidInputError(f"{pair!r} is not KEY=VALUE")
    return dict(pair.split("=", 1) for pair in pairs)


def _facts(item: Project) -> dict[str, Any]:
    return {
        "name": item.name,
        "classes": item.class_names,
        "settings": item.config.to_json(),
        "created_at": item.created_at,
    }


COMMANDS = (project, ingest, pretrain)

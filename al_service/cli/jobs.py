"""`al job …`: the work of the workers."""

from typing import Any

import click

from al_service.cli.session import Session, json_option, print_json, print_table
from al_service.domain.records import Job


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


def job_facts(item: Job) -> dict[str, Any]:
    """A job as plain data."""
    return {key: value for key, value in vars(item).items() if key != "payload"}


COMMANDS = (job,)

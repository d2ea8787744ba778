"""`al study`: a study inside the service, on a project's own labels."""

import click

from al_service.cli.jobs import job_facts
from al_service.cli.projects import follow
from al_service.cli.session import Session, json_option, print_json
from al_service.domain.records import Job
from al_service.domain.states import JobState
from al_service.errors import InvalidInputError
from al_service.loop.studies import SEEDS, SEEDS_MAX, Asked, models_of


@click.command()
@click.argument("project_name", metavar="PROJECT")
@click.option("--strategies", metavar="A,B,C", help="Beside random, which always runs.  [default: auto]")
@click.option("--seeds", type=click.IntRange(1, SEEDS_MAX), default=SEEDS, show_default=True, help="Repetitions.")
@click.option(
    "--initial", type=click.IntRange(0), help="Labels drawn at random to begin with.  [default: 2 per class, or fewer]"
)
@click.option("--batch", type=click.IntRange(1), help="Labels chosen at a time.  [default: 2 per class, or fewer]")
@click.option(
    "--budget",
    type=click.IntRange(1),
    help="Labels at the end.  [default: 10 batches, at most two thirds of the images]",
)
@click.option("--random-budget", type=click.IntRange(1), help="Labels of the random runs.  [default: budget]")
@click.option("--no-wait", is_flag=True, help="Return as soon as it is queued.")
@json_option
@click.pass_obj
def study(
    session: Session,
    /,
    project_name: str,
    strategies: str | None,
    seeds: int,
    no_wait: bool,
    as_json: bool,
    **sizes: int | None,
) -> None:
    """Compare strategies on PROJECT's own labelled images: how many labels would each have saved?

    A worker does it, with the project's settings, between its other jobs; people can go on labelling. The page of the
    project's studies shows how it goes and what came out. For images outside the service there is `al simulate`.
    """
    names = None if strategies is None else tuple(one.strip() for one in strategies.split(",") if one.strip())
    job, is_new = session.services.studies.start(project_name, Asked(strategies=names, seeds=seeds, **sizes))
    if not is_new and not as_json:
        click.echo(f"study {job.id} of {project_name} is {job.state} already", err=True)
    if not no_wait:
        job = follow(session, job)
    if as_json:
        print_json({"started": is_new, "job": job_facts(job)})
    elif job.state is JobState.FAILED:
        raise InvalidInputError(f"study {job.id} failed: {job.error}")
    elif job.state is not JobState.DONE:
        click.echo(f"study {job.id} is {job.state}, {models_of(job)} models; `al job show {job.id}` follows it")
    else:
        click.echo(_words(project_name, job))


def _words(project_name: str, job: Job) -> str:
    facts = job.result
    notes = "".join(f"\nnote: {words}" for words in facts["notes"])
    return f"{facts['words']} {facts['lead']}{notes}\nthe report: /projects/{project_name}/studies/{job.id}"


COMMANDS = (study,)

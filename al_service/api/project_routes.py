"""Projects, their summary, imports, and the jobs that imports and rounds are made of."""

from typing import Any

from al_service.api.loop_answers import (
    JobAnswer,
    JobsAnswer,
    ProjectAnswer,
    ProjectsAnswer,
    SummaryAnswer,
)
from al_service.api.requests import ImportBody, LimitQuery, ProjectBody, ProjectChangeBody
from al_service.api.routing import Call, Reply, Routes
from al_service.api.shapes import job_fields, project_detail, project_fields, summary_answer
from al_service.domain.states import JobKind, Role
from al_service.errors import UnavailableError
from al_service.loop.assignments import active_project

REJECTED_SHOWN = 100

ROUTES = Routes()


@ROUTES.add("GET", "/projects", role=Role.VIEWER, answers={200: ProjectsAnswer})
def list_projects(call: Call) -> Reply:
    """Projects by name, with counts and where their loop stands."""
    with call.services.store.read() as tx:
        rows = [(item, tx.samples.counts(item.id), tx.rounds.find_last(item.id)) for item in tx.projects.all()]
    return Reply(ProjectsAnswer(projects=[project_fields(*row) for row in rows]))


@ROUTES.add("POST", "/projects", role=Role.ENGINEER, body=ProjectBody, answers={201: ProjectAnswer})
def create_project(call: Call, body: ProjectBody) -> Reply:
    """Create a project; 409 when the name is taken."""
    project = call.services.projects.create(body.name, body.classes, body.settings, user_id=call.user.id)
    return Reply(_project_answer(call, project.name), 201, {"Location": f"/api/v1/projects/{project.name}"})


@ROUTES.add("GET", "/projects/<project>", role=Role.VIEWER, answers={200: ProjectAnswer})
def show_project(call: Call, project: str) -> Reply:
    """One project with its settings."""
    return Reply(_project_answer(call, project))


@ROUTES.add("PATCH", "/projects/<project>", role=Role.ENGINEER, body=ProjectChangeBody, answers={200: ProjectAnswer})
def change_project(call: Call, project: str, body: ProjectChangeBody) -> Reply:
    """Change settings; they count from the next round on. 409 settings_changed where one is not as `seen` any more."""
    call.services.projects.change(project, body.settings, seen=body.seen, user_id=call.user.id)
    return Reply(_project_answer(call, project))


@ROUTES.add("DELETE", "/projects/<project>", role=Role.ENGINEER, answers={204: None})
def archive_project(call: Call, project: str) -> Reply:
    """Hide a project and stop its loop; nothing is deleted."""
    call.services.projects.archive(project, user_id=call.user.id)
    return Reply(None, 204)


@ROUTES.add("GET", "/projects/<project>/summary", role=Role.VIEWER, answers={200: SummaryAnswer}, etag=True)
def summarise_project(call: Call, project: str) -> Reply:
    """What the board shows: counts, rounds, people, jobs, workers."""
    summary = call.services.projects.summary(project)
    return Reply(summary_answer(summary, _workers(call), sees_imports=call.covers(Role.ENGINEER)))


@ROUTES.add("GET", "/projects/<project>/imports", role=Role.ENGINEER, query=LimitQuery, answers={200: JobsAnswer})
def list_imports(call: Call, project: str, query: LimitQuery) -> Reply:
    """The newest imports of a project, without their rejected rows (those are with each job)."""
    with call.services.store.read() as tx:
        found = active_project(tx, project)
        jobs = tx.jobs.all(project_id=found.id, kind=JobKind.INGEST, limit=query.limit)
    return Reply(JobsAnswer(jobs=[job_fields(job) for job in jobs]))


@ROUTES.add("POST", "/projects/<project>/imports", role=Role.ENGINEER, body=ImportBody, answers={202: JobAnswer})
def import_images(call: Call, project: str, body: ImportBody) -> Reply:
    """Queue an import of images: upload:ID, or what workers reach (folder, archive, CSV, JSONL, torchvision:NAME).

    409 upload_incomplete while parts of the upload are missing.
    """
    call.services.uploads.check_whole(project, body.location)
    job = call.services.projects.import_images(
        project,
        body.location,
        labels=body.labels,
        use_labels=body.use_labels,
        split=body.split,
        user_id=call.user.id,
    )
    return Reply(JobAnswer(job=job_fields(job)), 202, {"Location": f"/api/v1/jobs/{job.id}"})


@ROUTES.add("POST", "/projects/<project>/pretrainings", role=Role.ENGINEER, answers={200: JobAnswer, 202: JobAnswer})
def pretrain(call: Call, project: str) -> Reply:
    """Train a backbone on the pool's images without labels; 200 and the job under way when there is one already."""
    job, is_new = call.services.projects.pretrain(project, user_id=call.user.id)
    return Reply(JobAnswer(job=job_fields(job)), 202 if is_new else 200, {"Location": f"/api/v1/jobs/{job.id}"})


@ROUTES.add("GET", "/jobs/<int:job_id>", role=Role.VIEWER, answers={200: JobAnswer})
def show_job(call: Call, job_id: int) -> Reply:
    """A job with its progress; of an import also the first rejected rows (engineers only: names leak labels)."""
    with call.services.store.read() as tx:
        job = tx.jobs.get(job_id)
        may_see = job.kind is JobKind.INGEST and call.covers(Role.ENGINEER)
        rejected = tx.samples.rejections(job_id, REJECTED_SHOWN) if may_see else []
    return Reply(JobAnswer(job=job_fields(job, rejected)))


@ROUTES.add("POST", "/jobs/<int:job_id>/cancel", role=Role.ENGINEER, answers={200: JobAnswer})
def cancel_job(call: Call, job_id: int) -> Reply:
    """Stop a job; one that is over stays as it is. A round whose job is stopped fails; retrying the job takes it up."""
    return Reply(JobAnswer(job=job_fields(call.services.jobs.cancel(job_id, user_id=call.user.id))))


@ROUTES.add("POST", "/jobs/<int:job_id>/retry", role=Role.ENGINEER, answers={200: JobAnswer})
def retry_job(call: Call, job_id: int) -> Reply:
    """Queue a failed or cancelled job again; 409 for others."""
    return Reply(JobAnswer(job=job_fields(call.services.jobs.retry(job_id, user_id=call.user.id))))


def _project_answer(call: Call, name: str) -> ProjectAnswer:
    with call.services.store.read() as tx:
        project = active_project(tx, name)
        counts, last = tx.samples.counts(project.id), tx.rounds.find_last(project.id)
    return ProjectAnswer(project=project_detail(project, counts, last))


def _workers(call: Call) -> list[dict[str, Any]] | None:
    try:
        return call.context.broker.get().workers
    except UnavailableError:
        return None

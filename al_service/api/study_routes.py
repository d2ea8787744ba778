"""Studies: start, list, show, and the files to send on."""

import json
from typing import Any

from flask import Response, request

from al_service.api.requests import StudiesQuery, StudyBody
from al_service.api.routing import Call, FileBytes, ImageBytes, Reply, Routes
from al_service.api.shapes import progress_fields
from al_service.api.study_answers import (
    OutlookFields,
    StudiesAnswer,
    StudyAnswer,
    StudyFields,
    StudySizes,
    StudyStartAnswer,
)
from al_service.domain.progress import progress_of_job
from al_service.domain.records import Job
from al_service.domain.states import JobState, Role
from al_service.errors import NotFoundError
from al_service.loop.studies import COMPARING, Asked, Outlook, models_of

#: The report brings its own style and images and needs nothing else, also where a browser shows it instead of saving.
REPORT_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; sandbox"

ROUTES = Routes()


@ROUTES.add(
    "POST",
    "/projects/<project>/studies",
    role=Role.ENGINEER,
    body=StudyBody,
    answers={200: StudyStartAnswer, 202: StudyStartAnswer},
)
def start_study(call: Call, project: str, body: StudyBody) -> Reply:
    """Compare strategies on the project's labelled images; 200 and the study under way when there is one already."""
    job, is_new = call.services.studies.start(project, Asked(**body.model_dump()), user_id=call.user.id)
    place = f"/api/v1/projects/{project}/studies/{job.id}"
    return Reply(StudyStartAnswer(study=_fields(job)), 202 if is_new else 200, {"Location": place})


@ROUTES.add(
    "GET", "/projects/<project>/studies", role=Role.VIEWER, query=StudiesQuery, answers={200: StudiesAnswer}, etag=True
)
def list_studies(call: Call, project: str, query: StudiesQuery) -> Reply:
    """Studies of a project, newest first, and what the next one would have to work with."""
    studies = call.services.studies.all(project, limit=query.limit)
    outlook = call.services.studies.outlook(project)
    return Reply(StudiesAnswer(studies=[_fields(job) for job in studies], outlook=_outlook_fields(outlook)))


@ROUTES.add(
    "GET", "/projects/<project>/studies/<int:study_id>", role=Role.VIEWER, answers={200: StudyAnswer}, etag=True
)
def show_study(call: Call, project: str, study_id: int) -> Reply:
    """One study: state and progress, and the whole result once it is done."""
    job = call.services.studies.get(project, study_id)
    result = json.loads(_file(call, job, "result")) if job.state is JobState.DONE else None
    return Reply(StudyAnswer(study=_fields(job), result=result))


@ROUTES.add(
    "GET",
    "/projects/<project>/studies/<int:study_id>/report.html",
    role=Role.VIEWER,
    answers={200: FileBytes},
    etag=True,
)
def download_study_report(call: Call, project: str, study_id: int) -> Response:
    """The report of a finished study: one page in one file, to look at and to send on."""
    job = call.services.studies.get(project, study_id)
    response = _download(job, _file(call, job, "report"), "text/html")
    # Project names are letters, digits and a few signs that need no quoting.
    response.headers["Content-Disposition"] = f'attachment; filename="{project}-study-{job.id}.html"'
    response.headers["Content-Security-Policy"] = REPORT_POLICY
    return response


@ROUTES.add(
    "GET",
    "/projects/<project>/studies/<int:study_id>/curves.png",
    role=Role.VIEWER,
    answers={200: ImageBytes},
    etag=True,
)
def show_study_curves(call: Call, project: str, study_id: int) -> Response:
    """The learning curves of a finished study as a picture."""
    job = call.services.studies.get(project, study_id)
    response = _download(job, _file(call, job, "curves"), "image/png")
    response.headers["Content-Disposition"] = f'inline; filename="{project}-study-{job.id}.png"'
    return response


def _file(call: Call, job: Job, kind: str) -> bytes:
    if job.state is not JobState.DONE:
        raise NotFoundError(f"study {job.id} is {job.state}; its files are there once it is done", study=job.id)
    return call.services.artifacts.get(job.result["artifacts"][kind])


def _download(job: Job, content: bytes, mimetype: str) -> Response:
    response = Response(content, mimetype=mimetype)
    # What a finished study has found never changes.
    response.set_etag(f"study-{job.id}-{job.attempt}")
    response.headers["Cache-Control"] = "private, no-cache"
    response.make_conditional(request)
    return response


def _fields(job: Job) -> StudyFields:
    progress, models = progress_of_job(job), models_of(job)
    found = job.result if job.state is JobState.DONE else {}
    done: int | None = None
    if job.state is JobState.DONE:
        done = models
    elif progress.text == COMPARING and progress.total is not None:
        # An attempt counts what was left for it: finished runs of earlier ones are done.
        done = max(0, models - progress.total + progress.done)
    asked = {name: job.payload[name] for name in ("strategies", "seeds", "initial", "batch", "budget", "random_budget")}
    names = ("headline", "words", "label_savings", "label_savings_ci95", "labels", "random_labels")
    outcome: dict[str, Any] = {name: found.get(name) for name in names}
    return StudyFields(
        id=job.id,
        state=job.state,
        attempt=job.attempt,
        progress=progress_fields(progress),
        error=job.error or None,
        models=models,
        models_done=done,
        created_at=job.created_at,
        started_at=job.started_at,
        finished_at=job.finished_at,
        notes=found.get("notes", []),
        **asked,
        **outcome,
    )


def _outlook_fields(outlook: Outlook) -> OutlookFields:
    plan = outlook.plan
    sizes = None
    if plan is not None:
        sizes = StudySizes(initial=plan.initial, batch=plan.batch, budget=plan.budget, random_budget=plan.random_budget)
    return OutlookFields(
        classes=outlook.classes,
        labelled=outlook.labelled,
        evaluation=outlook.evaluation,
        pool=outlook.pool,
        strategies=list(outlook.strategies),
        seeds=outlook.seeds,
        sizes=sizes,
        why_not=outlook.why_not,
    )

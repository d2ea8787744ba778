"""The use cases of the service in one bundle, handed to api, annotator_ui, scheduler and workers by bootstrap."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from al_service.loop.accounts import Accounts
from al_service.loop.annotations import Annotations
from al_service.loop.assignments import Assignments
from al_service.loop.class_changes import ClassChanges
from al_service.loop.examples import Examples
from al_service.loop.heat_maps import HeatMaps
from al_service.loop.invitations import Invitations
from al_service.loop.jobs import JobLimits, Jobs
from al_service.loop.lanes import Lanes
from al_service.loop.models import Models
from al_service.loop.own_settings import OwnSettings
from al_service.loop.people import People
from al_service.loop.ports import Artifacts, JobQueue, Store
from al_service.loop.projects import Projects
from al_service.loop.review_list import ReviewList
from al_service.loop.reviews import Reviews
from al_service.loop.rounds import Rounds
from al_service.loop.skills import Skills
from al_service.loop.studies import Studies
from al_service.loop.suggestions import Suggestions
from al_service.loop.tasks import Tasks
from al_service.loop.uploads import UploadLimits, Uploads


@dataclass(frozen=True)
class Services:
    """Everything a request, a tick or a job may use. Thread-safe."""

    store: Store
    queue: JobQueue
    artifacts: Artifacts
    clock: Callable[[], datetime]
    jobs: Jobs
    projects: Projects
    assignments: Assignments
    annotations: Annotations
    lanes: Lanes
    reviews: Reviews
    review_list: ReviewList
    tasks: Tasks
    classes: ClassChanges
    suggestions: Suggestions
    heat_maps: HeatMaps
    people: People
    examples: Examples
    rounds: Rounds
    skills: Skills
    models: Models
    studies: Studies
    accounts: Accounts
    uploads: Uploads
    invitations: Invitations
    own_settings: OwnSettings


def assemble(
    store: Store,
    queue: JobQueue,
    artifacts: Artifacts,
    clock: Callable[[], datetime],
    *,
    lease_ttl_s: float,
    limits: JobLimits | None = None,
    upload_limits: UploadLimits | None = None,
) -> Services:
    """Wire the use cases to the given adapters."""
    jobs = Jobs(store, queue, clock, limits)
    suggestions = Suggestions(store, clock)
    return Services(
        store=store,
        queue=queue,
        artifacts=artifacts,
        clock=clock,
        jobs=jobs,
        projects=Projects(store, jobs, clock),
        assignments=Assignments(store, clock, lease_ttl_s),
        annotations=Annotations(store, clock, lease_ttl_s),
        lanes=Lanes(store, clock),
        reviews=Reviews(store, clock),
        review_list=ReviewList(store),
        tasks=Tasks(store, clock),
        classes=ClassChanges(store, clock),
        suggestions=suggestions,
        heat_maps=HeatMaps(store, artifacts, suggestions),
        people=People(store, clock),
        examples=Examples(store, clock),
        rounds=Rounds(store, jobs, clock),
        skills=Skills(store, clock),
        models=Models(store, clock),
        studies=Studies(store, jobs, clock),
        accounts=Accounts(store, clock),
        invitations=Invitations(store, clock),
        own_settings=OwnSettings(store, clock),
        uploads=Uploads(store, artifacts, clock, upload_limits),
    )

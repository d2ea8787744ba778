"""What callers get, as models: the document is made of them and every answer passes through them."""

from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, RootModel

from al_service.domain.states import AnnotationKind, JobKind, JobState, Role, RoundState, Stage, StageState


class Answer(BaseModel):
    """A JSON answer with exactly these keys."""

    model_config = ConfigDict(extra="forbid", protected_namespaces=())


class Document(RootModel[dict[str, Any]]):
    """An OpenAPI document."""


class ErrorFields(Answer):
    """What went wrong; `code` is stable, `message` is for people."""

    code: str
    message: str
    details: dict[str, Any]
    request_id: str


class ErrorAnswer(Answer):
    """The one error body."""

    error: ErrorFields


class UserFields(Answer):
    """A person."""

    id: int
    name: str
    role: Role


class SessionAnswer(Answer):
    """Who is signed in; csrf_token goes into X-CSRF-Token with every change (null for bearer tokens, which need none)."""

    user: UserFields
    csrf_token: str | None


class AssignmentFields(Answer):
    """A sample leased to the caller."""

    id: int
    sample_id: int
    image_url: str
    width: int
    height: int
    lease_expires_at: datetime
    reason: str
    reason_code: str
    suggestion: None = None
    round: int
    rank: int


class WhyEmptyFields(Answer):
    """Why there is nothing to do right now, and when to ask again."""

    code: str
    text: str
    counts: dict[str, int]
    retry_after_s: float


class LeaseAnswer(Answer):
    """The samples the caller holds now, in the selector's order."""

    assignments: list[AssignmentFields]
    why_empty: WhyEmptyFields | None


class AssignmentAnswer(Answer):
    """One lease."""

    assignment: AssignmentFields


class AnnotationFields(Answer):
    """One row of the log of answers; was_cancelled means skipped."""

    id: int
    sample_id: int
    kind: AnnotationKind
    class_name: str | None
    was_cancelled: bool
    completed_by: str
    lead_time: float | None
    client_key: str
    created_at: datetime
    is_extra_vote: bool
    model_version: str | None
    undone: bool


class RoundProgressFields(Answer):
    """How far people are with a round."""

    answered: int
    asked: int
    round: int


class AnnotationAnswer(Answer):
    """The stored answer, and how far the current round is."""

    annotation: AnnotationFields
    progress: RoundProgressFields | None


class UndoAnswer(Answer):
    """The row that took the answer back, and a fresh lease on the sample where there is one."""

    annotation: AnnotationFields
    assignment: AssignmentFields | None


class OwnAnnotationFields(AnnotationFields):
    """As AnnotationFields, with the image."""

    image_url: str


class OwnAnnotationsAnswer(Answer):
    """The caller's answers that are not undone, newest first."""

    annotations: list[OwnAnnotationFields]


class ProgressFields(Answer):
    """How far a job is; total is null while nobody knows."""

    done: int
    total: int | None
    text: str


class StageFields(Answer):
    """One stage of a round; progress only while its job is queued or running."""

    stage: Stage
    state: StageState
    attempt: int
    job_id: int | None
    seconds: float | None
    error: str | None
    result: dict[str, Any]
    progress: ProgressFields | None


class RoundFields(Answer):
    """A round as a record: what it knew, what it chose, how good it was."""

    number: int
    state: RoundState
    stage: Stage
    trigger: str
    labels: int
    seed: int
    data_fingerprint: str | None
    model_hash: str | None
    selected: int
    answered: int
    started_at: datetime
    finished_at: datetime | None
    error: str | None
    seconds: dict[str, float | None]
    stages: list[StageFields]
    metrics: dict[str, Any]
    config: dict[str, Any]


class SelectionFields(Answer):
    """One sample that a round chose, and why."""

    sample_id: int
    rank: int
    score: float | None
    reason: str
    reason_code: str
    state: str


class RoundDetailFields(RoundFields):
    """As RoundFields, with a part of the batch (`selected` says how many there are)."""

    selections: list[SelectionFields]


class RoundAnswer(Answer):
    """One round."""

    round: RoundFields


class RoundDetailAnswer(Answer):
    """One round with its batch."""

    round: RoundDetailFields


class RoundsAnswer(Answer):
    """Rounds by number."""

    rounds: list[RoundFields]


class MetricsAnswer(Answer):
    """The metrics of one round."""

    round: int
    state: RoundState
    labels: int
    metrics: dict[str, Any]


class RejectedFields(Answer):
    """A row of an import that became no sample."""

    external_id: str
    reason: str


class JobFields(Answer):
    """Work for a worker. `rejected`: the first 100 rows an import refused, for engineers."""

    id: int
    kind: JobKind
    state: JobState
    attempt: int
    progress: ProgressFields
    error: str | None
    result: dict[str, Any]
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    rejected: list[RejectedFields] = []


class JobAnswer(Answer):
    """One job."""

    job: JobFields


class FailedJobFields(JobFields):
    """A failed job and how to try again from a shell."""

    retry_command: str


class RoundMarkFields(Answer):
    """Where the loop stands."""

    number: int
    state: RoundState
    stage: Stage


class ProjectFields(Answer):
    """A project in a list."""

    name: str
    classes: list[str]
    created_at: datetime
    counts: dict[str, int]
    round: RoundMarkFields | None


class ProjectDetailFields(ProjectFields):
    """As ProjectFields, with the settings."""

    settings: dict[str, Any]


class ProjectsAnswer(Answer):
    """Projects by name."""

    projects: list[ProjectFields]


class ProjectAnswer(Answer):
    """One project."""

    project: ProjectDetailFields


class ClassFields(Answer):
    """A class, its place (key and colour) and how many training samples have it."""

    name: str
    position: int
    labelled: int


class LoopProgressFields(Answer):
    """How far the current round is, and how far away the next one."""

    answered: int
    asked: int
    new_labels: int
    labels_to_trigger: int


class WorkerFields(Answer):
    """A live worker process."""

    name: str
    state: str
    queues: list[str]
    current_job: str | None
    heartbeat_at: datetime | None


class SummaryAnswer(Answer):
    """A project at a glance. round: the open one; last_round: the newest of any state; workers: null without broker."""

    project: str
    classes: list[ClassFields]
    counts: dict[str, int]
    progress: LoopProgressFields
    round: RoundFields | None
    last_round: RoundFields | None
    labels_per_minute: float
    holders: dict[str, int]
    jobs: list[JobFields]
    failures: list[FailedJobFields]
    workers: list[WorkerFields] | None
    guidelines: str


class SampleFields(Answer):
    """What anybody may know of a sample: nothing that gives the label away."""

    id: int
    width: int
    height: int
    format: str
    byte_count: int
    sha256: str
    created_at: datetime
    image_url: str


class SampleDetailFields(SampleFields):
    """As SampleFields, with what only reviewers see: folder names leak labels."""

    project: str
    external_id: str
    split: str
    state: str
    class_name: str | None
    metadata: dict[str, Any]


class SampleAnswer(Answer):
    """One sample."""

    sample: SampleDetailFields | SampleFields


class AccountFields(UserFields):
    """A person, for admins."""

    is_active: bool
    created_at: datetime


class AccountAnswer(Answer):
    """One person."""

    user: AccountFields


class AccountsAnswer(Answer):
    """All people by name."""

    users: list[AccountFields]


class TokenFields(Answer):
    """An API token, without its secret."""

    id: int
    name: str
    user: str
    role: Role
    expires_at: datetime
    created_at: datetime
    revoked_at: datetime | None
    last_used_at: datetime | None


class TokensAnswer(Answer):
    """Tokens, newest first."""

    tokens: list[TokenFields]


class NewTokenAnswer(Answer):
    """A new token; the secret is shown this once."""

    token: TokenFields
    secret: str

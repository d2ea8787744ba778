"""As answers.py: what callers get about rounds, jobs and projects."""

from datetime import datetime
from typing import Any

from al_service.api.answers import Answer
from al_service.domain.states import JobKind, JobState, RoundState, Stage, StageState


class ProgressFields(Answer):
    """How far a job is, or all shards of a stage together; null is what nobody knows or what does not apply.

    per_second: images (or epochs, rows) a second by all workers that are at it; seconds_left: at that speed.
    """

    done: int
    total: int | None
    text: str
    per_second: float | None
    seconds_left: float | None
    shards: int | None
    shards_done: int | None


class StageFields(Answer):
    """One stage of a round; progress only while its jobs are queued or running, job_id: the one that began it."""

    stage: Stage
    state: StageState
    attempt: int
    job_id: int | None
    seconds: float | None
    error: str | None
    progress: ProgressFields | None


class StageDetailFields(StageFields):
    """As StageFields, with what the stage's job said about itself."""

    result: dict[str, Any]


class RoundFacts(Answer):
    """What every answer says of a round. selected, answered: its batch; answered_ahead: labels from its reserve."""

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
    answered_ahead: int
    started_at: datetime
    finished_at: datetime | None
    error: str | None
    seconds: dict[str, float | None]
    metrics: dict[str, Any]


class RoundFields(RoundFacts):
    """A round at a glance: metrics without per_class and confusion, which grow with the classes."""

    stages: list[StageFields]


class SelectionFields(Answer):
    """One sample that a round chose, and why."""

    sample_id: int
    rank: int
    score: float | None
    reason: str
    reason_code: str
    state: str


class RoundDetailFields(RoundFacts):
    """A round as a full record, with all metrics, settings and a part of the batch (`selected` is its size).

    reserve: the same part of what it chose ahead, for people who finish the batch early.
    """

    stages: list[StageDetailFields]
    config: dict[str, Any]
    selections: list[SelectionFields]
    reserve: list[SelectionFields]


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
    """All metrics of one round, per_class and confusion included."""

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


class JobsAnswer(Answer):
    """Jobs, newest first."""

    jobs: list[JobFields]


class UploadFields(Answer):
    """An upload. missing: the numbers of the parts that are still to be sent; location: what an import calls it."""

    id: str
    name: str
    location: str
    byte_count: int
    file_count: int | None
    part_bytes: int
    part_count: int
    missing: list[int]
    begun_by: str
    begun_at: datetime


class UploadAnswer(Answer):
    """One upload."""

    upload: UploadFields


class UploadsAnswer(Answer):
    """Uploads that are still there, newest first."""

    uploads: list[UploadFields]


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
    """How far the current round is, and how far away the next one.

    answered_ahead: labels beyond the batch, given while the next round is at work; reserve: samples ready for that;
    round: whose batch it is, null before the first.
    """

    answered: int
    asked: int
    answered_ahead: int
    round: int | None
    reserve: int
    new_labels: int
    labels_to_trigger: int


class WorkerFields(Answer):
    """A live worker process."""

    name: str
    state: str
    queues: list[str]
    current_job: int | None
    heartbeat_at: datetime | None


class StopFields(Answer):
    """Why a project asks no more: budget_spent, stable or little_gain, and a sentence for people."""

    code: str
    text: str


class SummaryAnswer(Answer):
    """A project at a glance. round: the open one; last_round: the newest of any state; workers: null without broker;
    stop: why the project asks no more, null while it does; examples: how many images the guidelines show.
    """

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
    examples: int
    stop: StopFields | None

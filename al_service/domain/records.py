"""The rows of the truth as frozen records: what crosses the border between storage, loop, api and workers.

Ids are integers made by the database. All times are aware UTC datetimes. `data` fields are JSON-able.
"""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from zlib import crc32

from al_service.domain.model_kinds import ModelKind, PromotionAction
from al_service.domain.project_config import ProjectConfig
from al_service.domain.states import (
    AnnotationKind,
    AssignmentState,
    JobKind,
    JobState,
    Lane,
    Role,
    RoundState,
    SampleState,
    SelectionState,
    Split,
    Stage,
    StageState,
)

#: (class id, probability) of the likeliest classes of a sample, likeliest first.
Likely = tuple[tuple[int, float], ...]


@dataclass(frozen=True)
class ClassInfo:
    """One class of a project. `position` fixes key and colour for good; `class_index` of the model is its rank."""

    id: int
    name: str
    position: int


@dataclass(frozen=True)
class Project:
    """One labelling project; classes: those of today, by position."""

    id: int
    name: str
    classes: tuple[ClassInfo, ...]
    config: ProjectConfig
    created_at: datetime
    archived_at: datetime | None = None

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names in class_index order."""
        return tuple(info.name for info in self.classes)

    @property
    def classes_version(self) -> str:
        """A word that changes with every change of the classes, so that pages see that theirs are old."""
        text = "\n".join(f"{info.id} {info.position} {info.name}" for info in self.classes)
        return f"{crc32(text.encode()):08x}"

    def find_class(self, name: str) -> ClassInfo | None:
        """The class that has this name today, or None. Old names: `loop.project_ports.ProjectRows.class_book`."""
        return next((info for info in self.classes if info.name == name), None)


@dataclass(frozen=True)
class NewSample:
    """An image about to be stored; its bytes are already in the artifact store under `sha256`."""

    external_id: str
    sha256: str
    width: int
    height: int
    format: str
    byte_count: int
    split: Split
    metadata: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Sample:
    """One image of a project.

    label_version: how often its label was written; None while it has none. Who changes a label says which one they saw.
    dissent: per cent of the people who name another class than is believed; 0 once a reviewer has decided.
    """

    id: int
    project_id: int
    external_id: str
    sha256: str
    width: int
    height: int
    format: str
    byte_count: int
    split: Split
    state: SampleState
    metadata: dict[str, Any]
    class_name: str | None
    created_at: datetime
    label_version: int | None = None
    dissent: int = 0


@dataclass(frozen=True)
class Annotation:
    """One person's answer; never changed, only taken back by another row of kind `undo`.

    is_review: a reviewer's verdict, which counts more than any number of votes.
    saw_suggestion: the model's suggestion was on the screen.
    """

    id: int
    project_id: int
    sample_id: int
    user_id: int
    assignment_id: int | None
    kind: AnnotationKind
    class_name: str | None
    client_key: str
    lead_time_s: float | None
    model_version: str | None
    is_extra_vote: bool
    undoes_id: int | None
    is_undone: bool
    created_at: datetime
    is_review: bool = False
    saw_suggestion: bool = False


@dataclass(frozen=True)
class Chosen:
    """One pick of a selector on its way into storage: the sample, its rank, its score and why.

    A pick that need not be asked any more (answered meanwhile) is stored as retired, so that the record stays whole.
    is_reserve: no part of the batch but chosen ahead, for people who finish it early.
    overlap: people who answer it; None: as many as the round's settings say.
    copy_group, look_alike, likely: as in `Selection`.
    """

    sample_id: int
    rank: int
    score: float | None
    reason: dict[str, Any]
    state: SelectionState = SelectionState.OPEN
    is_reserve: bool = False
    overlap: int | None = None
    copy_group: int | None = None
    look_alike: int | None = None
    likely: Likely | None = None


#: The turn of near-copies of what was labelled in a round: behind everything else, also what people moved back.
TURN_OF_COPIES = 100


@dataclass(frozen=True)
class Selection:
    """A chosen sample as stored: part of a round's batch, of its reserve, or asked for by hand.

    Attributes:
        overlap, max_skips: those of its round: a changed project setting counts from the next round on.
        round_id, round_number: None where no round chose it.
        turn: people are asked by turn, then by round and rank; 0 as usual, below: sooner, above: later.
        assigned_to_id: only this person is asked; None: anybody.
        copy_group: near-copies of each other within a round share a number; None: it has none.
        look_alike: neighbours within a round's batch share a number, for labelling them together.
        likely: (class id, probability) of the likeliest classes when it was chosen, likeliest first.
    """

    id: int
    round_id: int | None
    round_number: int | None
    sample_id: int
    rank: int
    score: float | None
    reason: dict[str, Any]
    state: SelectionState
    overlap: int
    max_skips: int
    is_reserve: bool = False
    lane: Lane = Lane.BATCH
    turn: int = 0
    assigned_to_id: int | None = None
    copy_group: int | None = None
    look_alike: int | None = None
    likely: Likely | None = None


@dataclass(frozen=True)
class AskedAgain:
    """A sample with votes for a class that is split. is_mixed: people said other things about it, too."""

    sample_id: int
    sha256: str
    is_mixed: bool


@dataclass(frozen=True)
class Relabelling:
    """How many images were asked again because their class was split, and how many of these wait for an answer."""

    asked: int
    waiting: int


@dataclass(frozen=True)
class Offer:
    """A selection that a person may be given now, with its sample."""

    selection: Selection
    sample: Sample


@dataclass(frozen=True)
class LeaseBegun:
    """A project, locked, as somebody who asks for samples finds it.

    Attributes:
        project: None when there is none of that name.
        held: the leases that the person held in it before, oldest first.
        taken: a new lease for who wants one and held none, where that could be asked for along with the rest. It is in
            the project that had the name the last time, which may be another one.
    """

    project: "Project | None"
    held: "list[Assignment]"
    taken: "Assignment | None" = None


@dataclass(frozen=True)
class Gold:
    """A sample whose class is known for sure, and who said so.

    Attributes:
        likely: what the model thought of it when a round chose it last; None: no model had an opinion.
    """

    sample: Sample
    class_name: str
    user_id: int
    created_at: datetime
    likely: Likely | None = None


@dataclass(frozen=True)
class Example:
    """A sample that people are shown as an example of a class, with one line on what to look at."""

    sample: Sample
    class_name: str
    note: str


@dataclass(frozen=True)
class GoldResult:
    """How many labels a person gave to gold, and how many of them were right."""

    user_id: int
    answered: int
    right: int


@dataclass(frozen=True)
class PersonWork:
    """What a person did in a project: answers by kind that stand, and those that were taken back.

    Attributes:
        labels, verdicts: a reviewer's verdicts are not among the labels.
        timed, active_s: how many answers brought the time that they took, and how long that is in all.
    """

    user_id: int
    name: str
    role: Role
    labels: int
    verdicts: int
    skips: int
    flags: int
    taken_back: int
    extra_votes: int
    timed: int
    active_s: float
    first_at: datetime
    last_at: datetime

    @property
    def seconds_per_answer(self) -> float | None:
        """How long an image was looked at on average; None where no answer brought its time, or it took none."""
        return self.active_s / self.timed if self.timed and self.active_s > 0 else None


@dataclass(frozen=True)
class SuggestionCount:
    """Labels of one person that named the model's likeliest class (agreed), of those given (answered).

    asked: they asked for the suggestion; seen: they were told. Who asked and was not told tells what they would have
    said without it.
    """

    user_id: int
    asked: bool
    seen: bool
    answered: int
    agreed: int


@dataclass(frozen=True)
class Assignment:
    """A selection leased to one person until `lease_expires_at`.

    suggestion_asked_at, suggestion_seen_at: when they asked what the model thinks, and were told; None: never.
    """

    id: int
    selection: Selection
    user_id: int
    state: AssignmentState
    slot: int
    lease_expires_at: datetime
    created_at: datetime
    sample: Sample
    suggestion_asked_at: datetime | None = None
    suggestion_seen_at: datetime | None = None


@dataclass(frozen=True)
class Asked:
    """A lease as an answer to it finds it, read in one statement.

    Attributes:
        class_id, class_name: what the name in the answer means today; None when it means no class, or none was named.
        is_first: nobody has ever answered the sample, not even with an answer that was taken back.
        annotation_id: kept for the answer, where the database gives ids ahead and knows that the key is a new one.
    """

    assignment: Assignment
    class_id: int | None
    class_name: str | None
    is_first: bool
    annotation_id: int | None = None


@dataclass(frozen=True)
class RoundProgress:
    """How far people are with a round's batch; answered_ahead counts answers to its reserve."""

    number: int
    asked: int
    answered: int
    answered_ahead: int


@dataclass(frozen=True)
class RoundStage:
    """One stage of one round and the attempt that counts.

    job_id and attempt are those of the job that began the stage; shards of scoring are jobs of their own.
    """

    stage: Stage
    state: StageState
    job_id: int | None
    attempt: int
    started_at: datetime | None
    finished_at: datetime | None
    seconds: float | None
    result: dict[str, Any]
    error: str | None


@dataclass(frozen=True)
class Round:
    """One pass of the loop, as a record: what it knew, what it chose, how good it was.

    selected_count and answered_count are of its batch; answered_ahead counts answers to its reserve.
    class_names, class_ids: of the classes when it started, in class_index order; class_ids is None for rounds of before
    classes could change.
    """

    id: int
    project_id: int
    number: int
    state: RoundState
    stage: Stage
    trigger: str
    config: ProjectConfig
    class_names: tuple[str, ...]
    seed: int
    watermark: int
    label_count: int
    data_fingerprint: str | None
    model_hash: str | None
    metrics: dict[str, Any]
    started_at: datetime
    finished_at: datetime | None
    stages: tuple[RoundStage, ...]
    selected_count: int
    answered_count: int
    error: str | None = None
    answered_ahead: int = 0
    class_ids: tuple[int, ...] | None = None

    def stage_record(self, stage: Stage) -> RoundStage:
        """The record of that stage (every round has all five)."""
        return next(record for record in self.stages if record.stage is stage)


@dataclass(frozen=True)
class Job:
    """Work for a worker process, as the database knows it; the broker only carries (id, attempt).

    progress_since: when the work that progress_text names began, as far as heartbeats tell.
    """

    id: int
    project_id: int
    round_id: int | None
    kind: JobKind
    state: JobState
    attempt: int
    attempts_max: int
    payload: dict[str, Any]
    result: dict[str, Any]
    progress_done: int
    progress_total: int | None
    progress_text: str
    worker: str | None
    error: str | None
    created_at: datetime
    not_before: datetime
    announced_at: datetime | None
    started_at: datetime | None
    heartbeat_at: datetime | None
    finished_at: datetime | None
    progress_since: datetime | None = None


@dataclass(frozen=True)
class ModelRecord:
    """An entry of the model registry: where the file lies, what it was trained on, how good it was.

    Attributes:
        round_id, round_number: of the round that trained it; only models of kind round have them.
        data_fingerprint: of the labelled images it was trained on; None where that is not known.
        class_names: in the order of its outputs; empty for a backbone.
        image_px, byte_count: side of its images and size of its file; None where nobody recorded them.
        backbone_id: of the registered backbone that its file, which holds only a head, stands on.
    """

    id: int
    project_id: int
    round_id: int | None
    artifact: str
    model_hash: str
    data_fingerprint: str | None
    metrics: dict[str, Any]
    created_at: datetime
    kind: ModelKind = ModelKind.ROUND
    name: str = ""
    network_name: str = ""
    image_px: int | None = None
    class_names: tuple[str, ...] = ()
    byte_count: int | None = None
    backbone_id: int | None = None
    round_number: int | None = None


@dataclass(frozen=True)
class Promotion:
    """One row of the history of a project's model: which one it became, why, and by whom (None: nobody signed in)."""

    id: int
    project_id: int
    model_id: int
    action: PromotionAction
    user_id: int | None
    reason: str
    at: datetime


@dataclass(frozen=True)
class User:
    """A person (or the demo's simulated one) who signs in."""

    id: int
    name: str
    role: Role
    is_active: bool
    created_at: datetime


@dataclass(frozen=True)
class Token:
    """An API token; only its hash is stored."""

    id: int
    name: str
    user_id: int
    role: Role
    expires_at: datetime
    created_at: datetime
    revoked_at: datetime | None
    last_used_at: datetime | None


@dataclass(frozen=True)
class PoolCounts:
    """How many samples of a project are in which state. Pool and train splits and evaluation are told apart.

    `free + leased + labelled + skipped + flagged + not_queued = total` for the pool.
    """

    total: int
    free: int
    leased: int
    labelled: int
    skipped: int
    flagged: int
    not_queued: int
    evaluation_total: int
    evaluation_labelled: int
    train_total: int
    train_labelled: int
    rejected: int

    @property
    def unlabelled(self) -> int:
        """Pool samples that could still be asked."""
        return self.free + self.leased + self.not_queued

    @property
    def all_labelled(self) -> int:
        """Labelled samples that a model may train on: pool and train."""
        return self.labelled + self.train_labelled


@dataclass(frozen=True)
class RejectedRow:
    """A row of an import that could not become a sample, with the reason."""

    external_id: str
    reason: str


@dataclass(frozen=True)
class LabelledImage:
    """One training or evaluation row: which sample, which bytes, which class."""

    sample_id: int
    sha256: str
    class_name: str
    class_id: int


@dataclass(frozen=True)
class NewAnnotation:
    """An annotation about to be appended."""

    project_id: int
    sample_id: int
    user_id: int
    assignment_id: int | None
    kind: AnnotationKind
    class_name: str | None
    client_key: str
    lead_time_s: float | None = None
    model_version: str | None = None
    is_extra_vote: bool = False
    undoes_id: int | None = None
    is_review: bool = False
    saw_suggestion: bool = False


@dataclass(frozen=True)
class StageUpdate:
    """What to change in one round stage; None leaves a field as it is."""

    state: StageState | None = None
    job_id: int | None = None
    attempt: int | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    seconds: float | None = None
    result: dict[str, Any] | None = None
    error: str | None = None

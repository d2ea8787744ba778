"""What the loop needs from the outside: storage (one SQL store on SQLite or PostgreSQL) and a job queue (RQ or inline).

`Store.write()` opens one short transaction: everything inside is committed together when the block ends, or nothing is.
Reads inside it see its own writes. Keep it short: no image, no network, no mathematics inside a transaction.

Contract tests: tests/contract/test_store.py (both databases), tests/contract/test_job_queue.py (both queues).
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from al_service.domain.annotator_skill import Skill
from al_service.domain.class_book import ClassBook
from al_service.domain.invitations import Invitation
from al_service.domain.model_kinds import ModelKind, PromotionAction
from al_service.domain.project_config import ProjectConfig
from al_service.domain.records import (
    Annotation,
    Asked,
    AskedAgain,
    Assignment,
    Chosen,
    Example,
    Gold,
    GoldResult,
    Job,
    ModelRecord,
    NewSample,
    Offer,
    PersonWork,
    PoolCounts,
    Project,
    Promotion,
    RejectedRow,
    Relabelling,
    Round,
    RoundProgress,
    Sample,
    Selection,
    SuggestionCount,
    Token,
    User,
)
from al_service.domain.review import Place, ReviewFilter, ReviewKind, ReviewPage, Said
from al_service.domain.states import (
    AnnotationKind,
    AssignmentState,
    JobKind,
    Lane,
    Role,
    RoundState,
    SampleState,
    SelectionState,
    Split,
    Stage,
    StageState,
)


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


class ProjectRows(Protocol):
    """Projects and their classes."""

    def add(self, name: str, class_names: Sequence[str], config: ProjectConfig, now: datetime) -> Project:
        """Store a new project. Raises ConflictError when the name is taken."""

    def find(self, name: str) -> Project | None:
        """The project of that name (archived ones too), or None."""

    def get(self, project_id: int) -> Project:
        """The project, or NotFoundError."""

    def all(self, *, archived: bool = False) -> list[Project]:
        """Projects by name; archived ones only when asked."""

    def find_locked(self, name: str) -> Project | None:
        """As `find`, read after taking the project's lock."""

    def lock(self, project_id: int) -> None:
        """Make other writers of this project wait until this transaction ends (SQLite: they already do)."""

    def add_classes(self, project_id: int, class_names: Sequence[str], *, split_from_id: int | None = None) -> None:
        """Append classes whose name no class has or had, in the given order; positions never change."""

    def class_book(self, project_id: int) -> ClassBook:
        """Every class that the project has or had, with all names."""

    def set_config(self, project_id: int, config: ProjectConfig) -> None:
        """Replace the settings; running rounds keep their own copy."""

    def set_archived(self, project_id: int, now: datetime | None) -> None:
        """Archive (a time) or bring back (None)."""


class SampleRows(Protocol):
    """Images of a project and what is believed about them."""

    def add_many(self, project_id: int, samples: Sequence[NewSample], now: datetime) -> list[int | None]:
        """Store what is new; in order of input the new id, or None where external id or content hash was known."""

    def find_by_external_ids(self, project_id: int, external_ids: Sequence[str]) -> dict[str, Sample]:
        """Known samples by external id."""

    def get(self, sample_id: int) -> Sample:
        """The sample, or NotFoundError."""

    def get_many(self, sample_ids: Iterable[int]) -> dict[int, Sample]:
        """The samples by id, or NotFoundError naming the smallest id that is missing."""

    def counts(self, project_id: int) -> PoolCounts:
        """Counts by state, consistent with each other (one statement)."""

    def class_counts(self, project_id: int) -> dict[str, int]:
        """Labelled pool and train samples by class name (0 for classes without any)."""

    def in_state(
        self, project_id: int, state: SampleState, splits: Sequence[Split], *, after: int, limit: int
    ) -> list[Sample]:
        """Samples of these splits in that state with an id above `after`, by id, at most `limit`."""

    def selectable(
        self, project_id: int, first_id: int | None = None, last_id: int | None = None
    ) -> list[tuple[int, str]]:
        """(sample_id, sha256) of unlabelled pool samples, by id. Samples with an open selection are included.

        With first_id or last_id only those of this range, both ends included.
        """

    def selectable_ranges(self, project_id: int, size: int) -> list[tuple[int, int, int]]:
        """(first id, last id, how many) of consecutive stretches of `selectable`, each of `size` samples, the last one
        of what is left. Memory does not grow with the pool.
        """

    def newest_selectable_at(self, project_id: int) -> datetime | None:
        """When the newest of the `selectable` samples was stored; None when there is none."""

    def flag_unreadable(self, sample_ids: Sequence[int]) -> int:
        """Flag those of the samples that are unlabelled and that no open selection asks for; how many.

        Their images cannot be read, so no round could ever score them."""

    def unlabelled_evaluation_ids(self, project_id: int) -> list[int]:
        """Evaluation samples without label that are not in the queue, by id."""

    def training_set(self, project_id: int, watermark: int) -> list[LabelledImage]:
        """Labelled pool and train samples whose label rests on annotations with id <= watermark, by sample id."""

    def evaluation_set(self, project_id: int) -> list[LabelledImage]:
        """Labelled evaluation samples, by sample id."""

    def image_sizes(self, project_id: int, limit: int) -> list[tuple[int, int]]:
        """(width, height) of the first `limit` samples, for choosing image_px."""

    def set_label(
        self,
        sample: Sample,
        class_name: str | None,
        *,
        votes: int,
        annotation_id: int,
        state: SampleState,
        now: datetime,
        dissent: int = 0,
        is_reviewed: bool = False,
    ) -> None:
        """What the project now believes of the sample, which was read in this transaction: class (None: no label), how
        many votes, resting on which annotation, how far people disagree, whether a reviewer decided. A label whose
        class stays the same keeps the annotation it rests on.
        """

    def add_rejections(self, job_id: int, rows: Sequence[RejectedRow]) -> None:
        """Rows of an import that became no sample. The same (job, external id) again changes nothing."""

    def rejections(self, job_id: int, limit: int) -> list[RejectedRow]:
        """Rejected rows of one import, in order."""


class AnnotationRows(Protocol):
    """The append-only log of answers."""

    def add(self, annotation: NewAnnotation, now: datetime) -> Annotation:
        """Append. Raises ConflictError when (user, client_key) or undoes_id is there already."""

    def add_if_new(self, annotation: NewAnnotation, class_id: int | None, now: datetime) -> Annotation | None:
        """Append; None when (user, client_key) or undoes_id is there already. The caller has locked the project and
        knows the id of the class.
        """

    def add_labels(
        self, project_id: int, user_id: int, labels: Sequence[tuple[int, str]], client_key_prefix: str, now: datetime
    ) -> None:
        """Append one `label` annotation for each (sample_id, class_name) and set the samples' labels (imports;
        idempotent by key).
        """

    def find_by_key(self, user_id: int, client_key: str) -> Annotation | None:
        """The annotation that this person's client made under that key, or None."""

    def get(self, annotation_id: int) -> Annotation:
        """The annotation, or NotFoundError."""

    def active_of_sample(self, sample_id: int) -> list[Annotation]:
        """Answers (label, skip, flag) of a sample that are not undone, oldest first."""

    def active_of_selection(self, sample_id: int, selection_id: int) -> list[Annotation]:
        """Answers to that selection of the sample that are not undone, oldest first."""

    def with_labels(self, sample_ids: Sequence[int]) -> set[int]:
        """Those of the samples that have an answer with a class that is not undone."""

    def latest_flags(self, sample_ids: Sequence[int]) -> dict[int, Annotation]:
        """The newest flag of each of the samples that is not undone; samples without one are left out."""

    def recent_of_user(self, project_id: int, user_id: int, limit: int) -> list[Annotation]:
        """This person's answers that are not undone, newest first."""

    def latest_id(self, project_id: int) -> int:
        """Highest annotation id of the project, 0 when there is none: the watermark of a round that starts now."""

    def new_label_count(self, project_id: int, watermark: int) -> int:
        """Labelled pool and train samples whose label changed after that watermark."""

    def labels_since(self, project_id: int, since: datetime) -> int:
        """Label annotations by people (not imports) since then, for labels per minute."""


class QueueRows(Protocol):
    """Selections and the leases on them."""

    def add_selections(self, round_id: int, chosen: Sequence[Chosen], *, max_skips: int | None = None) -> None:
        """Store a round's batch and reserve, each pick in its own state. (round, sample) is unique, so is an open
        selection per sample. max_skips: of all of them; None: as the round's settings say.
        """

    def retire_open_selections(self, project_id: int, *, except_round_id: int) -> int:
        """Retire open selections of other rounds that nobody holds, except evaluation ones; how many. The reserve of
        other rounds is retired along with them.
        """

    def retire_all(self, round_id: int) -> int:
        """Retire every open and reserve selection of one round, held ones too; how many. An answer of a holder is still
        welcome.
        """

    def selections(self, round_id: int) -> list[Selection]:
        """A round's batch by rank, without its reserve."""

    def reserve_selections(self, round_id: int) -> list[Selection]:
        """A round's reserve by rank: what still waits, and what was opened or replaced."""

    def reserve_count(self, project_id: int) -> int:
        """Selections of the project that wait in reserve."""

    def open_reserve(self, project_id: int, limit: int) -> int:
        """Open the first selections in reserve, by round and rank, whose samples can still be asked; how many."""

    def get_selection(self, selection_id: int) -> Selection:
        """The selection, or NotFoundError."""

    def find_open_selection(self, sample_id: int) -> Selection | None:
        """The open selection that asks for this sample (there is at most one, gold aside), or None."""

    def find_standing_selection(self, sample_id: int) -> Selection | None:
        """The newest selection of this sample by a round that is neither retired nor in reserve, or None."""

    def set_selection_state(self, selection_id: int, state: SelectionState) -> None:
        """Change a selection's state."""

    def free_selections(self, project_id: int, user_id: int, limit: int, *, skipped: bool = True) -> list[Offer]:
        """Open selections this person may be given now: fewer leases and votes than overlap asks, not held and not
        answered by this person, and meant for nobody else. First those by hand (also of labelled samples), by turn;
        then those of rounds whose sample has no active label, by turn, round, rank. Ones that this person skipped come
        last, or not at all unless `skipped`."""

    def free_of_group(self, project_id: int, user_id: int, round_id: int, look_alike: int, limit: int) -> list[Offer]:
        """As `free_selections`, of one group of look-alikes; those that were moved back, skipped or answered by this
        person are left out."""

    def open_count(self, project_id: int) -> int:
        """Open selections of the project, evaluation ones included."""

    def open_count_of_round(self, round_id: int) -> int:
        """Open selections of one round."""

    def add_assignment(
        self, selection: Selection, user_id: int, slot: int, expires_at: datetime, now: datetime
    ) -> Assignment:
        """Lease. Raises ConflictError when the (selection, slot) already has an open lease (a database index says
        so).
        """

    def add_assignments(
        self, offers: Sequence[Offer], user_id: int, expires_at: datetime, now: datetime
    ) -> list[Assignment]:
        """Lease what was offered in this transaction, each in its first free slot. Raises as `add_assignment`."""

    def free_slot(self, selection_id: int) -> int:
        """The smallest slot number without an open lease, from 0."""

    def get_assignment(self, assignment_id: int) -> Assignment:
        """The assignment, or NotFoundError."""

    def asked(self, assignment_id: int, class_name: str | None) -> Asked:
        """What an answer to this assignment rests on, read after taking its project's lock; or NotFoundError."""

    def open_assignments_of_user(self, project_id: int, user_id: int) -> list[Assignment]:
        """Leases this person holds, oldest first."""

    def set_assignment(self, assignment_id: int, state: AssignmentState, *, expires_at: datetime | None = None) -> None:
        """Change a lease's state and, if given, its end."""

    def mark_suggestion(self, assignment_id: int, *, asked_at: datetime, seen_at: datetime | None) -> None:
        """This person asked what the model thinks, and was told (or not: None)."""

    def suggestion_counts(self, project_id: int) -> list[SuggestionCount]:
        """How often people's labels named the class that the model found likeliest, by person and by whether they asked
        for and saw it. Answers that were taken back do not count."""

    def answer_leases(self, sample_id: int, user_id: int) -> None:
        """Every open lease of this person on that sample is answered."""

    def extend_assignments(self, project_id: int, user_id: int, expires_at: datetime) -> None:
        """Give every lease that this person holds in the project a new end."""

    def expire(self, now: datetime, project_id: int | None = None) -> int:
        """Turn open leases whose time is over into expired ones; how many."""

    def askable(self, sample_ids: Sequence[int]) -> set[int]:
        """Those of the samples that are unlabelled, that no open selection asks for and that nobody holds."""

    def held_sample_ids(self, project_id: int) -> set[int]:
        """Samples that somebody holds a lease on."""

    def holders(self, project_id: int) -> dict[str, int]:
        """User name -> how many open leases."""


class LaneRows(Protocol):
    """What people ask for by hand, and gold: selections that no round chose."""

    def add(
        self, sample: Sample, lane: Lane, *, answers: int, turn: int, user_id: int | None, reason: Any
    ) -> Selection:
        """An open selection that no round chose. Raises ConflictError when one asks for the sample already."""

    def steer(self, selection_id: int, *, turn: int, user_id: int | None, answers: int | None = None) -> None:
        """Move a selection in the order, set who may have it (None: anybody) and how many answer it (None: as many as
        before)."""

    def by_hand(self, project_id: int, *, after: int, limit: int) -> list[Offer]:
        """Open selections that somebody asked for, moved forward or gave to a person, with an id above `after`, by id;
        gold aside."""

    def kept_for(self, project_id: int) -> dict[str, int]:
        """User name -> how many open selections only they may have, gold aside."""

    def unassign(self, user_id: int) -> int:
        """What only this person may have is for anybody; how many. Their gold leaves the queue."""

    def put_copies_in_order(self, round_id: int, copy_group: int) -> None:
        """Near-copies come last in their round's batch while one of them is labelled, else in their own place."""

    def with_secret_class(self, sample_ids: Sequence[int]) -> set[int]:
        """Those of the samples whose class nobody may see who labels: somebody is asked for it now, or it is gold."""

    def set_gold(self, sample: Sample, class_name: str, user_id: int, now: datetime) -> None:
        """This sample's class is known for sure. Raises InvalidInputError for a class the project does not have."""

    def is_gold(self, sample_id: int) -> bool:
        """Whether people are measured by this sample."""

    def remove_gold(self, sample_id: int) -> bool:
        """No gold any more, and nobody is asked for it as such; False when it was none."""

    def golds(self, project_id: int, *, after: int = 0, limit: int = 1000) -> list[Gold]:
        """Gold of a project with a sample id above `after`, by sample id."""

    def gold_for(self, project_id: int, user_id: int, limit: int) -> list[Gold]:
        """Gold that this person neither answered nor has in hand, by sample id."""

    def gold_results(self, project_id: int) -> list[GoldResult]:
        """How each person's labels of gold agree with it, by user id; skips, flags and what was undone do not count."""


class ClassRows(Protocol):
    """What a class holds, and the changes of classes. `ProjectRows.class_book` says which there are."""

    def label_counts(self, project_id: int) -> dict[int, dict[Split, int]]:
        """Labelled samples by class and split; classes and splits without any are left out."""

    def vote_count(self, project_id: int, class_ids: Collection[int]) -> int:
        """Votes for one of these classes that nobody took back."""

    def gold_count(self, class_id: int) -> int:
        """Samples that are gold of this class."""

    def relabelling(self, project_id: int) -> dict[int, Relabelling]:
        """Of each class that was split: how many images were asked again, and how many of them still wait."""

    def rename(self, project_id: int, class_id: int, old_name: str, new_name: str) -> None:
        """Give a class a name that none has, that it had itself before, or that one merged into it has; the old name
        goes on to mean it.
        """

    def retire(self, class_id: int, now: datetime, *, into_id: int | None = None) -> None:
        """The class is none of today's any more. into_id: what it and all that was merged into it means from now on."""

    def move_labels(self, project_id: int, class_id: int, into_id: int, now: datetime) -> None:
        """Labels and gold of one class become those of another; each label is a version further."""

    def settled_with_votes_of_both(self, project_id: int, first: Collection[int], second: Collection[int]) -> list[int]:
        """Labelled and flagged samples with votes for a class of the first and of the second kind, by id."""

    def forget_skills(self, project_id: int) -> None:
        """How well people label was estimated with other classes; it is estimated anew."""

    def settled_by(self, project_id: int, class_ids: Collection[int]) -> list[AskedAgain]:
        """Samples that are labelled, or flagged as votes disagree, with votes for one of these classes, by content
        hash.
        """

    def take_back_votes(
        self, project_id: int, class_ids: Collection[int], user_id: int, key_prefix: str, now: datetime
    ) -> None:
        """Append an undo, in this person's name, for every vote for these classes. Client keys are the prefix and the
        vote's id.
        """

    def unlabel(self, sample_ids: Sequence[int]) -> None:
        """These labelled samples have no label any more."""

    def ask_again(self, project_id: int, rows: Sequence[dict[str, Any]]) -> int:
        """Put these samples into the queue, in this order, behind other wishes and before the batch; how many. One that
        an open selection asks for already is passed over; leases of before that ask nobody any more are given back.

        Args:
            rows: sample_id, reason, overlap (answers that are missing), max_skips."""

    def drop_gold(self, project_id: int, class_id: int) -> int:
        """Gold of this class is none any more, and nobody is asked for it as such; how many."""


class SkillRows(Protocol):
    """What is needed to judge how well people label, and what came of it."""

    def votes(self, project_id: int, recent: int) -> list[tuple[int, int, int]]:
        """(sample_id, user_id, class_id): each person's latest label of samples that two people labelled or whose class
        is `known`, oldest first. Imports and verdicts are no votes; classes are what they mean today. Only the newest
        `recent` answers of the project are looked at."""

    def known(self, project_id: int, recent: int) -> dict[int, int]:
        """sample_id -> class_id of what reviewers judged among the newest `recent` answers, and of gold, which counts
        more."""

    def all(self, project_id: int) -> dict[int, Skill]:
        """Skills by user_id."""

    def updated_at(self, project_id: int) -> datetime | None:
        """When the skills were stored; None while there are none."""

    def replace(self, project_id: int, skills: Mapping[int, Skill], now: datetime) -> None:
        """These are the project's skills now, and no others. The caller has locked the project."""


class ReviewListRows(Protocol):
    """What reviewers look through; never more than a bounded number of rows at a time."""

    def page(
        self, project_id: int, wanted: ReviewFilter, splits: Sequence[Split], *, after: Place | None, limit: int
    ) -> ReviewPage:
        """At most `limit` samples of these splits behind that place."""

    def log(self, sample_id: int) -> list[Said]:
        """Everything that was ever said of a sample, what was taken back included, oldest first."""

    def counts(self, project_id: int, splits: Sequence[Split]) -> dict[ReviewKind, int]:
        """Samples of each kind but `answered`; those that are not kept as numbers up to COUNT_MAX + 1."""

    def people(self, project: Project) -> list[str]:
        """Names of who gave answers in the project, in order."""


class ExampleRows(Protocol):
    """Samples that everybody is shown as examples of a class."""

    def all(self, project_id: int) -> list[Example]:
        """A project's examples in class order, the oldest first; those of classes that are no more are left out."""

    def set(self, sample: Sample, class_name: str, note: str, user_id: int, now: datetime) -> None:
        """Show this sample as an example of that class. Raises InvalidInputError for a class the project does not
        have."""

    def remove(self, sample_id: int) -> bool:
        """Show it no more; False when it was none."""

    def is_one(self, sample_id: int) -> bool:
        """Whether people are shown this sample as an example."""

    def count(self, project_id: int) -> int:
        """How many a project has."""


class PeopleRows(Protocol):
    """What people did."""

    def work(self, project_id: int, since: datetime) -> list[PersonWork]:
        """What each person did in the project since then, by name; imports aside."""


class RoundRows(Protocol):
    """Rounds and their stages."""

    def add(
        self,
        project: Project,
        *,
        trigger: str,
        seed: int,
        watermark: int,
        label_count: int,
        idempotency_key: str | None,
        now: datetime,
    ) -> Round:
        """Store the next round (number = last + 1) with its five pending stages, in state running, stage train.

        Raises ConflictError when the project has an open round (a partial unique index says so)."""

    def find_open(self, project_id: int) -> Round | None:
        """The running or annotating round, or None."""

    def find_last(self, project_id: int) -> Round | None:
        """The round with the highest number, or None."""

    def find_by_key(self, project_id: int, idempotency_key: str) -> Round | None:
        """The round that was started under that key, or None."""

    def get(self, round_id: int) -> Round:
        """The round, or NotFoundError."""

    def find(self, project_id: int, number: int) -> Round | None:
        """The round of that number, or None."""

    def all(self, project_id: int, *, limit: int = 200) -> list[Round]:
        """Rounds by number, the newest `limit`."""

    def asking(self, project_id: int) -> RoundProgress | None:
        """How far people are with the newest round that has chosen, or with the newest of all before any has; None
        before the first. One statement, which reads no round as a whole.
        """

    def count_by_state(self, project_id: int) -> dict[str, int]:
        """How many rounds are in each state; states without rounds are left out."""

    def versions(self, project_id: int, limit: int) -> dict[int, str]:
        """Round id -> a word that changes with what people see of the round; by number, the newest `limit`.

        Much cheaper than the rounds. Metrics and results alone do not count: they come with a change of a stage."""

    def set_round(
        self,
        round_id: int,
        *,
        state: RoundState | None = None,
        stage: Stage | None = None,
        metrics: dict[str, Any] | None = None,
        data_fingerprint: str | None = None,
        model_hash: str | None = None,
        finished_at: datetime | None = None,
        error: str | None = None,
    ) -> None:
        """Change the given fields (metrics: merged into what is there). error="" clears it."""

    def set_stage(self, round_id: int, stage: Stage, update: StageUpdate) -> None:
        """Change the given fields of one stage. error="" clears it."""


class ModelRows(Protocol):
    """The model registry: models, and which one was the project's when."""

    def add(self, model: ModelRecord) -> ModelRecord:
        """Store a model's record (its id and round_number are ignored and made anew)."""

    def get(self, model_id: int) -> ModelRecord:
        """The model, or NotFoundError."""

    def find_of_round(self, round_id: int) -> ModelRecord | None:
        """The newest model of a round, or None."""

    def find_by_hash(self, project_id: int, kind: ModelKind, model_hash: str) -> ModelRecord | None:
        """The newest model of that kind with exactly these weights, or None."""

    def find_newest(self, project_id: int, kind: ModelKind) -> ModelRecord | None:
        """The newest model of that kind, or None."""

    def backbones(self, project_id: int, network_name: str, image_px: int) -> list[ModelRecord]:
        """All backbones of that network for images of that side, newest first."""

    def all(self, project_id: int, *, limit: int = 200) -> list[ModelRecord]:
        """Models, newest first."""

    def add_promotion(
        self, model: ModelRecord, action: PromotionAction, *, user_id: int | None, reason: str, now: datetime
    ) -> Promotion:
        """Append: from now on this is the project's model."""

    def promotions(self, project_id: int) -> list[Promotion]:
        """The whole history of a project, oldest first."""

    def find_promoted(self, project_id: int) -> ModelRecord | None:
        """The project's model, or None while there is none."""


class JobRows(Protocol):
    """Jobs: the database is their truth, the broker only a doorbell."""

    def add(
        self,
        *,
        project_id: int,
        round_id: int | None,
        kind: JobKind,
        payload: dict[str, Any],
        attempts_max: int,
        now: datetime,
    ) -> Job:
        """Store a queued job, attempt 1, due now."""

    def get(self, job_id: int) -> Job:
        """The job, or NotFoundError."""

    def all(
        self,
        *,
        project_id: int | None = None,
        states: Iterable[str] | None = None,
        kind: JobKind | None = None,
        limit: int = 100,
    ) -> list[Job]:
        """Jobs, newest first."""

    def of_round(self, round_id: int, kind: JobKind | None = None) -> list[Job]:
        """Jobs of one round, of one kind if given, oldest first."""

    def due(self, now: datetime, announced_before: datetime, limit: int = 100) -> list[Job]:
        """Queued jobs whose not_before has come and that were never announced or last announced before that time."""

    def set_announced(self, job_id: int, attempt: int, now: datetime) -> None:
        """Note that the broker was told about this attempt."""

    def claim(self, job_id: int, attempt: int, worker: str, now: datetime) -> bool:
        """queued -> running if this attempt still counts and is queued; False otherwise (then leave it alone)."""

    def beat(
        self,
        job_id: int,
        attempt: int,
        now: datetime,
        *,
        done: int | None = None,
        total: int | None = None,
        text: str | None = None,
    ) -> bool:
        """Heartbeat and progress of a running attempt; False when it no longer counts (superseded, cancelled, over).

        A new text or a smaller `done` is new work (progress_since); it began at the heartbeat before this one.
        """

    def finish(self, job_id: int, attempt: int, result: dict[str, Any], now: datetime) -> bool:
        """running -> done if this attempt still counts; False when it was superseded (then store nothing)."""

    def fail(self, job_id: int, attempt: int, error: str, now: datetime) -> bool:
        """running or queued -> failed if this attempt still counts."""

    def requeue(
        self, job_id: int, attempt: int, not_before: datetime, error: str, now: datetime, *, counted: bool = True
    ) -> bool:
        """This attempt failed or was lost: back to queued as attempt + 1, not before that time; never announced.

        With `counted` False attempts_max grows with it: the attempt was nobody's fault."""

    def cancel(self, job_id: int, now: datetime, *, why: str | None = None) -> bool:
        """queued or running -> cancelled; why: kept as the job's error (None: a person stopped this very job)."""

    def reset(self, job_id: int, now: datetime) -> bool:
        """failed or cancelled -> queued as attempt + 1 with attempts_max raised to allow it (a person pressed
        retry).
        """

    def lost(self, heartbeat_before: datetime) -> list[Job]:
        """Running jobs whose last heartbeat is older."""


class AccountRows(Protocol):
    """Users, tokens, the audit log."""

    def add_user(self, name: str, role: Role, password_hash: str | None, now: datetime) -> User:
        """Store a user. Raises ConflictError when the name is taken."""

    def find_user(self, name: str) -> User | None:
        """The user of that name, or None."""

    def get_user(self, user_id: int) -> User:
        """The user, or NotFoundError."""

    def find_signed_in(self, user_id: int, session_id: str = "") -> tuple[User, str | None] | None:
        """The user of that id with the stored password hash; None when unknown, or when that session was ended. One
        statement, because every request asks."""

    def end_session(self, session_id: str, now: datetime, *, forget_before: datetime) -> bool:
        """End a session of a browser, once, and forget those that ended so long ago; True when it was open."""

    def lock_admins(self) -> None:
        """Make others that call this wait until this transaction ends, so that the last admin cannot be lost."""

    def users(self) -> list[User]:
        """All users by name."""

    def password_hash(self, user_id: int) -> str | None:
        """The stored hash, or None for users who cannot sign in with a password."""

    def set_user(
        self, user_id: int, *, role: Role | None = None, password_hash: str | None = None, is_active: bool | None = None
    ) -> None:
        """Change the given fields."""

    def add_token(
        self, *, user_id: int, name: str, role: Role, token_hash: str, expires_at: datetime, now: datetime
    ) -> Token:
        """Store a token's hash."""

    def find_token(self, token_hash: str) -> tuple[Token, User] | None:
        """The token with that hash (also expired or revoked ones) and whose it is, or None."""

    def tokens(self, user_id: int | None = None) -> list[Token]:
        """Tokens, newest first."""

    def touch_token(self, token_id: int, now: datetime) -> None:
        """Note the last use."""

    def revoke_token(self, token_id: int, now: datetime) -> None:
        """End a token."""

    def add_audit(
        self, *, user_id: int | None, action: str, subject: str, details: dict[str, Any], now: datetime
    ) -> None:
        """Append to the audit log."""

    def audit(self, limit: int = 100) -> list[dict[str, Any]]:
        """Newest entries of the audit log first: {id, user, action, subject, details, at}."""


class InvitationRows(Protocol):
    """Links by which people join or choose a new password; see `loop.invitations`."""

    def add(
        self,
        *,
        role: Role,
        user_id: int | None,
        made_by_id: int,
        note: str,
        secret_hash: str,
        uses_max: int,
        expires_at: datetime,
        now: datetime,
    ) -> Invitation:
        """Store a link's hash."""

    def get(self, invitation_id: int) -> Invitation:
        """The link, or NotFoundError."""

    def find_by_hash(self, secret_hash: str) -> Invitation | None:
        """The link with that hash (also used, expired and revoked ones), or None."""

    def all(self, made_by_id: int | None = None) -> list[Invitation]:
        """Links, newest first."""

    def use(self, invitation_id: int, now: datetime) -> bool:
        """Count one use; False when it is used up, expired or revoked. Of several at once no more win than may."""

    def revoke(self, now: datetime, *, invitation_id: int | None = None, user_id: int | None = None) -> None:
        """End this link, or every link that sets this person's password; one that was ended before keeps its time."""


class OwnSettingRows(Protocol):
    """What people have set for themselves: theme, keys."""

    def get(self, user_id: int) -> dict[str, Any]:
        """What this person has set; empty when nothing."""

    def put(self, user_id: int, values: dict[str, Any], now: datetime) -> None:
        """Replace it."""


class Transaction(Protocol):
    """All rows, seen through one transaction."""

    @property
    def projects(self) -> ProjectRows: ...
    @property
    def classes(self) -> ClassRows: ...
    @property
    def samples(self) -> SampleRows: ...
    @property
    def annotations(self) -> AnnotationRows: ...
    @property
    def queue(self) -> QueueRows: ...
    @property
    def lanes(self) -> LaneRows: ...
    @property
    def people(self) -> PeopleRows: ...
    @property
    def examples(self) -> ExampleRows: ...
    @property
    def skills(self) -> SkillRows: ...
    @property
    def review_list(self) -> ReviewListRows: ...
    @property
    def rounds(self) -> RoundRows: ...
    @property
    def models(self) -> ModelRows: ...
    @property
    def jobs(self) -> JobRows: ...
    @property
    def accounts(self) -> AccountRows: ...
    @property
    def own_settings(self) -> OwnSettingRows: ...
    @property
    def invitations(self) -> InvitationRows: ...


class Store(Protocol):
    """The only truth."""

    def read(self) -> AbstractContextManager[Transaction]:
        """A snapshot for reading; writes through it are refused or rolled back."""

    def write(self) -> AbstractContextManager[Transaction]:
        """A short write transaction: committed and on disk when the block ends without an exception.

        Raises:
            UnavailableError: the database does not answer or stays locked."""

    def check(self) -> str:
        """A word about the database (dialect, version, migration); raises UnavailableError when it does not answer."""


class JobQueue(Protocol):
    """The doorbell: tells some worker that an attempt of a job is due. May lose everything at any moment."""

    def announce(self, job: Job) -> None:
        """Tell the workers. Announcing the same attempt twice is harmless.

        Raises:
            UnavailableError: the broker does not answer (the scheduler will announce again)."""

    def knows(self, job: Job) -> bool:
        """True when this attempt is waiting or running at the broker, so that telling again would change nothing."""

    def check(self) -> str:
        """A word about the broker; raises UnavailableError when it does not answer."""

    def workers(self) -> list[dict[str, Any]]:
        """Live workers: {name, state, queues, current_job, heartbeat_at}."""

    def depths(self) -> dict[str, int]:
        """Jobs waiting at the broker by queue."""


class Artifacts(Protocol):
    """Files by name: images by content hash, checkpoints, arrays."""

    def put(self, name: str, data: bytes) -> None:
        """Store durably and atomically; an existing one is replaced."""

    def put_many(self, items: Mapping[str, bytes]) -> None:
        """As `put` for each, durable together; much faster than one by one."""

    def get(self, name: str) -> bytes:
        """The bytes, or NotFoundError."""

    def has(self, name: str) -> bool:
        """True when there."""

    def names(self, prefix: str) -> list[str]:
        """All names that begin so, sorted; "" for all. Fastest where the prefix ends with "/"."""

    def size(self, name: str) -> int:
        """Bytes, or NotFoundError."""

    def check(self) -> str:
        """A word about the place, asked when files should be there: before any is called missing.

        Raises:
            UnavailableError: no answer, not there, or nothing at all in it: then no single file is missing."""

    def delete(self, name: str) -> None:
        """Remove; one that is not there is fine."""

    def room(self) -> int | None:
        """Bytes that could still be stored; None where nobody knows (a bucket)."""


def image_name(sha256: str) -> str:
    """The artifact name of an image's bytes.

    >>> image_name("ab" * 32)[:12]
    'images/ab/ab'
    """
    return f"images/{sha256[:2]}/{sha256}"

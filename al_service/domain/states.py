"""States and their legal moves: what may follow what, in one place, without a database.

Every table with a state column stores the value of one of these enums. `move` is the only way to change one.
"""

from enum import StrEnum

from al_service.errors import ConflictError


class IllegalMoveError(ConflictError):
    """A state change that the tables below do not allow; usually somebody else was faster."""

    code = "illegal_move"


class Role(StrEnum):
    """What a person may do; each role may also do everything that the ones after it may."""

    ADMIN = "admin"
    ENGINEER = "engineer"
    REVIEWER = "reviewer"
    LABELER = "labeler"
    VIEWER = "viewer"

    def covers(self, needed: "Role") -> bool:
        """True when this role may do what `needed` may."""
        order = list(Role)
        return order.index(self) <= order.index(needed)


class Split(StrEnum):
    """Which part of the project a sample belongs to. Only pool samples can be selected for training labels."""

    POOL = "pool"
    TRAIN = "train"
    EVALUATION = "evaluation"


class SampleState(StrEnum):
    """What the project knows about a sample (leases and selections are kept elsewhere)."""

    UNLABELLED = "unlabelled"
    LABELLED = "labelled"
    FLAGGED = "flagged"
    SKIPPED = "skipped"


class SelectionState(StrEnum):
    """Where a chosen sample stands: waiting for people, answered, given up, or replaced by a fresher choice.

    `reserve`: chosen ahead, asked only if people finish the batch before the next one is there.
    """

    RESERVE = "reserve"
    OPEN = "open"
    DONE = "done"
    FLAGGED = "flagged"
    SKIPPED = "skipped"
    RETIRED = "retired"


class Lane(StrEnum):
    """Why a sample is asked: a round chose it, somebody asked for it by hand, or its class is known and the answer says
    how well a person does (gold).
    """

    BATCH = "batch"
    TASK = "task"
    GOLD = "gold"


class AssignmentState(StrEnum):
    """A lease: open until answered, released by its holder, or expired."""

    OPEN = "open"
    ANSWERED = "answered"
    RELEASED = "released"
    EXPIRED = "expired"


class AnnotationKind(StrEnum):
    """What one append-only annotation says. `undo` takes an earlier one back; the earlier row stays."""

    LABEL = "label"
    SKIP = "skip"
    FLAG = "flag"
    UNDO = "undo"


class RoundState(StrEnum):
    """A round as a whole. Only one round of a project may be running or annotating (a database index keeps it so)."""

    RUNNING = "running"
    ANNOTATING = "annotating"
    CLOSED = "closed"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def is_open(self) -> bool:
        """True while the round still occupies the project's single slot."""
        return self in (RoundState.RUNNING, RoundState.ANNOTATING)


class Stage(StrEnum):
    """The stages of a round, in order. train, score and select are jobs; annotate waits for people; close sums up."""

    TRAIN = "train"
    SCORE = "score"
    SELECT = "select"
    ANNOTATE = "annotate"
    CLOSE = "close"


class StageState(StrEnum):
    """One stage of one round."""

    PENDING = "pending"
    RUNNING = "running"
    DONE = "done"
    SKIPPED = "skipped"
    FAILED = "failed"
    CANCELLED = "cancelled"


class JobKind(StrEnum):
    """What a job does. The value is also the name of the function in `workers.jobs`; it never changes."""

    INGEST = "ingest"
    TRAIN = "train"
    SCORE = "score"
    SCORE_SHARD = "score_shard"
    SELECT = "select"
    PRETRAIN = "pretrain"
    SIMULATE = "simulate"


class JobState(StrEnum):
    """One job. `queued` may be waiting for its backoff; `running` holds a heartbeat."""

    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def is_over(self) -> bool:
        """True when no worker will touch the job again unless somebody retries it."""
        return self in (JobState.DONE, JobState.FAILED, JobState.CANCELLED)


QUEUE_OF_JOB: dict[JobKind, str] = {
    JobKind.INGEST: "default",
    JobKind.TRAIN: "gpu",
    JobKind.SCORE: "gpu",
    JobKind.SCORE_SHARD: "gpu",
    JobKind.SELECT: "high",
    JobKind.PRETRAIN: "low",
    JobKind.SIMULATE: "low",
}
QUEUES = ("high", "default", "gpu", "low")

ROUND_MOVES: dict[RoundState, frozenset[RoundState]] = {
    RoundState.RUNNING: frozenset({RoundState.ANNOTATING, RoundState.CLOSED, RoundState.FAILED, RoundState.CANCELLED}),
    RoundState.ANNOTATING: frozenset({RoundState.CLOSED, RoundState.CANCELLED}),
    RoundState.CLOSED: frozenset(),
    RoundState.FAILED: frozenset({RoundState.RUNNING}),
    RoundState.CANCELLED: frozenset(),
}


def move_round(current: RoundState, target: RoundState) -> RoundState:
    """The state after the move.

    Raises:
        IllegalMoveError: the table above does not allow it.

    >>> move_round(RoundState.RUNNING, RoundState.ANNOTATING)
    <RoundState.ANNOTATING: 'annotating'>
    """
    if target not in ROUND_MOVES[current]:
        raise IllegalMoveError(f"a round that is {current} cannot become {target}", current=current, target=target)
    return target


STAGE_ORDER: tuple[Stage, ...] = tuple(Stage)


def next_stage(stage: Stage) -> Stage | None:
    """The stage that follows, or None after `close`.

    >>> next_stage(Stage.TRAIN)
    <Stage.SCORE: 'score'>
    """
    position = STAGE_ORDER.index(stage) + 1
    return STAGE_ORDER[position] if position < len(STAGE_ORDER) else None

"""The tables: SQLAlchemy Core, the same on SQLite and PostgreSQL. Promises are constraints, hot questions have an index.

The migrations create all this (and the append-only triggers); a test compares the two. JSON is plain JSON text on both
databases, not JSONB: what is stored comes back exactly, key order and number form included.
"""

from enum import StrEnum

import sqlalchemy as sa

from al_service.domain.states import (
    AnnotationKind,
    AssignmentState,
    JobKind,
    JobState,
    Role,
    RoundState,
    SampleState,
    SelectionState,
    Split,
    Stage,
    StageState,
)
from al_service.storage.column_types import ID, KEY_BYTES_MAX, CleanText, UtcTime, state_column

NAMING_CONVENTION = {
    "pk": "pk_%(table_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
}
metadata = sa.MetaData(naming_convention=NAMING_CONVENTION)


def _id() -> "sa.Column[int]":
    return sa.Column("id", ID, primary_key=True)


def _ref(target: str, name: str | None = None, *, nullable: bool = False) -> "sa.Column[int]":
    singular = {"classes": "class"}.get(target, target.removesuffix("s"))
    return sa.Column(name or f"{singular}_id", ID, sa.ForeignKey(f"{target}.id"), nullable=nullable)


def _key(name: str, *, nullable: bool = False) -> "sa.Column[str]":
    return sa.Column(name, CleanText(KEY_BYTES_MAX), nullable=nullable)


def _text(name: str, *, nullable: bool = False) -> "sa.Column[str]":
    return sa.Column(name, CleanText(), nullable=nullable)


def _time(name: str, *, nullable: bool = False) -> "sa.Column[object]":
    return sa.Column(name, UtcTime(), nullable=nullable)


def _json(name: str) -> "sa.Column[object]":
    return sa.Column(name, sa.JSON(), nullable=False)


def _integer(name: str, *, nullable: bool = False) -> "sa.Column[int]":
    return sa.Column(name, sa.BigInteger(), nullable=nullable)


def _index(name: str, *columns: str, unique: bool = False, where: str | None = None) -> sa.Index:
    """An index; `where` is SQL that both databases read alike. Queries must repeat it literally, not with parameters."""
    condition = sa.text(where) if where else None
    return sa.Index(name, *columns, unique=unique, sqlite_where=condition, postgresql_where=condition)


def is_(column: "sa.ColumnElement[object]", *states: StrEnum) -> "sa.ColumnElement[bool]":
    """`column = 'state'`, written into the statement, so that both planners see that a partial index fits.

    >>> str(is_(selections.c.state, SelectionState.OPEN))
    "selections.state = 'open'"
    """
    literals: list[sa.ColumnElement[str]] = [sa.literal_column(f"'{state.value}'") for state in states]
    return column == literals[0] if len(literals) == 1 else column.in_(literals)


users = sa.Table(
    "users",
    metadata,
    _id(),
    _key("name"),
    state_column("role", Role),
    _text("password_hash", nullable=True),
    sa.Column("is_active", sa.Boolean(), nullable=False),
    _time("created_at"),
    sa.UniqueConstraint("name"),
)

tokens = sa.Table(
    "tokens",
    metadata,
    _id(),
    _ref("users"),
    _text("name"),
    state_column("role", Role),
    _key("token_hash"),
    _time("expires_at"),
    _time("created_at"),
    _time("revoked_at", nullable=True),
    _time("last_used_at", nullable=True),
    sa.UniqueConstraint("token_hash"),
    _index("ix_tokens_user_id", "user_id"),
)

audit_log = sa.Table(
    "audit_log",
    metadata,
    _id(),
    _ref("users", nullable=True),
    _text("action"),
    _text("subject"),
    _json("details"),
    _time("at"),
)

projects = sa.Table(
    "projects",
    metadata,
    _id(),
    _key("name"),
    _json("config"),
    _time("created_at"),
    _time("archived_at", nullable=True),
    sa.UniqueConstraint("name"),
)

classes = sa.Table(
    "classes",
    metadata,
    _id(),
    _ref("projects"),
    _key("name"),
    _integer("position"),
    sa.UniqueConstraint("project_id", "name"),
    sa.UniqueConstraint("project_id", "position"),
)

samples = sa.Table(
    "samples",
    metadata,
    _id(),
    _ref("projects"),
    _key("external_id"),
    _key("sha256"),
    _integer("width"),
    _integer("height"),
    _text("format"),
    _integer("byte_count"),
    state_column("split", Split),
    state_column("state", SampleState),
    _json("metadata"),
    _time("created_at"),
    sa.UniqueConstraint("project_id", "external_id"),
    sa.UniqueConstraint("project_id", "sha256"),
    _index("ix_samples_by_state", "project_id", "split", "state", "id"),
)

#: Samples per project, split and state: kept by triggers, so that a dashboard's question costs nothing at a million samples.
sample_counts = sa.Table(
    "sample_counts",
    metadata,
    sa.Column("project_id", ID, sa.ForeignKey("projects.id"), primary_key=True),
    sa.Column("split", sa.String(20), primary_key=True),
    sa.Column("state", sa.String(20), primary_key=True),
    _integer("count"),
)

rounds = sa.Table(
    "rounds",
    metadata,
    _id(),
    _ref("projects"),
    _integer("number"),
    state_column("state", RoundState),
    state_column("stage", Stage),
    _text("trigger"),
    _json("config"),
    _json("class_names"),
    _integer("seed"),
    _integer("watermark"),
    _integer("label_count"),
    _key("idempotency_key", nullable=True),
    _text("data_fingerprint", nullable=True),
    _text("model_hash", nullable=True),
    _json("metrics"),
    _time("started_at"),
    _time("finished_at", nullable=True),
    _text("error", nullable=True),
    sa.UniqueConstraint("project_id", "number"),
    _index("uq_rounds_open", "project_id", unique=True, where="state IN ('running', 'annotating')"),
    _index(
        "uq_rounds_idempotency_key", "project_id", "idempotency_key", unique=True, where="idempotency_key IS NOT NULL"
    ),
)

jobs = sa.Table(
    "jobs",
    metadata,
    _id(),
    _ref("projects"),
    _ref("rounds", nullable=True),
    state_column("kind", JobKind),
    state_column("state", JobState),
    _integer("attempt"),
    _integer("attempts_max"),
    _json("payload"),
    _json("result"),
    _integer("progress_done"),
    _integer("progress_total", nullable=True),
    _text("progress_text"),
    _text("worker", nullable=True),
    _text("error", nullable=True),
    _time("created_at"),
    _time("not_before"),
    _time("announced_at", nullable=True),
    _time("started_at", nullable=True),
    _time("heartbeat_at", nullable=True),
    _time("finished_at", nullable=True),
    _index("ix_jobs_by_state", "project_id", "state", "id"),
    _index("ix_jobs_due", "not_before", where="state = 'queued'"),
    _index("ix_jobs_running", "heartbeat_at", where="state = 'running'"),
)

job_rejections = sa.Table(
    "job_rejections",
    metadata,
    _id(),
    _ref("jobs"),
    _key("external_id"),
    _text("reason"),
    sa.UniqueConstraint("job_id", "external_id"),
)

round_stages = sa.Table(
    "round_stages",
    metadata,
    sa.Column("round_id", ID, sa.ForeignKey("rounds.id"), primary_key=True),
    sa.Column("stage", state_column("stage", Stage).type, primary_key=True),
    state_column("state", StageState),
    _ref("jobs", nullable=True),
    _integer("attempt"),
    _time("started_at", nullable=True),
    _time("finished_at", nullable=True),
    sa.Column("seconds", sa.Double(), nullable=True),
    _json("result"),
    _text("error", nullable=True),
)

models = sa.Table(
    "models",
    metadata,
    _id(),
    _ref("projects"),
    _ref("rounds"),
    _text("artifact"),
    _text("model_hash"),
    _text("data_fingerprint"),
    _json("metrics"),
    _time("created_at"),
    _index("ix_models_round_id", "round_id"),
    _index("ix_models_project_id", "project_id"),
)

selections = sa.Table(
    "selections",
    metadata,
    _id(),
    _ref("projects"),
    _ref("rounds"),
    _ref("samples"),
    _integer("rank"),
    sa.Column("score", sa.Double(), nullable=True),
    _json("reason"),
    state_column("state", SelectionState),
    sa.UniqueConstraint("round_id", "sample_id"),
    _index("uq_selections_open_sample", "sample_id", unique=True, where="state = 'open'"),
    _index("ix_selections_queue", "project_id", "round_id", "rank", "id", where="state = 'open'"),
    _index("ix_selections_by_state", "round_id", "state"),
)

assignments = sa.Table(
    "assignments",
    metadata,
    _id(),
    _ref("projects"),
    _ref("selections"),
    _ref("users"),
    _integer("slot"),
    state_column("state", AssignmentState),
    _time("lease_expires_at"),
    _time("created_at"),
    _index("uq_assignments_open_slot", "selection_id", "slot", unique=True, where="state = 'open'"),
    _index("uq_assignments_open_user", "selection_id", "user_id", unique=True, where="state = 'open'"),
    _index("ix_assignments_held", "project_id", "user_id", where="state = 'open'"),
    _index("ix_assignments_expiry", "lease_expires_at", where="state = 'open'"),
)

#: Label annotations that people made (not imports); ix_annotations_by_time covers exactly these.
PEOPLES_LABELS = "kind = 'label' AND NOT is_import"

#: Append-only, also by trigger: an UPDATE or DELETE raises on both databases.
annotations = sa.Table(
    "annotations",
    metadata,
    _id(),
    _ref("projects"),
    _ref("samples"),
    _ref("users"),
    _ref("assignments", nullable=True),
    state_column("kind", AnnotationKind),
    _ref("classes", nullable=True),
    _key("client_key"),
    sa.Column("lead_time_s", sa.Double(), nullable=True),
    _text("model_version", nullable=True),
    sa.Column("is_extra_vote", sa.Boolean(), nullable=False),
    sa.Column("is_import", sa.Boolean(), nullable=False),
    _ref("annotations", "undoes_id", nullable=True),
    _time("created_at"),
    sa.CheckConstraint("kind <> 'label' OR class_id IS NOT NULL", name="label_has_class"),
    sa.CheckConstraint("(kind = 'undo') = (undoes_id IS NOT NULL)", name="undo_has_target"),
    sa.UniqueConstraint("user_id", "client_key"),
    _index("uq_annotations_undoes_id", "undoes_id", unique=True, where="undoes_id IS NOT NULL"),
    _index("ix_annotations_by_sample", "sample_id", "id"),
    _index("ix_annotations_by_user", "project_id", "user_id", "id"),
    _index("ix_annotations_by_project", "project_id", "id"),
    _index("ix_annotations_by_time", "project_id", "created_at", where=PEOPLES_LABELS),
)

#: What the project believes, one row per labelled sample. project_id and split repeat the sample's (they never change), so
#: that counting classes and new labels reads one index.
labels = sa.Table(
    "labels",
    metadata,
    sa.Column("sample_id", ID, sa.ForeignKey("samples.id"), primary_key=True, autoincrement=False),
    _ref("projects"),
    state_column("split", Split),
    _ref("classes"),
    _integer("votes"),
    _ref("annotations"),
    _integer("version"),
    _time("updated_at"),
    _index("ix_labels_by_class", "project_id", "split", "class_id"),
    _index("ix_labels_by_annotation", "project_id", "annotation_id", "split"),
)

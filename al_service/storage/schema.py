"""The tables: SQLAlchemy Core, the same on SQLite and PostgreSQL. Promises are constraints, hot questions an index.

The migrations create all this (and the append-only triggers); a test compares the two. JSON is plain JSON text on both
databases, not JSONB: what is stored comes back exactly, key order and number form included.
"""

from enum import StrEnum

import sqlalchemy as sa

from al_service.domain.model_kinds import ModelKind, PromotionAction
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
from al_service.storage import columns
from al_service.storage.column_types import ID, KEY_BYTES_MAX, CleanText

NAMING_CONVENTION = {
    "pk": "pk_%(table_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
}
metadata = sa.MetaData(naming_convention=NAMING_CONVENTION)


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
    columns.id_column(),
    columns.key("name"),
    columns.state("role", Role),
    columns.text("password_hash", nullable=True),
    sa.Column("is_active", sa.Boolean(), nullable=False),
    columns.time("created_at"),
    sa.UniqueConstraint("name"),
)

tokens = sa.Table(
    "tokens",
    metadata,
    columns.id_column(),
    columns.ref("users"),
    columns.text("name"),
    columns.state("role", Role),
    columns.key("token_hash"),
    columns.time("expires_at"),
    columns.time("created_at"),
    columns.time("revoked_at", nullable=True),
    columns.time("last_used_at", nullable=True),
    sa.UniqueConstraint("token_hash"),
    columns.index("ix_tokens_user_id", "user_id"),
)

ended_sessions = sa.Table(
    "ended_sessions",
    metadata,
    sa.Column("session_id", CleanText(KEY_BYTES_MAX), primary_key=True),
    columns.time("ended_at"),
    columns.index("ix_ended_sessions_ended_at", "ended_at"),
)

#: Links by which people join, or choose a new password (then user_id says whose). Only the hash of the secret is here.
invitations = sa.Table(
    "invitations",
    metadata,
    columns.id_column(),
    columns.state("role", Role),
    columns.ref("users", nullable=True),
    columns.ref("users", "made_by_id"),
    columns.text("note"),
    columns.key("secret_hash"),
    columns.integer("uses"),
    columns.integer("uses_max"),
    columns.time("created_at"),
    columns.time("expires_at"),
    columns.time("revoked_at", nullable=True),
    sa.UniqueConstraint("secret_hash"),
    sa.CheckConstraint("uses BETWEEN 0 AND uses_max", name="uses_within"),
    columns.index("ix_invitations_made_by_id", "made_by_id", "id"),
    columns.index("ix_invitations_user_id", "user_id", where="user_id IS NOT NULL"),
)

audit_log = sa.Table(
    "audit_log",
    metadata,
    columns.id_column(),
    columns.ref("users", nullable=True),
    columns.text("action"),
    columns.text("subject"),
    columns.json("details"),
    columns.time("at"),
)

projects = sa.Table(
    "projects",
    metadata,
    columns.id_column(),
    columns.key("name"),
    columns.json("config"),
    columns.time("created_at"),
    columns.time("archived_at", nullable=True),
    sa.UniqueConstraint("name"),
)

#: A retired class was merged into another (merged_into_id: what it is today, however often that was merged on), or was
#: split: then nothing means it any more, and classes with its id in split_from_id took its place.
classes = sa.Table(
    "classes",
    metadata,
    columns.id_column(),
    columns.ref("projects"),
    columns.key("name"),
    columns.integer("position"),
    columns.time("retired_at", nullable=True),
    columns.ref("classes", "merged_into_id", nullable=True),
    columns.ref("classes", "split_from_id", nullable=True),
    sa.UniqueConstraint("project_id", "name"),
    sa.UniqueConstraint("project_id", "position"),
)

#: Names that classes had before: answers and imports that still use one mean the class.
class_aliases = sa.Table(
    "class_aliases",
    metadata,
    columns.id_column(),
    columns.ref("projects"),
    columns.key("name"),
    columns.ref("classes"),
    sa.UniqueConstraint("project_id", "name"),
)

#: Samples about which people disagree and no reviewer has decided, and labels that one has decided; each has an index
#: that covers exactly these.
DISPUTED = "dissent > 0"
REVIEWED = "is_reviewed"

samples = sa.Table(
    "samples",
    metadata,
    columns.id_column(),
    columns.ref("projects"),
    columns.key("external_id"),
    columns.key("sha256"),
    columns.integer("width"),
    columns.integer("height"),
    columns.text("format"),
    columns.integer("byte_count"),
    columns.state("split", Split),
    columns.state("state", SampleState),
    columns.json("metadata"),
    columns.time("created_at"),
    columns.integer("dissent"),
    sa.UniqueConstraint("project_id", "external_id"),
    sa.UniqueConstraint("project_id", "sha256"),
    columns.index("ix_samples_by_state", "project_id", "split", "state", "id"),
    columns.index("ix_samples_disputed", "project_id", "dissent", "id", where=DISPUTED),
)

#: Samples per project, split and state: kept by triggers, so that a dashboard's question is cheap at a million samples.
sample_counts = sa.Table(
    "sample_counts",
    metadata,
    sa.Column("project_id", ID, sa.ForeignKey("projects.id"), primary_key=True),
    sa.Column("split", sa.String(20), primary_key=True),
    sa.Column("state", sa.String(20), primary_key=True),
    columns.integer("count"),
)

rounds = sa.Table(
    "rounds",
    metadata,
    columns.id_column(),
    columns.ref("projects"),
    columns.integer("number"),
    columns.state("state", RoundState),
    columns.state("stage", Stage),
    columns.text("trigger"),
    columns.json("config"),
    columns.json("class_names"),
    columns.json("class_ids", nullable=True),
    columns.integer("seed"),
    columns.integer("watermark"),
    columns.integer("label_count"),
    columns.key("idempotency_key", nullable=True),
    columns.text("data_fingerprint", nullable=True),
    columns.text("model_hash", nullable=True),
    columns.json("metrics"),
    columns.time("started_at"),
    columns.time("finished_at", nullable=True),
    columns.text("error", nullable=True),
    sa.UniqueConstraint("project_id", "number"),
    columns.index("uq_rounds_open", "project_id", unique=True, where="state IN ('running', 'annotating')"),
    columns.index(
        "uq_rounds_idempotency_key", "project_id", "idempotency_key", unique=True, where="idempotency_key IS NOT NULL"
    ),
)

jobs = sa.Table(
    "jobs",
    metadata,
    columns.id_column(),
    columns.ref("projects"),
    columns.ref("rounds", nullable=True),
    columns.state("kind", JobKind),
    columns.state("state", JobState),
    columns.integer("attempt"),
    columns.integer("attempts_max"),
    columns.json("payload"),
    columns.json("result"),
    columns.integer("progress_done"),
    columns.integer("progress_total", nullable=True),
    columns.text("progress_text"),
    columns.text("worker", nullable=True),
    columns.text("error", nullable=True),
    columns.time("created_at"),
    columns.time("not_before"),
    columns.time("announced_at", nullable=True),
    columns.time("started_at", nullable=True),
    columns.time("heartbeat_at", nullable=True),
    columns.time("finished_at", nullable=True),
    columns.time("progress_since", nullable=True),
    columns.index("ix_jobs_by_state", "project_id", "state", "id"),
    columns.index("ix_jobs_due", "not_before", where="state = 'queued'"),
    columns.index("ix_jobs_running", "heartbeat_at", where="state = 'running'"),
    columns.index("ix_jobs_by_round", "round_id", "id", where="round_id IS NOT NULL"),
)

job_rejections = sa.Table(
    "job_rejections",
    metadata,
    columns.id_column(),
    columns.ref("jobs"),
    columns.key("external_id"),
    columns.text("reason"),
    sa.UniqueConstraint("job_id", "external_id"),
)

round_stages = sa.Table(
    "round_stages",
    metadata,
    sa.Column("round_id", ID, sa.ForeignKey("rounds.id"), primary_key=True),
    sa.Column("stage", columns.state("stage", Stage).type, primary_key=True),
    columns.state("state", StageState),
    columns.ref("jobs", nullable=True),
    columns.integer("attempt"),
    columns.time("started_at", nullable=True),
    columns.time("finished_at", nullable=True),
    sa.Column("seconds", sa.Double(), nullable=True),
    columns.json("result"),
    columns.text("error", nullable=True),
)

models = sa.Table(
    "models",
    metadata,
    columns.id_column(),
    columns.ref("projects"),
    columns.ref("rounds", nullable=True),
    columns.ref("models", "backbone_id", nullable=True),
    columns.state("kind", ModelKind),
    columns.text("name"),
    columns.text("network_name"),
    columns.integer("image_px", nullable=True),
    columns.json("class_names"),
    columns.text("artifact"),
    columns.integer("byte_count", nullable=True),
    columns.text("model_hash"),
    columns.text("data_fingerprint", nullable=True),
    columns.json("metrics"),
    columns.time("created_at"),
    sa.CheckConstraint("(kind = 'round') = (round_id IS NOT NULL)", name="round_has_round"),
    columns.index("ix_models_round_id", "round_id"),
    columns.index("ix_models_project_id", "project_id", "kind", "id"),
)

#: Append-only, also by trigger, as annotations are. The newest row of a project says which model is the project's.
promotions = sa.Table(
    "promotions",
    metadata,
    columns.id_column(),
    columns.ref("projects"),
    columns.ref("models"),
    columns.state("action", PromotionAction),
    columns.ref("users", nullable=True),
    columns.text("reason"),
    columns.time("at"),
    columns.index("ix_promotions_project_id", "project_id", "id"),
)

selections = sa.Table(
    "selections",
    metadata,
    columns.id_column(),
    columns.ref("projects"),
    columns.ref("rounds", nullable=True),
    columns.ref("samples"),
    columns.integer("rank"),
    sa.Column("score", sa.Double(), nullable=True),
    columns.json("reason"),
    columns.state("state", SelectionState),
    columns.integer("overlap"),
    columns.integer("max_skips"),
    sa.Column("is_reserve", sa.Boolean(), nullable=False),
    columns.state("lane", Lane),
    columns.integer("turn"),
    columns.ref("users", "assigned_to_id", nullable=True),
    columns.integer("copy_group", nullable=True),
    columns.integer("look_alike", nullable=True),
    columns.json("likely", nullable=True),
    sa.CheckConstraint("lane <> 'batch' OR round_id IS NOT NULL", name="batch_has_round"),
    sa.UniqueConstraint("round_id", "sample_id"),
    columns.index("uq_selections_open_sample", "sample_id", unique=True, where="state = 'open' AND lane <> 'gold'"),
    columns.index(
        "uq_selections_open_gold", "sample_id", "assigned_to_id", unique=True, where="state = 'open' AND lane = 'gold'"
    ),
    columns.index(
        "ix_selections_queue", "project_id", "turn", "round_id", "rank", "id", where="state = 'open' AND lane = 'batch'"
    ),
    columns.index("ix_selections_by_hand", "project_id", "turn", "id", where="state = 'open' AND lane <> 'batch'"),
    columns.index("ix_selections_assigned", "assigned_to_id", where="state = 'open' AND assigned_to_id IS NOT NULL"),
    columns.index("ix_selections_reserve", "project_id", "round_id", "rank", "id", where="state = 'reserve'"),
)

#: Selections per round, part and state: kept by triggers, because every answer says how far people are.
selection_counts = sa.Table(
    "selection_counts",
    metadata,
    sa.Column("round_id", ID, sa.ForeignKey("rounds.id"), primary_key=True),
    sa.Column("is_reserve", sa.Boolean(), primary_key=True),
    sa.Column("state", sa.String(20), primary_key=True),
    columns.integer("count"),
)

assignments = sa.Table(
    "assignments",
    metadata,
    columns.id_column(),
    columns.ref("projects"),
    columns.ref("selections"),
    columns.ref("users"),
    columns.integer("slot"),
    columns.state("state", AssignmentState),
    columns.time("lease_expires_at"),
    columns.time("created_at"),
    columns.time("suggestion_asked_at", nullable=True),
    columns.time("suggestion_seen_at", nullable=True),
    columns.index("uq_assignments_open_slot", "selection_id", "slot", unique=True, where="state = 'open'"),
    columns.index("uq_assignments_open_user", "selection_id", "user_id", unique=True, where="state = 'open'"),
    columns.index("ix_assignments_held", "project_id", "user_id", where="state = 'open'"),
    columns.index("ix_assignments_expiry", "lease_expires_at", where="state = 'open'"),
)

#: Label annotations that people made (not imports); ix_annotations_by_time covers exactly these.
PEOPLES_LABELS = "kind = 'label' AND NOT is_import"

#: Append-only, also by trigger: an UPDATE or DELETE raises on both databases.
annotations = sa.Table(
    "annotations",
    metadata,
    columns.id_column(),
    columns.ref("projects"),
    columns.ref("samples"),
    columns.ref("users"),
    columns.ref("assignments", nullable=True),
    columns.state("kind", AnnotationKind),
    columns.ref("classes", nullable=True),
    columns.key("client_key"),
    sa.Column("lead_time_s", sa.Double(), nullable=True),
    columns.text("model_version", nullable=True),
    sa.Column("is_extra_vote", sa.Boolean(), nullable=False),
    sa.Column("is_import", sa.Boolean(), nullable=False),
    columns.ref("annotations", "undoes_id", nullable=True),
    columns.time("created_at"),
    sa.Column("is_review", sa.Boolean(), nullable=False),
    sa.Column("saw_suggestion", sa.Boolean(), nullable=False),
    sa.CheckConstraint("kind <> 'label' OR class_id IS NOT NULL", name="label_has_class"),
    sa.CheckConstraint("(kind = 'undo') = (undoes_id IS NOT NULL)", name="undo_has_target"),
    sa.UniqueConstraint("user_id", "client_key"),
    columns.index("uq_annotations_undoes_id", "undoes_id", unique=True, where="undoes_id IS NOT NULL"),
    columns.index("ix_annotations_by_sample", "sample_id", "id"),
    columns.index("ix_annotations_by_user", "project_id", "user_id", "id"),
    columns.index("ix_annotations_by_project", "project_id", "id"),
    columns.index("ix_annotations_by_time", "project_id", "created_at", where=PEOPLES_LABELS),
)

#: What the project believes, one row per labelled sample. project_id and split repeat the sample's (they never change),
#: so that counting classes and new labels reads one index.
labels = sa.Table(
    "labels",
    metadata,
    sa.Column("sample_id", ID, sa.ForeignKey("samples.id"), primary_key=True, autoincrement=False),
    columns.ref("projects"),
    columns.state("split", Split),
    columns.ref("classes"),
    columns.integer("votes"),
    columns.ref("annotations"),
    columns.integer("version"),
    columns.time("updated_at"),
    sa.Column("is_reviewed", sa.Boolean(), nullable=False),
    columns.index("ix_labels_by_class", "project_id", "class_id", "annotation_id", "split"),
    columns.index("ix_labels_by_annotation", "project_id", "annotation_id", "split"),
    columns.index("ix_labels_reviewed", "project_id", "annotation_id", where=REVIEWED),
)

#: Samples whose class is known for sure, hidden among what people are asked, to see how well they do.
gold = sa.Table(
    "gold",
    metadata,
    sa.Column("sample_id", ID, sa.ForeignKey("samples.id"), primary_key=True, autoincrement=False),
    columns.ref("projects"),
    columns.ref("classes"),
    columns.ref("users"),
    columns.time("created_at"),
    columns.index("ix_gold_project_id", "project_id", "sample_id"),
)

#: How well each person labels in a project, as last estimated.
annotator_skills = sa.Table(
    "annotator_skills",
    metadata,
    sa.Column("project_id", ID, sa.ForeignKey("projects.id"), primary_key=True, autoincrement=False),
    sa.Column("user_id", ID, sa.ForeignKey("users.id"), primary_key=True, autoincrement=False),
    columns.json("skill"),
    columns.time("updated_at"),
)

#: What a person set for themselves: keys, theme.
user_settings = sa.Table(
    "user_settings",
    metadata,
    sa.Column("user_id", ID, sa.ForeignKey("users.id"), primary_key=True, autoincrement=False),
    columns.json("settings"),
    columns.time("updated_at"),
)

#: Samples that everybody is shown as examples of a class.
examples = sa.Table(
    "examples",
    metadata,
    sa.Column("sample_id", ID, sa.ForeignKey("samples.id"), primary_key=True, autoincrement=False),
    columns.ref("projects"),
    columns.ref("classes"),
    columns.text("note"),
    columns.ref("users"),
    columns.time("created_at"),
    columns.index("ix_examples_project_id", "project_id", "class_id", "sample_id"),
)

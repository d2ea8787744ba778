"""The first schema: every table, index and trigger.

A frozen copy in plain types: it must not follow later changes of `storage.schema`, so it imports nothing of ours.
"""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

ROLES = ("admin", "engineer", "reviewer", "labeler", "viewer")
SPLITS = ("pool", "train", "evaluation")
STAGES = ("train", "score", "select", "annotate", "close")

Column = sa.Column[Any]


def upgrade() -> None:
    """Create everything."""
    metadata = sa.MetaData(
        naming_convention={
            "pk": "pk_%(table_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
        }
    )
    _accounts(metadata)
    _projects(metadata)
    _rounds(metadata)
    _queue(metadata)
    _answers(metadata)
    bind = op.get_bind()
    metadata.create_all(bind, checkfirst=False)
    for statement in _on_postgres() if bind.dialect.name == "postgresql" else _on_sqlite():
        bind.exec_driver_sql(statement)


def _id_type() -> "sa.types.TypeEngine[int]":
    return sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def _id() -> Column:
    return sa.Column("id", _id_type(), primary_key=True)


def _ref(name: str, table: str, *, nullable: bool = False, primary: bool = False) -> Column:
    target = sa.ForeignKey(f"{table}.id")
    return sa.Column(name, _id_type(), target, nullable=nullable, primary_key=primary, autoincrement=False)


def _text(name: str, *, nullable: bool = False) -> Column:
    return sa.Column(name, sa.Text(), nullable=nullable)


def _time(name: str, *, nullable: bool = False) -> Column:
    return sa.Column(name, sa.DateTime(timezone=True), nullable=nullable)


def _integer(name: str, *, nullable: bool = False) -> Column:
    return sa.Column(name, sa.BigInteger(), nullable=nullable)


def _real(name: str) -> Column:
    return sa.Column(name, sa.Double(), nullable=True)


def _flag(name: str) -> Column:
    return sa.Column(name, sa.Boolean(), nullable=False)


def _json(name: str) -> Column:
    return sa.Column(name, sa.JSON(), nullable=False)


def _choice(name: str, values: tuple[str, ...], *, primary: bool = False) -> tuple[Column, sa.CheckConstraint]:
    listed = ", ".join(f"'{value}'" for value in values)
    column: Column = sa.Column(name, sa.String(20), nullable=False, primary_key=primary)
    return column, sa.CheckConstraint(f"{name} IN ({listed})", name=name)


def _index(name: str, *columns: str, unique: bool = False, where: str | None = None) -> sa.Index:
    condition = sa.text(where) if where else None
    return sa.Index(name, *columns, unique=unique, sqlite_where=condition, postgresql_where=condition)


def _accounts(metadata: sa.MetaData) -> None:
    sa.Table(
        "users", metadata, _id(), _text("name"), *_choice("role", ROLES), _text("password_hash", nullable=True),
        _flag("is_active"), _time("created_at"), sa.UniqueConstraint("name"),
    )  # fmt: skip
    sa.Table(
        "tokens", metadata, _id(), _ref("user_id", "users"), _text("name"), *_choice("role", ROLES),
        _text("token_hash"), _time("expires_at"), _time("created_at"), _time("revoked_at", nullable=True),
        _time("last_used_at", nullable=True),
        sa.UniqueConstraint("token_hash"), _index("ix_tokens_user_id", "user_id"),
    )  # fmt: skip
    sa.Table(
        "audit_log", metadata, _id(), _ref("user_id", "users", nullable=True), _text("action"), _text("subject"),
        _json("details"), _time("at"),
    )  # fmt: skip


def _projects(metadata: sa.MetaData) -> None:
    sa.Table(
        "projects", metadata, _id(), _text("name"), _json("config"), _time("created_at"),
        _time("archived_at", nullable=True), sa.UniqueConstraint("name"),
    )  # fmt: skip
    sa.Table(
        "classes", metadata, _id(), _ref("project_id", "projects"), _text("name"), _integer("position"),
        sa.UniqueConstraint("project_id", "name"), sa.UniqueConstraint("project_id", "position"),
    )  # fmt: skip
    sa.Table(
        "samples", metadata, _id(), _ref("project_id", "projects"), _text("external_id"), _text("sha256"),
        _integer("width"), _integer("height"), _text("format"), _integer("byte_count"), *_choice("split", SPLITS),
        *_choice("state", ("unlabelled", "labelled", "flagged", "skipped")), _json("metadata"), _time("created_at"),
        sa.UniqueConstraint("project_id", "external_id"), sa.UniqueConstraint("project_id", "sha256"),
        _index("ix_samples_by_state", "project_id", "split", "state", "id"),
    )  # fmt: skip
    sa.Table(
        "sample_counts", metadata, _ref("project_id", "projects", primary=True),
        sa.Column("split", sa.String(20), primary_key=True), sa.Column("state", sa.String(20), primary_key=True),
        _integer("count"),
    )  # fmt: skip


def _rounds(metadata: sa.MetaData) -> None:
    sa.Table(
        "rounds", metadata, _id(), _ref("project_id", "projects"), _integer("number"),
        *_choice("state", ("running", "annotating", "closed", "failed", "cancelled")), *_choice("stage", STAGES),
        _text("trigger"), _json("config"), _json("class_names"), _integer("seed"), _integer("watermark"),
        _integer("label_count"), _text("idempotency_key", nullable=True), _text("data_fingerprint", nullable=True),
        _text("model_hash", nullable=True), _json("metrics"), _time("started_at"), _time("finished_at", nullable=True),
        _text("error", nullable=True), sa.UniqueConstraint("project_id", "number"),
        _index("uq_rounds_open", "project_id", unique=True, where="state IN ('running', 'annotating')"),
        _index("uq_rounds_idempotency_key", "project_id", "idempotency_key", unique=True,
               where="idempotency_key IS NOT NULL"),
    )  # fmt: skip
    sa.Table(
        "jobs", metadata, _id(), _ref("project_id", "projects"), _ref("round_id", "rounds", nullable=True),
        *_choice("kind", ("ingest", "train", "score", "select")),
        *_choice("state", ("queued", "running", "done", "failed", "cancelled")), _integer("attempt"),
        _integer("attempts_max"), _json("payload"), _json("result"), _integer("progress_done"),
        _integer("progress_total", nullable=True), _text("progress_text"), _text("worker", nullable=True),
        _text("error", nullable=True), _time("created_at"), _time("not_before"), _time("announced_at", nullable=True),
        _time("started_at", nullable=True), _time("heartbeat_at", nullable=True), _time("finished_at", nullable=True),
        _index("ix_jobs_by_state", "project_id", "state", "id"),
        _index("ix_jobs_due", "not_before", where="state = 'queued'"),
        _index("ix_jobs_running", "heartbeat_at", where="state = 'running'"),
    )  # fmt: skip
    sa.Table(
        "job_rejections", metadata, _id(), _ref("job_id", "jobs"), _text("external_id"), _text("reason"),
        sa.UniqueConstraint("job_id", "external_id"),
    )  # fmt: skip
    sa.Table(
        "round_stages", metadata, _ref("round_id", "rounds", primary=True), *_choice("stage", STAGES, primary=True),
        *_choice("state", ("pending", "running", "done", "skipped", "failed", "cancelled")),
        _ref("job_id", "jobs", nullable=True), _integer("attempt"), _time("started_at", nullable=True),
        _time("finished_at", nullable=True), _real("seconds"), _json("result"), _text("error", nullable=True),
    )  # fmt: skip
    sa.Table(
        "models", metadata, _id(), _ref("project_id", "projects"), _ref("round_id", "rounds"), _text("artifact"),
        _text("model_hash"), _text("data_fingerprint"), _json("metrics"), _time("created_at"),
        _index("ix_models_round_id", "round_id"), _index("ix_models_project_id", "project_id"),
    )  # fmt: skip


def _queue(metadata: sa.MetaData) -> None:
    sa.Table(
        "selections", metadata, _id(), _ref("project_id", "projects"), _ref("round_id", "rounds"),
        _ref("sample_id", "samples"), _integer("rank"), _real("score"), _json("reason"),
        *_choice("state", ("open", "done", "flagged", "skipped", "retired")),
        _integer("overlap"), _integer("max_skips"),
        sa.UniqueConstraint("round_id", "sample_id"),
        _index("uq_selections_open_sample", "sample_id", unique=True, where="state = 'open'"),
        _index("ix_selections_queue", "project_id", "round_id", "rank", "id", where="state = 'open'"),
        _index("ix_selections_by_state", "round_id", "state"),
    )  # fmt: skip
    sa.Table(
        "assignments", metadata, _id(), _ref("project_id", "projects"), _ref("selection_id", "selections"),
        _ref("user_id", "users"), _integer("slot"), *_choice("state", ("open", "answered", "released", "expired")),
        _time("lease_expires_at"), _time("created_at"),
        _index("uq_assignments_open_slot", "selection_id", "slot", unique=True, where="state = 'open'"),
        _index("uq_assignments_open_user", "selection_id", "user_id", unique=True, where="state = 'open'"),
        _index("ix_assignments_held", "project_id", "user_id", where="state = 'open'"),
        _index("ix_assignments_expiry", "lease_expires_at", where="state = 'open'"),
    )  # fmt: skip


def _answers(metadata: sa.MetaData) -> None:
    sa.Table(
        "annotations", metadata, _id(), _ref("project_id", "projects"), _ref("sample_id", "samples"),
        _ref("user_id", "users"), _ref("assignment_id", "assignments", nullable=True),
        *_choice("kind", ("label", "skip", "flag", "undo")), _ref("class_id", "classes", nullable=True),
        _text("client_key"), _real("lead_time_s"), _text("model_version", nullable=True), _flag("is_extra_vote"),
        _flag("is_import"), _ref("undoes_id", "annotations", nullable=True), _time("created_at"),
        sa.CheckConstraint("kind <> 'label' OR class_id IS NOT NULL", name="label_has_class"),
        sa.CheckConstraint("(kind = 'undo') = (undoes_id IS NOT NULL)", name="undo_has_target"),
        sa.UniqueConstraint("user_id", "client_key"),
        _index("uq_annotations_undoes_id", "undoes_id", unique=True, where="undoes_id IS NOT NULL"),
        _index("ix_annotations_by_sample", "sample_id", "id"),
        _index("ix_annotations_by_user", "project_id", "user_id", "id"),
        _index("ix_annotations_by_project", "project_id", "id"),
        _index("ix_annotations_by_time", "project_id", "created_at", where="kind = 'label' AND NOT is_import"),
    )  # fmt: skip
    sa.Table(
        "labels", metadata, _ref("sample_id", "samples", primary=True), _ref("project_id", "projects"),
        *_choice("split", SPLITS), _ref("class_id", "classes"), _integer("votes"), _ref("annotation_id", "annotations"),
        _integer("version"), _time("updated_at"),
        _index("ix_labels_by_class", "project_id", "split", "class_id"),
        _index("ix_labels_by_annotation", "project_id", "annotation_id", "split"),
    )  # fmt: skip


REFUSAL = "annotations are append-only; take one back with an undo row"


def _on_sqlite() -> list[str]:
    refuse = f"BEGIN SELECT RAISE(ABORT, '{REFUSAL}'); END"
    count = (
        "INSERT INTO sample_counts VALUES (ROW.project_id, ROW.split, ROW.state, STEP) "
        "ON CONFLICT (project_id, split, state) DO UPDATE SET count = count + STEP;"
    )
    gained = count.replace("ROW", "NEW").replace("STEP", "1")
    lost = count.replace("ROW", "OLD").replace("STEP", "-1")
    changed = "project_id, split, state"
    return [
        f"CREATE TRIGGER annotations_no_update BEFORE UPDATE ON annotations {refuse}",
        f"CREATE TRIGGER annotations_no_delete BEFORE DELETE ON annotations {refuse}",
        f"CREATE TRIGGER samples_count_insert AFTER INSERT ON samples BEGIN {gained} END",
        f"CREATE TRIGGER samples_count_update AFTER UPDATE OF {changed} ON samples BEGIN {lost} {gained} END",
        f"CREATE TRIGGER samples_count_delete AFTER DELETE ON samples BEGIN {lost} END",
    ]


def _on_postgres() -> list[str]:
    """Counting is one upsert per statement, not per row, in key order, so that two statements cannot deadlock."""
    refuse = f"BEGIN RAISE EXCEPTION '{REFUSAL}'; END"
    count = (
        "BEGIN INSERT INTO sample_counts AS known (project_id, split, state, count) "
        "SELECT project_id, split, state, sum(step) FROM (CHANGES) AS changes "
        "GROUP BY project_id, split, state HAVING sum(step) <> 0 ORDER BY project_id, split, state "
        "ON CONFLICT (project_id, split, state) DO UPDATE SET count = known.count + excluded.count; "
        "RETURN NULL; END"
    )
    gained = "SELECT project_id, split, state, 1 AS step FROM gained"
    lost = "SELECT project_id, split, state, -1 AS step FROM lost"
    statements = [_function("annotations_refuse", refuse)]
    statements.append(
        "CREATE TRIGGER annotations_no_change BEFORE UPDATE OR DELETE OR TRUNCATE ON annotations "
        "FOR EACH STATEMENT EXECUTE FUNCTION annotations_refuse()"
    )
    for event, tables, changes in (
        ("INSERT", "NEW TABLE AS gained", gained),
        ("UPDATE", "OLD TABLE AS lost NEW TABLE AS gained", f"{lost} UNION ALL {gained}"),
        ("DELETE", "OLD TABLE AS lost", lost),
    ):
        name = f"samples_count_{event.lower()}"
        statements.append(_function(name, count.replace("CHANGES", changes)))
        statements.append(
            f"CREATE TRIGGER {name} AFTER {event} ON samples REFERENCING {tables} "
            f"FOR EACH STATEMENT EXECUTE FUNCTION {name}()"
        )
    return statements


def _function(name: str, body: str) -> str:
    return f"CREATE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS $$ {body} $$"

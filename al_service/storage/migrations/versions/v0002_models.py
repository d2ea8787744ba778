"""The model registry: models of every kind, which one of a project is promoted, and the history of promotions.

The table of models is small (a row for each round) and nothing refers to it, so it is made anew on both databases.
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

REFUSAL = "promotions are append-only; promote another model or roll back"

_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_metadata = sa.MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
    }
)
_others = [
    sa.Table(name, _metadata, sa.Column("id", _ID, primary_key=True)) for name in ("projects", "rounds", "users")
]

models = sa.Table(
    "models",
    _metadata,
    sa.Column("id", _ID, primary_key=True),
    sa.Column("project_id", _ID, sa.ForeignKey("projects.id"), nullable=False),
    sa.Column("round_id", _ID, sa.ForeignKey("rounds.id"), nullable=True),
    sa.Column("backbone_id", _ID, sa.ForeignKey("models.id"), nullable=True),
    sa.Column("kind", sa.String(20), nullable=False),
    sa.Column("name", sa.Text(), nullable=False),
    sa.Column("network_name", sa.Text(), nullable=False),
    sa.Column("image_px", sa.BigInteger(), nullable=True),
    sa.Column("class_names", sa.JSON(), nullable=False),
    sa.Column("artifact", sa.Text(), nullable=False),
    sa.Column("byte_count", sa.BigInteger(), nullable=True),
    sa.Column("model_hash", sa.Text(), nullable=False),
    sa.Column("data_fingerprint", sa.Text(), nullable=True),
    sa.Column("metrics", sa.JSON(), nullable=False),
    sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
    sa.CheckConstraint("kind IN ('round', 'imported', 'backbone')", name="kind"),
    sa.CheckConstraint("(kind = 'round') = (round_id IS NOT NULL)", name="round_has_round"),
    sa.Index("ix_models_round_id", "round_id"),
    sa.Index("ix_models_project_id", "project_id", "kind", "id"),
)

promotions = sa.Table(
    "promotions",
    _metadata,
    sa.Column("id", _ID, primary_key=True),
    sa.Column("project_id", _ID, sa.ForeignKey("projects.id"), nullable=False),
    sa.Column("model_id", _ID, sa.ForeignKey("models.id"), nullable=False),
    sa.Column("action", sa.String(20), nullable=False),
    sa.Column("user_id", _ID, sa.ForeignKey("users.id"), nullable=True),
    sa.Column("reason", sa.Text(), nullable=False),
    sa.Column("at", sa.DateTime(timezone=True), nullable=False),
    sa.CheckConstraint("action IN ('promote', 'rollback', 'auto')", name="action"),
    sa.Index("ix_promotions_project_id", "project_id", "id"),
)


def upgrade() -> None:
    """Make models anew with what is known of the old ones, and add the history of promotions."""
    bind = op.get_bind()
    kept = _old_models(bind)
    bind.exec_driver_sql("DROP TABLE models")
    _metadata.create_all(bind, [models, promotions], checkfirst=False)
    if kept:
        bind.execute(sa.insert(models), kept)
    if bind.dialect.name == "postgresql":
        if kept:
            bind.exec_driver_sql("SELECT setval(pg_get_serial_sequence('models', 'id'), max(id)) FROM models")
        _refuse_on_postgres(bind)
    else:
        _refuse_on_sqlite(bind)


def _old_models(bind: sa.Connection) -> list[dict[str, object]]:
    """Rows of the new table; an automatic image_px and the size of the file were not recorded then."""
    json, time = sa.JSON(), sa.DateTime(timezone=True)
    statement = sa.text(
        "SELECT models.*, rounds.number, rounds.config, rounds.class_names FROM models "
        "JOIN rounds ON rounds.id = models.round_id ORDER BY models.id"
    ).columns(metrics=json, config=json, class_names=json, created_at=time)
    return [
        {
            "id": row.id,
            "project_id": row.project_id,
            "round_id": row.round_id,
            "backbone_id": None,
            "kind": "round",
            "name": f"round {row.number}",
            "network_name": row.config.get("network", ""),
            "image_px": row.config.get("image_px") or None,
            "class_names": row.class_names,
            "artifact": row.artifact,
            "byte_count": None,
            "model_hash": row.model_hash,
            "data_fingerprint": row.data_fingerprint,
            "metrics": row.metrics,
            "created_at": row.created_at,
        }
        for row in bind.execute(statement)
    ]


def _refuse_on_sqlite(bind: sa.Connection) -> None:
    for event in ("update", "delete"):
        bind.exec_driver_sql(
            f"CREATE TRIGGER promotions_no_{event} BEFORE {event.upper()} ON promotions "
            f"BEGIN SELECT RAISE(ABORT, '{REFUSAL}'); END"
        )


def _refuse_on_postgres(bind: sa.Connection) -> None:
    bind.exec_driver_sql(
        "CREATE FUNCTION promotions_refuse() RETURNS trigger LANGUAGE plpgsql AS "
        f"$$ BEGIN RAISE EXCEPTION '{REFUSAL}'; END $$"
    )
    bind.exec_driver_sql(
        "CREATE TRIGGER promotions_no_change BEFORE UPDATE OR DELETE OR TRUNCATE ON promotions "
        "FOR EACH STATEMENT EXECUTE FUNCTION promotions_refuse()"
    )

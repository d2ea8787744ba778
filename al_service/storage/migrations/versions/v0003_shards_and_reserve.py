"""Scoring in shards and a reserve of samples: new kinds of job, a new state of selections, and what their questions
need.

SQLite cannot change a CHECK constraint, so there the table is made anew, from its own text, with its rows, indexes and
triggers. Foreign keys stay on and are checked when the transaction commits.
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

OLD_KINDS = "kind IN ('ingest', 'train', 'score', 'select')"
NEW_KINDS = "kind IN ('ingest', 'train', 'score', 'score_shard', 'select', 'pretrain')"
OLD_STATES = "state IN ('open', 'done', 'flagged', 'skipped', 'retired')"
NEW_STATES = "state IN ('reserve', 'open', 'done', 'flagged', 'skipped', 'retired')"
NEW_INDEXES = (
    "CREATE INDEX ix_jobs_by_round ON jobs (round_id, id) WHERE round_id IS NOT NULL",
    "CREATE INDEX ix_selections_reserve ON selections (project_id, round_id, rank, id) WHERE state = 'reserve'",
    "DROP INDEX ix_selections_by_state",
    "CREATE INDEX ix_selections_by_state ON selections (round_id, is_reserve, state)",
)


def upgrade() -> None:
    """Allow the new values and add the new columns and indexes."""
    bind = op.get_bind()
    if bind.dialect.name == "postgresql":
        _on_postgres(bind)
    else:
        _on_sqlite(bind)
    for statement in NEW_INDEXES:
        bind.exec_driver_sql(statement)


def _on_postgres(bind: sa.Connection) -> None:
    for statement in (
        "ALTER TABLE jobs ADD COLUMN progress_since TIMESTAMP WITH TIME ZONE",
        "ALTER TABLE jobs DROP CONSTRAINT ck_jobs_kind",
        f"ALTER TABLE jobs ADD CONSTRAINT ck_jobs_kind CHECK ({NEW_KINDS})",
        "ALTER TABLE selections ADD COLUMN is_reserve BOOLEAN NOT NULL DEFAULT false",
        "ALTER TABLE selections ALTER COLUMN is_reserve DROP DEFAULT",
        "ALTER TABLE selections DROP CONSTRAINT ck_selections_state",
        f"ALTER TABLE selections ADD CONSTRAINT ck_selections_state CHECK ({NEW_STATES})",
    ):
        bind.exec_driver_sql(statement)


def _on_sqlite(bind: sa.Connection) -> None:
    # Until the commit a reference may point to a row that is being moved.
    bind.exec_driver_sql("PRAGMA defer_foreign_keys = ON")
    _made_anew(
        bind,
        "jobs",
        {OLD_KINDS: NEW_KINDS, "finished_at DATETIME,": "finished_at DATETIME, \n\tprogress_since DATETIME,"},
        {"progress_since": "NULL"},
    )
    _made_anew(
        bind,
        "selections",
        {
            OLD_STATES: NEW_STATES,
            "max_skips BIGINT NOT NULL,": "max_skips BIGINT NOT NULL, \n\tis_reserve BOOLEAN NOT NULL,",
        },
        {"is_reserve": "0"},
    )


def _made_anew(bind: sa.Connection, table: str, changes: dict[str, str], added: dict[str, str]) -> None:
    """The table with its text changed; added: new column -> what old rows get.

    The rows are deleted and inserted again, not renamed along with their table: only so does SQLite see that every
    reference to them holds again.
    """
    made = bind.exec_driver_sql(
        "SELECT sql FROM sqlite_schema WHERE type = 'table' AND name = ?", (table,)
    ).scalar_one()
    for old, new in changes.items():
        if made.count(old) != 1:
            raise RuntimeError(f"table {table} is not as revision 0002 left it: {old!r} is not in {made!r} once")
        made = made.replace(old, new)
    kept = "SELECT sql FROM sqlite_schema WHERE tbl_name = ? AND type <> 'table' AND sql IS NOT NULL"
    others = list(bind.exec_driver_sql(kept, (table,)).scalars())
    names = ", ".join(row.name for row in bind.exec_driver_sql(f"PRAGMA table_info({table})"))
    all_names, values = f"{names}, {', '.join(added)}", f"{names}, {', '.join(added.values())}"
    # Every name is written in this file or comes from the table itself.
    bind.exec_driver_sql(f"CREATE TEMPORARY TABLE kept_rows AS SELECT * FROM {table}")  # noqa: S608
    bind.exec_driver_sql(f"DELETE FROM {table}")  # noqa: S608
    bind.exec_driver_sql(f"DROP TABLE {table}")
    bind.exec_driver_sql(made)
    bind.exec_driver_sql(f"INSERT INTO {table} ({all_names}) SELECT {values} FROM kept_rows ORDER BY id")  # noqa: S608
    bind.exec_driver_sql("DROP TABLE kept_rows")
    for statement in others:
        bind.exec_driver_sql(statement)

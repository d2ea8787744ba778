"""Studies inside the service: a new kind of job.

SQLite cannot change a CHECK constraint, so there the table is made anew, as in revision 0003.
"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

OLD_KINDS = "kind IN ('ingest', 'train', 'score', 'score_shard', 'select', 'pretrain')"
NEW_KINDS = "kind IN ('ingest', 'train', 'score', 'score_shard', 'select', 'pretrain', 'simulate')"


def upgrade() -> None:
    """Allow the new kind."""
    bind = op.get_bind()
    if bind.dialect.name == "postgresql":
        bind.exec_driver_sql("ALTER TABLE jobs DROP CONSTRAINT ck_jobs_kind")
        bind.exec_driver_sql(f"ALTER TABLE jobs ADD CONSTRAINT ck_jobs_kind CHECK ({NEW_KINDS})")
    else:
        _on_sqlite(bind)


def _on_sqlite(bind: sa.Connection) -> None:
    """The jobs with their table's text changed. Rows are deleted and inserted again: only so does SQLite see that every
    reference to them holds again.
    """
    # Until the commit a reference may point to a row that is being moved.
    bind.exec_driver_sql("PRAGMA defer_foreign_keys = ON")
    made = bind.exec_driver_sql("SELECT sql FROM sqlite_schema WHERE type = 'table' AND name = 'jobs'").scalar_one()
    if made.count(OLD_KINDS) != 1:
        raise RuntimeError(f"table jobs is not as revision 0003 left it: {OLD_KINDS!r} is not in {made!r} once")
    kept = "SELECT sql FROM sqlite_schema WHERE tbl_name = 'jobs' AND type <> 'table' AND sql IS NOT NULL"
    others = list(bind.exec_driver_sql(kept).scalars())
    for statement in (
        "CREATE TEMPORARY TABLE kept_rows AS SELECT * FROM jobs",
        "DELETE FROM jobs",
        "DROP TABLE jobs",
        made.replace(OLD_KINDS, NEW_KINDS),
        "INSERT INTO jobs SELECT * FROM kept_rows ORDER BY id",
        "DROP TABLE kept_rows",
        *others,
    ):
        bind.exec_driver_sql(statement)

"""From which class a class was split, so that people can be told what became of one.

SQLite cannot add a reference that has a name to a table, so there the classes are made anew, as in revision 0006.
"""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_metadata = sa.MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    }
)
sa.Table("projects", _metadata, sa.Column("id", _ID, primary_key=True))
_OLD_CLASSES = "id, project_id, name, position, retired_at, merged_into_id"
_CLASSES = sa.Table(
    "classes",
    _metadata,
    sa.Column("id", _ID, primary_key=True),
    sa.Column("project_id", _ID, sa.ForeignKey("projects.id"), nullable=False),
    sa.Column("name", sa.Text(), nullable=False),
    sa.Column("position", sa.BigInteger(), nullable=False),
    sa.Column("retired_at", sa.DateTime(timezone=True), nullable=True),
    sa.Column("merged_into_id", _ID, sa.ForeignKey("classes.id"), nullable=True),
    sa.Column("split_from_id", _ID, sa.ForeignKey("classes.id"), nullable=True),
    sa.UniqueConstraint("project_id", "name"),
    sa.UniqueConstraint("project_id", "position"),
)
ON_POSTGRES = (
    "ALTER TABLE classes ADD COLUMN split_from_id BIGINT CONSTRAINT fk_classes_split_from_id REFERENCES classes (id)"
)


def upgrade() -> None:
    """Add the column; classes that are there came from none."""
    bind = op.get_bind()
    if bind.dialect.name == "postgresql":
        bind.exec_driver_sql(ON_POSTGRES)
        return
    # Until the commit a reference may point to a row that is being moved.
    bind.exec_driver_sql("PRAGMA defer_foreign_keys = ON")
    bind.exec_driver_sql("CREATE TEMPORARY TABLE kept_rows AS SELECT * FROM classes")
    bind.exec_driver_sql("DELETE FROM classes")
    bind.exec_driver_sql("DROP TABLE classes")
    _metadata.create_all(bind, [_CLASSES], checkfirst=False)
    # Every name is written in this file.
    kept = f"INSERT INTO classes ({_OLD_CLASSES}) SELECT {_OLD_CLASSES} FROM kept_rows ORDER BY id"  # noqa: S608
    bind.exec_driver_sql(kept)
    bind.exec_driver_sql("DROP TABLE kept_rows")

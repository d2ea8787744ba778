"""Example images of classes, which the guidelines show."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_metadata = sa.MetaData(naming_convention={"pk": "pk_%(table_name)s", "fk": "fk_%(table_name)s_%(column_0_N_name)s"})
for _name in ("projects", "classes", "samples", "users"):
    sa.Table(_name, _metadata, sa.Column("id", _ID, primary_key=True))


def _ref(table: str, name: str) -> "sa.Column[int]":
    return sa.Column(name, _ID, sa.ForeignKey(f"{table}.id"), nullable=False)


examples = sa.Table(
    "examples",
    _metadata,
    sa.Column("sample_id", _ID, sa.ForeignKey("samples.id"), primary_key=True, autoincrement=False),
    _ref("projects", "project_id"),
    _ref("classes", "class_id"),
    sa.Column("note", sa.Text(), nullable=False),
    _ref("users", "user_id"),
    sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
    sa.Index("ix_examples_project_id", "project_id", "class_id", "sample_id"),
)


def upgrade() -> None:
    """Add the table."""
    _metadata.create_all(op.get_bind(), [examples], checkfirst=False)

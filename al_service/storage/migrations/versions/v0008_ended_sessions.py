"""Sessions of browsers that were ended by signing out: a copy of such a cookie must be worth nothing."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

_metadata = sa.MetaData(naming_convention={"pk": "pk_%(table_name)s"})

ended_sessions = sa.Table(
    "ended_sessions",
    _metadata,
    sa.Column("session_id", sa.Text(), primary_key=True),
    sa.Column("ended_at", sa.DateTime(timezone=True), nullable=False),
    sa.Index("ix_ended_sessions_ended_at", "ended_at"),
)


def upgrade() -> None:
    """Add the table."""
    _metadata.create_all(op.get_bind(), [ended_sessions], checkfirst=False)

"""Links by which people join with a role, or choose a new password."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_metadata = sa.MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
    }
)
_users = sa.Table("users", _metadata, sa.Column("id", _ID, primary_key=True))

invitations = sa.Table(
    "invitations",
    _metadata,
    sa.Column("id", _ID, primary_key=True),
    sa.Column("role", sa.String(20), nullable=False),
    sa.Column("user_id", _ID, sa.ForeignKey("users.id"), nullable=True),
    sa.Column("made_by_id", _ID, sa.ForeignKey("users.id"), nullable=False),
    sa.Column("note", sa.Text(), nullable=False),
    sa.Column("secret_hash", sa.Text(), nullable=False),
    sa.Column("uses", sa.BigInteger(), nullable=False),
    sa.Column("uses_max", sa.BigInteger(), nullable=False),
    sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
    sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
    sa.Column("revoked_at", sa.DateTime(timezone=True), nullable=True),
    sa.CheckConstraint("role IN ('admin', 'engineer', 'reviewer', 'labeler', 'viewer')", name="role"),
    sa.CheckConstraint("uses BETWEEN 0 AND uses_max", name="uses_within"),
    sa.UniqueConstraint("secret_hash"),
    sa.Index("ix_invitations_made_by_id", "made_by_id", "id"),
    sa.Index(
        "ix_invitations_user_id",
        "user_id",
        sqlite_where=sa.text("user_id IS NOT NULL"),
        postgresql_where=sa.text("user_id IS NOT NULL"),
    ),
)


def upgrade() -> None:
    """Add the table."""
    _metadata.create_all(op.get_bind(), [invitations], checkfirst=False)

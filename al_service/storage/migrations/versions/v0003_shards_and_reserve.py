"""Scoring in shards and a reserve of samples: new kinds of job and a new state of selections."""

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Allow the new values."""


def downgrade() -> None:
    """Refuse them again."""

"""The model registry: which model of a project is promoted, and the history of promotions."""

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add what the registry stores."""


def downgrade() -> None:
    """Take it away again."""

"""Links by which a person chooses a name and password: an invitation, or a new password for somebody who is there."""

from dataclasses import dataclass
from datetime import datetime

from al_service.domain.states import Role


@dataclass(frozen=True)
class Invitation:
    """One link; only the hash of its secret is stored.

    Attributes:
        role: what those who join may do; of a new password, the person's role when the link was made.
        user_name: whose password it sets; None for an invitation.
        uses, uses_max: how many have used it, and how many may.
        note: for whom, in the words of whoever made it.
    """

    id: int
    role: Role
    user_name: str | None
    made_by: str
    note: str
    uses: int
    uses_max: int
    created_at: datetime
    expires_at: datetime
    revoked_at: datetime | None

    def is_open(self, now: datetime) -> bool:
        """True while somebody can use it."""
        return self.revoked_at is None and self.uses < self.uses_max and now < self.expires_at

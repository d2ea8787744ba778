"""What callers get to know of links by which people join or choose a new password."""

from datetime import datetime

from al_service.api.answers import Answer, UserFields
from al_service.domain.states import Role


class InvitationFields(Answer):
    """A link without its secret. user: whose password it sets; null for an invitation."""

    id: int
    role: Role
    user: str | None
    note: str
    made_by: str
    uses: int
    uses_max: int
    created_at: datetime
    expires_at: datetime


class InvitationsAnswer(Answer):
    """Links that somebody can still use, newest first."""

    invitations: list[InvitationFields]


class NewInvitationAnswer(Answer):
    """A new link; path is what to put behind the service's address. The secret is in this answer only."""

    invitation: InvitationFields
    path: str


class LinkAnswer(Answer):
    """What a link is for, told to whoever has it."""

    role: Role
    user: str | None
    made_by: str
    expires_at: datetime


class JoinedAnswer(Answer):
    """Who joined or has a new password; sign in next."""

    user: UserFields

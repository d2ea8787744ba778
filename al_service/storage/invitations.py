"""Invitations in SQL."""

from datetime import datetime
from typing import Any

import sqlalchemy as sa

from al_service.domain.invitations import Invitation
from al_service.domain.states import Role
from al_service.errors import NotFoundError
from al_service.storage.column_types import UtcTime
from al_service.storage.schema import invitations, users

_invited, _makers = users.alias("invited"), users.alias("makers")
_COLUMNS = (
    invitations.c.id,
    invitations.c.role,
    _invited.c.name.label("user_name"),
    _makers.c.name.label("made_by"),
    invitations.c.note,
    invitations.c.uses,
    invitations.c.uses_max,
    invitations.c.created_at,
    invitations.c.expires_at,
    invitations.c.revoked_at,
)
_SELECT = (
    sa.select(*_COLUMNS)
    .select_from(invitations)
    .join(_makers, _makers.c.id == invitations.c.made_by_id)
    .outerjoin(_invited, _invited.c.id == invitations.c.user_id)
)


class SqlInvitationRows:
    """As in `loop.project_ports.InvitationRows`."""

    def __init__(self, connection: sa.Connection) -> None:
        self._connection = connection

    def add(
        self,
        *,
        role: Role,
        user_id: int | None,
        made_by_id: int,
        note: str,
        secret_hash: str,
        uses_max: int,
        expires_at: datetime,
        now: datetime,
    ) -> Invitation:
        """Store a link's hash."""
        values = {
            "role": role,
            "user_id": user_id,
            "made_by_id": made_by_id,
            "note": note,
            "secret_hash": secret_hash,
            "uses": 0,
            "uses_max": uses_max,
            "created_at": now,
            "expires_at": expires_at,
        }
        made_id = self._connection.execute(
            sa.insert(invitations).values(values).returning(invitations.c.id)
        ).scalar_one()
        return self.get(made_id)

    def get(self, invitation_id: int) -> Invitation:
        """The link, or NotFoundError."""
        row = self._connection.execute(_SELECT.where(invitations.c.id == invitation_id)).one_or_none()
        if row is None:
            raise NotFoundError(f"no invitation {invitation_id}", invitation=invitation_id)
        return _invitation(row)

    def find_by_hash(self, secret_hash: str) -> Invitation | None:
        """The link with that hash (also used, expired and revoked ones), or None."""
        row = self._connection.execute(_SELECT.where(invitations.c.secret_hash == secret_hash)).one_or_none()
        return None if row is None else _invitation(row)

    def all(self, made_by_id: int | None = None) -> list[Invitation]:
        """Links, newest first."""
        statement = _SELECT.order_by(invitations.c.id.desc())
        if made_by_id is not None:
            statement = statement.where(invitations.c.made_by_id == made_by_id)
        return [_invitation(row) for row in self._connection.execute(statement)]

    def use(self, invitation_id: int, now: datetime) -> bool:
        """Count one use; False when it is used up, expired or revoked. Of several at once no more win than may."""
        is_open = (
            (invitations.c.id == invitation_id)
            & (invitations.c.uses < invitations.c.uses_max)
            & (invitations.c.revoked_at.is_(None))
            & (invitations.c.expires_at > sa.literal(now, UtcTime()))
        )
        update = sa.update(invitations).where(is_open).values(uses=invitations.c.uses + 1)
        return self._connection.execute(update).rowcount == 1

    def revoke(self, now: datetime, *, invitation_id: int | None = None, user_id: int | None = None) -> None:
        """End this link, or every link that sets this person's password; one that was ended before keeps its time."""
        which = invitations.c.id == invitation_id if user_id is None else invitations.c.user_id == user_id
        update = sa.update(invitations).where(which & invitations.c.revoked_at.is_(None)).values(revoked_at=now)
        self._connection.execute(update)


def _invitation(row: Any) -> Invitation:
    return Invitation(**row._mapping)

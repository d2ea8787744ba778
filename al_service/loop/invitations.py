"""Links that people are sent: join with a role, or choose a new password. A link's secret is stored as its hash only.

A link counts while its maker could still make it: one by somebody who was switched off or demoted is worth nothing.
"""

import hashlib
import secrets
from collections.abc import Callable
from datetime import datetime, timedelta

from al_service.domain.invitations import Invitation
from al_service.domain.records import User
from al_service.domain.states import Role
from al_service.errors import ConflictError, InvalidInputError, NotFoundError, PermissionDeniedError
from al_service.loop.accounts import check_user_name
from al_service.loop.passwords import hash_password
from al_service.loop.ports import Store, Transaction

DAYS_DEFAULT = 7.0
DAYS_MAX = 90
RESET_DAYS = 1.0
USES_MAX = 500
NOTE_LENGTH_MAX = 200
#: What engineers may invite for; admins may for every role.
ENGINEERS_INVITE = (Role.REVIEWER, Role.LABELER, Role.VIEWER)


class InvitationOverError(NotFoundError):
    """The link is unknown, used up, expired or withdrawn: deliberately not told apart."""

    code = "invitation_over"


class InvitationRoleError(PermissionDeniedError):
    """Somebody wants to invite for a role that is not theirs to give."""

    code = "role_too_low"


class Invitations:
    """Make, look at, use and withdraw links."""

    def __init__(self, store: Store, clock: Callable[[], datetime]) -> None:
        self._store = store
        self._clock = clock

    def invite(
        self, role: Role, *, by: User, days: float = DAYS_DEFAULT, uses: int = 1, note: str = ""
    ) -> tuple[Invitation, str]:
        """(record, secret); the secret is shown once and stored nowhere.

        Raises:
            InvitationRoleError: engineers invite reviewers, labelers and viewers, admins everybody, others nobody.
            InvalidInputError: days outside 0..90, uses outside 1..500, or a note that is too long.
        """
        if not _may_invite(by, role):
            raise InvitationRoleError(f"{by.name} is {by.role} and cannot invite somebody as {role}", role=role)
        if not 0 < days <= DAYS_MAX:
            raise InvalidInputError(f"days={days} is outside 0..{DAYS_MAX}")
        if not 1 <= uses <= USES_MAX:
            raise InvalidInputError(f"uses={uses} is outside 1..{USES_MAX}")
        if len(note) > NOTE_LENGTH_MAX:
            raise InvalidInputError(f"the note has {len(note)} characters, at most {NOTE_LENGTH_MAX}")
        with self._store.write() as tx:
            made = self._add(tx, role, by=by, days=days, uses=uses, note=note.strip())
            details: dict[str, object] = {"invitation": made[0].id, "uses": uses, "days": days}
            self._audit(tx, by, "invitation.create", str(role), details)
        return made

    def offer_password(self, user_name: str, *, by: User) -> tuple[Invitation, str]:
        """A link by which this person chooses a new password within a day; earlier ones of theirs are withdrawn.

        Raises:
            InvitationRoleError: the caller is no admin.
            NotFoundError: no such person.
            ConflictError: the account is switched off.
        """
        if by.role is not Role.ADMIN:
            raise InvitationRoleError(f"{by.name} is {by.role}; only admins can let others choose a new password")
        with self._store.write() as tx:
            user = tx.accounts.find_user(user_name)
            if user is None:
                raise NotFoundError(f"no user {user_name!r}", user=user_name)
            if not user.is_active:
                raise ConflictError(f"{user_name} is switched off; switch the account on first", user=user_name)
            tx.invitations.revoke(self._clock(), user_id=user.id)
            made = self._add(tx, user.role, by=by, days=RESET_DAYS, uses=1, note="", user_id=user.id)
            self._audit(tx, by, "password.link", user_name, {"invitation": made[0].id})
        return made

    def look(self, secret: str) -> Invitation:
        """What the link is for.

        Raises:
            InvitationOverError: it is worth nothing (any more).
        """
        with self._store.read() as tx:
            return self._find(tx, secret)

    def accept(self, secret: str, name: str, password: str) -> User:
        """The person who joined, or who has a new password now (then `name` must be theirs).

        Raises:
            InvitationOverError: the link is worth nothing (any more).
            InvalidInputError: a name or password that cannot be; the link stays good.
            ConflictError: the name is taken; the link stays good.
        """
        # Before the password is hashed: that takes time, and strangers must not be able to ask for it.
        invitation = self.look(secret)
        if invitation.user_name is None:
            check_user_name(name)
        elif name != invitation.user_name:
            raise InvalidInputError(f"this link is for {invitation.user_name}, not for {name!r}")
        hashed = hash_password(password)
        now = self._clock()
        with self._store.write() as tx:
            if not tx.invitations.use(self._find(tx, secret).id, now):
                raise _over()
            if invitation.user_name is None:
                user = tx.accounts.add_user(name, invitation.role, hashed, now)
                action = "invitation.accept"
            else:
                user = self._set_password(tx, name, hashed)
                action = "password.choose"
            details: dict[str, object] = {"invitation": invitation.id, "by": invitation.made_by, "role": user.role}
            self._audit(tx, user, action, name, details)
            return user

    def withdraw(self, invitation_id: int, *, by: User) -> None:
        """End a link: admins any, others their own.

        Raises:
            NotFoundError: no such link, or somebody else's.
        """
        with self._store.write() as tx:
            found = tx.invitations.get(invitation_id)
            if by.role is not Role.ADMIN and found.made_by != by.name:
                raise NotFoundError(f"no invitation {invitation_id}", invitation=invitation_id)
            tx.invitations.revoke(self._clock(), invitation_id=invitation_id)
            self._audit(tx, by, "invitation.withdraw", str(found.user_name or found.role), {"invitation": found.id})

    def all_open(self, *, by: User) -> list[Invitation]:
        """Links that somebody can still use, newest first: an admin sees all, others their own."""
        now = self._clock()
        with self._store.read() as tx:
            found = tx.invitations.all(None if by.role is Role.ADMIN else by.id)
        return [invitation for invitation in found if invitation.is_open(now)]

    def _add(
        self,
        tx: Transaction,
        role: Role,
        *,
        by: User,
        days: float,
        uses: int,
        note: str,
        user_id: int | None = None,
    ) -> tuple[Invitation, str]:
        secret = secrets.token_urlsafe(32)
        now = self._clock()
        made = tx.invitations.add(
            role=role,
            user_id=user_id,
            made_by_id=by.id,
            note=note,
            secret_hash=_hash(secret),
            uses_max=uses,
            expires_at=now + timedelta(days=days),
            now=now,
        )
        return made, secret

    def _find(self, tx: Transaction, secret: str) -> Invitation:
        found = tx.invitations.find_by_hash(_hash(secret))
        if found is None or not found.is_open(self._clock()):
            raise _over()
        maker = tx.accounts.find_user(found.made_by)
        needs_admin = found.user_name is not None
        if maker is None or not maker.is_active or (maker.role is not Role.ADMIN and needs_admin):
            raise _over()
        if not _may_invite(maker, found.role):
            raise _over()
        return found

    def _set_password(self, tx: Transaction, name: str, hashed: str) -> User:
        user = tx.accounts.find_user(name)
        if user is None or not user.is_active:
            raise _over()
        tx.accounts.set_user(user.id, password_hash=hashed)
        return user

    def _audit(self, tx: Transaction, user: User, action: str, subject: str, details: dict[str, object]) -> None:
        tx.accounts.add_audit(user_id=user.id, action=action, subject=subject, details=details, now=self._clock())


def _may_invite(user: User, role: Role) -> bool:
    return user.role is Role.ADMIN or (user.role is Role.ENGINEER and role in ENGINEERS_INVITE)


def _over() -> InvitationOverError:
    return InvitationOverError("this link is used up, out of date or withdrawn; ask for a new one")


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()

"""People, signing in, tokens. Passwords are stored as `passwords` makes them, tokens as SHA-256 of 256 random bits.

A token has so much entropy that a fast hash is safe for it.
"""

import hashlib
import re
import secrets
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from al_service.domain.records import Token, User
from al_service.domain.states import Role
from al_service.errors import ConflictError, InvalidInputError, NotFoundError, PermissionDeniedError
from al_service.loop.audit_ration import AuditRation
from al_service.loop.passwords import check_password, hash_password, is_outdated
from al_service.loop.ports import Store, Transaction

#: In whose name the service itself writes: imported labels, and votes that a split takes back. Nobody signs in as them.
IMPORT_USER = "import"
CLASS_CHANGE_USER = "class-changes"
RESERVED_NAMES = frozenset({IMPORT_USER, CLASS_CHANGE_USER})
USER_NAME_PATTERN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")
TOKEN_PREFIX = "al_"  # noqa: S105 (the visible start of every token, not one)
TOKEN_DAYS_DEFAULT = 90
#: A session that nobody uses for so long is over by itself.
SESSION_LIFETIME = timedelta(days=30)
TOKEN_TOUCH_EVERY = timedelta(minutes=1)
#: Names in the audit log for failed sign-ins: people type their password into the wrong field.
UNKNOWN_NAME = "(unknown name)"


class SignInFailedError(PermissionDeniedError):
    """Unknown name, wrong password, or a switched-off account: deliberately not told apart. HTTP 401."""

    code = "sign_in_failed"
    http_status = 401


class InvalidTokenError(PermissionDeniedError):
    """The bearer token is unknown, expired or revoked. HTTP 401."""

    code = "invalid_token"
    http_status = 401


class LastAdminError(ConflictError):
    """Without this admin nobody could manage users any more; nothing was changed."""

    code = "last_admin"


@dataclass(frozen=True)
class Principal:
    """Who is asking: the user, with the role that counts (a token may narrow it)."""

    user: User
    token_id: int | None = None

    @property
    def role(self) -> Role:
        """The role that counts."""
        return self.user.role


class Accounts:
    """Users, sign-in, tokens."""

    def __init__(self, store: Store, clock: Callable[[], datetime]) -> None:
        self._store = store
        self._clock = clock
        self._failures = AuditRation()

    def add_user(self, name: str, role: Role, password: str | None = None, *, by_user_id: int | None = None) -> User:
        """Add a person; without a password they can only use tokens.

        Raises:
            InvalidInputError: bad name or a password outside 8..1000 characters.
            ConflictError: the name is taken.
        """
        check_user_name(name)
        hashed = None if password is None else hash_password(password)
        now = self._clock()
        with self._store.write() as tx:
            user = tx.accounts.add_user(name, role, hashed, now)
            tx.accounts.add_audit(user_id=by_user_id, action="user.add", subject=name, details={"role": role}, now=now)
            return user

    def ensure_user(self, name: str, role: Role, password: str | None = None) -> User:
        """The user of that name with that role and password, made or changed as needed (demo, import)."""
        with self._store.read() as tx:
            known = tx.accounts.find_user(name)
        if known is None:
            return self.add_user(name, role, password)
        hashed = hash_password(password) if password is not None else None
        now = self._clock()
        with self._store.write() as tx:
            tx.accounts.set_user(known.id, role=role, password_hash=hashed, is_active=True)
            details = {"role": role, "password": password is not None, "is_active": True}
            tx.accounts.add_audit(user_id=None, action="user.change", subject=name, details=details, now=now)
            return tx.accounts.get_user(known.id)

    def change_user(
        self,
        name: str,
        *,
        role: Role | None = None,
        password: str | None = None,
        is_active: bool | None = None,
        by_user_id: int | None = None,
    ) -> User:
        """Change what is given; a new password and switching off end the person's sessions.

        Raises:
            NotFoundError: no such user.
            InvalidInputError: a password outside 8..1000 characters.
            LastAdminError: nobody would be left who may manage users.
        """
        hashed = None if password is None else hash_password(password)
        now = self._clock()
        with self._store.write() as tx:
            tx.accounts.lock_admins()
            known = _found(tx.accounts.find_user(name), name)
            tx.accounts.set_user(known.id, role=role, password_hash=hashed, is_active=is_active)
            if is_active is False or (role is not None and not role.covers(Role.LABELER)):
                # What only they may answer would wait for ever, and what they hold until their leases end.
                tx.lanes.unassign(known.id)
                tx.queue.release_all(known.id)
            if is_active is False or password is not None:
                # A link for a new password that is still on its way would undo this.
                tx.invitations.revoke(now, user_id=known.id)
            admins = [user for user in tx.accounts.users() if user.role is Role.ADMIN and user.is_active]
            if known.role is Role.ADMIN and not admins:
                raise LastAdminError(f"{name} is the last active admin; make somebody else admin first", user=name)
            details = {"role": role, "password": password is not None, "is_active": is_active}
            tx.accounts.add_audit(user_id=by_user_id, action="user.change", subject=name, details=details, now=now)
            return tx.accounts.get_user(known.id)

    def get_user(self, name: str) -> User:
        """The user, or NotFoundError."""
        with self._store.read() as tx:
            return _found(tx.accounts.find_user(name), name)

    def users(self) -> list[User]:
        """Everybody by name, without those in whose names imports and class changes are done."""
        with self._store.read() as tx:
            return people(tx)

    def sign_in(self, name: str, password: str, *, address: str = "") -> User:
        """The user, if name and password fit and the account is active; both outcomes go into the audit log.

        Args:
            address: from where, for the audit log.

        Raises:
            SignInFailedError: they do not; takes as long for unknown names as for wrong passwords.
        """
        with self._store.read() as tx:
            user = tx.accounts.find_user(name)
            stored = tx.accounts.password_hash(user.id) if user is not None else None
        fits = check_password(password, stored)
        if user is None or stored is None or not fits or not user.is_active:
            self._note_failure(user, address)
            raise SignInFailedError("name or password is not right")
        renewed = hash_password(password) if is_outdated(stored) else None
        with self._store.write() as tx:
            tx.accounts.set_user(user.id, password_hash=renewed)
            tx.accounts.add_audit(
                user_id=user.id, action="sign_in", subject=name, details={"address": address}, now=self._clock()
            )
        return user

    def sign_out(self, user: User, session_id: str) -> None:
        """End that session of theirs, whoever holds a copy of its cookie."""
        now = self._clock()
        with self._store.write() as tx:
            if tx.accounts.end_session(session_id, now, forget_before=now - SESSION_LIFETIME):
                tx.accounts.add_audit(user_id=user.id, action="sign_out", subject=user.name, details={}, now=now)

    def _note_failure(self, user: User | None, address: str) -> None:
        now = self._clock()
        left_out = self._failures.take(now)
        if left_out is None:
            return
        subject = UNKNOWN_NAME if user is None else user.name
        details = {"address": address, "left_out": left_out}
        with self._store.write() as tx:
            tx.accounts.add_audit(user_id=None, action="sign_in.failed", subject=subject, details=details, now=now)

    def create_token(
        self,
        user_name: str,
        role: Role | None = None,
        *,
        name: str = "",
        days: float = TOKEN_DAYS_DEFAULT,
        by_user_id: int | None = None,
    ) -> tuple[Token, str]:
        """(record, secret); the secret is shown once and stored nowhere.

        Raises:
            InvalidInputError: more rights than the user has, or days outside 0..3650.
        """
        if not 0 < days <= 3650:
            raise InvalidInputError(f"days={days} is outside 0..3650")
        user = self.get_user(user_name)
        wanted = role or user.role
        if not user.role.covers(wanted):
            raise InvalidInputError(f"{user_name} is {user.role}; a token cannot have the role {wanted}")
        secret = TOKEN_PREFIX + secrets.token_urlsafe(32)
        now = self._clock()
        with self._store.write() as tx:
            token = tx.accounts.add_token(
                user_id=user.id,
                name=name,
                role=wanted,
                token_hash=_token_hash(secret),
                expires_at=now + timedelta(days=days),
                now=now,
            )
            tx.accounts.add_audit(
                user_id=by_user_id,
                action="token.create",
                subject=user_name,
                details={"role": wanted, "token": token.id},
                now=now,
            )
        return token, secret

    def authenticate(self, secret: str) -> Principal:
        """Who a bearer token stands for: the user, with the lesser of the user's and the token's role.

        Raises:
            InvalidTokenError: unknown, expired or revoked, or its user is switched off.
        """
        now = self._clock()
        with self._store.read() as tx:
            found = tx.accounts.find_token(_token_hash(secret))
        if found is None or not _is_valid(*found, now):
            raise InvalidTokenError("the token is unknown, expired or revoked; make one with `al token create`")
        token, user = found
        if token.last_used_at is None or now - token.last_used_at > TOKEN_TOUCH_EVERY:
            with self._store.write() as tx:
                tx.accounts.touch_token(token.id, now)
        role = token.role if user.role.covers(token.role) else user.role
        return Principal(replace(user, role=role), token.id)

    def revoke_token(self, token_id: int, *, by_user_id: int | None = None) -> None:
        """End a token at once."""
        now = self._clock()
        with self._store.write() as tx:
            tx.accounts.revoke_token(token_id, now)
            tx.accounts.add_audit(user_id=by_user_id, action="token.revoke", subject=str(token_id), details={}, now=now)

    def tokens(self, user_id: int | None = None) -> list[Token]:
        """Tokens, newest first (never their secrets)."""
        with self._store.read() as tx:
            return tx.accounts.tokens(user_id)


def check_user_name(name: str) -> None:
    """Refuse a name that cannot be one.

    Raises:
        InvalidInputError: says what it may be made of.
    """
    if name.casefold() in RESERVED_NAMES:
        raise InvalidInputError(f"user name {name!r} is the service's own; choose another")
    if not USER_NAME_PATTERN.fullmatch(name):
        raise InvalidInputError(
            f"user name {name!r}: use 1 to 64 letters, digits or . _ @ -, starting with a letter or digit"
        )


def _is_valid(token: Token, user: User, now: datetime) -> bool:
    return user.is_active and token.revoked_at is None and token.expires_at > now


def people(tx: Transaction) -> list[User]:
    """As `Accounts.users`."""
    return [user for user in tx.accounts.users() if user.name not in RESERVED_NAMES]


def _found(user: User | None, name: str) -> User:
    if user is None:
        raise NotFoundError(f"no user {name!r}; `al user list` shows who there is", user=name)
    return user


def _token_hash(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()

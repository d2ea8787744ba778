"""Users, tokens and the audit log in SQL."""

from collections.abc import Callable
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from al_service.domain.records import Token, User
from al_service.domain.states import Role
from al_service.errors import ConflictError, NotFoundError
from al_service.storage.column_types import ID, UtcTime
from al_service.storage.dialect import insert_into
from al_service.storage.prepared import Prepared
from al_service.storage.schema import audit_log, ended_sessions, tokens, users

USER_COLUMNS = (users.c.id, users.c.name, users.c.role, users.c.is_active, users.c.created_at)
#: Everything but the hash, which nobody outside the database needs.
TOKEN_COLUMNS = tuple(column for column in tokens.c if column.name != "token_hash")
# Every request begins with one of these two, so they are made once.
SIGNED_IN = Prepared(
    sa.select(*USER_COLUMNS, users.c.password_hash).where(
        users.c.id == sa.bindparam("user_id", type_=ID),
        ~sa.exists().where(ended_sessions.c.session_id == sa.bindparam("session_id", type_=sa.Text())),
    )
)
BEARER = (
    sa.select(*TOKEN_COLUMNS, *(column.label(f"of_user_{column.name}") for column in USER_COLUMNS))
    .join_from(tokens, users, users.c.id == tokens.c.user_id)
    .where(tokens.c.token_hash == sa.bindparam("token_hash"))
)


class SqlAccountRows:
    """As in `loop.project_ports.AccountRows`."""

    def __init__(self, connection: sa.Connection) -> None:
        self._connection = connection

    def add_user(self, name: str, role: Role, password_hash: str | None, now: datetime) -> User:
        """Store a user; ConflictError when the name is taken."""
        values = {"name": name, "role": role, "password_hash": password_hash, "is_active": True, "created_at": now}
        insert = insert_into(self._connection, users).values(values).on_conflict_do_nothing().returning(*USER_COLUMNS)
        row = self._connection.execute(insert).one_or_none()
        if row is None:
            raise ConflictError(f"there is a user {name!r} already", user=name)
        return _user(row)

    def find_user_locked(self, name: str) -> User | None:
        """As `find_user`; nobody changes the person until this transaction ends (SQLite: nobody can anyway)."""
        if self._connection.dialect.name != "sqlite":
            self._connection.execute(sa.select(users.c.id).where(users.c.name == name).with_for_update(read=True))
        return self.find_user(name)

    def find_user(self, name: str) -> User | None:
        """The user of that name, or None."""
        row = self._connection.execute(sa.select(*USER_COLUMNS).where(users.c.name == name)).one_or_none()
        return None if row is None else _user(row)

    def lock_admins(self) -> None:
        """Make others that call this wait until this transaction ends (SQLite: all writers already do)."""
        if self._connection.dialect.name != "sqlite":
            admins = sa.select(users.c.id).where(users.c.role == Role.ADMIN).order_by(users.c.id)
            self._connection.execute(admins.with_for_update())

    def get_user(self, user_id: int) -> User:
        """The user, or NotFoundError."""
        row = self._connection.execute(sa.select(*USER_COLUMNS).where(users.c.id == user_id)).one_or_none()
        if row is None:
            raise _no_user(user_id)
        return _user(row)

    def find_signed_in(self, user_id: int, session_id: str = "") -> Callable[[], tuple[User, str | None] | None]:
        """The user of that id with the stored password hash; None when unknown, or when that session was ended. It is
        asked at once and may be fetched later.
        """
        later = SIGNED_IN.rows_later(self._connection, {"user_id": user_id, "session_id": session_id})

        def signed_in() -> tuple[User, str | None] | None:
            row = next(iter(later()), None)
            return None if row is None else (_user(row), row.password_hash)

        return signed_in

    def end_session(self, session_id: str, now: datetime, *, forget_before: datetime) -> bool:
        """End a session of a browser, once, and forget those that ended so long ago; True when it was open."""
        self._connection.execute(sa.delete(ended_sessions).where(ended_sessions.c.ended_at < forget_before))
        values = {"session_id": session_id, "ended_at": now}
        insert = insert_into(self._connection, ended_sessions).values(values).on_conflict_do_nothing()
        return self._connection.execute(insert.returning(ended_sessions.c.session_id)).one_or_none() is not None

    def users(self) -> list[User]:
        """All users by name (by code point, on both databases)."""
        found = [_user(row) for row in self._connection.execute(sa.select(*USER_COLUMNS))]
        return sorted(found, key=lambda user: user.name)

    def password_hash(self, user_id: int) -> str | None:
        """The stored hash, or None for users who cannot sign in with a password. NotFoundError for unknown users."""
        row = self._connection.execute(sa.select(users.c.password_hash).where(users.c.id == user_id)).one_or_none()
        if row is None:
            raise _no_user(user_id)
        found: str | None = row.password_hash
        return found

    def set_user(
        self, user_id: int, *, role: Role | None = None, password_hash: str | None = None, is_active: bool | None = None
    ) -> None:
        """Change the given fields."""
        values = {"role": role, "password_hash": password_hash, "is_active": is_active}
        given = {name: value for name, value in values.items() if value is not None}
        if (
            given
            and self._connection.execute(sa.update(users).where(users.c.id == user_id).values(given)).rowcount == 0
        ):
            raise _no_user(user_id)

    def add_token(
        self, *, user_id: int, name: str, role: Role, token_hash: str, expires_at: datetime, now: datetime
    ) -> Token:
        """Store a token's hash."""
        values = {
            "user_id": user_id,
            "name": name,
            "role": role,
            "token_hash": token_hash,
            "expires_at": expires_at,
            "created_at": now,
        }
        return _token(self._connection.execute(sa.insert(tokens).values(values).returning(*TOKEN_COLUMNS)).one())

    def find_token(self, token_hash: str) -> tuple[Token, User] | None:
        """The token with that hash (also expired or revoked ones) and whose it is, or None."""
        row = self._connection.execute(BEARER, {"token_hash": token_hash}).one_or_none()
        if row is None:
            return None
        fields = row._mapping
        token = Token(**{column.name: fields[column.name] for column in TOKEN_COLUMNS})
        return token, User(**{column.name: fields[f"of_user_{column.name}"] for column in USER_COLUMNS})

    def tokens(self, user_id: int | None = None) -> list[Token]:
        """Tokens, newest first."""
        statement = sa.select(*TOKEN_COLUMNS).order_by(tokens.c.id.desc())
        if user_id is not None:
            statement = statement.where(tokens.c.user_id == user_id)
        return [_token(row) for row in self._connection.execute(statement)]

    def touch_token(self, token_id: int, now: datetime) -> None:
        """Note the last use."""
        self._set_token(token_id, last_used_at=now)

    def revoke_token(self, token_id: int, now: datetime) -> None:
        """End a token; one that was ended before keeps its time."""
        self._set_token(token_id, revoked_at=sa.func.coalesce(tokens.c.revoked_at, sa.literal(now, UtcTime())))

    def _set_token(self, token_id: int, **values: Any) -> None:
        if self._connection.execute(sa.update(tokens).where(tokens.c.id == token_id).values(values)).rowcount == 0:
            raise NotFoundError(f"no token with id {token_id}", token=token_id)

    def add_audit(
        self, *, user_id: int | None, action: str, subject: str, details: dict[str, Any], now: datetime
    ) -> None:
        """Append to the audit log."""
        values = {"user_id": user_id, "action": action, "subject": subject, "details": details, "at": now}
        self._connection.execute(sa.insert(audit_log).values(values))

    def audit(self, limit: int = 100) -> list[dict[str, Any]]:
        """Newest entries of the audit log first: {id, user, action, subject, details, at}; user is a name or None."""
        statement = (
            sa.select(
                audit_log.c.id,
                users.c.name.label("user"),
                audit_log.c.action,
                audit_log.c.subject,
                audit_log.c.details,
                audit_log.c.at,
            )
            .outerjoin(users, users.c.id == audit_log.c.user_id)
            .order_by(audit_log.c.id.desc())
            .limit(limit)
        )
        return [dict(row._mapping) for row in self._connection.execute(statement)]


def _user(row: Any) -> User:
    return User(row.id, row.name, row.role, row.is_active, row.created_at)


def _token(row: Any) -> Token:
    return Token(**row._mapping)


def _no_user(user_id: int) -> NotFoundError:
    return NotFoundError(f"no user with id {user_id}", user=user_id)

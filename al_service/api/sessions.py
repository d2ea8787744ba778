"""Who asks: a person with the session cookie (Flask-Login) or a program with a bearer token.

The cookie holds the user id, a mark of the password's hash and an id of its own, signed. So a new password or a
switched-off account ends every session of that person at the next request. The ids of sessions that were ended by
signing out are stored until such a cookie would be too old anyway; open sessions are stored nowhere.
"""

import hashlib
import secrets
import time
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache, partial
from typing import Any, ClassVar

from flask import Flask, Request, Response, g, request, session
from flask.sessions import SecureCookieSession, SecureCookieSessionInterface, SessionMixin
from flask_login import LoginManager, current_user, login_user
from itsdangerous import BadSignature

from al_service.api.answers import SessionAnswer, UserFields
from al_service.api.known_browsers import cookie_for, find_browser
from al_service.api.requests import SignInBody
from al_service.api.routing import Call, Reply, Routes
from al_service.api.security import csrf_token
from al_service.domain.records import User
from al_service.domain.states import Role
from al_service.errors import InvalidInputError
from al_service.loop.accounts import SESSION_LIFETIME, Principal
from al_service.loop.ports import Admission, Transaction
from al_service.loop.services import Services
from al_service.settings import Settings

COOKIE_NAME = "al_session"
COOKIES_REMEMBERED = 4096
#: The cookie is signed anew at most this often.
RENEW_AFTER = timedelta(hours=1)
RENEWED_AT = "renewed_at"

ROUTES = Routes()


@dataclass(frozen=True)
class SessionUser:
    """What Flask-Login keeps as `current_user`; pages read id, name and role."""

    user: User
    mark: str
    session_id: str
    is_authenticated: ClassVar[bool] = True
    is_active: ClassVar[bool] = True
    is_anonymous: ClassVar[bool] = False

    @property
    def id(self) -> int:
        """The user's id."""
        return self.user.id

    @property
    def name(self) -> str:
        """The user's name."""
        return self.user.name

    @property
    def role(self) -> Role:
        """The user's role."""
        return self.user.role

    def get_id(self) -> str:
        """What the cookie holds."""
        return f"{self.user.id}:{self.mark}:{self.session_id}"


@dataclass(frozen=True)
class Caller:
    """Who asks, and whether the browser's cookie alone says so (then changes need a CSRF token).

    still_there: of who was found in memory: asks whether that is still so, else SessionChangedError.
    """

    principal: Principal
    by_cookie: bool
    still_there: Admission | None = None


class SessionCookies(SecureCookieSessionInterface):
    """Flask's signed cookies, but images that browsers keep for good do not vary by cookie, and a cookie that came
    before is not taken apart again: its signature stays good, only its age is looked at each time.
    """

    def __init__(self) -> None:
        self._opened = lru_cache(maxsize=COOKIES_REMEMBERED)(self._open)

    def open_session(self, app: Flask, request: Request) -> SecureCookieSession | None:
        """As in Flask."""
        text = request.cookies.get(self.get_cookie_name(app))
        if not text:
            return self.session_class()
        try:
            values, signed_at = self._opened(app, str(app.secret_key), text)
        except BadSignature:
            return self.session_class()
        age_s = time.time() - signed_at.timestamp()
        is_good = 0 <= age_s <= app.permanent_session_lifetime.total_seconds()
        # A copy: what this request changes is its own.
        return self.session_class(_copied(values) if is_good else None)

    def _open(self, app: Flask, _secret_key: str, text: str) -> tuple[dict[str, Any], datetime]:
        serializer = self.get_signing_serializer(app)
        if serializer is None:
            raise BadSignature("sessions need a secret key")
        values, signed_at = serializer.loads(text, return_timestamp=True)
        return values, signed_at

    def save_session(self, app: Flask, session: SessionMixin, response: Response) -> None:
        """As in Flask, unless the response is such an image and the session has not changed."""
        if session.modified or not response.cache_control.immutable:
            super().save_session(app, session, response)


def _copied(values: dict[str, Any]) -> dict[str, Any]:
    """A copy to change. What we put in is flat, and a flat copy takes a tenth of the time of a deep one."""
    is_flat = all(isinstance(value, str | int | float | None) for value in values.values())
    return dict(values) if is_flat else deepcopy(values)


def install(app: Flask, services: Services, settings: Settings) -> None:
    """Give the app its session cookie and Flask-Login's `current_user`.

    Raises:
        InvalidInputError: the app has no secret key, so sessions could be forged.
    """
    app.secret_key = app.secret_key or settings.secret_key
    if not app.secret_key:
        raise InvalidInputError("sessions need a secret key; set AL_SECRET_KEY or AL_SECRET_KEY_FILE")
    app.config.update(
        SESSION_COOKIE_NAME=COOKIE_NAME,
        SESSION_COOKIE_HTTPONLY=True,
        SESSION_COOKIE_SAMESITE="Lax",
        SESSION_COOKIE_SECURE=settings.session_cookie_secure,
        PERMANENT_SESSION_LIFETIME=SESSION_LIFETIME,
        SESSION_REFRESH_EACH_REQUEST=False,
        REMEMBER_COOKIE_REFRESH_EACH_REQUEST=False,
    )
    app.session_interface = SessionCookies()
    manager = LoginManager()
    manager.session_protection = None
    manager.init_app(app)
    remembered = _Remembered()
    manager.user_loader(lambda cookie_id: _find_session_user(services, remembered, cookie_id))


class SessionChangedError(Exception):
    """The session is not as it was remembered: who asks has to be looked up."""


class _Remembered:
    """Who the last cookies belonged to. That may have changed since, so it only helps whoever asks the database again
    before anything comes of it.
    """

    def __init__(self) -> None:
        self._users: dict[str, SessionUser] = {}

    def find(self, cookie_id: str) -> SessionUser | None:
        return self._users.get(cookie_id)

    def keep(self, cookie_id: str, user: SessionUser | None) -> None:
        if user is None:
            self._users.pop(cookie_id, None)
            return
        if len(self._users) >= COOKIES_REMEMBERED:
            self._users.clear()
        self._users[cookie_id] = user


def find_caller(services: Services, *, from_memory: bool = False) -> Caller | None:
    """Who asks, or None for nobody. A bearer token goes before the cookie.

    Args:
        from_memory: whom the cookie belonged to the last time will do, and the caller's `still_there` is asked before
            anything comes of it.

    Raises:
        InvalidTokenError: the bearer token is unknown, expired or revoked.
    """
    # Flask-Login keeps whom it has found until the request ends.
    g.pop("_login_user", None)
    g.al_from_memory = from_memory
    scheme, _, secret = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return Caller(services.accounts.authenticate(secret.strip()), by_cookie=False)
    if not current_user.is_authenticated:
        return None
    _renew(services.clock())
    user = current_user._get_current_object()
    still_there = partial(_still_there, user) if g.al_from_memory else None
    return Caller(Principal(user.user), by_cookie=True, still_there=still_there)


def _still_there(user: SessionUser, tx: Transaction) -> Callable[[], None]:
    found = tx.accounts.find_signed_in(user.id, user.session_id)

    def check() -> None:
        if _signed_in(found(), user.session_id) != user:
            raise SessionChangedError

    return check


def _renew(now: datetime) -> None:
    if now.timestamp() - session.get(RENEWED_AT, 0) >= RENEW_AFTER.total_seconds():
        session.permanent = True
        session[RENEWED_AT] = now.timestamp()


def _find_session_user(services: Services, remembered: _Remembered, cookie_id: str) -> SessionUser | None:
    known = remembered.find(cookie_id) if g.get("al_from_memory") else None
    if known is not None:
        return known
    g.al_from_memory = False
    found = _look_up(services, cookie_id)
    remembered.keep(cookie_id, found)
    return found


def _look_up(services: Services, cookie_id: str) -> SessionUser | None:
    user_id, _, rest = cookie_id.partition(":")
    mark, _, session_id = rest.partition(":")
    if not user_id.isdecimal() or not session_id:
        return None
    found = _session_user(services, int(user_id), session_id)
    return found if found is not None and found.mark == mark else None


def _session_user(services: Services, user_id: int, session_id: str) -> SessionUser | None:
    return _signed_in(services.store.look(lambda tx: tx.accounts.find_signed_in(user_id, session_id)), session_id)


def _signed_in(found: tuple[User, str | None] | None, session_id: str) -> SessionUser | None:
    if found is None:
        return None
    user, stored = found
    if not user.is_active or stored is None:
        return None
    return SessionUser(user, hashlib.sha256(stored.encode()).hexdigest()[:16], session_id)


@ROUTES.add("POST", "/session", role=None, body=SignInBody, answers={200: SessionAnswer})
def sign_in(call: Call, body: SignInBody) -> Reply:
    """Sign in with name and password; the session cookie lasts 30 days from its last use.

    429 with Retry-After after too many failures: ten a minute for one name from one address, 100 in ten minutes from
    one address, 30 in 15 minutes for one name. A browser that signed in with the name before has only the first limit,
    and for itself.
    """
    address, now = request.remote_addr or "", call.services.clock()
    limit = call.context.sign_in_limit
    attempt = limit.admit(body.name, address, now, browser=find_browser(body.name))
    user = call.services.accounts.sign_in(body.name, body.password, address=address)
    limit.forgive(attempt)
    # Nothing that was in the cookie before survives, so nobody can prepare a session for somebody else.
    session.clear()
    login_user(_session_user(call.services, user.id, secrets.token_urlsafe(16)))
    _renew(now)
    cookie = cookie_for(user.name, is_secure=call.context.settings.session_cookie_secure)
    return Reply(SessionAnswer(user=_fields(user), csrf_token=csrf_token()), headers={"Set-Cookie": cookie})


@ROUTES.add("DELETE", "/session", role=Role.VIEWER, answers={204: None})
def sign_out(call: Call) -> Reply:
    """Sign out: this browser's session ends, copies of its cookie included. A bearer token stays good."""
    if call.principal is not None and call.principal.token_id is None:
        call.services.accounts.sign_out(call.user, current_user.session_id)
    session.clear()
    return Reply(None, 204)


@ROUTES.add("GET", "/me", role=Role.VIEWER, answers={200: SessionAnswer})
def me(call: Call) -> Reply:
    """Who is signed in, and the token for X-CSRF-Token (null with a bearer token, which needs none)."""
    by_token = call.principal is not None and call.principal.token_id is not None
    return Reply(SessionAnswer(user=_fields(call.user), csrf_token=None if by_token else csrf_token()))


def _fields(user: User) -> UserFields:
    return UserFields(id=user.id, name=user.name, role=user.role)

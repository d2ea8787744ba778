"""Browsers that signed in with a name before, by a signed cookie that outlives the session.

It opens nothing by itself. It only says that whoever asks is no stranger, so that the limits on strangers' failed
sign-ins cannot keep a person out (OWASP calls these device cookies).
"""

import secrets

from flask import current_app, request
from itsdangerous import BadData, URLSafeTimedSerializer
from werkzeug.http import dump_cookie

from al_service.api.errors import API_PREFIX

COOKIE_NAME = "al_known"
KEPT_FOR_S = 180 * 86_400
#: People who share a browser; the one who has not signed in for longest is forgotten first.
NAMES_MAX = 5


def find_browser(name: str) -> str | None:
    """What this browser is known by under that name, or None."""
    return _known().get(name)


def cookie_for(name: str, *, is_secure: bool) -> str:
    """The Set-Cookie header by which this browser is known under that name, and under those it was known by before."""
    known = _known()
    mark = known.pop(name, None) or secrets.token_urlsafe(12)
    kept = [[name, mark], *([other, theirs] for other, theirs in known.items())][:NAMES_MAX]
    return dump_cookie(
        COOKIE_NAME,
        str(_serializer().dumps(kept)),
        max_age=KEPT_FOR_S,
        path=f"{API_PREFIX}/session",
        httponly=True,
        secure=is_secure,
        samesite="Strict",
    )


def _known() -> dict[str, str]:
    try:
        return dict(_serializer().loads(request.cookies.get(COOKIE_NAME, ""), max_age=KEPT_FOR_S))
    except BadData:
        return {}


def _serializer() -> URLSafeTimedSerializer:
    return URLSafeTimedSerializer(current_app.secret_key or "", salt="browsers that signed in before")

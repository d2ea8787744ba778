"""What protects browsers: headers on every response, and CSRF tokens, which Flask-WTF makes, signs and checks."""

from functools import lru_cache

from flask import Flask, Response, current_app, session
from flask_wtf.csrf import ValidationError, generate_csrf, validate_csrf
from werkzeug.middleware.proxy_fix import ProxyFix

from al_service.api.errors import CsrfFailedError
from al_service.settings import Settings

POLICY_HEADER = "Content-Security-Policy"
_POLICY = (
    "default-src 'self'",
    "img-src 'self' blob: data:",
    "object-src 'none'",
    "frame-ancestors 'none'",
    "base-uri 'none'",
    "form-action 'self'",
)
#: No script and no style is inline. Images may be blobs and data.
CONTENT_SECURITY_POLICY = "; ".join(_POLICY)
#: For pages with plots: plotly writes styles as text. Scripts stay as strict.
ALLOW_INLINE_STYLES = "; ".join((*_POLICY, "style-src 'self' 'unsafe-inline'"))
HEADERS = {
    POLICY_HEADER: CONTENT_SECURITY_POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}
#: What Flask-WTF calls the session's token in the session.
CSRF_FIELD = "csrf_token"
TOKENS_REMEMBERED = 4096
#: Sent where cookies are for https only: browsers then ask this host by https for a year, whatever a link says.
HTTPS_ONLY = ("Strict-Transport-Security", "max-age=31536000")


def install(app: Flask, settings: Settings) -> None:
    """Send the headers with every response of the app, and believe as many proxies as the settings say.

    A CSRF token lives as long as its session.
    """
    app.config["WTF_CSRF_TIME_LIMIT"] = None
    if settings.trusted_proxies:
        count = settings.trusted_proxies
        app.wsgi_app = ProxyFix(app.wsgi_app, x_for=count, x_proto=count)  # type: ignore[method-assign]
    headers = [*HEADERS.items(), *([HTTPS_ONLY] if settings.session_cookie_secure else [])]
    by_key = [(name.lower(), (name, value)) for name, value in headers]

    @app.after_request
    def with_headers(response: Response) -> Response:
        there = {name.lower() for name, _ in response.headers}
        response.headers.extend([header for key, header in by_key if key not in there])
        return response


def csrf_token() -> str:
    """The token of this session, made if there is none yet."""
    return str(generate_csrf())


@lru_cache(maxsize=TOKENS_REMEMBERED)
def _check(_secret_key: str, _own: str | None, token: str | None) -> None:
    """Raises ValidationError. A token of this session that was good once is good as long as the session."""
    validate_csrf(token)


def check_csrf(token: str | None) -> None:
    """Accept the token that belongs to this session.

    Raises:
        CsrfFailedError: it is missing, damaged or another session's.
    """
    try:
        _check(str(current_app.secret_key), session.get(CSRF_FIELD), token)
    except (ValidationError, UnicodeError) as error:
        raise CsrfFailedError(f"{error} Send the csrf_token of GET /api/v1/me as X-CSRF-Token.") from error

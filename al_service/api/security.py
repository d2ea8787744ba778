"""What protects browsers: headers on every response, and CSRF tokens, which Flask-WTF makes, signs and checks."""

from flask import Flask, Response
from flask_wtf.csrf import ValidationError, generate_csrf, validate_csrf

from al_service.api.errors import CsrfFailedError

#: plotly sets styles on elements, hence 'unsafe-inline' for styles; no script is inline. Images may be blobs and data.
CONTENT_SECURITY_POLICY = "; ".join(
    (
        "default-src 'self'",
        "img-src 'self' blob: data:",
        "style-src 'self' 'unsafe-inline'",
        "frame-ancestors 'none'",
        "base-uri 'none'",
        "form-action 'self'",
    )
)
HEADERS = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
}


def install(app: Flask) -> None:
    """Send the headers with every response of the app; a token lives as long as its session."""
    app.config["WTF_CSRF_TIME_LIMIT"] = None
    app.after_request(_with_headers)


def csrf_token() -> str:
    """The token of this session, made if there is none yet."""
    return str(generate_csrf())


def check_csrf(token: str | None) -> None:
    """Accept the token that belongs to this session.

    Raises:
        CsrfFailedError: it is missing, damaged or another session's.
    """
    try:
        validate_csrf(token)
    except (ValidationError, UnicodeError) as error:
        raise CsrfFailedError(f"{error} Send the csrf_token of GET /api/v1/me as X-CSRF-Token.") from error


def _with_headers(response: Response) -> Response:
    for name, value in HEADERS.items():
        response.headers.setdefault(name, value)
    return response

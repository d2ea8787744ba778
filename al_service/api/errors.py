"""The one error body of the web: every exception becomes `{"error": {"code", "message", "details", "request_id"}}`.

Details never hold secrets; a bug's traceback goes to the log with the request id, never to the caller. Outside
JSON_PATHS the pages keep their own look.
"""

import logging
import os
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from flask import Flask, Response, current_app, g, jsonify, request
from werkzeug.exceptions import HTTPException, InternalServerError, default_exceptions

from al_service.errors import AlServiceError, PermissionDeniedError, UnavailableError

log = logging.getLogger(__name__)
API_PREFIX = "/api/v1"
REQUEST_ID_PATTERN = re.compile(r"[A-Za-z0-9._:/+=-]{1,128}")
RETRY_AFTER_S = 1
#: Paths outside the prefix whose errors are JSON too.
JSON_PATHS = ("/health", "/version", "/metrics", "/api")


class NotSignedInError(PermissionDeniedError):
    """Nobody is signed in and no token came along. HTTP 401."""

    code = "not_signed_in"
    http_status = 401


class RoleTooLowError(PermissionDeniedError):
    """Signed in, but the role may not do that."""

    code = "role_too_low"


class CsrfFailedError(PermissionDeniedError):
    """A change asked for with the session cookie came without a good X-CSRF-Token."""

    code = "csrf_failed"


@dataclass(frozen=True)
class ErrorFacts:
    """What the caller may know about an exception."""

    status: int
    code: str
    message: str
    details: dict[str, Any] = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)


def describe(error: Exception) -> ErrorFacts:
    """Status, code and words of any exception; a bug is logged with its traceback and shown as nothing but a 500."""
    if isinstance(error, AlServiceError):
        return _of_own_error(error)
    if isinstance(error, HTTPException) and error.code is not None and error.code < 500:
        return _of_http_error(error)
    log.error("request %s failed: %s", request_id(), _one_line(f"{request.method} {request.path}"), exc_info=error)
    return ErrorFacts(
        500, "internal_error", f"Something went wrong here; the log has the details under request {request_id()}."
    )


def _of_own_error(error: AlServiceError) -> ErrorFacts:
    headers: dict[str, str] = {}
    if error.http_status == 401:
        headers["WWW-Authenticate"] = 'Bearer realm="al"'
    if isinstance(error, UnavailableError):
        headers["Retry-After"] = str(error.details.get("retry_after_s", RETRY_AFTER_S))
    if error.http_status >= 500:
        log.warning("request %s: %s", request_id(), _one_line(f"{request.method} {request.path}: {error}"))
    return ErrorFacts(error.http_status, error.code, error.message, error.details, headers)


def _one_line(text: str) -> str:
    r"""The text with everything unprintable escaped: what callers send must not be able to forge lines of the log.

    >>> _one_line("GET /caf\u00e9\n2026 ERROR made up")
    'GET /café\\n2026 ERROR made up'
    """
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def _of_http_error(error: HTTPException) -> ErrorFacts:
    status = error.code or 500
    words = {
        404: f"there is nothing at {request.method} {request.path}",
        405: f"{request.method} is not possible at {request.path}",
        413: "the request is larger than allowed",
    }
    headers = {key: value for key, value in error.get_headers() if key in ("Allow", "Location", "Retry-After")}
    code = {404: "not_found", 413: "too_large"}.get(status, error.name.lower().replace(" ", "_"))
    return ErrorFacts(status, code, words.get(status, error.description or error.name), {}, headers)


def json_response(facts: ErrorFacts) -> Response:
    """The error body with its status and headers."""
    body = {
        "code": facts.code,
        "message": facts.message,
        "details": facts.details,
        "request_id": request_id(),
    }
    response = jsonify(error=body)
    response.status_code = facts.status
    response.headers.update(facts.headers)
    response.headers["Cache-Control"] = "no-store"
    return response


def wants_json() -> bool:
    """True where this request's errors are JSON: under /api and at health, version and metrics."""
    return any(request.path == path or request.path.startswith(f"{path}/") for path in JSON_PATHS)


def request_id() -> str:
    """This request's id: the caller's X-Request-Id when it is a plain word, else a new one."""
    if "request_id" not in g:
        given = request.headers.get("X-Request-Id", "")
        g.request_id = given if REQUEST_ID_PATTERN.fullmatch(given) else os.urandom(16).hex()
    return str(g.request_id)


def install(app: Flask) -> None:
    """Answer every exception of the app: JSON under JSON_PATHS; elsewhere the pages that were registered before."""
    for pages in list(app.error_handler_spec[None].values()):
        for kind, page in list(pages.items()):
            app.register_error_handler(kind, _json_or(page))
    for kind in (AlServiceError, HTTPException, Exception):
        if kind not in app.error_handler_spec[None][None]:
            app.register_error_handler(kind, _answer)
    app.after_request(_with_request_id)


def _json_or(page: Callable[..., Any]) -> Callable[[Exception], Any]:
    def choose(error: Exception) -> Any:
        return json_response(describe(error)) if wants_json() else page(error)

    return choose


def _answer(error: Exception) -> Any:
    if wants_json():
        return json_response(describe(error))
    if isinstance(error, HTTPException):
        return error
    facts = describe(error)
    kind = default_exceptions.get(facts.status, InternalServerError)
    return current_app.handle_http_exception(kind(facts.message))


def _with_request_id(response: Response) -> Response:
    response.headers["X-Request-Id"] = request_id()
    return response

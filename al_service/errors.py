"""The five kinds of error that the whole service speaks; every own error sits under exactly one of them.

They are translated in three places only: api (HTTP status), workers.jobs (retry or not) and cli (exit code).
Specific errors live in the module that raises them.
"""

from typing import Any, ClassVar


class AlServiceError(Exception):
    """Root of all own errors: a message for people, a stable code for programs.

    Args:
        message: what was found where, what was expected, what to do.
        details: small JSON-able facts for programs (never secrets).
    """

    code: ClassVar[str] = "error"
    http_status: ClassVar[int] = 500
    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, **details: Any) -> None:
        super().__init__(message)
        self.message = message
        self.details = details

    def __str__(self) -> str:
        return self.message


class InvalidInputError(AlServiceError):
    """The caller can mend it. HTTP 400; a job fails without retry; exit code 2."""

    code = "invalid_input"
    http_status = 400
    exit_code = 2


class PermissionDeniedError(AlServiceError):
    """This person or token may not do that. HTTP 403 (401 when nobody is signed in); exit code 3."""

    code = "permission_denied"
    http_status = 403
    exit_code = 3


class NotFoundError(AlServiceError):
    """No such id. HTTP 404; a job fails without retry; exit code 4."""

    code = "not_found"
    http_status = 404
    exit_code = 4


class ConflictError(AlServiceError):
    """The state has moved on. HTTP 409; a job ends quietly; exit code 5."""

    code = "conflict"
    http_status = 409
    exit_code = 5


class UnavailableError(AlServiceError):
    """Something we need does not answer; try again later. HTTP 503; a job is retried; exit code 6."""

    code = "unavailable"
    http_status = 503
    exit_code = 6

"""Friendly HTML for errors on pages; anything under /api/ is left to the API's own error bodies."""

import logging

from flask import Flask, Response, make_response, render_template, request
from werkzeug.exceptions import Forbidden, HTTPException, InternalServerError, MethodNotAllowed, NotFound

from al_service.errors import AlServiceError

log = logging.getLogger(__name__)

TITLES = {
    403: "This page is not for your role",
    404: "Nothing here",
    405: "This page cannot do that",
    500: "Something broke on our side",
    503: "The service is catching its breath",
}
WORDS = {
    403: "An admin can give you the right to see it.",
    404: "The address may have a typing mistake, or the project was archived.",
    405: "Go back and use the buttons of the page.",
    500: "It was written to the log. Answers you gave are kept in your browser and will be sent.",
    503: "Try again in a moment. Answers you gave are kept in your browser and will be sent.",
}


def register_error_pages(app: Flask) -> None:
    """Show 403, 404, 405, 500 and our own errors as pages."""
    for kind in (Forbidden, NotFound, MethodNotAllowed, InternalServerError):
        app.register_error_handler(kind, http_error_page)
    pages = app.blueprints["pages"]
    pages.register_error_handler(AlServiceError, own_error_page)


def http_error_page(error: HTTPException) -> Response | HTTPException:
    """The page for an HTTP error; API paths keep the plain exception, which the API translates."""
    if request.path.startswith("/api/"):
        return error
    own_words = error.description if error.description != type(error).description else None
    return _page(error.code or 500, own_words)


def own_error_page(error: AlServiceError) -> Response:
    """The page for one of our own errors raised inside a view."""
    return _page(error.http_status, error.message)


def _page(status: int, words: str | None) -> Response:
    known = status if status in TITLES else 500
    body = render_template("error.html", status=status, title=TITLES[known], words=words or WORDS[known])
    return make_response(body, status)

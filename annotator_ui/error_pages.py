"""Friendly HTML for errors on pages. The API wraps these when it is installed and answers its own paths with JSON."""

from flask import Flask, Response, make_response, render_template
from werkzeug import exceptions

KINDS = (
    exceptions.BadRequest,
    exceptions.Forbidden,
    exceptions.NotFound,
    exceptions.MethodNotAllowed,
    exceptions.Conflict,
    exceptions.InternalServerError,
    exceptions.ServiceUnavailable,
)
KEPT = "Answers you gave are kept in your browser and will be sent."
TITLES = {
    400: "That did not work",
    403: "This page is not for your role",
    404: "Nothing here",
    405: "This page cannot do that",
    409: "Somebody else was faster",
    500: "Something broke on our side",
    503: "The service does not answer right now",
}
WORDS = {
    400: "The address or the form was not understood. Go back and try again.",
    403: "An admin can give you the right to see it.",
    404: "The address may have a typing mistake, or the project was archived.",
    405: "Go back and use the buttons of the page.",
    409: "Go back, load the page again and look at what changed.",
    500: f"It was written to the log. {KEPT}",
    503: f"Try again in a moment. {KEPT}",
}


def register_error_pages(app: Flask) -> None:
    """Show the usual HTTP errors as pages of ours."""
    for kind in KINDS:
        app.register_error_handler(kind, error_page)


def error_page(error: exceptions.HTTPException) -> Response:
    """The page for an HTTP error: its own words when the one who raised it gave any."""
    status = error.code or 500
    words = WORDS[status]
    if error.description != type(error).description and status != 500:
        words = str(error.description)
    body = render_template("error.html", status=status, title=TITLES[status], words=words)
    return make_response(body, status)

"""The routes of the pages. They check who may look and which project is meant; numbers and images come from /api/v1."""

from collections.abc import Callable
from functools import wraps
from urllib.parse import urlsplit

from flask import Blueprint, abort, redirect, render_template, request, url_for
from flask_login import current_user
from werkzeug.wrappers import Response

from al_service.domain.records import Project
from al_service.domain.states import Role
from al_service.errors import NotFoundError
from al_service.loop.services import Services
from al_service.settings import Settings

#: The label page renews its leases at least this often; a third of the lease when that is shorter.
HEARTBEAT_MAX_S = 60.0

View = Callable[..., str | Response]


def make_pages(services: Services, settings: Settings) -> Blueprint:
    """The blueprint with every page."""
    pages = Blueprint("pages", __name__)
    heartbeat_s = min(HEARTBEAT_MAX_S, settings.lease_ttl_s / 3)

    @pages.get("/login")
    def login() -> str | Response:
        target = local_path(request.args.get("next", ""))
        if current_user.is_authenticated:
            return redirect(target)
        return render_template("login.html", target=target)

    @pages.get("/")
    @_signed_in
    def projects() -> str:
        return render_template("projects.html", may_engineer=_role().covers(Role.ENGINEER))

    @pages.get("/projects/<name>")
    @_signed_in
    def project(name: str) -> Response:
        return redirect(url_for("pages.board", name=_find(services, name).name))

    @pages.get("/projects/<name>/label")
    @_signed_in
    def label(name: str) -> str:
        if not _role().covers(Role.LABELER):
            abort(403, f"Your role ({_role()}) may look at boards but not label. An admin can change that.")
        return render_template("label.html", project=_find(services, name), heartbeat_s=heartbeat_s)

    @pages.get("/projects/<name>/board")
    @_signed_in
    def board(name: str) -> str:
        return render_template("board.html", project=_find(services, name), may_engineer=_role().covers(Role.ENGINEER))

    @pages.get("/favicon.ico")
    def favicon() -> Response:
        return redirect(url_for("assets.static_file", name="favicon.svg"), 301)

    @pages.app_context_processor
    def person() -> dict[str, object]:
        return {"user_name": _user_name(), "user_role": str(_role()) if _user_name() else ""}

    return pages


def local_path(target: str) -> str:
    """The path when it leads to a page of this server, else `/`. Keeps a sign-in link from sending people elsewhere.

    >>> local_path("/projects/birds/label?x=1"), local_path("//evil.example"), local_path("https://evil.example/")
    ('/projects/birds/label?x=1', '/', '/')
    """
    # Browsers treat a backslash as a slash and drop tabs and line ends, so "/\\evil" and "/\t/evil" lead away too.
    if not target.startswith("/") or target.startswith("//") or "\\" in target or not target.isprintable():
        return "/"
    try:
        parts = urlsplit(target)
    except ValueError:
        return "/"
    return "/" if parts.scheme or parts.netloc else target


def _signed_in(view: View) -> View:
    @wraps(view)
    def checked(*args: object, **kwargs: object) -> str | Response:
        if not current_user.is_authenticated:
            asked = request.full_path if request.query_string else request.path
            return redirect(url_for("pages.login", next=None if asked == "/" else asked))
        return view(*args, **kwargs)

    return checked


def _find(services: Services, name: str) -> Project:
    try:
        return services.projects.get(name)
    except NotFoundError:
        abort(404, f"There is no project “{name}” here. It may have been archived.")


def _user_name() -> str:
    return str(getattr(current_user, "name", "")) if current_user and current_user.is_authenticated else ""


def _role() -> Role:
    return Role(getattr(current_user, "role", Role.VIEWER))

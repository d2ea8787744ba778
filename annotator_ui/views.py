"""The routes of the pages: who may look is in their declarations, numbers and images come from /api/v1."""

from urllib.parse import urlsplit

from flask import abort, redirect, render_template, request, url_for
from flask_login import current_user
from markupsafe import Markup
from werkzeug.wrappers import Response

from al_service.domain.records import Job, Project
from al_service.domain.states import JobState, Role
from al_service.domain.strategy_names import STRATEGIES
from al_service.domain.study_plan import DEFAULT, RANDOM
from al_service.errors import NotFoundError
from al_service.loop.invitations import ENGINEERS_INVITE
from al_service.loop.services import Services
from al_service.settings import Settings
from annotator_ui.page_access import Pages

#: The label page renews its leases at least this often; a third of the lease when that is shorter.
HEARTBEAT_MAX_S = 60.0
#: Shown at once where a study is started, one of each way of choosing; the others are a click away.
FIRST_STRATEGIES = (DEFAULT, "margin", "entropy", "badge", "typiclust")


def make_pages(services: Services, settings: Settings) -> Pages:
    """The blueprint with every page."""
    pages = Pages("pages", __name__)
    heartbeat_s = min(HEARTBEAT_MAX_S, settings.lease_ttl_s / 3)

    @pages.page("/login", role=None)
    def login() -> str | Response:
        target = local_path(request.args.get("next", ""))
        if current_user.is_authenticated:
            return redirect(target)
        return render_template("login.html", target=target)

    @pages.page("/", role=Role.VIEWER)
    def projects() -> str:
        return render_template("projects.html", may_engineer=_role().covers(Role.ENGINEER))

    @pages.page("/projects/<name>", role=Role.VIEWER)
    def project(name: str) -> Response:
        return redirect(url_for("pages.board", name=_find(services, name).name))

    @pages.page("/projects/<name>/label", role=Role.LABELER)
    def label(name: str) -> str:
        return render_template("label.html", project=_find(services, name), heartbeat_s=heartbeat_s)

    @pages.page("/projects/<name>/board", role=Role.VIEWER, inline_styles=True)
    def board(name: str) -> str:
        may = {"may_engineer": _role().covers(Role.ENGINEER), "may_review": _role().covers(Role.REVIEWER)}
        return render_template("board.html", project=_find(services, name), **may)

    @pages.page("/projects/<name>/review", role=Role.REVIEWER)
    def review(name: str) -> str:
        return render_template("review.html", project=_find(services, name))

    _add_image_pages(pages, services)
    _add_account_pages(pages)
    _add_class_pages(pages, services)
    _add_study_pages(pages, services)
    _add_team_page(pages, services)

    @pages.page("/favicon.ico", role=None)
    def favicon() -> Response:
        return redirect(url_for("assets.static_file", name="favicon.svg"), 301)

    @pages.app_context_processor
    def person() -> dict[str, object]:
        name = _user_name()
        own = services.own_settings.get(current_user.id) if name else {}
        return {"user_name": name, "user_role": str(_role()) if name else "", "own": own}

    return pages


def _add_account_pages(pages: Pages) -> None:
    """Accounts and invitations, and where an invitation leads to."""

    @pages.page("/people", role=Role.ENGINEER)
    def accounts() -> str:
        may_manage = _role().covers(Role.ADMIN)
        roles = list(Role) if may_manage else list(ENGINEERS_INVITE)
        return render_template("accounts.html", may_manage=may_manage, roles=roles)

    @pages.page("/settings", role=Role.VIEWER)
    def settings() -> str:
        return render_template("settings.html")

    @pages.page("/join", role=None)
    def join() -> str:
        return render_template("join.html")


def _add_image_pages(pages: Pages, services: Services) -> None:
    """A new project with its first images, and more images for one that is there."""

    @pages.page("/new", role=Role.ENGINEER)
    def new_project() -> str:
        return render_template("images.html")

    @pages.page("/projects/<name>/images", role=Role.ENGINEER)
    def images(name: str) -> str:
        return render_template("images.html", project=_find(services, name))


def _add_team_page(pages: Pages, services: Services) -> None:
    """What the people of a project do, and how well they agree."""

    @pages.page("/projects/<name>/people", role=Role.REVIEWER)
    def team(name: str) -> str:
        return render_template("team.html", project=_find(services, name))


def _add_class_pages(pages: Pages, services: Services) -> None:
    """The classes of a project, which engineers change; and the guidelines, whose examples reviewers choose."""

    @pages.page("/projects/<name>/classes", role=Role.VIEWER)
    def classes(name: str) -> str:
        may = {"may_engineer": _role().covers(Role.ENGINEER), "may_review": _role().covers(Role.REVIEWER)}
        return render_template("classes.html", project=_find(services, name), **may)

    @pages.page("/projects/<name>/guidelines", role=Role.REVIEWER)
    def guidelines(name: str) -> str:
        may_engineer = _role().covers(Role.ENGINEER)
        return render_template("guidelines.html", project=_find(services, name), may_engineer=may_engineer)


def _add_study_pages(pages: Pages, services: Services) -> None:
    """Studies of a project: all of them with the form that starts one, and each with its report."""

    @pages.page("/projects/<name>/studies", role=Role.VIEWER)
    def studies(name: str) -> str:
        found = _find(services, name)
        return render_template(
            "studies.html",
            project=found,
            may_engineer=_role().covers(Role.ENGINEER),
            strategies=list(STRATEGIES.values()),
            first=FIRST_STRATEGIES,
            chosen={DEFAULT, found.config.strategy},
            open_more=found.config.strategy not in (RANDOM, *FIRST_STRATEGIES),
        )

    @pages.page("/projects/<name>/studies/<int:study_id>", role=Role.VIEWER, inline_styles=True)
    def study(name: str, study_id: int) -> str:
        found = _find(services, name)
        job, report = _find_study(services, name, study_id)
        return render_template(
            "study.html", project=found, study=job, report=report, may_engineer=_role().covers(Role.ENGINEER)
        )


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


def _find(services: Services, name: str) -> Project:
    try:
        return services.projects.get(name)
    except NotFoundError:
        abort(404, f"There is no project “{name}” here. It may have been archived.")


def _find_study(services: Services, name: str, study_id: int) -> tuple[Job, Markup | None]:
    """The study, and its report where it is done: a piece of a page that a worker made from escaped text."""
    try:
        job = services.studies.get(name, study_id)
    except NotFoundError:
        abort(404, f"“{name}” has no study {study_id}.")
    try:
        content = services.artifacts.get(job.result["artifacts"]["page"]) if job.state is JobState.DONE else None
    except NotFoundError:
        abort(404, f"The files of study {study_id} are gone from the storage. Its figures are lost; start another one.")
    return job, None if content is None else Markup(content.decode())  # noqa: S704


def _user_name() -> str:
    return str(getattr(current_user, "name", "")) if current_user and current_user.is_authenticated else ""


def _role() -> Role:
    return Role(getattr(current_user, "role", Role.VIEWER))

"""What every response carries, what files and images can be reached, and that errors give nothing away."""

import logging
import re
from pathlib import Path

import pytest
from flask import Flask

import annotator_ui
from al_service.api.install import install
from al_service.api.security import ALLOW_INLINE_STYLES, CONTENT_SECURITY_POLICY, HEADERS, POLICY_HEADER
from al_service.domain.states import Role
from al_service.settings import Settings
from tests.web.browser import Site, migrated_database, site
from tests.web.conftest import PASSWORD, PREFIX, World
from tests.web.url_walk import AFAR, PROJECT, Browser, sign_in, steps

__all__ = ["migrated_database", "site"]

UI_DIR = Path(annotator_ui.__file__).parent
#: In templates: styles, scripts and handlers as text. In modules: what would put them there.
INLINE = {
    ".html": re.compile(r"""\sstyle\s*=|<style|\son\w+\s*=|javascript:|<script(?![^>]*\ssrc=)""", re.IGNORECASE),
    ".js": re.compile(r"""<style|<script|cssText|javascript:|innerHTML|outerHTML|insertAdjacentHTML|document\.write"""),
}


@pytest.fixture
def birds(site: Site) -> Site:
    site.ask(PROJECT, site.project(PROJECT, ["cat", "dog"], 3))
    return site


def directives(policy: str) -> dict[str, list[str]]:
    """A policy by directive."""
    return {words[0]: words[1:] for part in policy.split(";") if (words := part.split())}


def test_everything_that_is_served_carries_the_headers_refusals_included(birds: Site) -> None:
    browser = sign_in(birds, "mia", Role.VIEWER)
    nobody = Browser(birds.app.test_client(), "")
    for step in steps(birds.app):
        for one in (browser, nobody):
            headers = one.open(step, csrf=one.csrf).headers
            for name, value in HEADERS.items():
                if name != POLICY_HEADER:
                    assert headers[name] == value, f"{step}: {name}"
            assert headers[POLICY_HEADER] in (CONTENT_SECURITY_POLICY, ALLOW_INLINE_STYLES), str(step)
            assert "X-Request-Id" in headers


@pytest.mark.parametrize(
    "path", ["/nowhere", "/api/v1/nowhere", "/static/nowhere.js", "/projects/nothing/board", "/%ff"]
)
def test_what_is_not_there_carries_the_headers_too(birds: Site, path: str) -> None:
    answer = sign_in(birds, "mia", Role.VIEWER).client.get(path)
    assert answer.status_code == 404
    assert {name: answer.headers[name] for name in HEADERS} == HEADERS


def test_no_policy_lets_a_script_be_inline_and_only_pages_with_plots_let_a_style(birds: Site) -> None:
    browser = sign_in(birds, "mia", Role.ADMIN)
    loose = set()
    for step in steps(birds.app):
        policy = directives(browser.open(step, csrf=browser.csrf).headers[POLICY_HEADER])
        assert policy["default-src"] == ["'self'"], str(step)
        assert policy["object-src"] == policy["base-uri"] == policy["frame-ancestors"] == ["'none'"]
        assert "script-src" not in policy
        assert "script-src-elem" not in policy
        if "style-src" in policy:
            loose.add(step.rule.rule)
    # The study of the walk does not exist, and its 404 is strict; a finished one has drawings.
    assert loose == {"/projects/<name>/board"}


def test_no_template_and_no_module_has_anything_inline() -> None:
    files = [*UI_DIR.glob("templates/**/*.html"), *UI_DIR.glob("static/**/*.js")]
    assert len(files) > 50
    found = [
        f"{path.name}: {match.group(0)!r}"
        for path in files
        for match in INLINE[path.suffix].finditer(path.read_text(encoding="utf-8"))
    ]
    assert found == []


def test_pages_are_not_kept_by_caches_that_others_share(birds: Site) -> None:
    browser = sign_in(birds, "mia", Role.ADMIN)
    for step in steps(birds.app):
        answer = browser.open(step, csrf=browser.csrf)
        if step.path.startswith("/projects") or step.path == "/":
            assert answer.status_code != 200 or answer.headers["Cache-Control"] == "private, no-cache", str(step)
        elif step.is_json and step.path.startswith(PREFIX):
            assert re.search("no-store|private", answer.headers["Cache-Control"]), str(step)


def test_https_only_where_cookies_are_for_https_only(world: World, tmp_path: Path) -> None:
    app = Flask("secure")
    install(app, world.services, Settings(data_dir=tmp_path, secret_key="only for tests", session_cookie_secure=True))
    world.services.accounts.add_user("mia", Role.LABELER, PASSWORD)
    answer = app.test_client().post(f"{PREFIX}/session", json={"name": "mia", "password": PASSWORD})
    assert answer.headers["Strict-Transport-Security"] == "max-age=31536000"
    cookies = answer.headers.getlist("Set-Cookie")
    assert len(cookies) == 2
    assert all("Secure" in cookie.split("; ") for cookie in cookies)
    assert "Strict-Transport-Security" not in world.app.test_client().get("/health").headers


# -- who asks, behind proxies --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("proxies", "seen"), [(0, "203.0.113.9"), (1, "198.51.100.2"), (2, "198.51.100.1")])
def test_the_address_that_counts_is_the_one_that_trusted_proxies_saw(
    world: World, tmp_path: Path, proxies: int, seen: str
) -> None:
    app = Flask("behind")
    install(app, world.services, Settings(data_dir=tmp_path, secret_key="only for tests", trusted_proxies=proxies))
    claimed = {"X-Forwarded-For": "192.0.2.66, 198.51.100.1, 198.51.100.2"}
    body = {"name": "mia", "password": "wrong"}
    app.test_client().post(f"{PREFIX}/session", json=body, headers=claimed, environ_base=AFAR)
    with world.store.read() as tx:
        assert tx.accounts.audit(1)[0]["details"]["address"] == seen


def test_nobody_becomes_local_by_claiming_so(world: World, tmp_path: Path) -> None:
    app = Flask("behind")
    install(app, world.services, Settings(data_dir=tmp_path, secret_key="only for tests", trusted_proxies=1))
    for address in ("127.0.0.1", "::1"):
        for base in (AFAR, {"REMOTE_ADDR": "127.0.0.1"}):
            answer = app.test_client().get("/metrics", headers={"X-Forwarded-For": address}, environ_base=base)
            assert answer.status_code == 401


# -- files and images ----------------------------------------------------------------------------------------------

TRAVERSALS = [
    "../views.py",
    "..%2fviews.py",
    "..%252fviews.py",
    "%2e%2e/%2e%2e/pyproject.toml",
    "....//views.py",
    "..\\views.py",
    "..%5cviews.py",
    "/etc/passwd",
    "//etc/passwd",
    "vendor/../../views.py",
    "vendor/plotly.min.js/../../../views.py",
    "label.js%00.png",
    ".",
    "..",
]


@pytest.mark.parametrize("name", TRAVERSALS)
def test_static_files_cannot_be_left(birds: Site, name: str) -> None:
    answer = birds.app.test_client().get(f"/static/{name}")
    assert answer.status_code in (404, 308)
    assert "def " not in answer.text
    assert "root:" not in answer.text


@pytest.mark.parametrize("name", TRAVERSALS)
def test_images_are_reached_by_id_only(birds: Site, name: str) -> None:
    client = sign_in(birds, "mia", Role.ADMIN).client
    for path in (f"/samples/{name}/image", f"/samples/1/image/{name}", f"/models/{name}/file"):
        assert client.get(PREFIX + path).status_code in (404, 308), path


def test_images_have_the_type_of_their_verified_format_whatever_is_asked(birds: Site) -> None:
    client = sign_in(birds, "mia", Role.LABELER).client
    for query, kind in (("", "image/png"), ("?size=64", "image/png"), ("?v=x.html", "image/png")):
        answer = client.get(f"{PREFIX}/samples/1/image{query}", headers={"Accept": "text/html"})
        assert answer.status_code == 200, query
        assert answer.content_type == kind, query
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert client.get(f"{PREFIX}/samples/1/image?size=65").status_code == 400


# -- errors --------------------------------------------------------------------------------------------------------


def test_a_bug_gives_nothing_away_on_pages_and_routes_and_is_in_the_log(
    birds: Site, caplog: pytest.LogCaptureFixture
) -> None:
    client = sign_in(birds, "mia", Role.ADMIN).client

    def fail(**path: object) -> str:
        raise RuntimeError(f"secret-detail at {__file__}")

    for endpoint, path in (("pages.board", f"/projects/{PROJECT}/board"), ("api.list_users", f"{PREFIX}/users")):
        birds.app.view_functions[endpoint] = fail
        with caplog.at_level(logging.ERROR):
            answer = client.get(path)
        assert answer.status_code == 500
        for word in ("secret-detail", "RuntimeError", "Traceback", ".py"):
            assert word not in answer.text, path
        assert answer.headers[POLICY_HEADER] == CONTENT_SECURITY_POLICY
        assert answer.headers["X-Request-Id"] in caplog.text
    assert "secret-detail" in caplog.text


def test_an_evaluation_image_looks_like_one_that_is_not_there(world: World) -> None:
    hidden = world.project(count=2, evaluation=1)[-1]
    missing = hidden + 1000
    for role in ("reviewer", "labeler", "viewer"):
        api = world.api(role)
        for path in ("/samples/{}", "/samples/{}/image", "/samples/{}/image?size=64"):
            answers = [api.get(path.format(number)) for number in (hidden, missing)]
            assert [answer.status_code for answer in answers] == [404, 404], (role, path)
            said = [answer.json["error"] for answer in answers]
            plain = [
                {
                    **one,
                    "request_id": "",
                    "message": re.sub(r"\d+", "n", one["message"]),
                    "details": sorted(one["details"]),
                }
                for one in said
            ]
            assert plain[0] == plain[1], (role, path)
    assert world.api("engineer").get(f"/samples/{hidden}").status_code == 200


def test_a_lease_of_somebody_else_can_be_neither_used_nor_ended(world: World) -> None:
    ids = world.project(count=4)
    world.round(ids[:2])
    held = world.lease(world.api("labeler", "mia"))[0]["id"]
    tom = world.api("labeler", "tom")
    for answer in (
        tom.post(f"/assignments/{held}/renew"),
        tom.delete(f"/assignments/{held}"),
        tom.post(f"/assignments/{held}/annotation", {"class_name": "cat"}),
    ):
        assert answer.status_code in (403, 404), answer.text
    assert world.api("labeler", "mia").post(f"/assignments/{held}/renew").status_code == 200


def test_the_app_serves_neither_a_debugger_nor_flasks_own_static_folder(site: Site) -> None:
    assert site.app.debug is False
    assert site.app.static_folder is None
    assert site.app.testing is False

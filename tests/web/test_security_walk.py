"""Every role, and nobody, against everything that is served: allowed roles get in, all others are turned away."""

import re
from pathlib import Path

import pytest

from al_service.api.errors import API_PREFIX
from al_service.domain.states import Role
from tests.web.browser import PASSWORD, Site, migrated_database, site
from tests.web.url_walk import AFAR, PROJECT, Browser, Step, sign_in, steps

__all__ = ["migrated_database", "site"]

DOCUMENT = Path(__file__).parents[2] / "docs" / "security.md"


@pytest.fixture
def birds(site: Site) -> Site:
    """With a project that people are asked about."""
    site.ask(PROJECT, site.project(PROJECT, ["cat", "dog"], 3))
    return site


def test_every_view_declares_its_least_role(site: Site) -> None:
    undeclared = []
    for step in steps(site.app):
        try:
            step.declared(site.app)
        except LookupError:
            undeclared.append(str(step))
    assert undeclared == []


def test_what_is_open_to_everybody_is_no_more_than_this(site: Site) -> None:
    opened = {(step.method, step.rule.rule) for step in steps(site.app) if step.declared(site.app) is None}
    assert {item for item in opened if item[0] != "HEAD"} == {
        ("GET", "/login"),
        ("GET", "/favicon.ico"),
        ("GET", "/static/<path:name>"),
        ("GET", "/health"),
        ("GET", "/health/ready"),
        ("GET", "/version"),
        ("GET", f"{API_PREFIX}/openapi.json"),
        ("POST", f"{API_PREFIX}/session"),
        ("GET", "/join"),
        ("POST", f"{API_PREFIX}/invitations/look"),
        ("POST", f"{API_PREFIX}/invitations/accept"),
    }


@pytest.mark.parametrize("role", list(Role))
def test_each_role_gets_what_is_declared_for_it_and_nothing_else_by_cookie(birds: Site, role: Role) -> None:
    browser = sign_in(birds, "mia", role)
    for step in steps(birds.app):
        answer = browser.open(step, csrf=browser.csrf)
        needed = step.declared(birds.app)
        if needed is None or role.covers(needed):
            assert is_let_in(step, answer), f"{step} as {role}: {answer.status_code}"
        elif step.is_json:
            assert answer.status_code == 403, f"{step} as {role}"
            assert step.method == "HEAD" or answer.json["error"]["code"] == "role_too_low", f"{step} as {role}"
        else:
            assert answer.status_code == 403, f"{step} as {role}"
            assert step.method == "HEAD" or "This page is not for your role" in answer.text, f"{step} as {role}"


@pytest.mark.parametrize("role", list(Role))
def test_each_role_gets_what_is_declared_for_it_and_nothing_else_by_token(birds: Site, role: Role) -> None:
    accounts = birds.services.accounts
    accounts.ensure_user("robot", Role.ADMIN)
    accounts.create_token("robot")  # the walk revokes token 1
    # The owner may do everything; what counts is the role of the token.
    secret = accounts.create_token("robot", role)[1]
    for step in steps(birds.app):
        if not step.is_json:
            continue
        headers = {"Authorization": f"Bearer {secret}"}
        answer = birds.app.test_client().open(step.path, method=step.method, headers=headers, environ_base=AFAR)
        needed = step.declared(birds.app)
        if needed is None or role.covers(needed):
            assert is_let_in(step, answer), f"{step} as {role}: {answer.status_code}"
        else:
            assert answer.status_code == 403, f"{step} as {role}"


def test_nobody_signed_in_is_turned_away_from_everything_that_needs_somebody(birds: Site) -> None:
    for step in steps(birds.app):
        answer = birds.app.test_client().open(step.path, method=step.method, environ_base=AFAR)
        if step.declared(birds.app) is None:
            assert is_let_in(step, answer), f"{step}: {answer.status_code}"
        elif step.is_json:
            assert answer.status_code == 401, str(step)
            assert answer.headers["WWW-Authenticate"].startswith("Bearer")
        else:
            assert (answer.status_code, answer.headers["Location"].partition("?")[0]) == (302, "/login"), str(step)


def is_let_in(step: Step, answer) -> bool:
    """True unless the answer turns the caller away. Signing in without a body is refused as a body, not as a person."""
    leads_to_sign_in = answer.headers.get("Location", "").startswith("/login")
    return answer.status_code not in (401, 403) and not leads_to_sign_in and answer.status_code < 500


def test_asking_what_is_possible_says_no_more_than_the_methods(birds: Site) -> None:
    for step in steps(birds.app):
        answer = birds.app.test_client().open(step.path, method="OPTIONS", environ_base=AFAR)
        assert (answer.status_code, answer.data) == (200, b""), str(step)
        assert step.method in answer.headers["Allow"], str(step)
        assert "Access-Control-Allow-Origin" not in answer.headers


def test_every_change_with_a_cookie_needs_the_csrf_token_of_that_very_session(birds: Site) -> None:
    browser = sign_in(birds, "mia", Role.ADMIN)
    other_session = sign_in(birds, "mia", Role.ADMIN).csrf
    other_person = sign_in(birds, "tom", Role.ADMIN).csrf
    walked = 0
    for step in steps(birds.app):
        if not step.is_api_change or step.declared(birds.app) is None:
            continue
        for token in (None, "", "made up", browser.csrf[:-1], other_session, other_person):
            answer = browser.open(step, csrf=token, **body_of(step))
            where = f"{step} with {token!r}"
            assert (answer.status_code, answer.json["error"]["code"]) == (403, "csrf_failed"), where
        walked += 1
    assert walked > 20
    assert still_signed_in(browser)


def test_a_token_in_the_body_helps_only_where_a_beacon_needs_it(birds: Site) -> None:
    browser = sign_in(birds, "mia", Role.ADMIN)
    accepted = []
    for step in steps(birds.app):
        if step.is_api_change and step.declared(birds.app) is not None:
            answer = browser.open(step, json={"csrf_token": browser.csrf, "ids": []})
            if answer.status_code != 403:
                accepted.append(step.rule.rule)
    assert accepted == [f"{API_PREFIX}/assignments/release"]


def test_signing_in_takes_json_only_so_no_foreign_form_can_sign_somebody_in(birds: Site) -> None:
    birds.person("mia")
    text = f'{{"name": "mia", "password": "{PASSWORD}"}}'
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data"):
        answer = birds.app.test_client().post(f"{API_PREFIX}/session", data=text, content_type=kind)
        assert answer.status_code == 400, kind
        assert "Set-Cookie" not in answer.headers


def test_no_reading_changes_anything_and_no_page_takes_anything_but_reading(site: Site) -> None:
    for step in steps(site.app):
        if not step.path.startswith(API_PREFIX):
            assert step.method in ("GET", "HEAD"), str(step)


def test_the_security_page_lists_each_page_with_its_role(site: Site) -> None:
    listed = dict(re.findall(r"^\| `(/[^`]*)` \| (\w+) \|", DOCUMENT.read_text(encoding="utf-8"), re.MULTILINE))
    pages = {
        re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", step.rule.rule): str(step.declared(site.app) or "anybody")
        for step in steps(site.app)
        if not step.path.startswith("/api/")
    }
    assert listed == pages


def body_of(step: Step) -> dict[str, object]:
    """A beacon's body must be JSON before a token is looked for in it."""
    return {"json": {"ids": []}} if step.path.endswith("/release") else {}


def still_signed_in(browser: Browser) -> bool:
    """True while the session is good: none of the refused calls, signing out among them, did anything."""
    return browser.client.get(f"{API_PREFIX}/me").status_code == 200


def test_a_view_that_declares_nothing_is_found(site: Site) -> None:
    site.app.add_url_rule("/api/v1/new", "new", lambda: "")
    with pytest.raises(LookupError, match="declares no least role"):
        [step.declared(site.app) for step in steps(site.app)]

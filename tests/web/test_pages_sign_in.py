"""Signing in, and where it leads."""

from collections.abc import Callable
from urllib.parse import quote

import pytest
from playwright.sync_api import expect

from al_service.domain.states import Role
from annotator_ui.views import local_path
from tests.web.browser import PASSWORD, Site, Visit, chromium, migrated_database, site, visit

__all__ = ["chromium", "migrated_database", "site", "visit"]

OpenVisit = Callable[..., Visit]


def test_sign_in_with_the_keyboard_alone_leads_to_the_page_that_was_asked_for(site: Site, visit: OpenVisit) -> None:
    site.person("mia")
    site.project("birds", ["sparrow"], 1)
    page = visit().page
    page.goto(f"{site.url}/projects/birds/board?from=mail")
    expect(page).to_have_title("Sign in")
    page.keyboard.type("mia")
    page.keyboard.press("Tab")
    page.keyboard.type(PASSWORD)
    page.keyboard.press("Enter")
    expect(page).to_have_url(f"{site.url}/projects/birds/board?from=mail")
    page.goto(f"{site.url}/login")
    expect(page).to_have_url(f"{site.url}/")


def test_a_wrong_password_is_said_in_words_and_the_form_stays(site: Site, visit: OpenVisit) -> None:
    site.person("mia")
    one = visit()
    one.page.goto(f"{site.url}/login")
    one.page.get_by_label("Name").fill("mia")
    one.page.get_by_role("button", name="Sign in").click()
    expect(one.page.get_by_role("alert")).to_have_text("Please fill in your password.")
    one.page.get_by_label("Password").fill("not the password")
    one.page.keyboard.press("Enter")
    expect(one.page.get_by_role("alert")).to_have_text("Name or password is not right.")
    expect(one.page.get_by_label("Name")).to_have_value("mia")
    expect(one.page.get_by_label("Password")).to_be_focused()
    one.expect_errors("401")


def test_a_server_that_is_away_is_said_in_words(site: Site, visit: OpenVisit) -> None:
    one = visit()
    one.page.goto(f"{site.url}/login")
    one.context.set_offline(True)
    one.page.get_by_label("Name").fill("mia")
    one.page.get_by_label("Password").fill(PASSWORD)
    one.page.keyboard.press("Enter")
    expect(one.page.get_by_role("alert")).to_have_text(
        "The server does not answer. Check the connection and try again."
    )
    one.expect_errors("net::ERR")


@pytest.mark.parametrize(
    "target",
    [
        "https://evil.example/",
        "//evil.example",
        "/\\evil.example",
        "/\t/evil.example",
        "javascript:alert(1)",
        "evil",
        "",
    ],
)
def test_sign_in_never_leads_to_another_server(site: Site, visit: OpenVisit, target: str) -> None:
    site.person("mia")
    assert local_path(target) == "/"
    page = visit().sign_in("mia", f"/login?next={quote(target)}")
    expect(page).to_have_url(f"{site.url}/")


def test_sign_out_from_the_menu(site: Site, visit: OpenVisit) -> None:
    site.person("root", Role.ADMIN)
    page = visit().sign_in("root")
    page.get_by_role("button", name="root").click()
    page.get_by_role("menuitem", name="Sign out").click()
    expect(page).to_have_title("Sign in")
    page.goto(f"{site.url}/")
    expect(page).to_have_url(f"{site.url}/login")


def test_the_theme_can_be_chosen_and_stays(site: Site, visit: OpenVisit) -> None:
    page = visit(color_scheme="light").page
    page.goto(f"{site.url}/login")
    background = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(background)
    switch = page.get_by_role("button", name="Theme")
    switch.click()
    switch.click()
    expect(switch).to_have_accessible_name("Theme: dark")
    dark = page.evaluate(background)
    assert light != dark
    page.reload()
    assert page.evaluate(background) == dark
    switch.click()
    expect(switch).to_have_accessible_name("Theme: follows the system")
    assert page.evaluate(background) == light

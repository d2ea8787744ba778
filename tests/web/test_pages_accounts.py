"""The page of accounts, and the page behind a link, in a real browser."""

from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from al_service.domain.states import Role
from tests.web.axe import findings
from tests.web.browser import PASSWORD, Site, Visit, chromium, migrated_database, site, visit

__all__ = ["chromium", "migrated_database", "site", "visit"]

OpenVisit = Callable[..., Visit]


def make_link(page: Page, role: str, note: str = "") -> str:
    """Invite by the form; the link."""
    page.locator("[name=role]").select_option(role)
    page.locator("[name=note]").fill(note)
    page.get_by_role("button", name="Make a link").click()
    expect(page.get_by_role("button", name="Copy")).to_be_focused()
    return page.get_by_role("textbox", name="The link").input_value()


def test_an_engineer_invites_a_labeler_who_joins_and_is_at_work(site: Site, visit: OpenVisit) -> None:
    site.person("eve", Role.ENGINEER)
    eve = visit().sign_in("eve")
    eve.get_by_role("button", name="eve").click()
    eve.get_by_role("menuitem", name="Accounts").click()
    expect(eve).to_have_url(f"{site.url}/people")
    assert eve.locator("[name=role] option").all_text_contents() == ["reviewer", "labeler", "viewer"]
    expect(eve.get_by_role("region", name="Everybody")).to_have_count(0)
    link = make_link(eve, "labeler", "for Mia")
    assert link.startswith(f"{site.url}/join#")
    expect(eve.get_by_role("region", name="Open links")).to_contain_text("labeler, for Mia by eve, until")
    one = visit()
    page = one.page
    page.goto(link)
    expect(page.locator("#join-words")).to_have_text("eve invites you as a labeler.")
    page.keyboard.type("mia")
    page.keyboard.press("Tab")
    page.keyboard.type(PASSWORD)
    page.keyboard.press("Enter")
    expect(page).to_have_url(f"{site.url}/")
    expect(page.get_by_role("heading", name="No projects yet")).to_be_visible()
    assert site.services.accounts.get_user("mia").role is Role.LABELER
    page.goto(link)
    expect(page.locator("#join-words")).to_contain_text("This link is used up, out of date or withdrawn")
    assert not any(link.partition("#")[2] in url for url in one.requests)
    eve.reload()
    expect(eve.get_by_role("heading", name="Everybody")).to_have_count(0)
    expect(eve.locator("#open-panel")).to_be_hidden()
    one.expect_errors("404")


def test_what_is_wrong_while_joining_is_said_and_can_be_mended(site: Site, visit: OpenVisit) -> None:
    site.person("eve", Role.ENGINEER)
    _, secret = site.services.invitations.invite(Role.VIEWER, by=site.services.accounts.get_user("eve"))
    one = visit()
    page = one.page
    page.goto(f"{site.url}/join")
    expect(page.locator("#join-words")).to_contain_text("what comes after the # is missing")
    page.goto(f"{site.url}/join#{secret}")
    expect(page.get_by_label("Name")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_have_text("Choose a name.")
    page.get_by_label("Name").fill("eve")
    page.get_by_label("Password").fill("short")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_have_text("The password needs at least 8 characters.")
    page.get_by_label("Password").fill(PASSWORD)
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_have_text("Somebody has this name already. Choose another.")
    page.get_by_label("Name").fill("<b>vic</b>")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_contain_text("starting with a letter or digit")
    page.get_by_label("Name").fill("vic")
    page.get_by_label("show it").check()
    expect(page.get_by_label("Password")).to_have_attribute("type", "text")
    page.get_by_role("button", name="Join").click()
    expect(page).to_have_url(f"{site.url}/")
    one.expect_errors("400", "409")


def test_admins_change_roles_switch_off_and_let_people_choose_a_new_password(site: Site, visit: OpenVisit) -> None:
    site.person("ada", Role.ADMIN)
    site.person("mia")
    one = visit()
    page = one.sign_in("ada", "/people")
    page.get_by_label("Role of mia").select_option("reviewer")
    expect(page.get_by_label("Role of mia")).to_have_value("reviewer")
    page.get_by_role("button", name="Password link for mia").click()
    link = page.get_by_role("textbox", name="The link").input_value()
    expect(page.get_by_role("region", name="Open links")).to_contain_text("New password for mia")
    page.get_by_role("button", name="Withdraw the link: New password for mia").click()
    expect(page.get_by_role("region", name="Open links")).to_be_hidden()
    page.get_by_role("button", name="Password link for mia").click()
    expect(page.get_by_role("textbox", name="The link")).not_to_have_value(link)
    link = page.get_by_role("textbox", name="The link").input_value()
    other = visit().page
    other.goto(link)
    expect(other.get_by_role("heading", name="Choose a new password")).to_be_visible()
    expect(other.get_by_label("Name")).to_have_value("mia")
    other.get_by_label("Password").fill("a new long password")
    other.get_by_role("button", name="Set it and sign in").click()
    expect(other).to_have_url(f"{site.url}/")
    assert site.services.accounts.sign_in("mia", "a new long password", address="").role is Role.REVIEWER
    page.get_by_role("button", name="Switch off mia").click()
    expect(page.get_by_role("row", name="mia")).to_contain_text("switched off")
    assert not site.services.accounts.get_user("mia").is_active
    page.get_by_role("button", name="Switch on mia").click()
    expect(page.get_by_role("button", name="Switch off mia")).to_be_visible()
    page.get_by_role("button", name="Switch off ada").click()
    expect(page.locator("#accounts-error")).to_contain_text("Ada is the last active admin")
    expect(page.get_by_role("button", name="Switch off ada")).to_be_visible()
    one.expect_errors("409")


def test_a_page_without_a_server_says_so(site: Site, visit: OpenVisit) -> None:
    site.person("ada", Role.ADMIN)
    one = visit()
    page = one.sign_in("ada", "/people")
    expect(page.get_by_role("row", name="ada")).to_be_visible()
    one.context.set_offline(True)
    page.get_by_role("button", name="Make a link").click()
    expect(page.locator("#invite-error")).to_have_text("The server does not answer. Nothing was changed; try again.")
    one.expect_errors("net::ERR")


@pytest.mark.parametrize("role", [Role.REVIEWER, Role.LABELER, Role.VIEWER])
def test_others_are_not_led_here(site: Site, visit: OpenVisit, role: Role) -> None:
    site.person("mia", role)
    one = visit()
    page = one.sign_in("mia", "/")
    page.get_by_role("button", name="mia").click()
    expect(page.get_by_role("menuitem", name="Sign out")).to_be_visible()
    expect(page.get_by_role("menuitem", name="Accounts")).to_have_count(0)


def test_both_pages_are_accessible_and_fit(site: Site, visit: OpenVisit) -> None:
    site.person("ada", Role.ADMIN)
    site.person("mia.with.a.rather.long.name@example.org")
    site.services.accounts.change_user("mia.with.a.rather.long.name@example.org", is_active=False)
    one = visit()
    page = one.sign_in("ada", "/people")
    expect(page.get_by_role("button", name="Switch off ada")).to_be_visible()
    found = findings(page, "people")
    link = make_link(page, "labeler", "a note that is long enough to need a second line on a small screen")
    expect(page.get_by_role("region", name="Open links")).to_be_visible()
    found += findings(page, "a new link")
    page.goto(link)
    expect(page.get_by_label("Name")).to_be_visible()
    found += findings(page, "join")
    page.goto(f"{site.url}/join")
    found += findings(page, "no link")
    assert not found, "\n".join(found)

"""A person's settings are the same in every browser; what changes offline is sent later."""

from collections.abc import Callable

from playwright.sync_api import expect

from al_service.domain.states import Role
from tests.web.axe import findings
from tests.web.browser import Site, Visit, chromium, migrated_database, site, visit, wait_until

__all__ = ["chromium", "migrated_database", "site", "visit"]

OpenVisit = Callable[..., Visit]
ROOT_THEME = "() => document.documentElement.dataset.theme ?? 'system'"


def stored(site: Site, name: str = "mia") -> dict[str, object]:
    return site.services.own_settings.get(site.services.accounts.get_user(name).id)


def test_colours_chosen_in_one_browser_are_there_in_the_next(site: Site, visit: OpenVisit) -> None:
    site.person("mia")
    page = visit().sign_in("mia")
    page.get_by_role("button", name="mia").click()
    page.get_by_role("menuitem", name="Your settings").click()
    page.get_by_role("radio", name="dark").check()
    expect(page.locator("#kept")).to_have_text("Saved")
    assert stored(site) == {"theme": "dark"}
    other = visit()
    assert other.sign_in("mia", "/settings").evaluate(ROOT_THEME) == "dark"
    expect(other.page.get_by_role("radio", name="dark")).to_be_checked()
    other.page.get_by_role("button", name="Theme: dark").click()
    wait_until(lambda: stored(site) == {"theme": "system"})
    expect(other.page.get_by_role("radio", name="as the system says")).to_be_checked()
    page.reload()
    assert page.evaluate(ROOT_THEME) == "system"


def test_keys_chosen_while_labelling_are_there_in_the_next_browser_and_go_back_to_the_standard(
    site: Site, visit: OpenVisit
) -> None:
    site.person("mia")
    site.ask("birds", site.project("birds", ["sparrow", "finch"], 6))
    page = visit().sign_in("mia", "/projects/birds/label")
    expect(page.locator("#stage[data-state=image]")).to_be_visible()
    page.get_by_role("button", name="Keys and help").click()
    page.get_by_role("button", name="Change keys").click()
    page.locator("[data-line='classes:0']").click()
    page.keyboard.press("9")
    wait_until(lambda: stored(site) == {"keys": {"actions": {}, "classes": {"0": "9"}}})
    other = visit().sign_in("mia", "/projects/birds/label")
    expect(other.locator("#stage[data-state=image]")).to_be_visible()
    expect(other.locator("#classes").get_by_role("button", name="sparrow")).to_contain_text("9")
    other.goto(f"{site.url}/settings")
    expect(other.locator("#keys-words")).to_have_text("You have changed 1 key.")
    other.get_by_role("button", name="Change keys").click()
    expect(other.get_by_role("dialog", name="Your keys")).to_contain_text("1st class")
    other.keyboard.press("Escape")
    other.get_by_role("button", name="Standard keys", exact=True).click()
    expect(other.locator("#keys-words")).to_have_text("You have the standard keys.")
    wait_until(lambda: stored(site) == {"keys": {"actions": {}, "classes": {}}})


def test_what_is_changed_offline_counts_here_and_is_sent_later(site: Site, visit: OpenVisit) -> None:
    site.person("mia")
    one = visit()
    page = one.sign_in("mia", "/settings")
    page.get_by_role("radio", name="light").check()
    expect(page.locator("#kept")).to_have_text("Saved")
    one.context.set_offline(True)
    page.get_by_role("radio", name="dark").check()
    expect(page.locator("#kept")).to_have_text("Kept in this browser; it is sent when the server answers.")
    assert stored(site) == {"theme": "light"}
    one.context.set_offline(False)
    page.goto(site.url)
    assert page.evaluate(ROOT_THEME) == "dark"
    wait_until(lambda: page.evaluate("true") and stored(site) == {"theme": "dark"})
    one.expect_errors("net::ERR", "Failed to")


def test_one_persons_settings_are_not_anothers(site: Site, visit: OpenVisit) -> None:
    site.person("mia")
    site.person("tom")
    site.services.own_settings.change(site.services.accounts.get_user("mia").id, {"theme": "dark"})
    site.services.own_settings.change(site.services.accounts.get_user("tom").id, {"theme": "light"})
    one = visit()
    assert one.sign_in("mia").evaluate(ROOT_THEME) == "dark"
    assert one.sign_in("tom").evaluate(ROOT_THEME) == "light"


def test_the_page_is_accessible_and_fits(site: Site, visit: OpenVisit) -> None:
    site.person("vic", Role.VIEWER)
    page = visit().sign_in("vic", "/settings")
    found = findings(page, "settings")
    page.get_by_role("button", name="Change keys").click()
    expect(page.get_by_role("dialog", name="Your keys")).to_be_visible()
    found += findings(page, "keys")
    assert not found, "\n".join(found)

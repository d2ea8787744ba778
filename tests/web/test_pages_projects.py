"""The list of projects."""

from collections.abc import Callable

from playwright.sync_api import expect

from al_service.domain.states import Role
from tests.web.browser import Site, Visit, chromium, migrated_database, site, visit

__all__ = ["chromium", "migrated_database", "site", "visit"]

OpenVisit = Callable[..., Visit]


def test_each_project_says_where_it_stands_and_leads_to_its_pages(site: Site, visit: OpenVisit) -> None:
    site.person("mia")
    site.project("trees", ["oak", "elm"], 4)
    ids = site.project("birds", ["sparrow", "finch"], 8)
    site.ask("birds", ids[:4])
    page = visit().sign_in("mia")
    cards = page.locator("#projects .project:not(.ghost)")
    expect(cards).to_have_count(2)
    expect(cards.nth(0)).to_contain_text("Round 1 · waiting for answers")
    expect(cards.nth(0)).to_contain_text("0 of 8 labelled")
    expect(cards.nth(1)).to_contain_text("No round yet")
    expect(page.get_by_role("link", name="New project")).to_have_count(0)
    cards.nth(0).get_by_role("link", name="Label").click()
    expect(page).to_have_url(f"{site.url}/projects/birds/label")
    expect(page.locator("#stage[data-state=image]")).to_be_visible()
    page.get_by_role("button", name="birds").click()
    page.get_by_role("menuitem", name="trees").click()
    expect(page).to_have_url(f"{site.url}/projects/trees/label")
    page.get_by_role("link", name="All projects").click()
    expect(page).to_have_url(f"{site.url}/")


def test_viewers_are_not_offered_to_label(site: Site, visit: OpenVisit) -> None:
    site.person("vic", Role.VIEWER)
    site.project("birds", ["sparrow"], 1)
    page = visit().sign_in("vic")
    expect(page.get_by_role("link", name="Board of birds")).to_be_visible()
    expect(page.get_by_role("link", name="Label birds")).to_have_count(0)


def test_without_projects_engineers_are_told_what_to_do_next(site: Site, visit: OpenVisit) -> None:
    site.person("eve", Role.ENGINEER)
    site.person("mia")
    page = visit().sign_in("eve")
    expect(page.get_by_text("al project create birds --classes")).to_be_visible()
    page.locator("#empty").get_by_role("link", name="New project").click()
    expect(page).to_have_url(f"{site.url}/new")
    page = visit().sign_in("mia")
    expect(page.get_by_text("An engineer makes the first one.")).to_be_visible()


def test_a_project_without_images_leads_engineers_to_where_they_are_added(site: Site, visit: OpenVisit) -> None:
    site.person("eve", Role.ENGINEER)
    site.services.projects.create("birds", ["sparrow"], {})
    page = visit().sign_in("eve")
    with page.expect_navigation():
        page.get_by_role("link", name="Add images to birds").click()
    expect(page).to_have_url(f"{site.url}/projects/birds/images")
    page.get_by_role("button", name="birds").click()
    page.get_by_role("menuitem", name="Board").click()
    page.get_by_role("link", name="Add images").click()
    expect(page).to_have_url(f"{site.url}/projects/birds/images")

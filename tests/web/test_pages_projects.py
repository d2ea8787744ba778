"""The list of projects, and making a new one."""

from collections.abc import Callable

from playwright.sync_api import expect

from al_service.domain.states import JobState, Role
from tests.web.browser import Site, Visit, chromium, migrated_database, site, visit, wait_until

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
    expect(page.get_by_role("button", name="New project")).to_have_count(0)
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
    page = visit().sign_in("mia")
    expect(page.get_by_text("An engineer makes the first one.")).to_be_visible()


def test_a_new_project_is_created_imported_and_followed(site: Site, visit: OpenVisit) -> None:
    site.person("eve", Role.ENGINEER)
    page = visit().sign_in("eve")
    page.get_by_role("button", name="New project").first.click()
    dialog = page.get_by_role("dialog", name="New project")
    page.keyboard.type("birds")
    dialog.get_by_label("Classes").fill("sparrow, finch\nrobin\n\nfinch")
    dialog.get_by_label("Images").fill("/data/birds")
    dialog.get_by_label("only to measure the model").check()
    dialog.get_by_role("button", name="Create and import").click()
    expect(dialog.get_by_role("status")).to_have_text("Waiting for a worker")
    assert site.services.projects.get("birds").class_names == ("sparrow", "finch", "robin")
    with site.store.read() as tx:
        job = tx.jobs.all()[0]
    assert job.payload == {"location": "/data/birds", "labels": "auto", "use_labels": "evaluation", "split": None}
    job = site.claim(job)
    site.services.jobs.beat(job.id, job.attempt, 30, 40, "")
    expect(dialog.get_by_role("status")).to_have_text("30 of 40 images read")
    with site.store.write() as tx:
        site.services.jobs.finish(tx, job, {"added": 38, "rejected": 2})
    expect(dialog.get_by_role("status")).to_contain_text("38 images imported, 2 rejected")
    dialog.get_by_role("link", name="Open the board").click()
    expect(page).to_have_url(f"{site.url}/projects/birds/board")


def test_what_is_wrong_with_a_new_project_is_said_and_can_be_mended(site: Site, visit: OpenVisit) -> None:
    site.person("eve", Role.ENGINEER)
    site.project("birds", ["sparrow"], 1)
    one = visit()
    page = one.sign_in("eve")
    page.get_by_role("button", name="New project").first.click()
    dialog = page.get_by_role("dialog", name="New project")
    page.keyboard.type("birds")
    dialog.get_by_label("Images").fill("/data/birds")
    dialog.get_by_role("button", name="Create and import").click()
    expect(dialog.get_by_role("alert")).to_contain_text("birds")
    dialog.get_by_label("Name").fill("more-birds")
    dialog.get_by_role("button", name="Create and import").click()
    expect(dialog.get_by_role("status")).to_have_text("Waiting for a worker")
    with site.store.read() as tx:
        job = site.claim(tx.jobs.all()[0])
    site.services.jobs.fail(job.id, job.attempt, "/data/birds: no such folder", retryable=False)
    expect(dialog.get_by_role("alert")).to_contain_text("The import failed: /data/birds: no such folder")
    dialog.get_by_label("Images").fill("/data/other")
    dialog.get_by_role("button", name="Create and import").click()
    wait_until(lambda: len(queued_imports(site)) == 1)
    assert queued_imports(site) == ["/data/other"]
    one.expect_errors("409")


def queued_imports(site: Site) -> list[str]:
    with site.store.read() as tx:
        return [str(job.payload["location"]) for job in tx.jobs.all(states=[JobState.QUEUED])]

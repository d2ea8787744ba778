"""Every page in every state at 320 to 2560 px, light and dark: axe-core finds nothing, and nothing is cut off."""

from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from al_service.domain.states import Role
from tests.web.axe import findings
from tests.web.browser import Site, Visit, chromium, migrated_database, site, visit

__all__ = ["chromium", "migrated_database", "site", "visit"]

OpenVisit = Callable[..., Visit]
LABEL = "/projects/birds/label"
GUIDELINES = "Look at the beak first.\n\nA finch has a short, thick one; a sparrow's is longer."


class Checks:
    """Findings over the states of one page; the test ends with all of them."""

    def __init__(self, page: Page) -> None:
        self._page = page
        self.found: list[str] = []

    def __call__(self, state: str) -> None:
        """Look at the page as it stands."""
        self.found += findings(self._page, state)

    def done(self) -> None:
        """Fail with everything that was found."""
        assert not self.found, "\n".join(self.found)


@pytest.fixture
def birds(site: Site) -> list[int]:
    """A round that asks for twelve birds; an engineer to look at them."""
    site.person("eve", Role.ENGINEER)
    ids = site.project("birds", ["sparrow", "finch", "robin"], 12, guidelines=GUIDELINES)
    site.ask("birds", ids)
    return ids


def test_signing_in(site: Site, visit: OpenVisit) -> None:
    one = visit()
    check = Checks(one.page)
    one.page.goto(f"{site.url}/login")
    check("sign in")
    one.page.get_by_label("Name").fill("mia")
    one.page.get_by_label("Password").fill("not the password")
    one.page.keyboard.press("Enter")
    expect(one.page.get_by_role("alert")).to_have_text("Name or password is not right.")
    check("a wrong password")
    one.expect_errors("401")
    check.done()


def test_projects(site: Site, visit: OpenVisit) -> None:
    site.person("eve", Role.ENGINEER)
    one = visit()
    page = one.sign_in("eve")
    check = Checks(page)
    expect(page.locator("#empty")).to_be_visible()
    check("no projects")
    with page.expect_navigation():
        page.get_by_role("link", name="New project").first.click()
    page.get_by_role("button", name="Create project").click()
    expect(page.locator("#problem")).not_to_be_empty()
    check("a new project that cannot be")
    site.ask("birds", site.project("birds", ["sparrow", "finch"], 8)[:4])
    site.project("trees", ["oak"], 2)
    page.goto(site.url)
    expect(page.locator("#projects .project:not(.ghost)")).to_have_count(2)
    check("two projects")
    page.get_by_role("button", name="eve").click()
    expect(page.get_by_role("menuitem", name="Sign out")).to_be_visible()
    check("the menu of a person")
    check.done()


def test_labelling(site: Site, birds: list[int], visit: OpenVisit) -> None:
    one = visit()
    page = one.sign_in("eve", LABEL)
    check = Checks(page)
    expect(page.get_by_role("complementary", name="Guidelines")).to_be_visible()
    expect(page.locator("#stage[data-state=image]")).to_be_visible()
    check("an image, the guidelines open")
    page.keyboard.press("Escape")
    check("an image")
    for key in ("1", "Space"):
        before = page.locator("#stage").get_attribute("data-sample")
        page.keyboard.press(key)
        expect(page.locator(f'#stage[data-state=image]:not([data-sample="{before}"])')).to_be_visible()
    expect(page.locator("#unsaved")).to_have_text("0")
    page.keyboard.press("ArrowLeft")
    check("looking back")
    page.keyboard.press("Escape")
    for name, button in (("finder", "Find"), ("help", "Keys and help")):
        page.get_by_role("button", name=button).click()
        expect(page.locator(f"#{name}")).to_be_visible()
        check(name)
        close(page, name)
    page.get_by_role("button", name="View", exact=True).click()
    expect(page.get_by_role("group", name="View")).to_be_visible()
    check("the view panel")
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Keys and help").click()
    page.get_by_role("button", name="Change keys").click()
    expect(page.get_by_role("dialog", name="Your keys")).to_be_visible()
    check("keys")
    page.locator("[data-line='classes:0']").click()
    page.keyboard.press("f")
    expect(page.get_by_role("button", name="Leave it")).to_be_visible()
    check("a key that is taken")
    close(page, "keys-dialog")
    page.locator("#pace").click()
    check("a goal")
    close(page, "goal-dialog")
    page.get_by_role("button", name="birds").click()
    expect(page.get_by_role("menuitem", name="Board")).to_be_visible()
    check("the menu of projects")
    check.done()


def test_labelling_when_something_is_in_the_way(site: Site, birds: list[int], visit: OpenVisit) -> None:
    one = visit()
    page = one.sign_in("eve", LABEL)
    check = Checks(page)
    expect(page.locator("#stage[data-state=image]")).to_be_visible()
    page.wait_for_load_state("networkidle")
    page.keyboard.press("Escape")
    body = {"error": {"code": "invalid_input", "message": "sparrow is not a class any more"}}
    page.route("**/annotation", lambda route: route.fulfill(status=400, json=body), times=1)
    page.keyboard.press("1")
    page.get_by_role("button", name="1 set aside").click()
    expect(page.get_by_role("dialog", name="Answers set aside")).to_be_visible()
    check("an answer set aside")
    page.get_by_role("button", name="Forget").click()
    one.context.set_offline(True)
    page.keyboard.press("2")
    expect(page.locator("#banner")).to_contain_text("Offline")
    check("offline, an image in hand")
    for _ in range(8):
        page.keyboard.press("f")
        page.evaluate("() => new Promise((done) => requestAnimationFrame(() => setTimeout(done)))")
    expect(page.locator("#stage[data-state=empty]")).to_be_visible()
    check("offline, nothing in hand")
    one.context.set_offline(False)
    expect(page.locator("#unsaved")).to_have_text("0")
    one.context.clear_cookies()
    expect(page.locator("#stage[data-state=image]")).to_be_visible()
    page.keyboard.press("2")
    expect(page.get_by_role("dialog", name="Please sign in again")).to_be_visible()
    check("signed out")
    one.expect_errors("400", "401", "net::ERR", "Failed to load")
    check.done()


def test_labelling_with_very_many_classes(site: Site, visit: OpenVisit) -> None:
    site.person("eve", Role.ENGINEER)
    site.ask("birds", site.project("birds", [f"species number {at}" for at in range(250)], 6, guidelines=""))
    page = visit().sign_in("eve", LABEL)
    check = Checks(page)
    expect(page.locator("#stage[data-state=image]")).to_be_visible()
    check("very many classes")
    page.get_by_role("button", name="Find", exact=True).click()
    page.keyboard.type("249")
    page.keyboard.press("Enter")
    expect(page.locator("#classes").get_by_role("button", name="species number 249")).to_be_visible()
    check("very many classes, one of them chosen")
    check.done()


def test_nothing_to_label(site: Site, visit: OpenVisit) -> None:
    site.person("eve", Role.ENGINEER)
    site.project("birds", ["sparrow", "finch"], 3)
    one = visit()
    page = one.sign_in("eve", LABEL)
    check = Checks(page)
    expect(page.locator("#stage[data-state=empty]")).to_be_visible()
    check("nothing to label")
    second = one.watch(one.context.new_page())
    second.goto(site.url + LABEL)
    expect(second.get_by_role("button", name="Work here")).to_be_visible()
    check.found += findings(second, "another tab")
    check.done()


def test_the_board(site: Site, visit: OpenVisit) -> None:
    site.person("eve", Role.ENGINEER)
    ids = site.project("birds", ["sparrow", "finch"], 12)
    one = visit()
    page = one.sign_in("eve", "/projects/birds/board")
    check = Checks(page)
    expect(page.locator("#headline")).not_to_have_text("…")
    check("a board without rounds")
    project, user = site.services.projects.get("birds"), site.services.accounts.get_user("eve")
    with site.store.write() as tx:
        rows = [(sample_id, "sparrow") for sample_id in ids[:4]]
        tx.annotations.add_labels(project.id, user.id, rows, "made", site.services.clock())
    site.measured_round("birds", measured())
    record, _ = site.services.rounds.start("birds")
    job = site.claim_stage(record)
    site.services.jobs.fail(job.id, job.attempt, "the disk is full", retryable=False)
    page.reload()
    expect(page.get_by_role("region", name="Failed jobs")).to_be_visible()
    expect(page.locator("#curve .plot .scatterlayer")).to_be_visible()
    check("a board with a measured round and one that failed")
    one.context.set_offline(True)
    page.evaluate("() => dispatchEvent(new Event('focus'))")
    check("a board offline")
    one.expect_errors("net::ERR", "Failed to load")
    check.done()


def close(page: Page, dialog: str) -> None:
    """Escape, and wait until the dialog is gone."""
    page.keyboard.press("Escape")
    expect(page.locator(f"#{dialog}")).to_be_hidden()


def measured() -> dict[str, Any]:
    """Metrics of a round, as training gives them."""
    scores = {"precision": 0.5, "recall": 0.25, "f1": 0.333, "support": 40}
    return {
        "accuracy": 0.75,
        "accuracy_ci95": [0.65, 0.85],
        "macro_f1": 0.7,
        "evaluation_samples": 80,
        "per_class": {"sparrow": scores, "finch": scores},
        "confusion": {"classes": ["sparrow", "finch"], "counts": [[30, 10], [5, 35]]},
    }


def test_errors(site: Site, visit: OpenVisit) -> None:
    site.person("vic", Role.VIEWER)
    site.project("birds", ["sparrow"], 1)
    one = visit()
    page = one.sign_in("vic", "/nothing-here")
    check = Checks(page)
    check("not found")
    page.goto(site.url + LABEL)
    check("not for this role")
    one.expect_errors("404", "403")
    check.done()

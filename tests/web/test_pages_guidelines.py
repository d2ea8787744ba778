"""Guidelines: written on their page, shown on the label page; examples made in review, taken back in both places."""

from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from al_service.domain.states import AnnotationKind, Role
from al_service.loop.annotations import Answer
from tests.web.browser import Site, Visit, chromium, migrated_database, site, visit
from tests.web.test_pages_axe import Checks

__all__ = ["chromium", "migrated_database", "site", "visit"]

OpenVisit = Callable[..., Visit]
REVIEW = "/projects/birds/review?kind=labelled"


@pytest.fixture
def birds(site: Site) -> list[int]:
    """Twelve birds: mia labelled the first three, is asked about five more, and four nobody was asked about."""
    for name, role in (("mia", Role.LABELER), ("rita", Role.REVIEWER), ("eve", Role.ENGINEER)):
        site.person(name, role)
    ids = site.project("birds", ["sparrow", "finch", "robin"], 12, guidelines="")
    site.ask("birds", ids[:8])
    mia = site.services.accounts.get_user("mia")
    held = site.services.assignments.lease_next("birds", mia, 3).assignments
    for assignment, name in zip(held, ["sparrow", "finch", "robin"], strict=True):
        site.services.annotations.annotate(assignment.id, mia, Answer(AnnotationKind.LABEL, name, f"k-{assignment.id}"))
    return ids


def shown(site: Site) -> list[tuple[int, str, str]]:
    """What the guidelines show: sample, class, line."""
    return [(one.sample.id, one.class_name, one.note) for one in site.services.examples.all("birds")]


def move_to(page: Page, sample_id: int) -> None:
    page.locator(f"#tile-{sample_id}").focus()
    expect(page.locator(f"#tile-{sample_id}.current")).to_be_visible()


def test_review_shows_an_image_as_an_example_and_takes_it_back(site: Site, birds: list[int], visit: OpenVisit) -> None:
    one = visit()
    page = one.sign_in("rita", REVIEW)
    tile = page.locator(f"#tile-{birds[1]}")
    move_to(page, birds[1])
    page.keyboard.press("i")
    dialog = page.get_by_role("dialog", name="Example of finch")
    expect(dialog.get_by_label("What to look at")).to_be_focused()
    expect(dialog.get_by_role("button", name="Show it no more")).to_be_hidden()
    page.keyboard.type("thick beak")
    page.keyboard.press("Enter")
    expect(dialog).to_be_hidden()
    expect(tile).to_contain_text("example")
    expect(page.locator("#side")).to_contain_text("of finch: thick beak")
    assert shown(site) == [(birds[1], "finch", "thick beak")]
    page.reload()
    expect(tile).to_contain_text("example")
    move_to(page, birds[1])
    page.get_by_role("button", name="Example").click()
    expect(dialog.get_by_label("What to look at")).to_have_value("thick beak")
    dialog.get_by_role("button", name="Show it no more").click()
    expect(dialog).to_be_hidden()
    expect(tile).not_to_contain_text("example")
    assert shown(site) == []


def test_what_cannot_be_an_example_is_said_where_it_was_asked_for(
    site: Site, birds: list[int], visit: OpenVisit
) -> None:
    one = visit()
    page = one.sign_in("rita", REVIEW)
    move_to(page, birds[0])
    page.keyboard.press("g")
    expect(page.locator("#unsaved")).to_have_text("0")
    expect(page.locator(f"#tile-{birds[0]}")).to_contain_text("gold")
    move_to(page, birds[0])
    page.keyboard.press("i")
    page.keyboard.press("Enter")
    dialog = page.get_by_role("dialog", name="Example of sparrow")
    expect(dialog.get_by_role("alert")).to_contain_text("is gold; as an example it would not be hidden")
    page.keyboard.press("Escape")
    move_to(page, birds[2])
    one.context.set_offline(True)
    page.keyboard.press("i")
    page.keyboard.type("red breast")
    page.keyboard.press("Enter")
    offline = page.get_by_role("dialog", name="Example of robin")
    expect(offline.get_by_role("alert")).to_have_text("You are offline.")
    one.context.set_offline(False)
    page.keyboard.press("Enter")
    expect(offline).to_be_hidden()
    assert shown(site) == [(birds[2], "robin", "red breast")]
    one.expect_errors("409", "net::ERR", "Failed to load")


def test_one_by_one_an_example_does_not_tell_what_people_said(site: Site, birds: list[int], visit: OpenVisit) -> None:
    page = visit().sign_in("rita", REVIEW)
    move_to(page, birds[2])
    page.keyboard.press("Enter")
    expect(page.locator("#stage")).to_be_visible()
    page.keyboard.press("i")
    expect(page.locator("#toast")).to_contain_text("Look at the votes first")
    expect(page.get_by_role("dialog")).to_have_count(0)
    page.keyboard.press("v")
    page.keyboard.press("i")
    expect(page.get_by_role("dialog", name="Example of robin")).to_be_visible()


def test_the_dialog_of_an_example_is_accessible(site: Site, birds: list[int], visit: OpenVisit) -> None:
    page = visit().sign_in("rita", REVIEW)
    check = Checks(page)
    move_to(page, birds[2])
    page.keyboard.press("i")
    expect(page.get_by_role("dialog", name="Example of robin")).to_be_visible()
    check("making an example")
    check.done()

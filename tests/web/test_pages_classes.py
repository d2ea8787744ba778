"""The page of classes: what is there, and changes with their preview before the button."""

from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from al_service.domain.states import AnnotationKind, Role
from al_service.loop.annotations import Answer
from al_service.loop.class_change_kinds import AddClasses, SplitClass
from tests.web.axe import findings
from tests.web.browser import Site, Visit, chromium, migrated_database, site, visit

__all__ = ["chromium", "migrated_database", "site", "visit"]

OpenVisit = Callable[..., Visit]
PAGE = "/projects/birds/classes"


@pytest.fixture
def birds(site: Site) -> Site:
    """A project in which mia labelled two sparrows and a finch; eve is its engineer, vic may look."""
    for name, role in (("mia", Role.LABELER), ("eve", Role.ENGINEER), ("vic", Role.VIEWER)):
        site.person(name, role)
    site.ask("birds", site.project("birds", ["sparrow", "finch", "robin"], 8))
    label(site, ["sparrow", "finch", "sparrow"])
    return site


def label(site: Site, names: list[str]) -> None:
    mia = site.services.accounts.get_user("mia")
    held = site.services.assignments.lease_next("birds", mia, len(names)).assignments
    for assignment, name in zip(held, names, strict=True):
        answer = Answer(AnnotationKind.LABEL, name, f"k-{assignment.id}")
        site.services.annotations.annotate(assignment.id, mia, answer)


def rows(page: Page) -> list[str]:
    return [" ".join(text.split()) for text in page.locator("#classes .class-row").all_inner_texts()]


def names(site: Site) -> tuple[str, ...]:
    return site.services.projects.get("birds").class_names


def test_a_viewer_sees_keys_and_counts_and_no_buttons(birds: Site, visit: OpenVisit) -> None:
    page = visit().sign_in("vic", PAGE)
    expect(page.locator("#classes .class-row")).to_have_count(3)
    expect(page.locator("#classes")).to_have_attribute("aria-busy", "false")
    assert rows(page) == ["1 sparrow 2 labels", "2 finch 1 label", "3 robin 0 labels"]
    expect(page.locator("main button")).to_have_count(0)


def test_classes_are_added(birds: Site, visit: OpenVisit) -> None:
    page = visit().sign_in("eve", PAGE)
    page.locator("#add").click()
    expect(page.locator("#change-do")).to_be_disabled()
    page.locator("#change-fields textarea").fill("owl\n\nwren")
    expect(page.locator("#change-words")).to_contain_text("Adds “owl” and “wren”")
    assert names(birds) == ("sparrow", "finch", "robin")
    page.locator("#change-do").click()
    expect(page.locator("#classes .class-row")).to_have_count(5)
    assert rows(page)[3:] == ["4 owl 0 labels Rename Merge Split", "5 wren 0 labels Rename Merge Split"]
    expect(page.locator("#done")).to_contain_text("Added")


def test_commas_part_names_and_what_is_there_already_is_said(birds: Site, visit: OpenVisit) -> None:
    page = visit().sign_in("eve", PAGE)
    page.locator("#add").click()
    words, add, field = (
        page.locator("#change-words"),
        page.locator("#change-do"),
        page.locator("#change-fields textarea"),
    )
    expect(words).to_have_text("Type the name of a class.")
    field.fill("owl, robin,\nwren, owl")
    expect(words.locator("li").first).to_have_text("2 new classes: owl, wren · there already: robin")
    expect(words).to_contain_text("Adds “owl” and “wren”")
    expect(add).to_be_enabled()
    field.fill("robin, finch")
    expect(words).to_have_text("robin, finch are classes already. Type a name that is not there yet.")
    expect(add).to_be_disabled()
    field.fill("owl, robin")
    expect(words.locator("li").first).to_have_text("1 new class: owl · there already: robin")
    add.click()
    expect(page.locator("#classes .class-row")).to_have_count(4)
    assert names(birds) == ("sparrow", "finch", "robin", "owl")


def test_a_split_says_what_it_still_lacks(birds: Site, visit: OpenVisit) -> None:
    page = visit().sign_in("eve", PAGE)
    page.get_by_role("button", name="Split sparrow").click()
    words = page.locator("#change-words")
    expect(words).to_have_text("Type the names of two or more classes.")
    page.locator("#change-fields textarea").fill("house sparrow")
    expect(words).to_have_text(
        "“house sparrow” alone would be a new name. Type a second class, or close this and rename “sparrow”."
    )
    expect(page.locator("#change-do")).to_be_disabled()
    page.locator("#change-fields textarea").fill("house sparrow, tree sparrow")
    expect(words).to_contain_text("2 new classes: house sparrow, tree sparrow")
    page.locator("#change-do").click()
    expect(page.locator("#retired")).to_contain_text("split into house sparrow, tree sparrow")
    expect(page.locator("#done")).to_contain_text("the list of merged and split classes shows how far that is")


def test_a_class_is_renamed_in_place(birds: Site, visit: OpenVisit) -> None:
    one = visit()
    page = one.sign_in("eve", PAGE)
    page.get_by_role("button", name="Rename finch").click()
    page.locator(".rename-form input").fill("sparrow")
    page.keyboard.press("Enter")
    # What cannot be done is said in words, and there is nothing to press.
    expect(page.locator("#change-error")).to_contain_text("'sparrow' is a class already")
    expect(page.locator("#change-do")).to_be_disabled()
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Rename finch").click()
    page.locator(".rename-form input").fill("goldfinch")
    page.keyboard.press("Enter")
    expect(page.locator("#change-words")).to_contain_text("“finch” is called “goldfinch” from then on")
    page.locator("#change-do").click()
    expect(page.locator("#classes")).to_contain_text("also means finch")
    assert rows(page)[1] == "2 goldfinch also means finch 1 label Rename Merge Split"
    assert names(birds) == ("sparrow", "goldfinch", "robin")
    one.expect_errors("409")


def test_a_class_is_merged(birds: Site, visit: OpenVisit) -> None:
    page = visit().sign_in("eve", PAGE)
    page.get_by_role("button", name="Merge finch").click()
    page.locator("#change-fields select").select_option("sparrow")
    expect(page.locator("#change-words")).to_contain_text(
        "1 labelled image of “finch” is “sparrow” from then on, beside 2 labelled images of before"
    )
    page.locator("#change-do").click()
    expect(page.locator("#retired .class-row")).to_have_text("finchmerged into sparrow")
    assert rows(page)[0] == "1 sparrow also means finch 3 labels Rename Merge Split"


def test_a_class_is_split_and_the_page_follows_how_far_its_images_are(birds: Site, visit: OpenVisit) -> None:
    one = visit()
    page = one.sign_in("eve", PAGE)
    page.get_by_role("button", name="Split sparrow").click()
    page.locator("#change-fields textarea").fill("house sparrow\ntree sparrow")
    expect(page.locator("#change-words")).to_contain_text("2 images of “sparrow” lose their label and are asked again")
    page.locator("#change-do").click()
    expect(page.locator("#retired")).to_contain_text("split into house sparrow, tree sparrow")
    expect(page.locator("#retired")).to_contain_text("0 of 2 asked again")
    assert [row.split(" 0 ")[0] for row in rows(page)[-2:]] == ["4 house sparrow", "5 tree sparrow"]
    label(birds, ["tree sparrow"])
    expect(page.locator("#retired")).to_contain_text("1 of 2 asked again")
    expect(page.locator("#retired [role=progressbar]")).to_have_attribute("aria-valuenow", "1")


def test_classes_that_changed_since_the_preview_are_previewed_again(birds: Site, visit: OpenVisit) -> None:
    one = visit()
    page = one.sign_in("eve", PAGE)
    page.get_by_role("button", name="Split sparrow").click()
    page.locator("#change-fields textarea").fill("house sparrow\ntree sparrow")
    expect(page.locator("#change-do")).to_be_enabled()
    birds.services.classes.apply("birds", AddClasses(("owl",)), None)
    page.locator("#change-do").click()
    expect(page.locator("#change-error")).to_contain_text("have changed since you looked")
    assert names(birds) == ("sparrow", "finch", "robin", "owl")
    page.locator("#change-do").click()
    expect(page.locator("#change-dialog")).to_be_hidden()
    assert names(birds) == ("finch", "robin", "owl", "house sparrow", "tree sparrow")
    one.expect_errors("409")


def test_it_fits_and_is_accessible_in_every_state(birds: Site, visit: OpenVisit) -> None:
    birds.services.classes.apply("birds", SplitClass("finch", ("goldfinch", "greenfinch")), None)
    one = visit()
    page = one.sign_in("eve", PAGE)
    expect(page.locator("#classes .class-row")).to_have_count(4)
    found = findings(page, "classes")
    page.get_by_role("button", name="Rename robin").click()
    found += findings(page, "renaming")
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Split sparrow").click()
    page.locator("#change-fields textarea").fill("house sparrow\ntree sparrow")
    expect(page.locator("#change-do")).to_be_enabled()
    found += findings(page, "a preview")
    page.locator("#change-fields textarea").fill("robin\ntree sparrow")
    expect(page.locator("#change-error")).to_contain_text("'robin' is a class already")
    found += findings(page, "an error")
    assert not found, "\n".join(found)
    one.expect_errors("409")

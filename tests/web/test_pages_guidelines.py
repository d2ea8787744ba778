"""Guidelines: written on their page, shown on the label page; examples made in review, taken back in both places."""

from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from al_service.domain.states import AnnotationKind, Role
from al_service.loop.annotations import Answer
from al_service.loop.examples import Wanted
from tests.web.browser import PASSWORD, Site, Visit, chromium, migrated_database, site, visit
from tests.web.test_pages_axe import Checks

__all__ = ["chromium", "migrated_database", "site", "visit"]

OpenVisit = Callable[..., Visit]
REVIEW = "/projects/birds/review?kind=labelled"
PAGE = "/projects/birds/guidelines"


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


def stored(site: Site) -> str:
    return site.services.projects.get("birds").config.guidelines


def look_of(page: Page) -> dict[str, str]:
    """How the drawer of the guidelines and its text look."""
    return page.evaluate(
        """() => {
            const found = (name) => document.querySelector(name);
            const [box, text, image] = [".guide", "#guide-text", ".examples img"].map(found);
            const of = (node, names) => names.map((name) => getComputedStyle(node)[name]).join(" ");
            return {
                words: text.textContent,
                box: of(box, ["width", "padding", "backgroundColor", "borderRadius", "boxSizing"]),
                text: of(text, ["width", "whiteSpace", "overflowWrap", "lineHeight", "fontSize", "color"]),
                image: of(image, ["width", "height", "objectFit", "imageRendering"]),
                classes: [...document.querySelectorAll(".examples h3")].map((name) => name.textContent).join(" "),
            };
        }"""
    )


def show_examples(site: Site, ids: list[int]) -> None:
    rita = site.services.accounts.get_user("rita")
    for sample_id, name, note in ((ids[8], "robin", "red breast"), (ids[9], "finch", ""), (ids[10], "finch", "short")):
        site.services.examples.set(Wanted(sample_id, name, note), rita)


def test_an_engineer_writes_them_and_labelers_see_what_the_preview_showed(
    site: Site, birds: list[int], visit: OpenVisit
) -> None:
    show_examples(site, birds)
    page = visit().sign_in("eve", PAGE)
    expect(page.locator(".examples h3")).to_have_text(["finch", "robin"])
    expect(page.locator("#guide-text")).to_have_text("Examples of the classes.")
    page.get_by_role("textbox", name="Text").fill("Look at the beak.\n\n  <b>Not</b> the tail.\n")
    expect(page.locator("#guide-text")).to_have_text("Look at the beak.\n\n  <b>Not</b> the tail.")
    expect(page.locator("#state")).to_contain_text("Not saved yet")
    preview = look_of(page)
    page.keyboard.press("Control+s")
    expect(page.locator("#state")).to_contain_text("Saved.")
    assert stored(site) == "Look at the beak.\n\n  <b>Not</b> the tail.\n"
    page.reload()
    expect(page.get_by_role("textbox", name="Text")).to_have_value("Look at the beak.\n\n  <b>Not</b> the tail.\n")
    expect(page.locator("#state")).to_be_empty()
    mia = visit().sign_in("mia", "/projects/birds/label")
    expect(mia.locator("#guide")).to_be_visible()
    expect(mia.locator(".examples img")).to_have_count(3)
    assert look_of(mia) == preview


def test_what_was_written_survives_a_click_elsewhere_until_it_is_saved_or_dropped(
    site: Site, birds: list[int], visit: OpenVisit
) -> None:
    page = visit().sign_in("eve", PAGE)
    page.get_by_role("textbox", name="Text").fill("half a sentence")
    page.get_by_role("link", name="All projects").click()
    expect(page).to_have_url(f"{site.url}/")
    page.goto(site.url + PAGE)
    expect(page.get_by_role("textbox", name="Text")).to_have_value("half a sentence")
    expect(page.locator("#state")).to_have_text("Not saved yet; kept in this browser.")
    page.get_by_role("button", name="Drop my changes").click()
    expect(page.get_by_role("textbox", name="Text")).to_have_value("")
    page.get_by_role("button", name="Bring my text back").click()
    expect(page.get_by_role("textbox", name="Text")).to_have_value("half a sentence")
    page.get_by_role("button", name="Save").click()
    expect(page.locator("#state")).to_contain_text("Saved.")
    page.reload()
    expect(page.locator("#state")).to_be_empty()
    assert stored(site) == "half a sentence"


def test_who_was_signed_out_finds_the_text_again_after_signing_in(
    site: Site, birds: list[int], visit: OpenVisit
) -> None:
    one = visit()
    page = one.sign_in("eve", PAGE)
    page.get_by_role("textbox", name="Text").fill("Look at the beak.")
    one.context.clear_cookies()
    page.keyboard.press("Control+s")
    page.get_by_label("Name").fill("eve")
    page.get_by_label("Password").fill(PASSWORD)
    page.keyboard.press("Enter")
    expect(page).to_have_url(site.url + PAGE)
    expect(page.get_by_role("textbox", name="Text")).to_have_value("Look at the beak.")
    page.keyboard.press("Control+s")
    expect(page.locator("#state")).to_contain_text("Saved.")
    assert stored(site) == "Look at the beak."
    one.expect_errors("401")


def test_a_browser_that_keeps_nothing_asks_before_the_page_goes(site: Site, birds: list[int], visit: OpenVisit) -> None:
    one = visit()
    one.page.add_init_script(
        "Storage.prototype.setItem = () => { throw new DOMException('full', 'QuotaExceededError'); };"
    )
    page = one.sign_in("eve", PAGE)
    asked: list[str] = []
    page.on("dialog", lambda dialog: (asked.append(dialog.type), dialog.accept()))
    page.get_by_role("textbox", name="Text").press("x")
    expect(page.locator("#state")).to_contain_text("This browser does not keep it")
    page.get_by_role("link", name="All projects").click()
    expect(page).to_have_url(f"{site.url}/")
    assert asked == ["beforeunload"]


def test_nothing_written_yet_says_what_good_guidelines_have(site: Site, birds: list[int], visit: OpenVisit) -> None:
    page = visit().sign_in("eve", PAGE)
    expect(page.locator("#guide-text")).to_have_text("The label page shows no guidelines yet.")
    expect(page.get_by_role("heading", name="Good guidelines are half a page and say")).to_be_visible()
    page.get_by_role("button", name="Start with the classes").click()
    page.keyboard.type("small beak")
    expect(page.get_by_role("textbox", name="Text")).to_have_value("sparrow: small beak\nfinch: \nrobin: ")
    expect(page.locator("#advice")).to_be_hidden()


def test_offline_and_too_long_are_said_and_the_text_is_kept(site: Site, birds: list[int], visit: OpenVisit) -> None:
    one = visit()
    page = one.sign_in("eve", PAGE)
    expect(page.locator("#no-examples")).to_be_visible()
    one.context.set_offline(True)
    page.get_by_role("textbox", name="Text").fill("Look at the beak.")
    page.keyboard.press("Control+s")
    expect(page.get_by_role("alert")).to_have_text(
        "You are offline. Your text is not saved; it is kept in this browser."
    )
    one.context.set_offline(False)
    page.keyboard.press("Control+s")
    expect(page.locator("#state")).to_contain_text("Saved.")
    expect(page.get_by_role("alert")).to_be_empty()
    page.evaluate("() => { const area = document.querySelector('#text'); area.value = 'x'.repeat(2 ** 20); }")
    page.get_by_role("textbox", name="Text").press("End")
    page.keyboard.type("x")
    page.keyboard.press("Control+s")
    expect(page.get_by_role("alert")).to_contain_text("That is longer than the server takes.")
    assert stored(site) == "Look at the beak."
    one.expect_errors("413", "net::ERR", "Failed to load")


def test_a_text_that_somebody_else_saved_meanwhile_is_not_overwritten_unseen(
    site: Site, birds: list[int], visit: OpenVisit
) -> None:
    one = visit()
    page = one.sign_in("eve", PAGE)
    page.get_by_role("textbox", name="Text").fill("mine")
    site.services.projects.change("birds", {"guidelines": "theirs"})
    page.keyboard.press("Control+s")
    meanwhile = page.get_by_role("group", name="Somebody else changed the text meanwhile")
    expect(meanwhile).to_contain_text("theirs")
    assert stored(site) == "theirs"
    # Also after a look at another page.
    page.reload()
    expect(meanwhile).to_contain_text("theirs")
    expect(page.get_by_role("textbox", name="Text")).to_have_value("mine")
    page.get_by_role("button", name="Take theirs").click()
    expect(page.get_by_role("textbox", name="Text")).to_have_value("theirs")
    expect(meanwhile).to_be_hidden()
    page.get_by_role("textbox", name="Text").fill("mine again")
    site.services.projects.change("birds", {"guidelines": "theirs again"})
    page.keyboard.press("Control+s")
    page.get_by_role("button", name="Save mine instead").click()
    expect(page.locator("#state")).to_contain_text("Saved.")
    assert stored(site) == "mine again"
    one.expect_errors("409")


def test_line_ends_of_another_system_are_no_change(site: Site, birds: list[int], visit: OpenVisit) -> None:
    site.services.projects.change("birds", {"guidelines": "one\r\ntwo"})
    page = visit().sign_in("eve", PAGE)
    expect(page.get_by_role("textbox", name="Text")).to_have_value("one\ntwo")
    expect(page.locator("#state")).to_be_empty()
    page.get_by_role("textbox", name="Text").press("End")
    page.keyboard.type(" and a half")
    page.keyboard.press("Control+s")
    expect(page.locator("#state")).to_contain_text("Saved.")


def test_a_reviewer_removes_an_example_and_brings_it_back_by_keyboard(
    site: Site, birds: list[int], visit: OpenVisit
) -> None:
    show_examples(site, birds)
    page = visit().sign_in("rita", PAGE)
    expect(page.locator("textarea")).to_have_count(0)
    remove = page.get_by_role("button", name="Remove the example of finch: short")
    remove.focus()
    page.keyboard.press("Enter")
    expect(page.locator(".examples img")).to_have_count(2)
    assert shown(site) == [(birds[9], "finch", ""), (birds[8], "robin", "red breast")]
    expect(page.get_by_role("button", name="Remove the example of robin: red breast")).to_be_focused()
    page.get_by_role("button", name="Show it again").press("Enter")
    expect(page.locator(".examples img")).to_have_count(3)
    assert (birds[10], "finch", "short") in shown(site)


def test_examples_chosen_in_review_appear_when_one_comes_back_to_the_page(
    site: Site, birds: list[int], visit: OpenVisit
) -> None:
    one = visit()
    page = one.sign_in("rita", PAGE)
    expect(page.locator("#no-examples")).to_be_visible()
    show_examples(site, birds)
    page.evaluate("() => document.dispatchEvent(new Event('visibilitychange'))")
    expect(page.locator(".examples img")).to_have_count(3)
    expect(page.locator("#no-examples")).to_be_hidden()


def test_who_labels_does_not_get_the_page_and_who_reviews_finds_it(
    site: Site, birds: list[int], visit: OpenVisit
) -> None:
    one = visit()
    page = one.sign_in("mia", PAGE)
    expect(page.get_by_text("Your role (labeler) is too low for it.")).to_be_visible()
    page.goto(f"{site.url}/projects/birds/classes")
    expect(page.get_by_role("link", name="Guidelines")).to_have_count(0)
    one.expect_errors("403")
    rita = visit().sign_in("rita", "/projects/birds/classes")
    rita.get_by_role("link", name="Guidelines").click()
    expect(rita).to_have_url(site.url + PAGE)


def test_it_fits_and_is_accessible_in_every_state(site: Site, birds: list[int], visit: OpenVisit) -> None:
    one = visit()
    page = one.sign_in("eve", PAGE)
    check = Checks(page)
    expect(page.locator("#no-examples")).to_be_visible()
    check("nothing written yet")
    show_examples(site, birds)
    page.reload()
    page.get_by_role("textbox", name="Text").fill("Look at the beak first.\n\n" + "averylongword" * 20)
    expect(page.locator(".examples img")).to_have_count(3)
    check("a text that is not saved, and examples")
    site.services.projects.change("birds", {"guidelines": "theirs"})
    page.keyboard.press("Control+s")
    expect(page.locator("#theirs")).to_be_visible()
    check("somebody else changed it")
    page.get_by_role("button", name="Take theirs").click()
    page.get_by_role("button", name="Remove the example of robin: red breast").click()
    expect(page.get_by_role("button", name="Show it again")).to_be_visible()
    check("an example removed")
    one.context.set_offline(True)
    page.get_by_role("textbox", name="Text").fill("more")
    page.keyboard.press("Control+s")
    expect(page.get_by_role("alert")).to_contain_text("You are offline.")
    one.context.set_offline(False)
    check("offline")
    one.expect_errors("409", "net::ERR", "Failed to load")
    check.done()

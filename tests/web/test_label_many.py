"""Very many classes: buttons for those with keys and those chosen last, all others by typing; and goals, and pace."""

from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from al_service.domain.states import AnnotationKind
from tests.web.browser import Site, Visit, chromium, migrated_database, site, visit
from tests.web.labelling import LABEL, birds, come_back, expect_in_view, expect_unsaved, in_view, said

__all__ = ["chromium", "migrated_database", "site", "visit"]

OpenVisit = Callable[..., Visit]
SPECIES = [f"species {number:03}" for number in range(250)]
KEYED = 26


@pytest.fixture
def samples(site: Site) -> list[int]:
    return birds(site, 16, SPECIES)


def stopped_clock(one: Visit) -> Visit:
    """Time in the browser passes only when the test says so."""
    one.page.clock.install(time=0)
    one.page.clock.pause_at(1000)
    return one


def find(page: Page, words: str) -> None:
    page.keyboard.press("/")
    expect(page.locator("#finder")).to_be_visible()
    page.keyboard.type(words)
    page.keyboard.press("Enter")
    expect(page.locator("#finder")).to_be_hidden()


def names(page: Page) -> list[str]:
    """Names on the class buttons, in order."""
    return page.locator("#classes .class-button .name").all_text_contents()


def test_buttons_are_for_classes_with_keys_and_those_chosen_last(
    site: Site, samples: list[int], visit: OpenVisit
) -> None:
    page = visit().sign_in("mia", LABEL)
    assert in_view(page) == samples[0]
    assert names(page) == SPECIES[:KEYED]
    places = page.locator("#stage").bounding_box()
    for position, number in enumerate((249, 100, 249, 30, 31, 32)):
        find(page, f"species {number:03}")
        expect_in_view(page, samples[position + 1])
    assert set(names(page)[:-KEYED]) == {"species 249", "species 030", "species 031", "species 032"}
    assert page.locator("#stage").bounding_box() == places, "nothing moves when a class gets its place"
    page.locator("#classes").get_by_role("button", name="species 249").click()
    expect_in_view(page, samples[7])
    expect_unsaved(page, 0)
    assert said(site, samples[0]) == said(site, samples[6]) == [(AnnotationKind.LABEL, "species 249")]
    come_back(site, page)
    assert in_view(page) == samples[7]
    assert set(names(page)[:-KEYED]) == {"species 249", "species 030", "species 031", "species 032"}
    page.keyboard.press("/")
    expect(page.get_by_role("option").first).to_have_text("species 249")


def test_every_class_can_be_found_by_typing(site: Site, samples: list[int], visit: OpenVisit) -> None:
    page = visit().sign_in("mia", LABEL)
    assert in_view(page) == samples[0]
    find(page, "187")
    expect_in_view(page, samples[1])
    page.keyboard.press("q")
    expect_in_view(page, samples[2])
    expect_unsaved(page, 0)
    assert [site.label_of(sample_id) for sample_id in samples[:2]] == ["species 187", "species 010"]


def test_the_goal_and_the_pace_of_a_session(site: Site, visit: OpenVisit) -> None:
    samples = birds(site, 40)
    page = stopped_clock(visit()).sign_in("mia", LABEL)
    expect_in_view(page, samples[0])
    pace = page.locator("#pace")
    expect(pace).to_have_text("0 this session")
    pace.click()
    page.locator("#goal-form input").fill("10")
    page.get_by_role("button", name="Set", exact=True).click()
    expect(pace).to_have_text("0 of 10 this session")
    for position in range(6):
        expect_in_view(page, samples[position])
        page.clock.run_for(3000)
        page.keyboard.press("1")
    expect_unsaved(page, 0)
    expect(page.locator("#rate")).to_have_text("20/min")
    expect(page.locator("#pace-text")).to_have_text("6 of 10 this session")
    expect(page.locator("#pace-left")).to_have_text("round done in 2 min")
    part = page.evaluate("document.querySelector('#goal-meter').style.getPropertyValue('--part')")
    assert float(part) == pytest.approx(0.6)
    page.clock.run_for(3000)
    page.keyboard.press("u")
    expect_in_view(page, samples[5])
    page.clock.run_for(3000)
    page.keyboard.press("2")
    expect(pace).to_contain_text("6 of 10 this session")
    expect_unsaved(page, 0)
    page.reload()
    expect(pace).to_have_text("6 of 10 this session")
    pace.click()
    page.locator("#goal-form input").fill("0")
    page.get_by_role("button", name="Set", exact=True).click()
    expect(pace).to_have_text("6 this session")


def test_a_session_goes_on_over_a_reload_and_ends_after_six_hours(site: Site, visit: OpenVisit) -> None:
    samples = birds(site, 40)
    page = stopped_clock(visit()).sign_in("mia", LABEL)
    pace, toast = page.locator("#pace-text"), page.locator("#toast")
    expect_in_view(page, samples[0])
    pace.click()
    page.locator("#goal-form input").fill("3")
    page.get_by_role("button", name="Set", exact=True).click()
    expect(pace).to_have_text("0 of 3 this session")
    label(page, samples[:2])
    expect_unsaved(page, 0)
    # What is asked for while the page is left would be held on.
    page.wait_for_load_state("networkidle")
    page.reload()
    expect_in_view(page, samples[2])
    expect(pace).to_have_text("2 of 3 this session")
    label(page, samples[2:3])
    expect(toast).to_have_text("3 answers: your goal for this session is reached.")
    page.keyboard.press("u")
    expect(toast).to_have_text("Taken back: sparrow")
    expect(pace).to_have_text("2 of 3 this session")
    label(page, samples[2:4])
    expect(pace).to_have_text("4 of 3 this session")
    expect(toast).to_have_text("Taken back: sparrow")  # it is said once
    expect_unsaved(page, 0)
    page.clock.run_for(6 * 60 * 60 * 1000 + 1000)
    page.reload()
    expect(pace).to_have_text("0 of 3 this session")


def label(page: Page, samples: list[int]) -> None:
    """Label these, which come in this order."""
    for sample_id in samples:
        expect_in_view(page, sample_id)
        page.clock.run_for(1000)
        page.keyboard.press("1")


@pytest.mark.parametrize("width", [700, 900, 1280, 2560])
def test_the_pace_is_there_as_a_whole_and_moves_nothing_when_it_grows(site: Site, visit: OpenVisit, width: int) -> None:
    samples = birds(site, 40)
    page = stopped_clock(visit(viewport={"width": width, "height": 800})).sign_in("mia", LABEL)
    expect_in_view(page, samples[0])
    page.locator("#pace").click()
    page.locator("#goal-form input").fill("2000")
    page.get_by_role("button", name="Set", exact=True).click()
    before = page.locator("#stage").bounding_box()
    label(page, samples[:6])
    expect(page.locator("#pace-left")).to_contain_text("round done in")
    assert page.locator("#stage").bounding_box() == before
    cut = "nodes => nodes.filter((node) => node.scrollWidth > node.clientWidth).map((node) => node.textContent)"
    assert page.locator("#pace span").evaluate_all(cut) == []
    rows = page.locator("#actions .action").evaluate_all("nodes => new Set(nodes.map((node) => node.offsetTop)).size")
    assert rows == (1 if width >= 1280 else 2)


def test_time_away_from_the_page_is_not_time_at_an_image(site: Site, visit: OpenVisit) -> None:
    samples = birds(site)
    page = stopped_clock(visit()).sign_in("mia", LABEL)
    expect_in_view(page, samples[0])
    hide = """(hidden) => {
        Object.defineProperty(document, "hidden", { value: hidden, configurable: true });
        document.dispatchEvent(new Event("visibilitychange"));
    }"""
    page.clock.run_for(2000)
    page.evaluate(hide, True)
    page.clock.run_for(600_000)
    page.evaluate(hide, False)
    page.clock.run_for(1000)
    page.keyboard.press("1")
    expect_in_view(page, samples[1])
    expect_unsaved(page, 0)
    (row,) = site.answers(samples[0])
    assert row.lead_time_s == pytest.approx(3.0, abs=0.1)


def test_guidelines_that_change_open_again_and_the_drawer_leaves_the_image_alone(site: Site, visit: OpenVisit) -> None:
    site.person("mia")
    ids = site.project("birds", ["sparrow", "finch"], 6, guidelines="First words.")
    site.ask("birds", ids)
    page = visit().sign_in("mia", LABEL)
    guide = page.get_by_role("complementary", name="Guidelines")
    button = page.locator("#guide-button")
    expect(guide).to_contain_text("First words.")
    expect(button).to_have_attribute("aria-expanded", "true")
    assert in_view(page) == ids[0]
    page.keyboard.press("1")
    expect_in_view(page, ids[1])
    expect(guide).to_be_visible()
    page.get_by_role("button", name="Close guidelines").click()
    expect(guide).to_be_hidden()
    expect(button).to_have_attribute("aria-expanded", "false")
    expect_unsaved(page, 0)
    site.services.projects.change("birds", {"guidelines": "Second words."})
    page.reload()
    expect(guide).to_contain_text("Second words.")
    site.services.projects.change("birds", {"guidelines": ""})
    come_back(site, page)
    assert in_view(page) == ids[1]
    page.keyboard.press("i")
    expect(page.locator("#toast")).to_have_text("This project has no guidelines yet.")
    expect(button).to_be_hidden()

"""What the model thinks: only when asked, for one image, never of those kept blind; and Enter labels it so."""

from collections.abc import Callable

import pytest
from playwright.sync_api import expect

from al_service.domain.states import AnnotationKind
from tests.web.axe import findings
from tests.web.browser import Site, Visit, chromium, migrated_database, site, visit
from tests.web.labelling import CLASSES, LABEL, NETWORK_WORDS, expect_in_view, expect_unsaved, in_view, said, taught

__all__ = ["chromium", "migrated_database", "site", "visit"]

OpenVisit = Callable[..., Visit]
LIKELY = [("finch", 0.72), ("robin", 0.2), ("sparrow", 0.08)]
CARD = ".suggestion"


def birds(site: Site, blind_share: float, likely: list[tuple[str, float]] = LIKELY) -> list[int]:
    site.person("mia")
    ids = site.project("birds", CLASSES, 6, guidelines="", blind_share=blind_share)
    site.ask("birds", ids, likely=likely)
    taught(site, "birds")
    return ids


def test_enter_shows_the_suggestion_and_enter_again_labels_so(site: Site, visit: OpenVisit) -> None:
    first, second, *_ = birds(site, 0.0)
    page = visit().sign_in("mia", LABEL)
    in_view(page)
    expect(page.locator(CARD)).to_have_count(0)
    page.keyboard.press("Enter")
    expect(page.locator(CARD)).to_have_text(
        "The model thinks finch 72 % · robin 20 %, sparrow 8 % · Enter labels it so"
    )
    expect_in_view(page, first)
    page.keyboard.press("Enter")
    expect_in_view(page, second)
    expect(page.locator(CARD)).to_be_hidden()
    expect_unsaved(page, 0)
    assert said(site, first) == [(AnnotationKind.LABEL, "finch")]
    assert [row.saw_suggestion for row in site.answers(first)] == [True]


def test_the_next_image_is_blind_again_and_its_answer_says_so(site: Site, visit: OpenVisit) -> None:
    first, second, third, *_ = birds(site, 0.0)
    page = visit().sign_in("mia", LABEL)
    in_view(page)
    page.keyboard.press("Enter")
    expect(page.locator(CARD)).to_be_visible()
    page.keyboard.press("1")
    expect_in_view(page, second)
    expect(page.locator(CARD)).to_be_hidden()
    page.keyboard.press("2")
    expect_in_view(page, third)
    expect_unsaved(page, 0)
    assert [row.saw_suggestion for row in site.answers(first) + site.answers(second)] == [True, False]


def test_escape_closes_it_and_nothing_is_labelled(site: Site, visit: OpenVisit) -> None:
    first, *_ = birds(site, 0.0)
    page = visit().sign_in("mia", LABEL)
    in_view(page)
    page.locator("[data-action=accept]").click()
    expect(page.locator(CARD)).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator(CARD)).to_be_hidden()
    expect_in_view(page, first)
    assert said(site, first) == []


def test_an_image_that_is_kept_blind_says_why(site: Site, visit: OpenVisit) -> None:
    first, *_ = birds(site, 1.0)
    page = visit().sign_in("mia", LABEL)
    in_view(page)
    page.keyboard.press("Enter")
    expect(page.locator("#toast")).to_contain_text("This image is kept blind")
    page.keyboard.press("Enter")
    expect_in_view(page, first)
    assert said(site, first) == []


@pytest.mark.parametrize("blind_share", [0.0, 1.0])
def test_before_the_first_model_nothing_is_said_to_be_kept_blind(
    site: Site, visit: OpenVisit, blind_share: float
) -> None:
    site.person("mia")
    site.ask("birds", site.project("birds", CLASSES, 6, guidelines="", blind_share=blind_share))
    page = visit().sign_in("mia", LABEL)
    in_view(page)
    page.keyboard.press("Enter")
    expect(page.locator("#toast")).to_contain_text("There is no model yet")


def test_a_model_without_an_opinion_says_so(site: Site, visit: OpenVisit) -> None:
    birds(site, 0.0, likely=[])
    page = visit().sign_in("mia", LABEL)
    in_view(page)
    page.keyboard.press("Enter")
    expect(page.locator("#toast")).to_have_text("The model has no opinion on this image.")


def test_without_a_server_labelling_goes_on(site: Site, visit: OpenVisit) -> None:
    first, second, *_ = birds(site, 0.0)
    one = visit()
    page = one.sign_in("mia", LABEL)
    in_view(page)
    page.keyboard.press("Enter")
    expect(page.locator(CARD)).to_be_visible()
    page.keyboard.press("1")
    expect_in_view(page, second)
    expect_unsaved(page, 0)
    one.context.set_offline(True)
    page.keyboard.press("Enter")
    expect(page.locator("#toast")).to_contain_text("does not come right now")
    one.context.set_offline(False)
    one.expect_errors(*NETWORK_WORDS)
    assert said(site, first) == [(AnnotationKind.LABEL, "sparrow")]


def test_likely_classes_come_first_in_the_finder_once_asked_for(site: Site, visit: OpenVisit) -> None:
    birds(site, 0.0)
    page = visit().sign_in("mia", LABEL)
    in_view(page)
    names = page.locator("#finder-list li span")
    page.keyboard.press("/")
    expect(names).to_have_text(CLASSES)
    page.keyboard.press("Escape")
    expect(page.locator("#finder")).to_be_hidden()
    expect(page.locator("body")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator(CARD)).to_be_visible()
    page.keyboard.press("/")
    expect(names).to_have_text([name for name, _ in LIKELY])


def test_the_suggestion_is_accessible_at_every_width(site: Site, visit: OpenVisit) -> None:
    birds(site, 0.0)
    page = visit().sign_in("mia", LABEL)
    in_view(page)
    page.locator("[data-action=accept]").click()
    expect(page.locator(CARD)).to_be_visible()
    assert findings(page, "a suggestion is shown") == []

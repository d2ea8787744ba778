"""The heat map: only when asked, over the image wherever it is moved, for one image, never of those kept blind."""

from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from al_service.domain.heat_maps import HeatMap, heat_maps_to_bytes
from al_service.domain.states import AnnotationKind
from tests.web.axe import findings
from tests.web.browser import Site, Visit, chromium, migrated_database, site, visit
from tests.web.labelling import CLASSES, LABEL, NETWORK_WORDS, expect_in_view, expect_unsaved, in_view, said, taught

__all__ = ["chromium", "migrated_database", "site", "visit"]

OpenVisit = Callable[..., Visit]
LIKELY = [("finch", 0.72), ("robin", 0.2), ("sparrow", 0.08)]
LAYER, LEGEND, TOAST = "#stage .heat", ".heat-legend", "#toast"
FILE = "rounds/heat-maps.json"


def birds(site: Site, blind_share: float = 0.0, why_none: str | None = None) -> list[int]:
    """Six images; the model sees a finch in the upper left of each, and a robin in the lower right."""
    site.person("mia")
    ids = site.project("birds", CLASSES, 6, guidelines="", blind_share=blind_share)
    known = {info.name: info.id for info in site.services.projects.get("birds").classes}
    finch = bytes([255, 120, 0, 0, 120, 60, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0])
    maps = (HeatMap(known["finch"], 4, 4, finch), HeatMap(known["robin"], 4, 4, finch[::-1]))
    site.artifacts.put(FILE, heat_maps_to_bytes(dict.fromkeys(ids, maps)))
    facts = {"artifact": FILE, "images": 6, "of": 6, "seconds": 0.1} if why_none is None else {"why_none": why_none}
    site.ask("birds", ids, likely=LIKELY, heat_maps=facts)
    taught(site, "birds")
    return ids


def opened(visit: OpenVisit, **options: object) -> tuple[Visit, Page]:
    one = visit(**options)
    page = one.sign_in("mia", LABEL)
    in_view(page)
    return one, page


def shown(page: Page) -> None:
    page.keyboard.press("h")
    expect(page.locator(LAYER)).to_be_visible()


def boxes(page: Page) -> tuple[dict, dict]:
    return page.locator("#frame img").bounding_box(), page.locator(f"{LAYER} img").bounding_box()


def test_h_shows_the_map_over_the_image_and_hides_it_again(site: Site, visit: OpenVisit) -> None:
    first, *_ = birds(site)
    one, page = opened(visit)
    expect(page.locator(LAYER)).to_have_count(0)
    assert not any("explanations" in url for url in one.requests)
    shown(page)
    expect(page.locator(LEGEND)).to_contain_text("What makes the model think")
    expect(page.locator(f"{LEGEND} [aria-pressed=true]")).to_have_text("finch")
    expect(page.locator(f"{LEGEND} button")).to_have_text(["finch", "robin"])
    image, layer = boxes(page)
    assert image == layer
    page.keyboard.press("h")
    expect(page.locator(LAYER)).to_be_hidden()
    expect(page.locator(LEGEND)).to_be_hidden()
    expect_in_view(page, first)


def test_it_goes_where_the_image_goes(site: Site, visit: OpenVisit) -> None:
    birds(site)
    _, page = opened(visit)
    shown(page)
    before, _ = boxes(page)
    for key in ("z", "+", "Shift+ArrowLeft", "Shift+ArrowUp"):
        page.keyboard.press(key)
        image, layer = boxes(page)
        assert image == layer
    assert image["width"] > before["width"]
    page.set_viewport_size({"width": 700, "height": 700})
    expect(page.locator("#stage")).not_to_have_class("zoomed")
    page.wait_for_function(
        "() => JSON.stringify(document.querySelector('#frame img').getBoundingClientRect())"
        " === JSON.stringify(document.querySelector('#stage .heat img').getBoundingClientRect())"
    )


def test_another_class_is_shown_by_its_button(site: Site, visit: OpenVisit) -> None:
    birds(site)
    _, page = opened(visit)
    shown(page)
    page.locator(f"{LEGEND} button", has_text="robin").click()
    expect(page.locator(f"{LEGEND} [aria-pressed=true]")).to_have_text("robin")
    expect(page.locator(f"{LAYER} img")).to_have_attribute(
        "src", f"/api/v1/samples/{in_view(page)}/explanations/cam?class=robin"
    )


def test_the_next_image_is_blind_again_and_its_answer_says_so(site: Site, visit: OpenVisit) -> None:
    first, second, third, *_ = birds(site)
    _, page = opened(visit)
    shown(page)
    page.keyboard.press("2")
    expect_in_view(page, second)
    expect(page.locator(LAYER)).to_be_hidden()
    expect(page.locator(LEGEND)).to_be_hidden()
    page.keyboard.press("1")
    expect_in_view(page, third)
    expect_unsaved(page, 0)
    assert said(site, first) == [(AnnotationKind.LABEL, "finch")]
    assert [row.saw_suggestion for row in site.answers(first) + site.answers(second)] == [True, False]


def test_an_image_that_is_kept_blind_says_why(site: Site, visit: OpenVisit) -> None:
    first, second, *_ = birds(site, blind_share=1.0)
    one, page = opened(visit)
    page.keyboard.press("h")
    expect(page.locator(TOAST)).to_contain_text("This image is kept blind")
    expect(page.locator(LAYER)).to_be_hidden()
    assert not any("explanations" in url for url in one.requests)
    page.keyboard.press("1")
    expect_in_view(page, second)
    expect_unsaved(page, 0)
    assert [row.saw_suggestion for row in site.answers(first)] == [False]


def test_before_the_first_model_it_says_so(site: Site, visit: OpenVisit) -> None:
    site.person("mia")
    site.ask("birds", site.project("birds", CLASSES, 6, guidelines="", blind_share=1.0))
    _, page = opened(visit)
    page.keyboard.press("h")
    expect(page.locator(TOAST)).to_contain_text("There is no model yet")


def test_without_a_map_it_says_why(site: Site, visit: OpenVisit) -> None:
    birds(site, why_none="The model sees these images as one place, so it cannot say where it looks.")
    one, page = opened(visit)
    page.keyboard.press("h")
    expect(page.locator(TOAST)).to_have_text(
        "The model sees these images as one place, so it cannot say where it looks."
    )
    expect(page.locator(LAYER)).to_be_hidden()
    one.expect_errors("404")


def test_without_a_server_labelling_goes_on(site: Site, visit: OpenVisit) -> None:
    first, second, *_ = birds(site)
    one, page = opened(visit)
    shown(page)
    page.keyboard.press("1")
    expect_in_view(page, second)
    expect_unsaved(page, 0)
    one.context.set_offline(True)
    page.keyboard.press("h")
    expect(page.locator(TOAST)).to_contain_text("does not come right now")
    expect(page.locator(LAYER)).to_be_hidden()
    one.context.set_offline(False)
    one.expect_errors(*NETWORK_WORDS)
    assert said(site, first) == [(AnnotationKind.LABEL, "sparrow")]


def test_escape_closes_it_and_looking_back_hides_it(site: Site, visit: OpenVisit) -> None:
    first, second, *_ = birds(site)
    _, page = opened(visit)
    page.keyboard.press("1")
    expect_in_view(page, second)
    page.locator("[data-action=heat]").click()
    expect(page.locator(LAYER)).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator(LAYER)).to_be_hidden()
    shown(page)
    page.keyboard.press("ArrowLeft")
    expect(page.locator(f'#stage[data-state=past][data-sample="{first}"]')).to_be_visible()
    expect(page.locator(LAYER)).to_be_hidden()
    page.keyboard.press("h")
    expect(page.locator(LAYER)).to_be_hidden()
    page.keyboard.press("Escape")
    expect_in_view(page, second)
    shown(page)


@pytest.mark.parametrize("width", [320, 1280])
def test_the_heat_map_is_accessible_and_its_legend_stays_on_the_stage(site: Site, visit: OpenVisit, width: int) -> None:
    birds(site)
    _, page = opened(visit, viewport={"width": width, "height": 720})
    page.locator("[data-action=heat]").click()
    expect(page.locator(LAYER)).to_be_visible()
    assert findings(page, "a heat map is shown") == []
    legend, stage = page.locator(LEGEND).bounding_box(), page.locator("#stage").bounding_box()
    assert stage["x"] <= legend["x"] and legend["x"] + legend["width"] <= stage["x"] + stage["width"]
    assert stage["y"] <= legend["y"] and legend["y"] + legend["height"] <= stage["y"] + stage["height"]

"""Looking closely: zoom and move by wheel, hand, fingers and keys; brightness, contrast; all of it by buttons too."""

from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from tests.web.browser import Site, Visit, chromium, migrated_database, site, visit
from tests.web.labelling import LABEL, birds, expect_in_view, in_view

__all__ = ["chromium", "migrated_database", "site", "visit"]

OpenVisit = Callable[..., Visit]
Box = tuple[float, float, float, float]


@pytest.fixture
def samples(site: Site) -> list[int]:
    return birds(site)


def box_of(page: Page, selector: str = "#frame img") -> Box:
    """Left, top, width and height on the screen."""
    box = page.locator(selector).bounding_box()
    assert box is not None
    return box["x"], box["y"], box["width"], box["height"]


def middle(page: Page) -> tuple[float, float]:
    left, top, width, height = box_of(page, "#frame")
    return left + width / 2, top + height / 2


def part_under(page: Page, x: float, y: float) -> tuple[float, float]:
    """The part of the image under a place on the screen, from 0 to 1 in both directions."""
    left, top, width, height = box_of(page)
    return round((x - left) / width, 2), round((y - top) / height, 2)


def ready(page: Page) -> tuple[float, float]:
    """The middle of the box, once an image is in it and hands are heard."""
    in_view(page)
    x, y = middle(page)
    page.mouse.move(x, y)
    page.wait_for_load_state("networkidle")
    return x, y


def levels(page: Page) -> str:
    return page.evaluate("document.querySelector('#frame').style.filter")


def test_the_wheel_zooms_where_the_pointer_is(samples: list[int], visit: OpenVisit) -> None:
    page = visit().sign_in("mia", LABEL)
    x, y = ready(page)
    whole = box_of(page)[2]
    for _ in range(3):
        page.keyboard.press("+")
    width = box_of(page)[2]
    assert round(width / whole, 1) == 3.0
    page.mouse.move(x + 100, y - 50)
    before = part_under(page, x + 100, y - 50)
    for _ in range(2):
        page.mouse.wheel(0, -240)
    page.wait_for_function(f"document.querySelector('#frame img').getBoundingClientRect().width > {width * 2}")
    assert part_under(page, x + 100, y - 50) == before
    page.mouse.wheel(0, 5000)
    expect(page.locator("#stage.zoomed")).to_have_count(0)
    assert box_of(page)[2] < whole


def test_an_enlarged_image_is_dragged_and_never_leaves_its_box(samples: list[int], visit: OpenVisit) -> None:
    page = visit().sign_in("mia", LABEL)
    x, y = ready(page)
    for _ in range(4):
        page.keyboard.press("+")
    left, top, *_ = box_of(page)
    page.mouse.down()
    page.mouse.move(x + 40, y + 30, steps=4)
    page.mouse.up()
    assert [round(value) for value in box_of(page)[:2]] == [round(left + 40), round(top + 30)]
    page.mouse.move(x - 200, y - 200)
    assert [round(value) for value in box_of(page)[:2]] == [round(left + 40), round(top + 30)], "no button is down"
    page.mouse.down()
    page.mouse.move(x + 3000, y + 3000, steps=3)
    page.mouse.up()
    frame = box_of(page, "#frame")
    assert [round(value) for value in box_of(page)[:2]] == [round(value) for value in frame[:2]]


def test_shift_and_arrows_move_the_enlarged_image(samples: list[int], visit: OpenVisit) -> None:
    page = visit().sign_in("mia", LABEL)
    ready(page)
    for _ in range(4):
        page.keyboard.press("+")
    left, top, *_ = box_of(page)
    page.keyboard.press("Shift+ArrowLeft")
    assert round(box_of(page)[0] - left) == 60
    page.keyboard.press("Shift+ArrowRight")
    page.keyboard.press("Shift+ArrowDown")
    assert [round(value) for value in box_of(page)[:2]] == [round(left), round(top - 60)]
    assert in_view(page) == samples[0], "arrows with Shift do not look back"


def test_z_zooms_in_where_the_pointer_is_and_the_next_image_is_whole(samples: list[int], visit: OpenVisit) -> None:
    page = visit().sign_in("mia", LABEL)
    x, y = ready(page)
    whole = box_of(page)[2]
    page.mouse.move(x + 60, y + 60)
    before = part_under(page, x + 60, y + 60)
    page.keyboard.press("z")
    assert round(box_of(page)[2] / whole, 1) == 2.5
    assert part_under(page, x + 60, y + 60) == before
    page.keyboard.press("1")
    expect_in_view(page, samples[1])
    assert box_of(page)[2] == whole


def test_two_fingers_enlarge_the_image_and_one_moves_it(samples: list[int], visit: OpenVisit) -> None:
    one = visit(viewport={"width": 390, "height": 800}, has_touch=True, is_mobile=True)
    page = one.sign_in("mia", LABEL)
    in_view(page)
    x, y = middle(page)
    page.touchscreen.tap(x, y)
    page.wait_for_load_state("networkidle")
    before = box_of(page)[2]
    devtools = one.context.new_cdp_session(page)

    def touch(kind: str, *places: tuple[float, float]) -> None:
        points = [{"x": px, "y": py, "id": number} for number, (px, py) in enumerate(places)]
        devtools.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    touch("touchStart", (x - 20, y), (x + 20, y))
    for apart in (30, 40, 50, 60):
        touch("touchMove", (x - apart, y), (x + apart, y))
    touch("touchEnd")
    assert round(box_of(page)[2] / before, 1) == 3.0
    left = box_of(page)[0]
    touch("touchStart", (x, y))
    touch("touchMove", (x + 25, y))
    touch("touchEnd")
    assert round(box_of(page)[0] - left) == 25
    assert page.evaluate("visualViewport.scale") == 1, "the page itself is not enlarged"


def test_brightness_and_contrast_by_keys_last_for_the_session(samples: list[int], visit: OpenVisit) -> None:
    one = visit()
    page = one.sign_in("mia", LABEL)
    ready(page)
    assert levels(page) == ""
    page.keyboard.press("b")
    page.keyboard.press("b")
    page.keyboard.press("Shift+C")
    expect(page.locator("#toast")).to_have_text("Contrast 90 %")
    assert levels(page) == "brightness(1.2) contrast(0.9)"
    page.keyboard.press("1")
    expect_in_view(page, samples[1])
    page.reload()
    in_view(page)
    assert levels(page) == "brightness(1.2) contrast(0.9)"
    other = one.watch(one.context.new_page())
    other.goto(f"{one.site.url}{LABEL}")
    assert levels(other) == "", "another tab starts plain"
    other.close()
    page.bring_to_front()
    page.keyboard.press("z")
    page.keyboard.press(",")
    assert levels(page) == ""
    expect(page.locator("#stage.zoomed")).to_have_count(0)


def test_the_panel_does_on_a_phone_what_keys_do(samples: list[int], visit: OpenVisit) -> None:
    page = visit(viewport={"width": 320, "height": 640}, has_touch=True, is_mobile=True).sign_in("mia", LABEL)
    in_view(page)
    before = box_of(page)[2]
    page.get_by_role("button", name="View", exact=True).tap()
    panel = page.get_by_role("group", name="View")
    panel.get_by_role("button", name="Larger").tap()
    panel.get_by_role("button", name="Larger").tap()
    expect(panel).to_contain_text("200 %")
    assert round(box_of(page)[2] / before, 1) == 2.0
    panel.get_by_role("slider", name="Contrast").fill("1.5")
    assert levels(page) == "brightness(1) contrast(1.5)"
    panel.get_by_role("button", name="Size, brightness").tap()
    assert levels(page) == ""
    expect(panel).to_contain_text("100 %")
    panel.get_by_role("button", name="Close the view panel").tap()
    expect(panel).to_be_hidden()


def test_keys_still_answer_while_the_panel_is_open_and_escape_closes_it(samples: list[int], visit: OpenVisit) -> None:
    page = visit().sign_in("mia", LABEL)
    ready(page)
    page.keyboard.press("v")
    panel = page.get_by_role("group", name="View")
    expect(panel).to_be_visible()
    page.keyboard.press("2")
    expect_in_view(page, samples[1])
    panel.get_by_role("slider", name="Brightness").focus()
    page.keyboard.press("ArrowRight")
    assert levels(page) == "brightness(1.05) contrast(1)"
    assert in_view(page) == samples[1], "the arrow turned the slider"
    page.keyboard.press("Escape")
    expect(panel).to_be_hidden()
    page.keyboard.press("Space")
    expect_in_view(page, samples[2])


def test_the_focus_goes_back_to_the_view_button_for_who_came_by_it(samples: list[int], visit: OpenVisit) -> None:
    page = visit().sign_in("mia", LABEL)
    ready(page)
    button = page.get_by_role("button", name="View", exact=True)
    button.focus()
    page.keyboard.press("Enter")
    panel = page.get_by_role("group", name="View")
    panel.get_by_role("slider", name="Brightness").focus()
    page.keyboard.press("Escape")
    expect(panel).to_be_hidden()
    expect(button).to_be_focused()


def test_a_part_that_does_not_load_says_so_and_labelling_goes_on(samples: list[int], visit: OpenVisit) -> None:
    one = visit()
    page = one.sign_in("mia", LABEL)
    in_view(page)
    page.route("**/view_panel.js", lambda route: route.abort())
    page.keyboard.press("v")
    expect(page.locator("#toast")).to_contain_text("does not load right now")
    page.unroute("**/view_panel.js")
    page.keyboard.press("1")
    expect_in_view(page, samples[1])
    one.expect_errors("net::ERR", "Failed to load")

"""Grid mode and similar images: many look-alikes by one key, by keyboard, mouse and finger; nothing gets lost."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from al_service.domain.records import Chosen
from al_service.domain.states import AnnotationKind, Stage
from al_service.loop.rounds import StageResult
from tests.web.axe import findings
from tests.web.browser import Site, Visit, chromium, migrated_database, site, visit, wait_until
from tests.web.labelling import CLASSES, LABEL, NETWORK_WORDS, expect_in_view, expect_unsaved, in_view, said

__all__ = ["chromium", "migrated_database", "site", "visit"]

OpenVisit = Callable[..., Visit]
#: Eight look-alikes, then six; in the selector's order one of each in turn.
GROUP_SIZES = (8, 6)


@pytest.fixture
def groups(site: Site) -> tuple[list[int], list[int]]:
    """The samples of the two groups, and mia, who may label them."""
    ids = flock(site, [at % 2 if at < 12 else 0 for at in range(14)])
    return [*ids[0:12:2], ids[12], ids[13]], ids[1:12:2]


def flock(site: Site, look_alike: list[int | None], near: dict[int, list[int]] | None = None) -> list[int]:
    """A round of birds in those groups; near: what is similar to which, by place."""
    site.person("mia")
    ids = site.project("birds", CLASSES, len(look_alike), guidelines="")
    record, _ = site.services.rounds.start("birds")
    record = site._finish(record, StageResult({}, Stage.SELECT))
    facts: dict[str, Any] = {}
    if near is not None:
        stored = {str(ids[own]): [[ids[at], 0.1] for at in found] for own, found in near.items()}
        site.artifacts.put("rounds/similar.json", json.dumps(stored).encode())
        facts["similar_artifact"] = "rounds/similar.json"
    chosen = [
        Chosen(one, rank, 1.0, {"code": "random"}, look_alike=group)
        for rank, (one, group) in enumerate(zip(ids, look_alike, strict=True))
    ]
    site._finish(record, StageResult(facts, Stage.ANNOTATE, chosen=chosen))
    return ids


def open_grid(page: Page, count: int) -> None:
    """The grid with that many images, all there, looked at for long enough."""
    in_view(page)
    page.keyboard.press("g")
    expect_group(page, count)


def expect_group(page: Page, count: int) -> None:
    expect(page.locator("#grid .tile")).to_have_count(count)
    expect(page.locator("#grid .tile[data-state=there]")).to_have_count(count)
    expect(page.locator("#grid[data-ready=true]")).to_be_visible()


def selected(page: Page) -> list[int]:
    return page.locator("#grid .tile[aria-selected=true]").evaluate_all(
        "tiles => tiles.map((one) => +one.dataset.sample)"
    )


def tile(page: Page, sample_id: int) -> tuple[float, float]:
    """The middle of an image in the grid."""
    box = page.locator(f"#tile-{sample_id}").bounding_box()
    assert box is not None
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


def labels(site: Site, ids: list[int]) -> list[str | None]:
    return [site.label_of(sample_id) for sample_id in ids]


def test_one_key_labels_a_whole_group_and_the_next_one_is_there(
    site: Site, groups: tuple[list[int], list[int]], visit: OpenVisit
) -> None:
    page = visit().sign_in("mia", LABEL)
    open_grid(page, 8)
    assert selected(page) == groups[0]
    expect(page.locator("#grid-title")).to_have_text("8 look-alikes · group 1 of 2")
    page.keyboard.press("2")
    expect_group(page, 6)
    assert selected(page) == groups[1]
    expect(page.locator("#grid-title")).to_have_text("6 look-alikes · group 2 of 2")
    expect_unsaved(page, 0)
    assert labels(site, groups[0]) == ["finch"] * 8
    assert labels(site, groups[1]) == [None] * 6


def test_buttons_show_the_keys_that_work_in_the_grid(
    site: Site, groups: tuple[list[int], list[int]], visit: OpenVisit
) -> None:
    page = visit().sign_in("mia", LABEL)
    skip, similar = (page.locator(f"#actions [data-action={action}]") for action in ("skip", "similar"))
    expect(skip.locator(".cap")).to_have_text("Space")
    open_grid(page, 8)
    expect(skip.locator(".cap")).to_have_text("S")
    expect(skip).to_have_attribute("aria-keyshortcuts", "s")
    expect(similar).to_be_disabled()
    page.keyboard.press("s")
    expect_group(page, 6)
    expect_unsaved(page, 0)
    assert labels(site, groups[0]) == [None] * 8
    page.keyboard.press("Escape")
    expect(skip.locator(".cap")).to_have_text("Space")
    expect(similar).to_be_enabled()


def test_what_is_taken_out_stays_unselected_and_is_labelled_next(
    site: Site, groups: tuple[list[int], list[int]], visit: OpenVisit
) -> None:
    page = visit().sign_in("mia", LABEL)
    open_grid(page, 8)
    odd = [groups[0][1], groups[0][4]]
    for sample_id in odd:
        page.mouse.click(*tile(page, sample_id))
    expect(page.locator("#grid-chosen")).to_have_text("6 selected")
    page.keyboard.press("1")
    expect_group(page, 2)
    assert selected(page) == []
    page.keyboard.press("2")
    expect(page.locator("#toast")).to_have_text("Nothing is selected.")
    page.keyboard.press("Control+a")
    page.keyboard.press("3")
    expect_group(page, 6)
    expect_unsaved(page, 0)
    assert labels(site, odd) == ["robin"] * 2
    assert labels(site, [one for one in groups[0] if one not in odd]) == ["sparrow"] * 6


def test_by_keyboard_alone(site: Site, groups: tuple[list[int], list[int]], visit: OpenVisit) -> None:
    page = visit().sign_in("mia", LABEL)
    open_grid(page, 8)
    first = groups[0]
    page.keyboard.press("Control+a")
    assert selected(page) == []
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Space")
    assert selected(page) == [first[1]]
    page.keyboard.press("Shift+ArrowRight")
    page.keyboard.press("Shift+ArrowRight")
    assert selected(page) == first[1:4]
    expect(page.locator("#grid-tiles")).to_be_focused()
    expect(page.locator("#grid-tiles")).to_have_attribute("aria-activedescendant", f"tile-{first[3]}")
    columns = int(
        page.evaluate("getComputedStyle(document.querySelector('#grid-tiles')).getPropertyValue('--columns')")
    )
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowDown")
    expect(page.locator("#grid-tiles")).to_have_attribute("aria-activedescendant", f"tile-{first[2 + columns]}")
    page.keyboard.press("f")
    expect_group(page, 5)
    expect_unsaved(page, 0)
    assert [said(site, one) for one in first[1:4]] == [[(AnnotationKind.FLAG, None)]] * 3


def test_shift_and_click_and_a_rectangle_select_many(groups: tuple[list[int], list[int]], visit: OpenVisit) -> None:
    page = visit().sign_in("mia", LABEL)
    open_grid(page, 8)
    first = groups[0]
    page.keyboard.press("Control+a")
    page.mouse.click(*tile(page, first[2]))
    page.keyboard.down("Shift")
    page.mouse.click(*tile(page, first[5]))
    page.keyboard.up("Shift")
    assert selected(page) == first[2:6]
    start, end = tile(page, first[0]), tile(page, first[2])
    page.mouse.move(*start)
    page.mouse.down()
    page.mouse.move(*end, steps=4)
    expect(page.locator(".grid-mark")).to_be_visible()
    page.mouse.up()
    assert selected(page) == first[0:6]
    page.mouse.move(*start)
    page.mouse.down()
    page.mouse.move(*end, steps=4)
    page.mouse.up()
    assert selected(page) == first[3:6]


def test_undo_takes_back_the_whole_stroke_and_shows_it_again(
    site: Site, groups: tuple[list[int], list[int]], visit: OpenVisit
) -> None:
    page = visit().sign_in("mia", LABEL)
    open_grid(page, 8)
    page.mouse.click(*tile(page, groups[0][7]))
    page.keyboard.press("2")
    expect_group(page, 1)
    expect_unsaved(page, 0)
    assert labels(site, groups[0][:7]) == ["finch"] * 7
    page.keyboard.press("u")
    expect_group(page, 8)
    expect_unsaved(page, 0)
    assert labels(site, groups[0]) == [None] * 8
    assert sorted(selected(page)) == groups[0][:7]
    page.keyboard.press("3")
    expect_group(page, 1)
    expect_unsaved(page, 0)
    assert labels(site, groups[0][:7]) == ["robin"] * 7


def test_s_skips_the_rest_and_the_key_that_opened_the_grid_closes_it(
    site: Site, groups: tuple[list[int], list[int]], visit: OpenVisit
) -> None:
    page = visit().sign_in("mia", LABEL)
    open_grid(page, 8)
    page.keyboard.press("s")
    expect_group(page, 6)
    expect_unsaved(page, 0)
    assert [said(site, one) for one in groups[0]] == [[(AnnotationKind.SKIP, None)]] * 8
    page.keyboard.press("g")
    expect(page.locator("#grid")).to_be_hidden()
    assert in_view(page) == groups[1][0]
    page.keyboard.press("1")
    expect_in_view(page, groups[1][1])


def test_a_second_key_does_not_label_a_group_that_nobody_has_seen(
    site: Site, groups: tuple[list[int], list[int]], visit: OpenVisit
) -> None:
    page = visit().sign_in("mia", LABEL)
    open_grid(page, 8)
    page.keyboard.press("1")
    page.keyboard.press("1")
    expect_group(page, 6)
    expect_unsaved(page, 0)
    assert labels(site, groups[1]) == [None] * 6
    assert labels(site, groups[0]) == ["sparrow"] * 8


def test_a_stroke_while_offline_is_kept_and_sent_later(
    site: Site, groups: tuple[list[int], list[int]], visit: OpenVisit
) -> None:
    one = visit()
    page = one.sign_in("mia", LABEL)
    open_grid(page, 8)
    wait_until(lambda: site.holders("birds") == {"mia": 14})
    one.context.set_offline(True)
    page.keyboard.press("2")
    expect_unsaved(page, 8)
    expect(page.locator("#grid .tile")).to_have_count(6)
    one.context.set_offline(False)
    expect_unsaved(page, 0)
    assert labels(site, groups[0]) == ["finch"] * 8
    assert all(len(site.answers(sample_id)) == 1 for sample_id in groups[0])
    one.expect_errors(*NETWORK_WORDS)


def test_by_finger(site: Site, groups: tuple[list[int], list[int]], visit: OpenVisit) -> None:
    page = visit(has_touch=True, viewport={"width": 390, "height": 844}).sign_in("mia", LABEL)
    in_view(page)
    page.locator("[data-action=grid]").tap()
    expect_group(page, 8)
    page.touchscreen.tap(*tile(page, groups[0][0]))
    assert selected(page) == groups[0][1:]
    page.locator("#classes button").first.tap()
    expect_group(page, 1)
    expect_unsaved(page, 0)
    assert labels(site, groups[0]) == [None, *["sparrow"] * 7]


def test_z_shows_one_image_large_and_escape_goes_back_step_by_step(
    groups: tuple[list[int], list[int]], visit: OpenVisit
) -> None:
    page = visit().sign_in("mia", LABEL)
    open_grid(page, 8)
    page.mouse.move(*tile(page, groups[0][3]))
    page.keyboard.press("z")
    expect(page.locator("#grid-close-up img")).to_have_attribute("alt", f"Image {groups[0][3]}, large")
    page.keyboard.press("Escape")
    expect(page.locator("#grid-close-up")).to_be_hidden()
    expect(page.locator("#grid")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator("#grid")).to_be_hidden()
    assert in_view(page) == groups[0][0]


def test_without_groups_nothing_is_selected_before_somebody_does(site: Site, visit: OpenVisit) -> None:
    ids = flock(site, [None] * 9)
    page = visit().sign_in("mia", LABEL)
    open_grid(page, 9)
    expect(page.locator("#grid-title")).to_have_text("9 images, not grouped")
    assert selected(page) == []
    page.mouse.click(*tile(page, ids[4]))
    page.keyboard.press("1")
    expect_group(page, 8)
    expect_unsaved(page, 0)
    assert labels(site, ids) == [None] * 4 + ["sparrow"] + [None] * 4


@pytest.mark.parametrize("width", [320, 360, 700, 1280])
def test_what_the_grid_says_is_to_be_seen(groups: tuple[list[int], list[int]], visit: OpenVisit, width: int) -> None:
    page = visit(viewport={"width": width, "height": 700}).sign_in("mia", LABEL)
    open_grid(page, 8)
    assert page.locator("#why").evaluate("node => node.scrollWidth <= node.clientWidth")
    page.keyboard.press("1")
    expect(page.locator("#toast.on")).to_contain_text("8 × sparrow")
    on_top = """node => {
        node.style.pointerEvents = "auto";
        const box = node.getBoundingClientRect();
        return document.elementFromPoint(box.x + box.width / 2, box.y + box.height / 2) === node;
    }"""
    assert page.locator("#toast").evaluate(on_top)


@pytest.mark.parametrize(("width", "height"), [(320, 560), (390, 844), (1280, 800), (2560, 1300)])
def test_a_group_of_24_is_on_the_screen_as_a_whole(site: Site, visit: OpenVisit, width: int, height: int) -> None:
    flock(site, [0] * 24)
    page = visit(viewport={"width": width, "height": height}).sign_in("mia", LABEL)
    open_grid(page, 24)
    stage = page.locator("#stage").bounding_box()
    boxes = page.locator("#grid .tile").evaluate_all("all => all.map((one) => one.getBoundingClientRect().toJSON())")
    assert stage is not None
    for box in boxes:
        assert stage["x"] <= box["left"] and box["right"] <= stage["x"] + stage["width"]
        assert stage["y"] <= box["top"] and box["bottom"] <= stage["y"] + stage["height"]
        assert box["width"] >= 24 and round(box["width"]) == round(box["height"])


class TestSimilar:
    @pytest.fixture
    def ids(self, site: Site) -> list[int]:
        """Six birds of which the last two are labelled; the first is like those, the second like nothing."""
        ids = flock(site, [None] * 4, near={0: [2, 3]})
        reviewer = site.services.accounts.ensure_user("rita", "reviewer")
        with site.store.write() as tx:
            found = tx.samples.get(ids[0])
            tx.annotations.add_labels(found.project_id, reviewer.id, [(ids[3], "robin")], "i-", site.services.clock())
        return ids

    def test_s_shows_similar_images_and_their_classes_only_when_asked(self, ids: list[int], visit: OpenVisit) -> None:
        page = visit().sign_in("mia", LABEL)
        expect_in_view(page, ids[0])
        page.keyboard.press("s")
        expect(page.locator("#similar img")).to_have_count(2)
        expect(page.locator("#similar [role=status]")).to_have_text(
            "The 2 images that look nearest to a network that has not learned from this project yet."
        )
        assert "robin" not in page.locator("#similar").inner_text()
        page.get_by_role("button", name="Show classes").click()
        expect(page.locator("#similar .name")).to_have_count(2)
        page.keyboard.press("Escape")
        expect(page.locator("#similar")).to_be_hidden()
        expect_in_view(page, ids[0])

    @pytest.mark.parametrize("width", [320, 900, 1280])
    def test_words_below_the_image_are_beside_it(self, ids: list[int], visit: OpenVisit, width: int) -> None:
        page = visit(viewport={"width": width, "height": 700}).sign_in("mia", LABEL)
        expect_in_view(page, ids[0])
        page.keyboard.press("s")
        expect(page.locator("#similar img")).to_have_count(2)
        page.keyboard.press("Enter")
        expect(page.locator("#toast.on")).to_contain_text("There is no model yet")
        panel, words = page.locator("#similar").bounding_box(), page.locator("#toast").bounding_box()
        assert panel is not None and words is not None
        assert words["x"] >= 0 and words["x"] + words["width"] <= panel["x"]

    def test_the_next_image_has_its_own(self, ids: list[int], visit: OpenVisit) -> None:
        page = visit().sign_in("mia", LABEL)
        expect_in_view(page, ids[0])
        page.keyboard.press("s")
        expect(page.locator("#similar img")).to_have_count(2)
        page.keyboard.press("1")
        expect_in_view(page, ids[1])
        expect(page.locator("#similar img")).to_have_count(0)
        expect(page.locator("#similar [role=status]")).to_contain_text("No similar images are known of this one")


@pytest.mark.parametrize("what", ["grid", "similar"])
def test_axe_finds_nothing(site: Site, visit: OpenVisit, what: str) -> None:
    flock(site, [0] * 12, near={0: [1, 2, 3]})
    page = visit().sign_in("mia", LABEL)
    if what == "grid":
        open_grid(page, 12)
    else:
        in_view(page)
        page.keyboard.press("s")
        expect(page.locator("#similar img")).to_have_count(3)
    assert findings(page, what) == []

"""Keys of the label page: a class keeps its key for good, people can choose others, and conflicts are explained."""

from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from al_service.domain.states import AnnotationKind
from tests.web.browser import Site, Visit, chromium, migrated_database, site, visit
from tests.web.labelling import CLASSES, LABEL, birds, come_back, expect_in_view, expect_unsaved, in_view, said

__all__ = ["chromium", "migrated_database", "site", "visit"]

OpenVisit = Callable[..., Visit]


@pytest.fixture
def samples(site: Site) -> list[int]:
    return birds(site)


def standard_keys(page: Page, classes: list[tuple[str, int]]) -> list[str | None]:
    """The standard key of each class, from its name and position."""
    rows: list[dict[str, Any]] = [{"name": name, "position": position} for name, position in classes]
    return page.evaluate(
        """async (classes) => {
            const { createKeyMap } = await import("/static/keys.js");
            const map = createKeyMap(classes);
            return classes.map((info) => map.classKey(info.position));
        }""",
        rows,
    )


def cap(page: Page, name: str) -> str:
    """What is printed on that button's key cap, or nothing."""
    return "".join(page.get_by_role("button", name=name, exact=True).locator(".cap").all_text_contents())


def change_keys(page: Page) -> None:
    page.get_by_role("button", name="Keys and help").click()
    page.get_by_role("button", name="Change keys").click()
    expect(page.get_by_role("dialog", name="Your keys")).to_be_visible()


def choose_line(page: Page, line: str) -> None:
    page.locator(f"[data-line='{line}']").click()
    expect(page.locator(f"[data-line='{line}']")).to_have_attribute("aria-pressed", "true")


def test_a_class_keeps_its_key_when_others_are_renamed_or_gone(site: Site, visit: OpenVisit) -> None:
    page = visit().page
    page.goto(f"{site.url}/login")
    names = [f"class {at}" for at in range(40)]
    all_of_them = standard_keys(page, [(name, at) for at, name in enumerate(names)])
    assert "".join(key for key in all_of_them if key) == "1234567890qwertyopadjklxnm"
    assert all_of_them[-1] is None
    without_two = [(name, at) for at, name in enumerate(names) if at not in (1, 4)]
    assert standard_keys(page, without_two) == [key for at, key in enumerate(all_of_them) if at not in (1, 4)]
    renamed = [("other", 0), *[(name, at) for at, name in enumerate(names)][1:]]
    assert standard_keys(page, renamed) == all_of_them


def test_classes_named_by_a_digit_have_that_digit(site: Site, visit: OpenVisit) -> None:
    page = visit().page
    page.goto(f"{site.url}/login")
    assert standard_keys(page, [(str(at), at) for at in range(10)]) == list("0123456789")
    keys = standard_keys(page, [("0", 0), ("1", 1), ("cat", 2), ("9", 3), ("dog", 8)])
    assert keys == ["0", "1", "3", "9", "4"]


def test_no_two_things_have_the_same_key(site: Site, visit: OpenVisit) -> None:
    page = visit().page
    page.goto(f"{site.url}/login")
    given = page.evaluate(
        """async () => {
            const { ACTIONS, CLASS_KEYS } = await import("/static/keys.js");
            return [...CLASS_KEYS, ...ACTIONS.flatMap((action) => action.keys)];
        }"""
    )
    assert len(set(given)) == len(given) > 40


def test_a_key_that_is_taken_can_be_swapped_and_all_say_so(site: Site, samples: list[int], visit: OpenVisit) -> None:
    page = visit().sign_in("mia", LABEL)
    assert in_view(page) == samples[0]
    change_keys(page)
    choose_line(page, "classes:0")
    page.keyboard.press("f")
    expect(page.locator(".keys-say")).to_contain_text("F is the key of Flag.")
    page.get_by_role("button", name="Swap: Flag gets 1").click()
    expect(page.locator(".keys-say")).to_have_text("sparrow has F now. Flag has 1 now.")
    page.get_by_role("button", name="Done").click()
    assert (cap(page, "sparrow"), cap(page, "finch"), cap(page, "Flag")) == ("F", "2", "1")
    page.keyboard.press("f")
    expect_in_view(page, samples[1])
    page.keyboard.press("1")
    expect_in_view(page, samples[2])
    expect_unsaved(page, 0)
    assert said(site, samples[0]) == [(AnnotationKind.LABEL, "sparrow")]
    assert said(site, samples[1]) == [(AnnotationKind.FLAG, None)]
    come_back(site, page)
    assert in_view(page) == samples[2]
    assert (cap(page, "sparrow"), cap(page, "Flag")) == ("F", "1")
    page.keyboard.press("?")
    flag = page.locator("#help-keys dd", has_text="flag: broken").locator("xpath=preceding-sibling::dt[1]")
    expect(flag).to_have_text("1")
    page.get_by_role("button", name="Change keys").click()
    page.get_by_role("button", name="Standard keys").click()
    page.get_by_role("button", name="Done").click()
    assert (cap(page, "sparrow"), cap(page, "Flag")) == ("1", "F")


def test_a_key_can_be_taken_away_from_what_had_it(site: Site, samples: list[int], visit: OpenVisit) -> None:
    page = visit().sign_in("mia", LABEL)
    assert in_view(page) == samples[0]
    change_keys(page)
    choose_line(page, "actions:skip")
    page.keyboard.press("3")
    page.get_by_role("button", name="Take it: robin has none then").click()
    expect(page.locator("[data-line='classes:2']")).to_have_text("robinno key")
    page.get_by_role("button", name="Done").click()
    assert (cap(page, "robin"), cap(page, "Skip")) == ("", "3")
    page.keyboard.press("3")
    expect_in_view(page, samples[1])
    page.get_by_role("button", name="robin").click()
    expect_in_view(page, samples[2])
    expect_unsaved(page, 0)
    assert [said(site, sample_id)[0][1] for sample_id in samples[:2]] == [None, "robin"]


def test_keys_of_the_browser_are_refused_and_escape_leaves_everything(samples: list[int], visit: OpenVisit) -> None:
    page = visit().sign_in("mia", LABEL)
    in_view(page)
    change_keys(page)
    choose_line(page, "classes:1")
    page.keyboard.press("Control+k")
    expect(page.locator(".keys-say")).to_contain_text("belong to the browser")
    page.keyboard.press("F5")
    expect(page.locator(".keys-say")).to_contain_text("F5 cannot be used here")
    page.keyboard.press("Escape")
    expect(page.locator("[data-line='classes:1']")).to_have_attribute("aria-pressed", "false")
    expect(page.get_by_role("dialog", name="Your keys")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog", name="Your keys")).to_be_hidden()
    assert [cap(page, name) for name in ("sparrow", "finch", "robin")] == ["1", "2", "3"]


def test_keys_are_a_persons_own(site: Site, samples: list[int], visit: OpenVisit) -> None:
    site.person("tom")
    one = visit()
    page = one.sign_in("mia", LABEL)
    in_view(page)
    change_keys(page)
    choose_line(page, "classes:0")
    page.keyboard.press("x")
    expect(page.locator(".keys-say")).to_have_text("sparrow has X now.")
    page = one.sign_in("tom", LABEL)
    in_view(page)
    assert cap(page, "sparrow") == "1"
    page = one.sign_in("mia", LABEL)
    in_view(page)
    assert cap(page, "sparrow") == "X"


@pytest.mark.parametrize(
    "opened",
    [("g", "#grid"), ("s", "#similar"), ("v", "#view-panel"), ("i", "#guide"), ("?", "#help"), ("/", "#finder")],
)
def test_after_a_panel_is_closed_keys_do_what_they_always_do(
    site: Site, visit: OpenVisit, opened: tuple[str, str]
) -> None:
    site.person("mia")
    samples = site.project("birds", CLASSES, 6, guidelines="Look closely.", blind_share=0.0)
    site.ask("birds", samples, likely=[("finch", 0.7)])
    key, panel = opened
    page = visit().sign_in("mia", LABEL)
    assert in_view(page) == samples[0]
    expect(page.locator("#guide")).to_be_visible()
    page.keyboard.press("Escape")
    page.keyboard.press(key)
    expect(page.locator(panel)).to_be_visible()
    buttons = page.locator(f"{panel} button")
    if buttons.count():
        buttons.last.focus()
    page.keyboard.press("Escape")
    expect(page.locator(panel)).to_be_hidden()
    expect(page.locator("body")).to_be_focused()
    page.keyboard.press("Space")
    expect_in_view(page, samples[1])
    page.keyboard.press("Enter")
    expect(page.locator(".suggestion")).to_be_visible()
    expect(page.locator(panel)).to_be_hidden()
    expect_unsaved(page, 0)
    assert said(site, samples[0]) == [(AnnotationKind.SKIP, None)]


def test_after_the_menu_that_was_clicked_is_closed_space_skips(samples: list[int], visit: OpenVisit) -> None:
    page = visit().sign_in("mia", LABEL)
    assert in_view(page) == samples[0]
    page.locator("#switch").click()
    expect(page.locator("#switch-menu a").first).to_be_focused()
    page.keyboard.press("Escape")
    expect(page.locator("#switch-menu")).to_be_hidden()
    page.keyboard.press("Space")
    expect_in_view(page, samples[1])


@pytest.mark.parametrize("opened", [("grid", "#grid"), ("similar", "#similar"), ("view", "#view-panel")])
def test_who_came_by_a_button_is_on_it_again(samples: list[int], visit: OpenVisit, opened: tuple[str, str]) -> None:
    action, panel = opened
    page = visit().sign_in("mia", LABEL)
    assert in_view(page) == samples[0]
    page.locator(f"[data-action={action}]").focus()
    page.keyboard.press("Enter")
    expect(page.locator(panel)).to_be_visible()
    page.locator(f"{panel} button").last.focus()
    page.keyboard.press("Escape")
    expect(page.locator(panel)).to_be_hidden()
    expect(page.locator(f"[data-action={action}]")).to_be_focused()


def test_the_menu_gives_the_focus_back_to_who_opened_it_by_keyboard(samples: list[int], visit: OpenVisit) -> None:
    page = visit().sign_in("mia", LABEL)
    in_view(page)
    page.locator("#switch").focus()
    page.keyboard.press("Enter")
    expect(page.locator("#switch-menu a").first).to_be_focused()
    page.keyboard.press("Escape")
    expect(page.locator("#switch")).to_be_focused()

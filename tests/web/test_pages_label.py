"""The labelling page in a real browser: one key is label, save and next; and no answer is ever lost."""

import unicodedata
from collections.abc import Callable

import pytest
from playwright.sync_api import Route, expect

from al_service.domain.states import AnnotationKind, Role
from al_service.loop.reviews import Verdict
from tests.web.browser import (
    PASSWORD,
    Site,
    Visit,
    chromium,
    migrated_database,
    site,
    visit,
    wait_until,
)
from tests.web.labelling import CLASSES, LABEL, NETWORK_WORDS, birds, expect_in_view, expect_unsaved, in_view, said

__all__ = ["chromium", "migrated_database", "site", "visit"]

OpenVisit = Callable[..., Visit]


@pytest.fixture
def samples(site: Site) -> list[int]:
    """Twelve birds that a round asks for, in this order; mia and tom may label."""
    site.person("tom")
    return birds(site)


def test_one_key_labels_saves_and_shows_the_next_image(site: Site, samples: list[int], visit: OpenVisit) -> None:
    page = visit().sign_in("mia", LABEL)
    for position, key in enumerate("132"):
        assert in_view(page) == samples[position]
        page.keyboard.press(key)
        expect_in_view(page, samples[position + 1])
    expect_unsaved(page, 0)
    expect(page.locator("#answered")).to_have_text("3")
    expect(page.locator("#asked")).to_have_text("12")
    assert [site.label_of(sample_id) for sample_id in samples[:4]] == ["sparrow", "robin", "finch", None]
    assert all(0 < (row.lead_time_s or 0) < 60 for sample_id in samples[:3] for row in site.answers(sample_id))


def test_the_count_of_the_round_does_not_tell_which_answers_it_did_not_ask_for(site: Site, visit: OpenVisit) -> None:
    site.person("mia")
    reviewer = site.services.accounts.ensure_user("rita", Role.REVIEWER, PASSWORD)
    ids = site.project("birds", CLASSES, 12, guidelines="", gold_share=0.5)
    site.ask("birds", ids[:6])
    for sample_id in ids[6:]:
        site.services.reviews.set_gold(Verdict(sample_id, "finch", 0, f"gold-{sample_id}"), reviewer)
    page = visit().sign_in("mia", LABEL)
    counts, seen = [0], []
    while len(set(seen) - set(ids[6:])) < 6:
        seen.append(in_view(page))
        page.keyboard.press("1")
        expect(page.locator(f"#stage:not([data-sample='{seen[-1]}'])")).to_be_visible()
        expect_unsaved(page, 0)
        counts.append(int(page.locator("#answered").inner_text()))
    gold = [position for position, sample_id in enumerate(seen) if sample_id in ids[6:]]
    assert gold, "no gold was drawn"
    assert counts == sorted(counts)
    assert all(counts[position + 1] > counts[position] for position in gold if position - 1 not in gold)
    page.keyboard.press("u")
    expect(page.locator("#answered")).to_have_text("5")


def test_the_next_five_images_are_fetched_before_they_are_needed(samples: list[int], visit: OpenVisit) -> None:
    one = visit()
    page = one.sign_in("mia", LABEL)
    assert in_view(page) == samples[0]
    page.wait_for_load_state("networkidle")
    fetched = [url for url in one.requests if "/image" in url]
    assert [f"/samples/{sample_id}/" in url for sample_id, url in zip(samples[:6], fetched, strict=True)] == [True] * 6
    shown = page.evaluate(
        """async () => {
            const stage = document.querySelector("#stage");
            const image = document.querySelector("#frame img");
            document.dispatchEvent(new KeyboardEvent("keydown", { key: "1", code: "Digit1", bubbles: true }));
            const next = document.querySelector("#frame img");
            const lit = document.querySelector(".class-button").classList.contains("lit");
            return [next !== image, next.complete && next.naturalWidth, lit];
        }"""
    )
    assert shown == [True, 8, True], "the next image and the lit button must be there before the key handler returns"
    expect_unsaved(page, 0)


def test_a_held_key_answers_once(site: Site, samples: list[int], visit: OpenVisit) -> None:
    page = visit().sign_in("mia", LABEL)
    assert in_view(page) == samples[0]
    for _ in range(5):
        page.keyboard.down("1")
    page.keyboard.up("1")
    expect_in_view(page, samples[1])
    expect_unsaved(page, 0)
    assert [len(site.answers(sample_id)) for sample_id in samples[:3]] == [1, 0, 0]


@pytest.mark.parametrize("key", ["u", "Backspace", "Control+z"])
def test_undo_shows_the_image_again_and_takes_the_answer_back(
    site: Site, samples: list[int], visit: OpenVisit, key: str
) -> None:
    page = visit().sign_in("mia", LABEL)
    assert in_view(page) == samples[0]
    page.keyboard.press("1")
    expect_in_view(page, samples[1])
    expect_unsaved(page, 0)
    page.keyboard.press(key)
    expect_in_view(page, samples[0])
    expect_unsaved(page, 0)
    assert site.answers(samples[0]) == []
    page.keyboard.press("2")
    expect_in_view(page, samples[1])
    expect_unsaved(page, 0)
    assert said(site, samples[0]) == [(AnnotationKind.LABEL, "finch")]


def test_undo_of_an_answer_that_is_under_way_is_told_to_the_server_too(
    site: Site, samples: list[int], visit: OpenVisit
) -> None:
    one = visit()
    page = one.sign_in("mia", LABEL)
    assert in_view(page) == samples[0]
    held: list[Route] = []
    page.route("**/annotation", lambda route: held.append(route), times=1)
    with page.expect_request("**/annotation"):
        page.keyboard.press("1")
    expect_in_view(page, samples[1])
    page.keyboard.press("u")
    expect_in_view(page, samples[0])
    page.keyboard.press("3")
    expect_in_view(page, samples[1])
    expect_unsaved(page, 3)
    held[0].continue_()
    expect_unsaved(page, 0)
    assert said(site, samples[0]) == [(AnnotationKind.LABEL, "robin")]


def test_skip_and_flag(site: Site, samples: list[int], visit: OpenVisit) -> None:
    page = visit().sign_in("mia", LABEL)
    assert in_view(page) == samples[0]
    page.keyboard.press("Space")
    expect_in_view(page, samples[1])
    page.keyboard.press("f")
    expect_in_view(page, samples[2])
    expect_unsaved(page, 0)
    assert said(site, samples[0]) == [(AnnotationKind.SKIP, None)]
    assert said(site, samples[1]) == [(AnnotationKind.FLAG, None)]


def test_pointer_does_what_keys_do_and_a_clicked_button_keeps_no_focus(
    site: Site, samples: list[int], visit: OpenVisit
) -> None:
    page = visit().sign_in("mia", LABEL)
    assert in_view(page) == samples[0]
    page.get_by_role("button", name="robin").click()
    expect_in_view(page, samples[1])
    page.keyboard.press("Space")
    expect_in_view(page, samples[2])
    expect_unsaved(page, 0)
    assert said(site, samples[0]) == [(AnnotationKind.LABEL, "robin")]
    assert said(site, samples[1]) == [(AnnotationKind.SKIP, None)]


def test_type_to_find(site: Site, samples: list[int], visit: OpenVisit) -> None:
    page = visit().sign_in("mia", LABEL)
    assert in_view(page) == samples[0]
    page.keyboard.press("/")
    page.keyboard.type("in")
    expect(page.get_by_role("option")).to_have_text(["finch2", "robin3"])
    page.keyboard.press("ArrowDown")
    expect(page.get_by_role("option", selected=True)).to_contain_text("robin")
    page.keyboard.press("Enter")
    expect_in_view(page, samples[1])
    expect_unsaved(page, 0)
    assert said(site, samples[0]) == [(AnnotationKind.LABEL, "robin")]
    page.keyboard.press("/")
    page.keyboard.type("1 zebra")
    expect(page.get_by_text("No class matches")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator("#finder")).to_be_hidden()
    assert in_view(page) == samples[1]


@pytest.mark.parametrize(
    ("typed", "found"),
    [
        ("apf", ["Apfelbaum", "Äpfel", "roter Apfel"]),
        ("äpf", ["Äpfel", "Apfelbaum", "roter Apfel"]),
        ("öst", ["Österreich"]),
        ("cafe\u0301", ["Café"]),
    ],
)
def test_type_to_find_with_or_without_marks_on_letters(
    site: Site, visit: OpenVisit, typed: str, found: list[str]
) -> None:
    birds(site, classes=["Äpfel", "Apfelbaum", "Österreich", "roter Apfel", "Café"])
    page = visit().sign_in("mia", LABEL)
    in_view(page)
    page.keyboard.press("/")
    page.locator("#finder-input").fill(typed)
    expect(page.locator("#finder-list li span")).to_have_text(found)
    marked = "".join(page.locator("#finder-list li").first.locator("mark").all_inner_texts())
    assert marked == found[0][: len(unicodedata.normalize("NFC", typed))]


def test_looking_back_shows_earlier_answers_and_changes_nothing(
    site: Site, samples: list[int], visit: OpenVisit
) -> None:
    page = visit().sign_in("mia", LABEL)
    for position, key in enumerate("12"):
        assert in_view(page) == samples[position]
        page.keyboard.press(key)
    expect_in_view(page, samples[2])
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowLeft")
    expect(page.locator(f'#stage[data-state=past][data-sample="{samples[0]}"]')).to_be_visible()
    expect(page.locator("#why")).to_contain_text("sparrow")
    page.keyboard.press("3")
    page.keyboard.press("Escape")
    expect_in_view(page, samples[2])
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("u")
    expect_in_view(page, samples[0])
    expect_unsaved(page, 0)
    assert [said(site, sample_id) for sample_id in samples[:3]] == [[], [(AnnotationKind.LABEL, "finch")], []]


def test_offline_answers_are_kept_counted_and_sent_later(site: Site, samples: list[int], visit: OpenVisit) -> None:
    one = visit()
    page = one.sign_in("mia", LABEL)
    assert in_view(page) == samples[0]
    page.wait_for_load_state("networkidle")
    one.context.set_offline(True)
    for position, key in enumerate("123"):
        expect_in_view(page, samples[position])
        page.keyboard.press(key)
        expect_unsaved(page, position + 1)
    expect(page.locator("#banner")).to_have_text("Offline. Your 3 answers are kept here and will be sent.")
    page.keyboard.press("u")
    expect_in_view(page, samples[2])
    expect_unsaved(page, 2)
    assert [site.answers(sample_id) for sample_id in samples[:3]] == [[], [], []]
    one.context.set_offline(False)
    expect_unsaved(page, 0)
    expect(page.locator("#banner")).to_be_hidden()
    assert [site.label_of(sample_id) for sample_id in samples[:4]] == ["sparrow", "finch", None, None]
    one.expect_errors(*NETWORK_WORDS)


def test_a_page_that_is_closed_while_the_server_is_away_loses_nothing(
    site: Site, samples: list[int], visit: OpenVisit
) -> None:
    one = visit()
    page = one.sign_in("mia", LABEL)
    assert in_view(page) == samples[0]
    page.wait_for_load_state("networkidle")
    one.context.route("**/annotation", lambda route: route.abort())
    for position, key in enumerate("12"):
        expect_in_view(page, samples[position])
        page.keyboard.press(key)
        expect_unsaved(page, position + 1)
    page.reload()
    expect_unsaved(page, 2)
    assert [site.answers(sample_id) for sample_id in samples[:2]] == [[], []]
    page.close()
    one.context.unroute("**/annotation")
    page = one.watch(one.context.new_page())
    page.goto(site.url + LABEL)
    assert in_view(page) == samples[2]
    expect_unsaved(page, 0)
    assert [said(site, sample_id) for sample_id in samples[:3]] == [
        [(AnnotationKind.LABEL, "sparrow")],
        [(AnnotationKind.LABEL, "finch")],
        [],
    ]
    one.expect_errors(*NETWORK_WORDS)


def test_an_answer_whose_reply_was_lost_is_stored_once(site: Site, samples: list[int], visit: OpenVisit) -> None:
    one = visit()
    page = one.sign_in("mia", LABEL)
    assert in_view(page) == samples[0]

    def lose_reply(route: Route) -> None:
        route.fetch()
        route.abort()

    page.route("**/annotation", lose_reply, times=1)
    page.keyboard.press("1")
    expect_unsaved(page, 0)
    assert said(site, samples[0]) == [(AnnotationKind.LABEL, "sparrow")]
    one.expect_errors(*NETWORK_WORDS)


def test_local_storage_keeps_answers_where_indexed_db_is_missing(
    site: Site, samples: list[int], visit: OpenVisit
) -> None:
    one = visit()
    one.context.add_init_script("indexedDB.open = () => { throw new Error('no database here'); };")
    page = one.sign_in("mia", LABEL)
    assert in_view(page) == samples[0]
    one.context.route("**/annotation", lambda route: route.abort())
    page.keyboard.press("3")
    expect_unsaved(page, 1)
    page.reload()
    expect_unsaved(page, 1)
    one.context.unroute("**/annotation")
    page.reload()
    assert in_view(page) == samples[1]
    assert said(site, samples[0]) == [(AnnotationKind.LABEL, "robin")]
    one.expect_errors(*NETWORK_WORDS)


def test_an_answer_that_the_server_refuses_is_set_aside_and_blocks_nothing(
    site: Site, samples: list[int], visit: OpenVisit
) -> None:
    one = visit()
    page = one.sign_in("mia", LABEL)
    assert in_view(page) == samples[0]
    body = {"error": {"code": "invalid_input", "message": "sparrow is not a class any more"}}
    page.route("**/annotation", lambda route: route.fulfill(status=400, json=body), times=1)
    page.keyboard.press("1")
    expect_in_view(page, samples[1])
    page.keyboard.press("2")
    expect_unsaved(page, 0)
    assert said(site, samples[1]) == [(AnnotationKind.LABEL, "finch")]
    page.get_by_role("button", name="1 set aside").click()
    expect(page.locator("#aside-list")).to_contain_text("sparrow is not a class any more")
    page.get_by_role("button", name="Try again").click()
    expect(page.locator("#aside-button")).to_be_hidden()
    expect_unsaved(page, 0)
    assert said(site, samples[0]) == [(AnnotationKind.LABEL, "sparrow")]
    one.expect_errors("400")


def test_signed_out_while_labelling_signs_in_again_in_place(site: Site, samples: list[int], visit: OpenVisit) -> None:
    one = visit()
    page = one.sign_in("mia", LABEL)
    assert in_view(page) == samples[0]
    page.wait_for_load_state("networkidle")
    one.context.clear_cookies()
    page.keyboard.press("2")
    dialog = page.get_by_role("dialog", name="Please sign in again")
    expect(dialog).to_contain_text("Your 1 answer is kept here and will be sent.")
    expect_unsaved(page, 1)
    page.keyboard.type("not the password")
    page.keyboard.press("Enter")
    expect(dialog).to_contain_text("Name or password is not right.")
    page.keyboard.type(PASSWORD)
    page.keyboard.press("Enter")
    expect(dialog).to_be_hidden()
    expect_unsaved(page, 0)
    assert said(site, samples[0]) == [(AnnotationKind.LABEL, "finch")]
    one.expect_errors("401")


def test_when_somebody_else_signs_in_in_this_browser_no_answer_changes_its_author(
    site: Site, samples: list[int], visit: OpenVisit
) -> None:
    one = visit()
    page = one.sign_in("mia", LABEL)
    assert in_view(page) == samples[0]
    page.wait_for_load_state("networkidle")
    other = one.watch(one.context.new_page())
    one.context.request.post(f"{site.url}/api/v1/session", data={"name": "tom", "password": PASSWORD})
    page.keyboard.press("2")
    expect(page.locator("body")).to_have_attribute("data-user", "tom")
    assert said(site, samples[0]) == []
    other.close()
    one.sign_in("mia", LABEL)
    expect_unsaved(page, 0)
    wait_until(lambda: said(site, samples[0]) == [(AnnotationKind.LABEL, "finch")])
    assert {row.user_id for row in site.answers(samples[0])} == {site.services.accounts.get_user("mia").id}
    one.expect_errors("403")


def test_two_people_never_see_the_same_image(site: Site, samples: list[int], visit: OpenVisit) -> None:
    seen: dict[str, list[int]] = {"mia": [], "tom": []}
    pages = {name: visit().sign_in(name, LABEL) for name in seen}
    for _ in range(6):
        for name, page in pages.items():
            sample_id = in_view(page)
            seen[name].append(sample_id)
            page.keyboard.press("1")
            expect(page.locator(f'#stage[data-sample="{sample_id}"]')).to_have_count(0)
    assert len({*seen["mia"], *seen["tom"]}) == 12
    assert sorted(seen["mia"] + seen["tom"]) == samples
    for page in pages.values():
        expect_unsaved(page, 0)
        expect(page.locator("#stage")).to_have_attribute("data-state", "empty")


def test_leaving_the_page_gives_the_images_back(site: Site, samples: list[int], visit: OpenVisit) -> None:
    mia, tom = visit(), visit()
    page = mia.sign_in("mia", LABEL)
    assert in_view(page) == samples[0]
    assert site.holders("birds") == {"mia": 6}
    page.goto(f"{site.url}/")
    wait_until(lambda: site.holders("birds") == {})
    page = tom.sign_in("tom", LABEL)
    assert in_view(page) == samples[0]


def test_when_there_is_no_work_the_page_says_why_and_comes_back_by_itself(site: Site, visit: OpenVisit) -> None:
    site.person("mia")
    ids = site.project("birds", CLASSES, 3)
    page = visit().sign_in("mia", LABEL)
    note = page.locator("#stage[data-state=empty]")
    expect(note).to_contain_text("Rounds start by hand in this project; an engineer will start the next one.")
    expect(note).to_contain_text("not asked yet3")
    site.ask("birds", ids)
    page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    assert in_view(page) == ids[0]


def test_a_second_tab_of_the_same_person_asks_which_one_to_use(
    site: Site, samples: list[int], visit: OpenVisit
) -> None:
    one = visit()
    first = one.sign_in("mia", LABEL)
    assert in_view(first) == samples[0]
    second = one.watch(one.context.new_page())
    second.goto(site.url + LABEL)
    second.get_by_role("button", name="Work here").click()
    assert in_view(second) == samples[0]
    expect(first.get_by_role("dialog", name="You label this project in another tab")).to_be_visible()
    second.keyboard.press("1")
    expect_unsaved(second, 0)
    assert said(site, samples[0]) == [(AnnotationKind.LABEL, "sparrow")]


def test_leases_are_renewed_while_the_page_is_open(site: Site, samples: list[int], visit: OpenVisit) -> None:
    one = visit()
    one.page.clock.install()
    page = one.sign_in("mia", LABEL)
    assert in_view(page) == samples[0]
    with page.expect_request("**/projects/birds/assignments"):
        page.clock.run_for(91_000)


def test_guidelines_open_once_and_by_key(site: Site, visit: OpenVisit) -> None:
    site.person("mia")
    site.ask("birds", site.project("birds", CLASSES, 3, guidelines="Look at the beak.\n<b>Not</b> the tail."))
    page = visit().sign_in("mia", LABEL)
    guide = page.get_by_role("complementary", name="Guidelines")
    expect(guide).to_contain_text("<b>Not</b> the tail.")
    page.keyboard.press("Escape")
    expect(guide).to_be_hidden()
    page.reload()
    in_view(page)
    page.wait_for_load_state("networkidle")
    expect(guide).to_be_hidden()
    page.keyboard.press("i")
    expect(guide).to_be_visible()


def test_the_help_lists_the_keys_and_can_switch_single_keys_off(
    site: Site, samples: list[int], visit: OpenVisit
) -> None:
    page = visit().sign_in("mia", LABEL)
    assert in_view(page) == samples[0]
    page.keyboard.press("?")
    help_dialog = page.get_by_role("dialog", name="Keys")
    expect(help_dialog).to_contain_text("skip: give it no label now")
    help_dialog.get_by_role("checkbox").uncheck()
    page.keyboard.press("Escape")
    page.keyboard.press("1")
    page.get_by_role("button", name="finch").click()
    expect_in_view(page, samples[1])
    expect_unsaved(page, 0)
    assert said(site, samples[0]) == [(AnnotationKind.LABEL, "finch")]


def test_tiny_images_show_sharp_pixels_as_large_as_fits(samples: list[int], visit: OpenVisit) -> None:
    page = visit().sign_in("mia", LABEL)
    in_view(page)
    facts = page.evaluate(
        """() => {
            const image = document.querySelector("#frame img");
            const frame = document.querySelector("#frame");
            return [getComputedStyle(image).imageRendering, image.width % 8, image.height / frame.clientHeight];
        }"""
    )
    assert facts[:2] == ["pixelated", 0]
    assert 0.9 < facts[2] <= 1


def test_nothing_moves_when_the_next_image_comes(samples: list[int], visit: OpenVisit) -> None:
    page = visit().sign_in("mia", LABEL)
    assert in_view(page) == samples[0]
    places = """() => ["#stage", "#why", "#classes", "#actions", ".top", "#trail"].map((name) => {
        const box = document.querySelector(name).getBoundingClientRect();
        return name === "#trail" ? [box.x, box.y] : [box.x, box.y, box.width, box.height];
    })"""
    before = page.evaluate(places)
    page.keyboard.press("1")
    expect_in_view(page, samples[1])
    expect_unsaved(page, 0)
    assert page.evaluate(places) == before


def test_viewers_are_told_that_they_cannot_label(site: Site, samples: list[int], visit: OpenVisit) -> None:
    site.person("vic", Role.VIEWER)
    one = visit()
    page = one.sign_in("vic", LABEL)
    expect(page.get_by_role("heading")).to_have_text("This page is not for your role")
    one.expect_errors("403")


def test_who_finishes_the_batch_goes_on_while_the_next_round_is_at_work(site: Site, visit: OpenVisit) -> None:
    site.person("mia")
    ids = site.project("birds", CLASSES, 6, guidelines="")
    site.ask("birds", ids[:2], reserve=ids[2:5])
    page = visit().sign_in("mia", LABEL)
    for sample_id in ids[:2]:
        expect_in_view(page, sample_id)
        page.keyboard.press("1")
    expect_unsaved(page, 0)
    site.services.rounds.start("birds")
    expect_in_view(page, ids[2])
    page.keyboard.press("1")
    expect_in_view(page, ids[3])
    expect_unsaved(page, 0)
    expect(page.locator("#answered")).to_have_text("2")
    expect(page.locator("#asked")).to_have_text("2 + 1")


def test_the_count_is_left_out_when_no_round_asks(site: Site, visit: OpenVisit) -> None:
    first, _ = birds(site, 2)
    page = visit().sign_in("mia", LABEL)
    expect_in_view(page, first)
    expect(page.locator("#round-count")).to_contain_text("0 / 2")
    page.keyboard.press("1")
    page.keyboard.press("2")
    expect(page.get_by_role("heading", name="Everything is labelled")).to_be_visible()
    expect(page.locator("#round-progress")).to_be_hidden()
    page.reload()
    expect(page.get_by_role("heading", name="Everything is labelled")).to_be_visible()
    expect(page.locator("#round-progress")).to_be_hidden()

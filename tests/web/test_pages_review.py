"""The review page in a browser: lists and filters, keys, bulk, undo, adjudication, and two reviewers at once."""

from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from al_service.domain.records import User
from al_service.domain.states import AnnotationKind, Role, SampleState
from al_service.loop.annotations import Answer
from al_service.loop.reviews import Verdict
from tests.web.browser import Site, Visit, chromium, migrated_database, site, visit, wait_until
from tests.web.test_pages_axe import Checks

__all__ = ["chromium", "migrated_database", "site", "visit"]

OpenVisit = Callable[..., Visit]
REVIEW = "/projects/birds/review"
CLASSES = ["sparrow", "finch", "robin"]


def say(site: Site, who: str, words: list[str], project: str = "birds") -> None:
    """That person's answers to the images in hand, in order."""
    user = site.services.accounts.get_user(who)
    lease = site.services.assignments.lease_next(project, user, len(words))
    for item, word in zip(lease.assignments, words, strict=False):
        kinds = {"flag": AnnotationKind.FLAG, "skip": AnnotationKind.SKIP}
        kind = kinds.get(word, AnnotationKind.LABEL)
        name = word if kind is AnnotationKind.LABEL else None
        site.services.annotations.annotate(item.id, user, Answer(kind, name, f"{who}-{item.id}", 1.5))


@pytest.fixture
def birds(site: Site) -> list[int]:
    """Eight images, each seen by two people: they differ on the second and third, and one was flagged."""
    for name in ("mia", "max"):
        site.person(name)
    for name in ("rita", "tom"):
        site.person(name, Role.REVIEWER)
    ids = site.project("birds", CLASSES, 8, overlap=2, guidelines="Look at the beak first.")
    site.ask("birds", ids)
    say(site, "mia", ["sparrow", "sparrow", "finch", "flag", "robin", "robin", "robin", "robin"])
    say(site, "max", ["sparrow", "finch", "robin", "robin", "robin", "robin", "robin"])
    return ids


def tile(page: Page, sample_id: int):
    return page.locator(f"#tile-{sample_id}")


def expect_saved(page: Page) -> None:
    expect(page.locator("#unsaved")).to_have_text("0")


def state_of(site: Site, sample_id: int) -> SampleState:
    with site.store.read() as tx:
        return tx.samples.get(sample_id).state


def judge(site: Site, who: str, sample_id: int, class_name: str) -> User:
    """That reviewer's verdict from elsewhere, in view of the label of now."""
    user = site.services.accounts.get_user(who)
    with site.store.read() as tx:
        seen = tx.samples.get(sample_id).label_version or 0
    site.services.reviews.label(Verdict(sample_id, class_name, seen, "elsewhere"), user)
    return user


def test_what_people_differ_on_comes_first_with_who_said_what(site: Site, birds: list[int], visit: OpenVisit) -> None:
    page = visit().sign_in("rita", REVIEW)
    expect(page.locator("#tiles").get_by_role("option")).to_have_count(2)
    expect(page.get_by_role("link", name="Disputed 2")).to_have_attribute("aria-current", "true")
    expect(tile(page, birds[2])).to_have_attribute("aria-label", f"Image {birds[2]}, finch, differ 1 to 1")
    votes = page.get_by_role("list", name="Votes").get_by_role("listitem")
    expect(votes).to_have_count(2)
    expect(votes.first).to_contain_text("mia")
    expect(votes.first).to_contain_text("1.5 s")
    page.get_by_text("Everything that was said").click()
    expect(page.locator(".log li").first).to_contain_text("mia")


def test_the_filters_are_in_the_address(site: Site, birds: list[int], visit: OpenVisit) -> None:
    page = visit().sign_in("rita", REVIEW)
    page.get_by_role("link", name="Labelled").click()
    filters = page.get_by_role("form", name="Filters")
    filters.get_by_label("Class").select_option("robin")
    expect(page.locator("#tiles .tile")).to_have_count(4)
    filters.get_by_label("Person").select_option("max")
    filters.get_by_label("Round").fill("1")
    filters.get_by_label("Round").press("Enter")
    expect(page).to_have_url(f"{site.url}{REVIEW}?kind=labelled&class_name=robin&annotator=max&round=1")
    expect(page.locator("#tiles .tile")).to_have_count(4)
    page.reload()
    expect(page.locator("#tiles .tile")).to_have_count(4)
    expect(filters.get_by_label("Person")).to_have_value("max")
    page.get_by_role("button", name="Clear").click()
    expect(page.locator("#tiles .tile")).to_have_count(7)
    page.go_back()
    expect(page.locator("#tiles .tile")).to_have_count(4)


def test_one_key_decides_and_u_takes_it_back(site: Site, birds: list[int], visit: OpenVisit) -> None:
    page = visit().sign_in("rita", REVIEW)
    expect(tile(page, birds[2])).to_be_focused()
    page.keyboard.press("3")
    expect(tile(page, birds[1])).to_be_focused()
    page.keyboard.press("a")
    expect_saved(page)
    assert (site.label_of(birds[2]), site.label_of(birds[1])) == ("robin", "sparrow")
    assert [row.is_review for row in site.answers(birds[2])] == [False, False, True]
    expect(tile(page, birds[2])).to_contain_text("✓ reviewed")
    page.keyboard.press("u")
    page.keyboard.press("u")
    expect_saved(page)
    wait_until(lambda: [row.is_review for row in site.answers(birds[2])] == [False, False])
    assert site.label_of(birds[2]) == "finch"
    # A second verdict names the version that the first one and its undo have left.
    page.keyboard.press("2")
    expect_saved(page)
    wait_until(lambda: site.label_of(birds[2]) == "finch" and len(site.answers(birds[2])) == 3)
    expect(page.locator("#conflicts")).to_be_hidden()


def test_a_class_that_has_no_key_at_hand_is_found_by_typing(site: Site, birds: list[int], visit: OpenVisit) -> None:
    page = visit().sign_in("rita", REVIEW)
    expect(tile(page, birds[2])).to_be_focused()
    page.keyboard.press("c")
    page.keyboard.type("rob")
    page.keyboard.press("Enter")
    expect_saved(page)
    assert site.label_of(birds[2]) == "robin"


def test_many_are_fixed_at_once_and_taken_back_at_once(site: Site, birds: list[int], visit: OpenVisit) -> None:
    one = visit()
    page = one.sign_in("rita", f"{REVIEW}?kind=labelled&class_name=robin")
    expect(page.locator("#tiles .tile")).to_have_count(4)
    shown = [int(item.get_attribute("data-id") or 0) for item in page.locator("#tiles .tile").all()][:3]
    page.keyboard.press("Shift+ArrowRight")
    page.keyboard.press("Shift+ArrowRight")
    expect(page.locator(".tile[aria-selected=true]")).to_have_count(3)
    expect(page.locator(".several")).to_contain_text("3 images selected")
    page.keyboard.press("2")
    expect_saved(page)
    assert {site.label_of(sample_id) for sample_id in shown} == {"finch"}
    assert len([url for url in one.requests if url.endswith("/projects/birds/labels")]) == 1
    page.keyboard.press("u")
    expect_saved(page)
    wait_until(lambda: {site.label_of(sample_id) for sample_id in shown} == {"robin"})


def test_dragging_across_images_and_their_corners_selects(site: Site, birds: list[int], visit: OpenVisit) -> None:
    page = visit().sign_in("rita", f"{REVIEW}?kind=labelled")
    tiles = page.locator("#tiles .tile")
    expect(tiles).to_have_count(7)
    boxes = [tiles.nth(at).bounding_box() for at in range(4)]
    middles = [(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2) for box in boxes if box]
    page.mouse.move(*middles[0])
    page.mouse.down()
    for middle in middles[1:3]:
        page.mouse.move(*middle, steps=4)
    page.mouse.up()
    chosen = page.locator(".tile[aria-selected=true]")
    expect(chosen).to_have_count(3)
    tiles.nth(3).hover()
    tiles.nth(3).locator(".tick").click()
    expect(chosen).to_have_count(4)
    page.keyboard.press("x")
    expect(chosen).to_have_count(3)
    tiles.nth(5).click()
    expect(chosen).to_have_count(0)
    tiles.nth(3).click(modifiers=["Shift"])
    expect(chosen).to_have_count(3)
    page.keyboard.press("Escape")
    expect(chosen).to_have_count(0)
    page.keyboard.press("Control+a")
    expect(chosen).to_have_count(7)


def test_flagged_images_are_put_back_or_excluded(site: Site, birds: list[int], visit: OpenVisit) -> None:
    page = visit().sign_in("rita", f"{REVIEW}?kind=flagged")
    expect(tile(page, birds[3])).to_be_focused()
    page.keyboard.press("f")
    expect_saved(page)
    assert state_of(site, birds[3]) is SampleState.UNLABELLED
    say(site, "max", ["flag"])
    page.keyboard.press("r")
    expect(tile(page, birds[3])).to_contain_text("flagged")
    page.keyboard.press("Shift+F")
    expect_saved(page)
    assert state_of(site, birds[3]) is SampleState.SKIPPED
    assert [row for row in site.answers(birds[3]) if row.kind is AnnotationKind.FLAG] == []


def test_what_was_put_back_leads_to_the_next_and_the_tabs_count_anew(
    site: Site, birds: list[int], visit: OpenVisit
) -> None:
    site.ask("gulls", site.project("gulls", CLASSES, 4, guidelines=""))
    say(site, "mia", ["flag", "sparrow", "flag", "finch"], "gulls")
    page = visit().sign_in("rita", "/projects/gulls/review?kind=flagged")
    expect(page.locator("#tiles .tile")).to_have_count(2)
    flagged, reviewed = (page.locator("#kinds a", has_text=word).locator(".number") for word in ("Flagged", "Reviewed"))
    expect(flagged).to_have_text("2")
    page.keyboard.press("f")
    page.keyboard.press("Shift+F")
    expect_saved(page)
    expect(flagged).to_have_text("0")
    page.locator("#kinds a", has_text="Labelled").click()
    expect(reviewed).to_have_text("0")
    page.keyboard.press("1")
    expect(reviewed).to_have_text("1")


def test_one_more_person_is_asked_and_gold_is_set_and_removed(site: Site, birds: list[int], visit: OpenVisit) -> None:
    page = visit().sign_in("rita", REVIEW)
    expect(tile(page, birds[2])).to_be_focused()
    page.keyboard.press("o")
    expect_saved(page)
    expect(tile(page, birds[2])).to_contain_text("being asked")
    with site.store.read() as tx:
        assert tx.queue.find_open_selection(birds[2]) is not None
    page.keyboard.press("ArrowRight")
    page.keyboard.press("g")
    expect_saved(page)
    expect(tile(page, birds[1])).to_contain_text("★ gold")
    golds, _, _ = site.services.reviews.golds("birds")
    assert [(gold.sample.id, gold.class_name) for gold in golds] == [(birds[1], "sparrow")]
    page.keyboard.press("g")
    expect_saved(page)
    wait_until(lambda: site.services.reviews.golds("birds")[0] == [])


def test_images_one_by_one_hide_what_people_said_until_it_is_asked_for(
    site: Site, birds: list[int], visit: OpenVisit
) -> None:
    page = visit().sign_in("rita", REVIEW)
    expect(tile(page, birds[2])).to_be_focused()
    page.keyboard.press("Enter")
    expect(page).to_have_url(f"{site.url}{REVIEW}?kind=disputed&view=one")
    expect(page.locator("#frame img")).to_be_visible()
    side = page.locator("#side")
    expect(side).to_contain_text("What people said is hidden")
    expect(page.get_by_role("list", name="Votes")).to_have_count(0)
    expect(side).not_to_contain_text("mia")
    page.keyboard.press("a")
    expect(page.locator("#toast")).to_contain_text("Look at the votes first")
    assert len(site.answers(birds[2])) == 2
    page.keyboard.press("v")
    expect(page.get_by_role("list", name="Votes").get_by_role("listitem")).to_have_count(2)
    page.keyboard.press("3")
    expect(page.locator("#toast")).to_have_text("robin, as 1 of 2 people said")
    expect(side).to_contain_text(f"Image {birds[1]}")
    expect(side).to_contain_text("What people said is hidden")
    expect_saved(page)
    assert site.label_of(birds[2]) == "robin"
    page.get_by_role("button", name="Image before").click()
    expect(side).to_contain_text(f"Image {birds[2]}")
    page.get_by_role("button", name="Next image").click()
    page.keyboard.press("Escape")
    expect(tile(page, birds[1])).to_be_focused()


def test_somebody_was_faster_and_the_choice_stays_in_view(site: Site, birds: list[int], visit: OpenVisit) -> None:
    first, second = visit(), visit()
    rita, tom = first.sign_in("rita", REVIEW), second.sign_in("tom", REVIEW)
    for page in (rita, tom):
        expect(tile(page, birds[2])).to_be_focused()
    rita.keyboard.press("3")
    expect_saved(rita)
    tom.keyboard.press("1")
    tom.get_by_role("button", name="1 changed meanwhile").click()
    box = tom.get_by_role("alert").filter(has_text="rita made this robin")
    expect(box).to_contain_text("Your choice was sparrow")
    expect(tile(tom, birds[2])).to_contain_text("robin")
    assert site.label_of(birds[2]) == "robin"
    tom.keyboard.press("r")
    expect(tom.get_by_role("link", name="Disputed 1")).to_be_visible()
    expect(box).to_contain_text("Your choice was sparrow")
    tom.keyboard.press("k")
    expect_saved(tom)
    assert site.label_of(birds[2]) == "sparrow"
    expect(tom.locator("#conflicts")).to_be_hidden()


def test_leaving_what_the_other_decided(site: Site, birds: list[int], visit: OpenVisit) -> None:
    page = visit().sign_in("tom", REVIEW)
    expect(tile(page, birds[2])).to_be_focused()
    judge(site, "rita", birds[2], "robin")
    page.keyboard.press("1")
    page.get_by_role("button", name="1 changed meanwhile").click()
    page.get_by_role("button", name="Leave it: robin").click()
    expect(page.locator("#conflicts")).to_be_hidden()
    assert site.label_of(birds[2]) == "robin"
    # What was seen may be changed: the next verdict names the version of the other.
    page.keyboard.press("2")
    expect_saved(page)
    wait_until(lambda: site.label_of(birds[2]) == "finch")


def busy(page: Page, address: str) -> Callable[[], None]:
    """The server cannot take what goes to this address until the returned function is called."""
    page.route(address, lambda route: route.fulfill(status=503, body="{}", content_type="application/json"))

    def works_again() -> None:
        page.unroute(address)
        page.evaluate("dispatchEvent(new Event('online'))")

    return works_again


def test_a_decision_that_waits_while_the_list_is_read_anew_overwrites_nobody(
    site: Site, birds: list[int], visit: OpenVisit
) -> None:
    one = visit()
    page = one.sign_in("rita", REVIEW)
    expect(tile(page, birds[2])).to_be_focused()
    works_again = busy(page, "**/projects/birds/labels")
    page.keyboard.press("1")
    expect(page.locator("#banner")).to_contain_text("Your 1 decision is kept here")
    page.get_by_role("link", name="Flagged").click()
    expect(page.locator("#tiles .tile")).to_have_count(1)
    tom = judge(site, "tom", birds[2], "robin")
    page.get_by_role("link", name="Labelled").click()
    expect(tile(page, birds[2])).to_contain_text("robin")
    expect(tile(page, birds[2])).to_contain_text("unsaved")
    works_again()
    page.get_by_role("button", name="1 changed meanwhile").click()
    box = page.get_by_role("alert").filter(has_text="tom made this robin")
    expect(box).to_contain_text("Your choice was sparrow")
    expect_saved(page)
    expect(tile(page, birds[2])).not_to_contain_text("unsaved")
    assert site.label_of(birds[2]) == "robin"
    assert [row.user_id for row in site.answers(birds[2]) if row.is_review] == [tom.id]
    page.keyboard.press("k")
    expect_saved(page)
    wait_until(lambda: site.label_of(birds[2]) == "sparrow")
    one.expect_errors("503", "409")


def test_decisions_about_one_image_that_wait_follow_each_other(site: Site, birds: list[int], visit: OpenVisit) -> None:
    one = visit()
    page = one.sign_in("rita", REVIEW)
    expect(tile(page, birds[2])).to_be_focused()
    works_again = busy(page, "**/projects/birds/labels")
    page.keyboard.press("3")
    expect(page.locator("#banner")).to_contain_text("Your 1 decision is kept here")
    page.keyboard.press("u")
    expect(tile(page, birds[2])).to_be_focused()
    page.keyboard.press("1")
    expect(page.locator("#unsaved")).to_have_text("3")
    works_again()
    expect_saved(page)
    expect(page.locator("#conflicts")).to_be_hidden()
    expect(tile(page, birds[2])).not_to_contain_text("unsaved")
    assert site.label_of(birds[2]) == "sparrow"
    assert [row.class_name for row in site.answers(birds[2]) if row.is_review] == ["sparrow"]
    one.expect_errors("503")


def test_what_another_decided_before_a_verdict_was_taken_back_is_not_overwritten_unseen(
    site: Site, birds: list[int], visit: OpenVisit
) -> None:
    one = visit()
    page = one.sign_in("rita", REVIEW)
    expect(tile(page, birds[2])).to_be_focused()
    page.keyboard.press("3")
    expect_saved(page)
    works_again = busy(page, "**/annotations/*")
    page.keyboard.press("u")
    expect(tile(page, birds[2])).to_be_focused()
    page.keyboard.press("3")
    expect(page.locator("#unsaved")).to_have_text("2")
    judge(site, "tom", birds[2], "sparrow")
    works_again()
    page.get_by_role("button", name="1 changed meanwhile").click()
    expect(page.get_by_role("alert").filter(has_text="tom made this sparrow")).to_be_visible()
    expect_saved(page)
    assert site.label_of(birds[2]) == "sparrow"
    one.expect_errors("503", "409")


def test_a_lost_connection_loses_no_decision(site: Site, birds: list[int], visit: OpenVisit) -> None:
    one = visit()
    page = one.sign_in("rita", REVIEW)
    expect(tile(page, birds[2])).to_be_focused()
    page.wait_for_load_state("networkidle")
    one.context.set_offline(True)
    page.keyboard.press("3")
    page.keyboard.press("3")
    expect(page.locator("#unsaved")).to_have_text("2")
    expect(page.locator("#banner")).to_contain_text("Your 2 decisions are kept here")
    expect(tile(page, birds[2])).to_contain_text("unsaved")
    page.close()
    one.context.set_offline(False)
    again = one.watch(one.context.new_page())
    again.goto(site.url + REVIEW)
    wait_until(lambda: (site.label_of(birds[1]), site.label_of(birds[2])) == ("robin", "robin"))
    expect(again.locator("#note")).to_contain_text("Nobody disagrees")
    one.expect_errors("net::ERR", "Failed to load")


def test_what_the_model_was_sure_is_of_another_class_is_a_list(site: Site, visit: OpenVisit) -> None:
    site.person("mia")
    site.person("rita", Role.REVIEWER)
    ids = site.project("birds", CLASSES, 3)
    site.ask("birds", ids, likely=[("finch", 0.9), ("sparrow", 0.1)])
    say(site, "mia", ["sparrow", "finch", "robin"])
    page = visit().sign_in("rita", REVIEW)
    page.get_by_role("link", name="Suspicious", exact=True).click()
    options = page.locator("#tiles").get_by_role("option")
    expect(options).to_have_count(2)
    assert [option.get_attribute("id") for option in options.all()] == [f"tile-{ids[2]}", f"tile-{ids[0]}"]
    expect(tile(page, ids[2])).to_be_focused()
    expect(page.locator("dl.facts")).to_contain_text("finch, 90 % sure")
    page.keyboard.press("2")
    expect_saved(page)
    assert (site.label_of(ids[2]), site.label_of(ids[0])) == ("finch", "sparrow")
    page.reload()
    expect(options).to_have_count(1)


def test_a_session_that_ended_asks_to_sign_in_and_goes_on(site: Site, birds: list[int], visit: OpenVisit) -> None:
    one = visit()
    page = one.sign_in("rita", REVIEW)
    expect(tile(page, birds[2])).to_be_focused()
    one.context.clear_cookies()
    page.keyboard.press("3")
    dialog = page.get_by_role("dialog", name="Please sign in again")
    dialog.get_by_label("Password").fill("a long password")
    page.keyboard.press("Enter")
    expect(dialog).to_be_hidden()
    expect_saved(page)
    wait_until(lambda: site.label_of(birds[2]) == "robin")
    one.expect_errors("401")


def test_long_lists_come_page_by_page(site: Site, visit: OpenVisit) -> None:
    site.person("rita", Role.REVIEWER)
    ids = site.project("birds", CLASSES, 150)
    project, user = site.services.projects.get("birds"), site.services.accounts.get_user("rita")
    with site.store.write() as tx:
        rows = [(sample_id, "sparrow") for sample_id in ids]
        tx.annotations.add_labels(project.id, user.id, rows, "made", site.services.clock())
    page = visit(viewport={"width": 1280, "height": 500}).sign_in("rita", f"{REVIEW}?kind=labelled")
    expect(page.get_by_role("link", name="Labelled 150")).to_be_visible()
    expect(page.locator("#tiles .tile")).to_have_count(60)
    page.keyboard.press("End")
    expect(page.locator("#tiles .tile")).to_have_count(120)
    page.keyboard.press("End")
    expect(page.locator("#tiles .tile")).to_have_count(150)
    expect(page.get_by_role("button", name="Show more")).to_be_hidden()


def test_reviewers_find_the_page_and_labelers_do_not(site: Site, birds: list[int], visit: OpenVisit) -> None:
    page = visit().sign_in("rita", "/projects/birds/board")
    page.get_by_role("link", name="Review", exact=True).click()
    expect(page).to_have_url(site.url + REVIEW)
    expect(tile(page, birds[2])).to_be_focused()
    page.get_by_role("button", name="birds").click()
    expect(page.get_by_role("menuitem", name="Board")).to_be_visible()
    other = visit()
    page = other.sign_in("mia", "/projects/birds/board")
    expect(page.locator("#headline")).not_to_have_text("…")
    expect(page.get_by_role("link", name="Review", exact=True)).to_have_count(0)
    page.goto(site.url + REVIEW)
    expect(page.get_by_role("main")).to_contain_text("not for your role")
    other.expect_errors("403")


def test_every_state_is_accessible_at_every_width(site: Site, birds: list[int], visit: OpenVisit) -> None:
    one = visit()
    page = one.sign_in("rita", REVIEW)
    check = Checks(page)
    expect(tile(page, birds[2])).to_be_focused()
    check("disputed")
    page.get_by_text("Everything that was said").click()
    expect(page.locator(".log li").first).to_contain_text("mia")
    page.keyboard.press("Control+a")
    check("everything selected, the log open")
    page.keyboard.press("Escape")
    page.keyboard.press("Enter")
    expect(page.locator("#frame img")).to_be_visible()
    check("one by one, votes hidden")
    page.keyboard.press("v")
    check("one by one, votes shown")
    page.keyboard.press("Escape")
    page.keyboard.press("c")
    check("finding a class")
    page.keyboard.press("Escape")
    page.keyboard.press("?")
    expect(page.get_by_role("dialog", name="Keys")).to_be_visible()
    check("help")
    page.keyboard.press("Escape")
    judge(site, "tom", birds[2], "robin")
    page.keyboard.press("Home")
    page.keyboard.press("1")
    page.get_by_role("button", name="1 changed meanwhile").click()
    check("somebody was faster")
    page.goto(f"{site.url}{REVIEW}?kind=gold")
    expect(page.locator("#note")).to_contain_text("No gold yet")
    check("nothing there")
    page.goto(f"{site.url}{REVIEW}?class_name=penguin")
    expect(page.locator("#note")).to_contain_text("is not a class of birds")
    check("a list that cannot be")
    one.context.set_offline(True)
    page.get_by_role("button", name="Try again").click()
    expect(page.locator("#note")).to_contain_text("You are offline")
    check("offline")
    one.context.set_offline(False)
    # The page asks again by itself, and is refused once more.
    expect(page.locator("#note")).to_contain_text("is not a class of birds")
    one.expect_errors("400", "net::ERR", "Failed to load")
    check.done()

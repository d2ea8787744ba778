"""Without a server: a minute goes on without a stop, a tab closed meanwhile loses nothing, undo reaches far back."""

from collections.abc import Callable

from playwright.sync_api import Route, expect

from al_service.domain.states import AnnotationKind
from tests.web.browser import Site, Visit, chromium, migrated_database, site, visit
from tests.web.labelling import LABEL, NETWORK_WORDS, birds, come_back, expect_in_view, expect_unsaved, in_view, said

__all__ = ["chromium", "migrated_database", "site", "visit"]

OpenVisit = Callable[..., Visit]


def test_a_minute_offline_at_an_answer_every_two_seconds_does_not_stop(site: Site, visit: OpenVisit) -> None:
    samples = birds(site, 200)
    one = visit()
    one.page.clock.install()
    page = one.sign_in("mia", LABEL)
    for sample_id in samples[:8]:
        expect_in_view(page, sample_id)
        page.clock.run_for(2000)
        page.keyboard.press("1")
    expect_unsaved(page, 0)
    page.wait_for_load_state("networkidle")
    one.context.set_offline(True)
    for count, sample_id in enumerate(samples[8:38], start=1):
        expect_in_view(page, sample_id)
        page.clock.run_for(2000)
        page.keyboard.press("2")
        expect_unsaved(page, count)
    expect_in_view(page, samples[38])
    expect(page.locator("#banner")).to_contain_text("Your 30 answers are kept here")
    assert site.answers(samples[8]) == []
    one.context.set_offline(False)
    page.clock.run_for(20_000)
    expect_unsaved(page, 0)
    given = [said(site, sample_id) for sample_id in samples[:39]]
    assert given == [[(AnnotationKind.LABEL, "sparrow")]] * 8 + [[(AnnotationKind.LABEL, "finch")]] * 30 + [[]]
    one.expect_errors(*NETWORK_WORDS)


def test_how_many_images_are_held_is_bounded_and_leaves_some_to_others(site: Site, visit: OpenVisit) -> None:
    page = visit().page
    page.goto(f"{site.url}/login")
    asked = [(None, None), (None, 500), (10, 500), (30, 500), (30, None), (300, 5000), (30, 60), (30, 10), (30, 0)]
    found = page.evaluate(
        """async (asked) => {
            const { wanted } = await import("/static/hand.js");
            return asked.map(([perMinute, left]) => wanted(perMinute, left)).map(({ low, high }) => [low, high]);
        }""",
        asked,
    )
    assert dict(zip(asked, found, strict=True)) == {
        (None, None): [3, 6],
        (None, 500): [3, 6],
        (10, 500): [10, 13],
        (30, 500): [30, 38],
        (30, None): [30, 38],
        (300, 5000): [32, 40],
        (30, 60): [12, 15],
        (30, 10): [3, 6],
        (30, 0): [3, 6],
    }


def test_who_answers_slowly_holds_few_images(site: Site, visit: OpenVisit) -> None:
    samples = birds(site, 40)
    one = visit()
    one.page.clock.install()
    page = one.sign_in("mia", LABEL)
    for sample_id in samples[:7]:
        expect_in_view(page, sample_id)
        page.clock.run_for(20_000)
        page.keyboard.press("1")
        expect_unsaved(page, 0)
    page.wait_for_load_state("networkidle")
    # Six, and one for an answer that may have been under way when more were asked for.
    assert 3 <= site.holders("birds")["mia"] <= 7


def test_a_tab_closed_while_offline_loses_nothing(site: Site, visit: OpenVisit) -> None:
    samples = birds(site)
    one = visit()
    page = one.sign_in("mia", LABEL)
    assert in_view(page) == samples[0]
    page.wait_for_load_state("networkidle")
    one.context.set_offline(True)
    for count, key in enumerate(("1", "2", "Space"), start=1):
        expect_in_view(page, samples[count - 1])
        page.keyboard.press(key)
        expect_unsaved(page, count)
    page.close()
    assert [site.answers(sample_id) for sample_id in samples[:3]] == [[], [], []]
    one.context.set_offline(False)
    later = one.watch(one.context.new_page())
    later.goto(site.url + LABEL)
    assert in_view(later) == samples[3]
    expect_unsaved(later, 0)
    assert [said(site, sample_id) for sample_id in samples[:4]] == [
        [(AnnotationKind.LABEL, "sparrow")],
        [(AnnotationKind.LABEL, "finch")],
        [(AnnotationKind.SKIP, None)],
        [],
    ]
    one.expect_errors(*NETWORK_WORDS)


def test_undo_reaches_back_twenty_answers_also_after_a_reload(site: Site, visit: OpenVisit) -> None:
    samples = birds(site, 30)
    page = visit().sign_in("mia", LABEL)
    for sample_id in samples[:21]:
        expect_in_view(page, sample_id)
        page.keyboard.press("1")
    expect_in_view(page, samples[21])
    expect_unsaved(page, 0)
    come_back(site, page)
    assert in_view(page) == samples[21]
    expect(page.locator("#trail li")).to_have_count(20)
    for sample_id in reversed(samples[1:21]):
        page.keyboard.press("u")
        expect_in_view(page, sample_id)
    page.keyboard.press("u")
    expect(page.locator("#toast")).to_have_text("There is nothing to take back.")
    expect_unsaved(page, 0)
    assert [len(site.answers(sample_id)) for sample_id in samples[:22]] == [1, *[0] * 21]
    page.keyboard.press("3")
    expect_in_view(page, samples[2])
    expect_unsaved(page, 0)
    assert said(site, samples[1]) == [(AnnotationKind.LABEL, "robin")]


def test_an_answer_after_an_undo_whose_reply_was_lost_is_stored(site: Site, visit: OpenVisit) -> None:
    samples = birds(site)
    one = visit()
    page = one.sign_in("mia", LABEL)
    assert in_view(page) == samples[0]
    page.keyboard.press("1")
    expect_in_view(page, samples[1])
    expect_unsaved(page, 0)

    def lose_reply(route: Route) -> None:
        route.fetch()
        route.abort()

    page.route("**/annotations/*", lose_reply, times=1)
    page.keyboard.press("u")
    expect_in_view(page, samples[0])
    page.keyboard.press("3")
    expect_in_view(page, samples[1])
    expect_unsaved(page, 0)
    expect(page.locator("#aside-button")).to_be_hidden()
    assert said(site, samples[0]) == [(AnnotationKind.LABEL, "robin")]
    one.expect_errors("409", *NETWORK_WORDS)


def test_an_answer_of_an_earlier_visit_is_looked_at_and_taken_back(site: Site, visit: OpenVisit) -> None:
    samples = birds(site)
    page = visit().sign_in("mia", LABEL)
    for sample_id in samples[:3]:
        expect_in_view(page, sample_id)
        page.keyboard.press("1")
    expect_unsaved(page, 0)
    come_back(site, page)
    assert in_view(page) == samples[3]
    expect(page.locator("#trail li")).to_have_count(3)
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowLeft")
    expect(page.locator(f'#stage[data-state=past][data-sample="{samples[1]}"]')).to_be_visible()
    page.keyboard.press("u")
    expect_in_view(page, samples[1])
    expect_unsaved(page, 0)
    page.keyboard.press("2")
    expect_in_view(page, samples[3])
    expect_unsaved(page, 0)
    assert said(site, samples[1]) == [(AnnotationKind.LABEL, "finch")]

"""Classes that change while somebody labels: the page goes on without a reload, and no key press is lost or misread."""

from collections.abc import Callable

from playwright.sync_api import Page, expect

from al_service.domain.states import AnnotationKind
from al_service.loop.class_change_kinds import AddClasses, Change, MergeClass, RenameClass, SplitClass
from tests.web.browser import Site, Visit, chromium, migrated_database, site, visit, wait_until
from tests.web.labelling import LABEL, NETWORK_WORDS, birds, expect_in_view, expect_unsaved, in_view, said

__all__ = ["chromium", "migrated_database", "site", "visit"]

OpenVisit = Callable[..., Visit]
LABELLED = AnnotationKind.LABEL


def change(site: Site, what: Change) -> None:
    site.services.classes.apply("birds", what, None)


def label_until(page: Page, key: str, name: str, most: int = 12) -> list[int]:
    """Press that key for one image after the other until there is a button of that name; the samples."""
    given = []
    while not page.locator(f'#classes [data-class-name="{name}"]').count():
        assert len(given) < most, f"no button {name} after {most} images"
        given.append(in_view(page))
        page.keyboard.press(key)
        expect(page.locator(f'#stage[data-sample="{given[-1]}"]')).to_have_count(0)
        expect_unsaved(page, 0)
    return given


def buttons(page: Page) -> list[str]:
    return [" ".join(text.split()) for text in page.locator("#classes .class-button").all_inner_texts()]


def test_a_renamed_class_keeps_its_key_and_old_buttons_mean_it(site: Site, visit: OpenVisit) -> None:
    samples = birds(site, 24)
    page = visit().sign_in("mia", LABEL)
    expect_in_view(page, samples[0])
    change(site, RenameClass("finch", "goldfinch"))
    given = label_until(page, "2", "goldfinch")
    assert [said(site, one) for one in given] == [[(LABELLED, "goldfinch")]] * len(given)
    assert buttons(page) == ["1 sparrow", "2 goldfinch", "3 robin"]
    expect(page.locator("#toast")).to_contain_text("“finch” is “goldfinch”")
    sample_id = in_view(page)
    page.keyboard.press("2")
    wait_until(lambda: said(site, sample_id) == [(LABELLED, "goldfinch")])
    page.keyboard.press("/")
    page.locator("#finder-input").fill("gold")
    expect(page.locator("#finder-list li")).to_have_text("goldfinch2")
    page.keyboard.press("Escape")


def test_an_answer_for_a_class_that_was_split_comes_again_and_its_key_does_nothing(
    site: Site, visit: OpenVisit
) -> None:
    samples = birds(site, 24)
    one = visit()
    page = one.sign_in("mia", LABEL)
    expect_in_view(page, samples[0])
    page.keyboard.press("2")
    expect_in_view(page, samples[1])
    expect_unsaved(page, 0)
    change(site, SplitClass("finch", ("goldfinch", "greenfinch")))
    page.keyboard.press("2")
    expect_in_view(page, samples[2])
    expect(page.locator("#toast")).to_contain_text("“finch” was split")
    expect(page.locator("#aside-button")).to_have_text("1 set aside")
    page.keyboard.press("1")
    # The image in view was answered with the old buttons; from the next one on there are new ones.
    expect_in_view(page, samples[1])
    expect(page.locator("#classes .class-button")).to_have_count(4)
    assert buttons(page) == ["1 sparrow", "3 robin", "4 goldfinch", "5 greenfinch"]
    page.keyboard.press("2")
    expect_in_view(page, samples[1])
    page.keyboard.press("5")
    wait_until(lambda: said(site, samples[1]) == [(LABELLED, "greenfinch")])
    expect(page.locator("#aside-button")).to_be_hidden()
    expect_unsaved(page, 0)
    assert said(site, samples[2]) == [(LABELLED, "sparrow")]
    assert said(site, samples[0]) == []
    one.expect_errors(*NETWORK_WORDS)


def test_what_was_set_aside_comes_again_after_a_reload(site: Site, visit: OpenVisit) -> None:
    samples = birds(site, 24)
    one = visit()
    page = one.sign_in("mia", LABEL)
    expect_in_view(page, samples[0])
    one.context.set_offline(True)
    page.keyboard.press("2")
    expect_in_view(page, samples[1])
    expect_unsaved(page, 1)
    change(site, SplitClass("finch", ("goldfinch", "greenfinch")))
    one.context.set_offline(False)
    page.goto(site.url)
    page.goto(site.url + LABEL)
    expect(page.locator("#aside-button")).to_have_text("1 set aside")
    page.reload()
    while in_view(page) != samples[0]:
        before = in_view(page)
        page.keyboard.press("1")
        expect(page.locator(f'#stage[data-sample="{before}"]')).to_have_count(0)
        expect_unsaved(page, 0)
        assert len(site.answers(before)) == 1
    expect(page.locator("#classes .class-button")).to_have_count(4)
    page.keyboard.press("4")
    wait_until(lambda: said(site, samples[0]) == [(LABELLED, "goldfinch")])
    expect(page.locator("#aside-button")).to_be_hidden()
    one.expect_errors(*NETWORK_WORDS)


def test_merged_and_added_classes_change_the_buttons_and_nothing_else(site: Site, visit: OpenVisit) -> None:
    birds(site, 24)
    page = visit().sign_in("mia", LABEL)
    in_view(page)
    change(site, MergeClass("finch", "robin"))
    change(site, AddClasses(("owl",)))
    given = label_until(page, "2", "owl")
    assert [said(site, one) for one in given] == [[(LABELLED, "robin")]] * len(given)
    assert buttons(page) == ["1 sparrow", "3 robin", "4 owl"]

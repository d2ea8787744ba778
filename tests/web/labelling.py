"""The label page as tests see it: which sample is in view, what is unsaved, what the server was told."""

from playwright.sync_api import Page, expect

from al_service.domain.states import AnnotationKind
from tests.web.browser import Site, wait_until

LABEL = "/projects/birds/label"
CLASSES = ["sparrow", "finch", "robin"]
NETWORK_WORDS = ("Failed to load resource", "net::ERR")


def birds(site: Site, count: int = 12, classes: list[str] = CLASSES) -> list[int]:
    """A round that asks for all these birds, in this order, and mia, who may label them."""
    site.person("mia")
    ids = site.project("birds", classes, count, guidelines="")
    site.ask("birds", ids)
    return ids


def taught(site: Site, project: str) -> None:
    """The newest round of that project has a model of its own, as one has that found labels to learn from."""
    with site.store.write() as tx:
        newest = tx.rounds.find_last(site.services.projects.get(project).id)
        assert newest is not None
        tx.rounds.set_round(newest.id, model_hash="5" * 64)


def in_view(page: Page) -> int:
    """The sample in view, once its image is there."""
    stage = page.locator("#stage[data-state=image]")
    expect(stage).to_be_visible()
    expect(page.locator("#frame img")).to_have_js_property("complete", True)
    return int(stage.get_attribute("data-sample") or 0)


def expect_in_view(page: Page, sample_id: int) -> None:
    expect(page.locator(f'#stage[data-state=image][data-sample="{sample_id}"]')).to_be_visible()


def expect_unsaved(page: Page, count: int) -> None:
    expect(page.locator("#unsaved")).to_have_text(str(count))


def said(site: Site, sample_id: int) -> list[tuple[AnnotationKind, str | None]]:
    return [(row.kind, row.class_name) for row in site.answers(sample_id)]


def come_back(site: Site, page: Page) -> None:
    """Leave the page and open it again once the server has the images back: what is still held would come first."""
    # A question for images that overtakes the leaving would hold them again, until their time is over.
    page.wait_for_load_state("networkidle")
    page.goto(site.url)
    wait_until(lambda: not site.holders("birds"))
    page.goto(site.url + LABEL)

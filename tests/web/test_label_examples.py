"""Guidelines with example images: by class, with a line each, and words where they do not load."""

from collections.abc import Callable

from playwright.sync_api import expect

from al_service.loop.examples import Wanted
from tests.web.axe import findings
from tests.web.browser import Site, Visit, chromium, migrated_database, site, visit
from tests.web.labelling import CLASSES, LABEL, birds, expect_in_view, in_view

__all__ = ["chromium", "migrated_database", "site", "visit"]

OpenVisit = Callable[..., Visit]


def with_examples(site: Site) -> list[int]:
    """Twelve birds of which ten are asked; the others are examples."""
    site.person("mia")
    samples = site.project("birds", CLASSES, 12, guidelines="")
    site.ask("birds", samples[:10])
    rita = site.services.accounts.ensure_user("rita", "reviewer")
    for sample_id, name, note in ((samples[11], "robin", "red breast"), (samples[10], "finch", "")):
        site.services.examples.set(Wanted(sample_id, name, note), rita)
    return samples


def test_examples_stand_below_the_guidelines_by_class(site: Site, visit: OpenVisit) -> None:
    samples = with_examples(site)
    page = visit().sign_in("mia", LABEL)
    in_view(page)
    # The guidelines open by themselves the first time.
    expect(page.locator(".examples h3")).to_have_text(["finch", "robin"])
    expect(page.locator(".examples img")).to_have_count(2)
    robin = page.locator(".examples section", has_text="robin")
    expect(robin.locator("p")).to_have_text("red breast")
    expect(robin.locator("img")).to_have_attribute("alt", "Example of robin: red breast")
    expect(robin.locator("img")).to_have_js_property("complete", True)
    page.keyboard.press("1")
    expect_in_view(page, samples[1])
    page.keyboard.press("i")
    expect(page.locator("#guide")).to_be_hidden()
    page.keyboard.press("i")
    expect(page.locator(".examples img")).to_have_count(2)
    assert findings(page, "guidelines with examples") == []


def test_a_project_without_guidelines_and_examples_has_no_drawer(site: Site, visit: OpenVisit) -> None:
    birds(site)
    page = visit().sign_in("mia", LABEL)
    in_view(page)
    page.keyboard.press("i")
    expect(page.locator("#toast")).to_have_text("This project has no guidelines yet.")
    expect(page.locator("#guide")).to_be_hidden()


def test_examples_that_do_not_load_say_so_and_labelling_goes_on(site: Site, visit: OpenVisit) -> None:
    samples = with_examples(site)
    one = visit()
    one.page.route("**/api/v1/projects/birds/examples", lambda route: route.abort())
    page = one.sign_in("mia", LABEL)
    in_view(page)
    expect(page.locator(".examples")).to_have_text("The examples do not load right now.")
    page.keyboard.press("1")
    expect_in_view(page, samples[1])
    one.expect_errors("Failed to load resource", "net::ERR")

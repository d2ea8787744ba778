"""The pages of studies: what is missing, starting one, following and stopping it, what it found, its report."""

import json
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from al_service.domain.records import Job
from al_service.domain.states import JobState, Role
from al_service.loop.studies import COMPARING, Asked, models_of
from al_service.simulation.curves_picture import draw_curves
from al_service.simulation.report import page_part, render_report
from al_service.simulation.words import entry, headline_words, lead_words
from tests.unit.simulation.test_report import a_result
from tests.web.axe import findings
from tests.web.browser import Site, Visit, chromium, migrated_database, site, visit

__all__ = ["chromium", "migrated_database", "site", "visit"]

OpenVisit = Callable[..., Visit]
STUDIES = "/projects/birds/studies"
CLASSES = ["sparrow", "finch", "robin"]
CAVEAT = "These images were chosen before."


@pytest.fixture
def birds(site: Site) -> Site:
    """A project with sixty labelled images and people who may and may not start studies."""
    for name, role in (("eve", Role.ENGINEER), ("mia", Role.LABELER), ("vic", Role.VIEWER)):
        site.person(name, role)
    label(site, site.project("birds", CLASSES, 60))
    return site


def label(site: Site, ids: list[int], project: str = "birds") -> None:
    mia = site.services.accounts.ensure_user("mia", Role.LABELER)
    labels = [(one, CLASSES[position % len(CLASSES)]) for position, one in enumerate(ids)]
    with site.store.write() as tx:
        found = tx.projects.find(project)
        assert found is not None
        tx.annotations.add_labels(found.id, mia.id, labels, f"known-{project}", site.services.clock())


def start(site: Site, **asked: Any) -> Job:
    job, is_new = site.services.studies.start("birds", replace(Asked(), **asked))
    assert is_new
    return job


def finish(site: Site, job: Job, **about: Any) -> dict[str, Any]:
    """As a worker that has made everything of made-up curves; the result."""
    result = a_result(name="birds", **{"strategies": ("random", "auto"), **about}) | {"caveat": CAVEAT, "notes": []}
    claimed = job if job.state is JobState.RUNNING else site.claim(job)
    names = {key: f"studies/1/{job.id}/{key}" for key in ("result", "report", "page", "curves")}
    contents = {
        "result": json.dumps(result).encode(),
        "report": render_report(result).encode(),
        "page": page_part(result).encode(),
        "curves": draw_curves(result),
    }
    site.artifacts.put_many({names[key]: content for key, content in contents.items()})
    one = entry(result, result["headline"])
    facts = {
        "headline": result["headline"],
        "words": headline_words(result),
        "lead": lead_words(result),
        "label_savings": one["label_savings_vs_random"],
        "label_savings_ci95": one["label_savings_ci95"],
        "labels": one["same_accuracy"]["labels"],
        "random_labels": one["same_accuracy"]["random_labels"],
        "notes": [],
        "artifacts": names,
    }
    with site.store.write() as tx:
        site.services.jobs.finish(tx, claimed, facts)
    return result


def entries(page: Page) -> Any:
    return page.locator("#studies > li:not(.ghost)")


def test_without_labels_the_page_says_what_is_missing_and_leads_there(site: Site, visit: OpenVisit) -> None:
    site.person("eve", Role.ENGINEER)
    site.person("vic", Role.VIEWER)
    ids = site.project("birds", CLASSES, 60)
    page = visit().sign_in("eve", STUDIES)
    start_panel = page.get_by_role("region", name="New study")
    expect(start_panel).to_contain_text(
        "birds has no labels yet, and a study needs images of two classes or more: label some images first."
    )
    expect(start_panel.get_by_role("link", name="Label images")).to_have_attribute("href", "/projects/birds/label")
    expect(page.locator("#study-form")).to_be_hidden()
    other = visit().sign_in("vic", STUDIES)
    expect(other.locator("#empty")).to_contain_text("No study yet. birds has no labels yet")
    # Labels come while the page is open.
    label(site, ids)
    expect(page.locator("#study-form")).to_be_visible()
    expect(page.locator("#missing")).to_be_hidden()
    expect(other.locator("#empty")).to_have_text("No study yet. An engineer can start one.")


def test_a_study_is_started_followed_stopped_and_taken_up_again(birds: Site, visit: OpenVisit) -> None:
    page = visit().sign_in("eve", STUDIES)
    expect(page.locator("#estimate")).to_have_text(
        re.compile("^36 models will be trained, the first of each on 6 labels. Measured on a share kept aside")
    )
    page.get_by_label("Repetitions").fill("2")
    page.get_by_role("checkbox", name="margin").first.check()
    page.get_by_label("Labels at a time").fill("10")
    page.get_by_label("Labels in all").fill("30")
    expect(page.locator("#estimate")).to_have_text(re.compile("^24 models will be trained"))
    page.get_by_role("button", name="Start the study").press("Enter")
    expect(entries(page)).to_have_count(1)
    expect(entries(page)).to_contain_text("Waiting for a worker.")
    [job] = birds.services.studies.all("birds")
    assert job.payload["strategies"] == ["random", "auto", "margin"]
    assert [job.payload[name] for name in ("seeds", "initial", "batch", "budget", "random_budget")] == [
        2,
        6,
        10,
        30,
        30,
    ]
    expect(page.get_by_role("button", name="Start the study")).to_be_disabled()
    expect(page.locator("#start-words")).to_contain_text("One study at a time")
    claimed = birds.claim(job)
    assert birds.services.jobs.beat(job.id, claimed.attempt, 12, 24, COMPARING)
    expect(entries(page)).to_contain_text("12 of 24 models trained")
    meter = page.get_by_role("progressbar", name=f"Study {job.id}")
    expect(meter).to_have_attribute("aria-valuenow", "50")
    page.get_by_role("button", name=f"Stop study {job.id}").press("Enter")
    expect(entries(page)).to_contain_text("It was stopped. Its finished runs are kept until the next study begins.")
    assert birds.services.jobs.get(job.id).state is JobState.CANCELLED
    # The button that was pressed is gone; the focus stays with the study.
    again = page.get_by_role("button", name=f"Go on study {job.id}")
    expect(again).to_be_focused()
    expect(page.get_by_role("button", name="Start the study")).to_be_enabled()
    again.press("Enter")
    expect(entries(page)).to_contain_text("Waiting for a worker.")
    assert birds.services.jobs.get(job.id).attempt == 2


def test_the_estimate_is_what_the_service_will_train(birds: Site, visit: OpenVisit) -> None:
    page = visit().sign_in("eve", STUDIES)
    expect(page.locator("#estimate")).not_to_be_empty()
    for batch, budget in ((1, 8), (6, 12), (7, 13), (5, 48), (41, 47)):
        page.get_by_label("Labels at a time").fill(str(batch))
        page.get_by_label("Labels in all").fill(str(budget))
        job = start(birds, batch=batch, budget=budget, initial=6)
        expect(page.locator("#estimate")).to_have_text(re.compile(f"^{models_of(job)} models will be trained"))
        birds.services.jobs.cancel(job.id)


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("Repetitions", "0", "Repetitions: a number from 1 to 100."),
        ("Repetitions", "", "Repetitions: a number from 1 to 100."),
        ("Labels at a time", "43", "Labels at a time: a number from 1 to 42."),
        ("Labels in all", "6", "Labels in all: a number from 7 to 48, the labelled images there are to choose among."),
        ("Labels in all", "49", "Labels in all: a number from 7 to 48, the labelled images there are to choose among."),
    ],
)
def test_a_number_that_cannot_be_is_told_at_once(
    birds: Site, visit: OpenVisit, field: str, value: str, words: str
) -> None:
    page = visit().sign_in("eve", STUDIES)
    expect(page.get_by_role("button", name="Start the study")).to_be_enabled()
    page.get_by_label(field).fill(value)
    expect(page.locator("#estimate")).to_have_text(words)
    expect(page.get_by_label(field)).to_have_attribute("aria-invalid", "true")
    expect(page.get_by_role("button", name="Start the study")).to_be_disabled()
    page.get_by_label(field).press("Enter")
    assert birds.services.studies.all("birds") == []


def test_what_studies_found_newest_first_and_why_one_failed(birds: Site, visit: OpenVisit) -> None:
    finish(birds, start(birds), bonus=0.1)
    failed = birds.claim(start(birds))
    birds.services.jobs.fail(failed.id, failed.attempt, "the disk is full", retryable=False)
    page = visit().sign_in("eve", STUDIES)
    expect(entries(page)).to_have_count(2)
    expect(entries(page).first).to_contain_text("the disk is full")
    expect(page.get_by_role("button", name=f"Try again study {failed.id}")).to_be_visible()
    expect(entries(page).last).to_contain_text("1.50 ×")
    expect(entries(page).last).to_contain_text("auto against random · 3 repetitions")
    expect(page.locator("#legend")).to_be_visible()
    page.get_by_role("link", name="auto needs 20 labels for what random reaches with 30.").click()
    expect(page).to_have_url(f"{birds.url}{STUDIES}/1")
    viewer = visit().sign_in("mia", STUDIES)
    expect(entries(viewer)).to_have_count(2)
    expect(viewer.get_by_role("button", name="Try again")).to_have_count(0)
    expect(viewer.get_by_role("region", name="New study")).to_have_count(0)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_report_stands_inside_the_page_in_its_colours(birds: Site, visit: OpenVisit, scheme: str) -> None:
    result = finish(birds, start(birds), bonus=0.1)
    page = visit(color_scheme="light").sign_in("vic", f"{STUDIES}/1")
    page.evaluate("(scheme) => { document.documentElement.dataset.theme = scheme; }", scheme)
    expect(page.get_by_role("heading", level=1)).to_have_text(headline_words(result))
    expect(page.locator(".report .caveat")).to_have_text(CAVEAT)
    colours = page.evaluate(
        """() => {
            const of = (selector, name) => getComputedStyle(document.querySelector(selector))[name];
            return { ground: of(".report section", "backgroundColor"), page: of(".top", "backgroundColor"),
                     body: of("body", "backgroundColor"),
                     font: of(".report h2", "fontFamily") === of("body", "fontFamily") };
        }"""
    )
    assert colours["ground"] == {"light": "rgb(255, 255, 255)", "dark": "rgb(29, 29, 32)"}[scheme]
    assert colours["body"] == colours["page"]
    assert colours["font"]
    expect(page.locator(".chart svg:visible")).to_have_count(1)


def test_report_picture_and_figures_can_be_saved(birds: Site, visit: OpenVisit) -> None:
    result = finish(birds, start(birds), bonus=0.1)
    page = visit().sign_in("vic", f"{STUDIES}/1")
    for name, file in (
        ("Report", "birds-study-1.html"),
        ("Picture", "birds-study-1.png"),
        ("Figures", "birds-study-1.json"),
    ):
        with page.expect_download() as saving:
            page.get_by_role("link", name=name, exact=True).click()
        assert saving.value.suggested_filename == file
        content = saving.value.path().read_bytes()
        if name == "Figures":
            assert json.loads(content)["result"]["summary"] == json.loads(json.dumps(result["summary"]))
        else:
            assert content.startswith(b"<!doctype html>" if name == "Report" else b"\x89PNG")


def test_the_page_of_a_running_study_becomes_its_report(birds: Site, visit: OpenVisit) -> None:
    job = birds.claim(start(birds))
    page = visit().sign_in("vic", f"{STUDIES}/{job.id}")
    expect(page.get_by_role("heading", level=1)).to_have_text(f"Study {job.id}")
    expect(entries(page)).to_contain_text("A worker begins.")
    result = finish(birds, job)
    expect(page.get_by_role("heading", level=1)).to_have_text(headline_words(result))


def test_a_study_of_another_project_is_not_found(birds: Site, visit: OpenVisit) -> None:
    birds.project("bees", ["a", "b"], 1)
    finish(birds, start(birds))
    one = visit()
    page = one.sign_in("vic", "/projects/bees/studies/1")
    expect(page.get_by_role("heading", level=1)).to_have_text("Nothing here")
    expect(page.locator("main")).to_contain_text("“bees” has no study 1.")
    one.expect_errors("404")


def test_board_and_menu_lead_to_the_studies(birds: Site, visit: OpenVisit) -> None:
    page = visit().sign_in("vic", "/projects/birds/board")
    with page.expect_navigation():
        page.get_by_role("link", name="Studies").click()
    expect(page).to_have_url(birds.url + STUDIES)
    page.get_by_role("button", name="birds").click()
    expect(page.get_by_role("menuitem", name="Board")).to_be_visible()
    expect(page.get_by_role("menuitem", name="Studies")).to_have_count(0)


def test_a_page_that_lost_its_server_says_how_old_it_is_and_starts_nothing(birds: Site, visit: OpenVisit) -> None:
    one = visit()
    page = one.sign_in("eve", STUDIES)
    expect(page.get_by_role("button", name="Start the study")).to_be_enabled()
    one.context.set_offline(True)
    page.get_by_role("button", name="Start the study").click()
    expect(page.locator("#form-error")).to_have_text("The server does not answer. No study was started.")
    expect(page.locator("#stale")).to_contain_text("The server does not answer. What you see is")
    one.context.set_offline(False)
    expect(page.locator("#stale")).to_be_hidden()
    assert birds.services.studies.all("birds") == []
    one.expect_errors("ERR_INTERNET_DISCONNECTED")


def test_nobody_is_kept_out_by_how_the_pages_are_made(birds: Site, visit: OpenVisit) -> None:
    """axe-core on both pages in every state, from phone to wall, light and dark."""
    page = visit().sign_in("eve", STUDIES)
    found: list[str] = []
    expect(page.locator("#study-form")).to_be_visible()
    found += findings(page, "no study yet")
    page.locator("#study-form summary").click()
    finish(birds, start(birds), bonus=0.1)
    failed = birds.claim(start(birds))
    birds.services.jobs.fail(failed.id, failed.attempt, "the disk is full", retryable=False)
    running = birds.claim(start(birds))
    assert birds.services.jobs.beat(running.id, running.attempt, 12, 24, COMPARING)
    expect(entries(page)).to_have_count(3)
    found += findings(page, "done, failed and running, all strategies")
    page.goto(f"{birds.url}{STUDIES}/{running.id}")
    expect(entries(page)).to_have_count(1)
    found += findings(page, "one that runs")
    page.goto(f"{birds.url}{STUDIES}/1")
    found += findings(page, "a report")
    assert not found, "\n".join(found)

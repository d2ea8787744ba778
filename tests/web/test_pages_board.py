"""The round board: the curve has the numbers of the table, failures can be retried, stale numbers say their age."""

import re
from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import expect

from al_service.domain.states import AnnotationKind, JobKind, Role, Stage
from al_service.loop.annotations import Answer
from al_service.loop.rounds import StageResult
from tests.web.browser import Site, Visit, chromium, migrated_database, site, visit

__all__ = ["chromium", "migrated_database", "site", "visit"]

OpenVisit = Callable[..., Visit]
BOARD = "/projects/birds/board"
MEASURED = ((2, 0.5), (4, 0.625), (6, 0.75))


def metrics(accuracy: float) -> dict[str, Any]:
    return {
        "accuracy": accuracy,
        "accuracy_ci95": [accuracy - 0.1, accuracy + 0.1],
        "macro_f1": accuracy - 0.01,
        "evaluation_samples": 80,
        "per_class": {
            "sparrow": {"precision": 0.5, "recall": 0.25, "f1": 0.333, "support": 40},
            "finch": {"precision": None, "recall": None, "f1": None, "support": 0},
        },
        "confusion": {"classes": ["sparrow", "finch"], "counts": [[30, 10], [5, 35]]},
    }


@pytest.fixture
def samples(site: Site) -> list[int]:
    """Birds with three measured rounds, and an engineer and a labeler to look at them."""
    site.person("eve", Role.ENGINEER)
    site.person("mia", Role.LABELER)
    ids = site.project("birds", ["sparrow", "finch"], 12)
    user = site.services.accounts.get_user("eve")
    project = site.services.projects.get("birds")
    labelled = 0
    for count, accuracy in MEASURED:
        with site.store.write() as tx:
            rows = [(sample_id, "sparrow") for sample_id in ids[labelled:count]]
            tx.annotations.add_labels(project.id, user.id, rows, f"made-{count}", site.services.clock())
        labelled = count
        site.measured_round("birds", metrics(accuracy))
    return ids


def test_the_curve_has_the_numbers_of_the_table(samples: list[int], visit: OpenVisit) -> None:
    page = visit().sign_in("mia", BOARD)
    expect(page.get_by_role("heading", level=1)).to_have_text("Round 3 is done")
    expect(page.locator("#curve .plot .scatterlayer .trace")).to_have_count(3)
    curve = page.evaluate(
        "document.querySelector('#curve .plot').data.map(trace => [Array.from(trace.x), Array.from(trace.y)])"
    )
    labels = [count for count, _ in MEASURED]
    assert [x for x, _ in curve] == [labels] * 3
    assert [[round(value, 3) for value in y] for _, y in curve] == [
        [40.0, 52.5, 65.0],
        [60.0, 72.5, 85.0],
        [50.0, 62.5, 75.0],
    ]
    rows = page.locator("#rounds tbody tr")
    shown = [[cell.strip() for cell in rows.nth(row).locator("th, td").all_text_contents()] for row in range(3)]
    assert [row[0] for row in shown] == ["3", "2", "1"]
    assert [row[2] for row in shown] == ["6", "4", "2"]
    assert [row[3] for row in shown] == ["75.0 % ± 10.0, n 80", "62.5 % ± 10.0, n 80", "50.0 % ± 10.0, n 80"]
    expect(page.locator("#curve-words")).to_contain_text(
        "75.0 % at 6 labels (95 % interval 65.0 % to 85.0 %, 80 evaluation images)"
    )


def test_classes_confusion_and_pool(samples: list[int], visit: OpenVisit) -> None:
    page = visit().sign_in("mia", BOARD)
    expect(page.locator("#per-class tbody tr").first).to_contain_text("sparrow")
    assert page.locator("#per-class tbody tr").all_text_contents() == ["sparrow633 %50 %25 %40", "finch0–––0"]
    assert page.locator("#confusion tbody tr").all_text_contents() == ["sparrow3010", "finch535"]
    expect(page.get_by_role("img", name="6 labelled, 6 not asked yet")).to_be_visible()


def test_the_numbers_can_be_taken_along_as_csv_and_json(samples: list[int], visit: OpenVisit) -> None:
    page = visit().sign_in("mia", BOARD)
    expect(page.locator("#rounds tbody tr")).to_have_count(3)
    with page.expect_download() as download:
        page.get_by_role("link", name="CSV").click()
    lines = download.value.path().read_text(encoding="utf-8").splitlines()
    assert lines[0].startswith("round,state,labels,accuracy,accuracy_low,accuracy_high,evaluation_samples")
    assert lines[3].startswith("3,closed,6,0.75,0.65,0.85,80")
    assert len(lines) == 4
    assert page.get_by_role("link", name="JSON").get_attribute("href") == "/api/v1/projects/birds/rounds"


def test_engineers_start_a_round_and_see_it_at_once(site: Site, samples: list[int], visit: OpenVisit) -> None:
    page = visit().sign_in("eve", BOARD)
    page.get_by_role("button", name="Start a round").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("Round 4 · training")
    expect(page.get_by_role("button", name="Start a round")).to_be_disabled()
    assert [record.trigger for record in site.services.rounds.all("birds")][-1] == "manual"


def test_a_failed_job_is_shown_with_its_reason_and_can_be_retried(
    site: Site, samples: list[int], visit: OpenVisit
) -> None:
    record, _ = site.services.rounds.start("birds")
    job = site.claim_stage(record)
    site.services.jobs.fail(job.id, job.attempt, "the disk <b>is</b> full", retryable=False)
    page = visit().sign_in("eve", BOARD)
    failed = page.get_by_role("region", name="Failed jobs")
    expect(failed).to_contain_text("the disk <b>is</b> full")
    expect(failed).to_contain_text(f"al job retry {job.id}")
    expect(page.locator("#rounds tbody")).to_contain_text("the disk <b>is</b> full")
    failed.get_by_role("button", name="Retry").click()
    expect(failed).to_be_hidden()
    expect(page.get_by_role("heading", level=1)).to_contain_text("Round 4 · training")


def test_labelers_see_the_board_without_its_buttons(site: Site, samples: list[int], visit: OpenVisit) -> None:
    record, _ = site.services.rounds.start("birds")
    job = site.claim_stage(record)
    site.services.jobs.fail(job.id, job.attempt, "the disk is full", retryable=False)
    page = visit().sign_in("mia", BOARD)
    expect(page.get_by_role("region", name="Failed jobs")).to_be_visible()
    expect(page.get_by_role("button", name="Retry")).to_have_count(0)
    expect(page.get_by_role("button", name="Start a round")).to_have_count(0)


def test_progress_of_people_and_jobs(site: Site, visit: OpenVisit) -> None:
    for name, role in (("eve", Role.ENGINEER), ("mia", Role.LABELER)):
        site.person(name, role)
    ids = site.project("birds", ["sparrow", "finch"], 10)
    site.ask("birds", ids)
    site.services.assignments.lease_next("birds", site.services.accounts.get_user("mia"), 4)
    page = visit().sign_in("eve", BOARD)
    expect(page.get_by_role("heading", level=1)).to_have_text("Round 1 · waiting for answers · 0 %")
    expect(page.locator("#people")).to_contain_text("mia4 images")
    expect(page.locator("#workers")).to_contain_text("inlineidle")
    expect(page.locator("#curve")).to_contain_text("The curve starts with the first measured round.")


def test_running_jobs_show_how_far_they_are_without_a_reload(site: Site, samples: list[int], visit: OpenVisit) -> None:
    page = visit().sign_in("mia", BOARD)
    expect(page.get_by_role("heading", level=1)).to_have_text("Round 3 is done")
    record, _ = site.services.rounds.start("birds")
    job = site.claim_stage(record)
    assert job.kind is JobKind.TRAIN
    site.services.jobs.beat(job.id, job.attempt, 31, 50, "epoch 31 of 50")
    expect(page.get_by_role("heading", level=1)).to_have_text("Round 4 · training · 62 %")
    expect(page.locator("#subline")).to_have_text("epoch 31 of 50")


def test_scoring_in_shards_shows_all_of_it(site: Site, samples: list[int], visit: OpenVisit) -> None:
    record, _ = site.services.rounds.start("birds")
    record = site.services.rounds.complete_stage(site.claim_stage(record), record.stage, StageResult({}, Stage.SCORE))
    first, second = site.services.rounds.fan_out(site.claim_stage(record), [{"count": 1000}, {"count": 3000}])
    for shard, done in ((first, 1000), (second, 600)):
        claimed = site.claim(shard)
        site.services.jobs.beat(claimed.id, claimed.attempt, done, claimed.payload["count"], "scoring")
    site.services.rounds.complete_shard(site.services.jobs.get(first.id), {})
    page = visit().sign_in("mia", BOARD)
    expect(page.get_by_role("heading", level=1)).to_have_text("Round 4 · looking through the pool · 40 %")
    expect(page.locator("#subline")).to_contain_text("scoring · 1,600 of 4,000 · 1 of 2 parts done")


def test_stale_numbers_say_their_age_until_the_server_is_back(samples: list[int], visit: OpenVisit) -> None:
    one = visit()
    page = one.sign_in("mia", BOARD)
    expect(page.get_by_role("heading", level=1)).to_have_text("Round 3 is done")
    one.context.set_offline(True)
    expect(page.locator("#stale")).to_contain_text("The server does not answer. These numbers are")
    expect(page.get_by_role("heading", level=1)).to_have_text("Round 3 is done")
    one.context.set_offline(False)
    expect(page.locator("#stale")).to_be_hidden()
    one.expect_errors("net::ERR", "Failed to load resource")


def test_polling_is_cheap_while_nothing_changes(samples: list[int], visit: OpenVisit) -> None:
    one = visit()
    page = one.sign_in("mia", BOARD)
    expect(page.get_by_role("heading", level=1)).to_have_text("Round 3 is done")
    with page.expect_response(lambda answer: answer.url.endswith("/summary") and answer.status == 304):
        pass


def test_reviewers_see_how_much_suggestions_sway_people(site: Site, visit: OpenVisit) -> None:
    site.person("rita", Role.REVIEWER)
    site.person("mia")
    mia = site.services.accounts.get_user("mia")
    ids = site.project("birds", ["sparrow", "finch"], 12, blind_share=0.5)
    site.ask("birds", ids, likely=[("finch", 0.9), ("sparrow", 0.1)])
    page = visit().sign_in("rita", BOARD)
    row = page.locator("#pull")
    expect(row.locator("dd")).to_have_text("not known yet")
    expect(row).to_have_attribute("title", re.compile("some with the suggestion shown, some kept blind"))
    for held in site.services.assignments.lease_next("birds", mia, 12).assignments:
        told = site.services.suggestions.ask(held.id, mia)
        answer = Answer(AnnotationKind.LABEL, "sparrow" if told.is_blind else "finch", f"k-{held.id}")
        site.services.annotations.annotate(held.id, mia, answer)
    page.reload()
    expect(row.locator("dd")).to_have_text("+100 points")
    expect(row).to_have_attribute("title", re.compile("in 100 % of [0-9]+ answers with its suggestion on the screen"))
    labeler = visit().sign_in("mia", BOARD)
    expect(labeler.get_by_role("heading", level=1)).not_to_have_text("…")
    expect(labeler.locator("#pull")).to_have_count(0)

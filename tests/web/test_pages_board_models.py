"""The round board's models: which one the project uses, how good each is, promoting, going back, comparing."""

from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from al_service.domain.model_kinds import ModelKind
from al_service.domain.records import ModelRecord
from al_service.domain.states import Role, Stage
from al_service.loop.rounds import StageResult
from tests.web.browser import Site, Visit, chromium, migrated_database, site, visit

__all__ = ["chromium", "migrated_database", "site", "visit"]

OpenVisit = Callable[..., Visit]
BOARD = "/projects/birds/board"
CLASSES = ("sparrow", "finch")


@pytest.fixture
def birds(site: Site) -> Site:
    """A project with one person of every role that looks at boards."""
    for name, role in (("eve", Role.ENGINEER), ("mia", Role.LABELER), ("vic", Role.VIEWER)):
        site.person(name, role)
    site.project("birds", list(CLASSES), 6)
    return site


def a_model(site: Site, kind: ModelKind, name: str, metrics: dict[str, Any]) -> ModelRecord:
    """A record whose file nobody reads."""
    return ModelRecord(
        id=0,
        project_id=site.services.projects.get("birds").id,
        round_id=None,
        artifact=f"models/{name}.safetensors",
        model_hash=name.encode().hex().ljust(64, "0"),
        data_fingerprint=None,
        metrics=metrics,
        created_at=site.services.clock(),
        kind=kind,
        name=name,
        network_name="small_cnn",
        class_names=() if kind is ModelKind.BACKBONE else CLASSES,
        byte_count=1000,
    )


def trained_round(site: Site, accuracy: float, *, f1: tuple[float, float] = (0.5, 0.5), **more: Any) -> None:
    """A round that is over, with its model; promoted when it is not worse."""
    metrics = {
        "accuracy": accuracy,
        "accuracy_ci95": [accuracy - 0.1, accuracy + 0.1],
        "macro_f1": sum(f1) / 2,
        "evaluation_samples": 80,
        "per_class": {
            name: {"precision": one, "recall": one, "f1": one, "support": 40}
            for name, one in zip(CLASSES, f1, strict=True)
        },
        **more,
    }
    rounds = site.services.rounds
    record, _ = rounds.start("birds")
    kept = {key: value for key, value in metrics.items() if key != "per_class"}
    model = a_model(site, ModelKind.ROUND, f"round {record.number}", kept)
    result = StageResult({}, Stage.SELECT, metrics=metrics, model=model)
    record = rounds.complete_stage(site.claim_stage(record), record.stage, result)
    rounds.complete_stage(site.claim_stage(record), record.stage, StageResult({"chosen": 0}, Stage.ANNOTATE))


def listed(page: Page) -> list[str]:
    """Names in the table of models, the promoted one with its badge."""
    return [
        " ".join(row.locator("th .model-name, th .badge").all_text_contents())
        for row in page.locator("#models tbody tr").all()
    ]


def promoted(site: Site) -> str:
    """The name of the project's model."""
    return site.services.models.find("birds", "promoted").name


def test_models_are_listed_newest_first_with_what_they_are_worth(birds: Site, visit: OpenVisit) -> None:
    trained_round(birds, 0.8)
    trained_round(birds, 0.7)
    birds.services.models.register("birds", a_model(birds, ModelKind.BACKBONE, "from the pool", {}))
    page = visit().sign_in("vic", BOARD)
    rows = page.locator("#models tbody tr")
    expect(rows).to_have_count(3)
    assert listed(page) == ["from the pool", "Round 2", "Round 1 promoted"]
    expect(rows.nth(0)).to_contain_text("backbone, small_cnn")
    expect(rows.nth(0).locator("td").first).to_have_text("–")
    expect(rows.nth(1)).to_contain_text("trained, small_cnn")
    expect(rows.nth(1).locator("td").first).to_have_text("70.0 %± 10.0, n 80")


def test_engineers_promote_a_model_and_go_back(birds: Site, visit: OpenVisit) -> None:
    trained_round(birds, 0.8)
    trained_round(birds, 0.7)
    page = visit().sign_in("eve", BOARD)
    expect(page.get_by_role("button", name="Promote Round 1")).to_have_count(0)
    page.get_by_role("button", name="Promote Round 2").press("Enter")
    expect(page.locator("#models-words")).to_contain_text("Round 2 is the project's model now.")
    expect(page.locator("#models tr.promoted .model-name")).to_have_text("Round 2")
    assert promoted(birds) == "round 2"
    expect(page.get_by_role("button", name="Roll back")).to_be_focused()
    page.get_by_role("button", name="Roll back").press("Enter")
    expect(page.locator("#models-words")).to_contain_text("Round 1 is the project's model now.")
    expect(page.locator("#models tr.promoted .model-name")).to_have_text("Round 1")
    assert promoted(birds) == "round 1"
    history = birds.services.models.history("birds")
    assert [str(one.action) for one in history] == ["auto", "promote", "rollback"]


def test_with_nothing_to_go_back_to_the_reason_is_said(birds: Site, visit: OpenVisit) -> None:
    trained_round(birds, 0.7)
    trained_round(birds, 0.8)
    birds.services.models.roll_back("birds")
    one = visit()
    page = one.sign_in("eve", BOARD)
    page.get_by_role("button", name="Roll back").click()
    expect(page.locator("#models-error")).to_contain_text("no model was promoted in birds before")
    assert promoted(birds) == "round 1"
    one.expect_errors("409")


def test_a_server_that_does_not_answer_changes_no_model(birds: Site, visit: OpenVisit) -> None:
    trained_round(birds, 0.8)
    trained_round(birds, 0.7)
    one = visit()
    page = one.sign_in("eve", BOARD)
    expect(page.locator("#models tbody tr")).to_have_count(2)
    one.context.set_offline(True)
    page.get_by_role("button", name="Promote Round 2").click()
    expect(page.locator("#models-error")).to_have_text(
        "The server does not answer. The project's model stays as it is."
    )
    one.context.set_offline(False)
    expect(page.locator("#stale")).to_be_hidden()
    page.get_by_role("button", name="Promote Round 2").click()
    expect(page.locator("#models-words")).to_contain_text("Round 2 is the project's model now.")
    expect(page.locator("#models-error")).to_be_hidden()
    one.expect_errors("net::ERR", "Failed to load resource")


@pytest.mark.parametrize("name", ["mia", "vic"])
def test_others_see_models_without_buttons(birds: Site, visit: OpenVisit, name: str) -> None:
    trained_round(birds, 0.8)
    trained_round(birds, 0.7)
    page = visit().sign_in(name, BOARD)
    panel = page.get_by_role("region", name="Models").first
    expect(page.locator("#models tbody tr")).to_have_count(2)
    expect(panel.get_by_role("button")).to_have_count(0)
    expect(panel.get_by_text("Compare two models")).to_be_visible()


def test_two_models_side_by_side_largest_loss_first(birds: Site, visit: OpenVisit) -> None:
    trained_round(birds, 0.7, f1=(0.9, 0.5), ece=0.08)
    trained_round(birds, 0.75, f1=(0.8, 0.7), ece=0.02)
    page = visit().sign_in("mia", BOARD)
    page.get_by_text("Compare two models").click()
    words = page.locator("#compare-words")
    expect(words).to_contain_text("The second is right 5.0 points less often.")
    measures = page.locator("#compare-metrics tbody tr")
    page.get_by_label("First", exact=True).select_option("Round 1")
    page.get_by_label("Second", exact=True).select_option("Round 2 (promoted)")
    expect(words).to_contain_text("The second is right 5.0 points more often.")
    assert measures.all_text_contents() == [
        "Accuracy70.0 %75.0 %+5.0, better",
        "Macro F170.0 %75.0 %+5.0, better",
        "Calibration error8.0 %2.0 %−6.0, better",
    ]
    assert page.locator("#compare-classes tbody tr").all_text_contents() == [
        "sparrow90.0 %80.0 %−10.0, worse",
        "finch50.0 %70.0 %+20.0, better",
    ]
    page.get_by_label("First", exact=True).select_option("Round 2 (promoted)")
    expect(words).to_contain_text("Both are right equally often.")


def test_without_models_the_panel_says_when_there_will_be_one(birds: Site, visit: OpenVisit) -> None:
    page = visit().sign_in("eve", BOARD)
    expect(page.locator("#models-empty")).to_be_visible()
    expect(page.get_by_role("button", name="Roll back")).to_have_count(0)
    expect(page.get_by_text("Compare two models")).to_be_hidden()
    trained_round(birds, 0.8)
    expect(page.locator("#models tbody tr")).to_have_count(1)
    expect(page.locator("#models-empty")).to_be_hidden()
    expect(page.get_by_text("Compare two models")).to_be_hidden()


def test_many_models_are_shown_on_request_the_promoted_one_always(birds: Site, visit: OpenVisit) -> None:
    trained_round(birds, 0.8)
    for _ in range(8):
        trained_round(birds, 0.5)
    page = visit(viewport={"width": 320, "height": 800}).sign_in("eve", BOARD)
    expect(page.locator("#models tbody tr")).to_have_count(7)
    assert listed(page)[-1] == "Round 1 promoted"
    assert page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth") <= 0
    page.get_by_role("button", name="Show all 9 models").click()
    expect(page.locator("#models tbody tr")).to_have_count(9)

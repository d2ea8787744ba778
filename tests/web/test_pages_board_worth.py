"""The round board on what the model is worth: calibration, classes, advice, and training without labels."""

import re
from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from al_service.domain.states import JobKind, Role
from tests.web.browser import Site, Visit, chromium, migrated_database, site, visit

__all__ = ["chromium", "migrated_database", "site", "visit"]

OpenVisit = Callable[..., Visit]
BOARD = "/projects/birds/board"
CLASSES = ["sparrow", "finch", "robin", "crow 10", "crow 9"]
PER_CLASS = {
    "sparrow": {"precision": 0.9, "recall": 0.8, "f1": 0.85, "support": 40},
    "finch": {"precision": None, "recall": None, "f1": None, "support": 0},
    "robin": {"precision": 0.25, "recall": 0.5, "f1": 0.333, "support": 7},
    "crow 10": {"precision": 1.0, "recall": 0.5, "f1": 0.667, "support": 1200},
    "crow 9": {"precision": 0.0, "recall": 0.0, "f1": 0.0, "support": 3},
}
ADVICE = "About 14 % of the labels look wrong; easy images first can help: al project set NAME curriculum=easy_first"


def bins(*rows: tuple[int, float, float]) -> list[dict[str, Any]]:
    """Of a reliability diagram, from (count, confidence, accuracy)."""
    return [
        {
            "count": count,
            "confidence": confidence,
            "accuracy": accuracy,
            "low": max(0.0, accuracy - 0.1),
            "high": min(1.0, accuracy + 0.1),
        }
        for count, confidence, accuracy in rows
    ]


def calibration(**changes: Any) -> dict[str, Any]:
    """Too sure before, nearly right after."""
    before = {"ece": 0.12, "brier": 0.31, "nll": 0.9, "reliability": bins((100, 0.7, 0.5), (200, 0.97, 0.88))}
    after = {
        "ece": 0.021,
        "brier": 0.25,
        "nll": 0.6,
        "reliability": bins((90, 0.55, 0.5), (170, 0.904, 0.88), (40, 0.99, 0.95)),
    }
    return {"temperature": 1.7, "count": 300, "before": before, "after": after, **changes}


def metrics(**more: Any) -> dict[str, Any]:
    return {
        "accuracy": 0.931,
        "accuracy_ci95": [0.9, 0.96],
        "macro_f1": 0.9,
        "evaluation_samples": 300,
        "per_class": PER_CLASS,
        "confusion": {"classes": ["sparrow", "finch"], "counts": [[30, 10], [5, 35]]},
        **more,
    }


@pytest.fixture
def birds(site: Site) -> Site:
    """A project with one person of every role that looks at boards."""
    for name, role in (("eve", Role.ENGINEER), ("mia", Role.LABELER), ("vic", Role.VIEWER)):
        site.person(name, role)
    site.project("birds", CLASSES, 6)
    return site


def plotted(page: Page) -> dict[str, list[list[float]]]:
    """The diagram's lines by name: x and y as plotly has them."""
    expect(page.locator("#reliability .scatterlayer .trace")).to_have_count(5)
    lines = page.evaluate(
        "document.querySelector('#reliability .plot').data.map(one => [one.name, Array.from(one.x), Array.from(one.y)])"
    )
    return {name: [[round(value, 3) for value in values] for values in xy] for name, *xy in lines}


def test_the_diagram_has_the_measured_numbers_before_and_after(birds: Site, visit: OpenVisit) -> None:
    birds.measured_round("birds", metrics(calibration=calibration()))
    page = visit().sign_in("vic", BOARD)
    assert plotted(page) == {
        "perfect": [[0, 100], [0, 100]],
        "low": [[55.0, 90.4, 99.0], [40.0, 78.0, 85.0]],
        "high": [[55.0, 90.4, 99.0], [60.0, 98.0, 100.0]],
        "before": [[70.0, 97.0], [50.0, 88.0]],
        "after": [[55.0, 90.4, 99.0], [50.0, 88.0, 95.0]],
    }
    hover = page.evaluate("document.querySelector('#reliability .plot').data.at(-1).customdata[1]")
    assert hover == ["78.0 %", "98.0 %", "170"]
    panel = page.get_by_role("region", name="Calibration", exact=True)
    expect(panel).to_contain_text(
        "When the model says 90 %, it is right 88 % of the time; before adjusting it was too sure of itself."
    )
    expect(panel).to_contain_text("Round 1, 300 evaluation images, temperature 1.70")
    scores = [
        [cell.strip() for cell in row.locator("th, td").all_text_contents()]
        for row in panel.locator("#calibration-scores tbody tr").all()
    ]
    assert scores == [
        ["Calibration error", "12.0 %", "2.1 %"],
        ["Brier score", "0.310", "0.250"],
        ["Log loss", "0.900", "0.600"],
    ]


def test_the_diagrams_numbers_are_a_table_and_a_file_too(birds: Site, visit: OpenVisit) -> None:
    birds.measured_round("birds", metrics(calibration=calibration()))
    page = visit().sign_in("mia", BOARD)
    panel = page.get_by_role("region", name="Calibration", exact=True)
    panel.get_by_text("All numbers of the diagram").click()
    rows = panel.locator("#calibration-bins tbody tr")
    assert rows.all_text_contents() == [
        "After adjusting",
        "55.0 %50.0 %40.0 % to 60.0 %90",
        "90.4 %88.0 %78.0 % to 98.0 %170",
        "99.0 %95.0 %85.0 % to 100.0 %40",
        "Before adjusting",
        "70.0 %50.0 %40.0 % to 60.0 %100",
        "97.0 %88.0 %78.0 % to 98.0 %200",
    ]
    with page.expect_download() as download:
        panel.get_by_role("link", name="CSV").click()
    lines = download.value.path().read_text(encoding="utf-8").splitlines()
    assert lines[0] == "round,adjusted,confidence,accuracy,accuracy_low,accuracy_high,evaluation_samples"
    assert lines[1] == "1,after,0.55,0.5,0.4,0.6,90"
    assert len(lines) == 6
    href = panel.get_by_role("link", name="JSON").get_attribute("href")
    (glance,) = page.request.get(f"{birds.url}/api/v1/projects/birds/rounds").json()["rounds"]
    assert "calibration" not in glance["metrics"]
    assert page.request.get(f"{birds.url}{href}").json()["metrics"]["calibration"]["temperature"] == 1.7


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"before": {"ece": 0.1, "brier": 0.3, "nll": 0.9, "reliability": bins((300, 0.6, 0.8))}},
            "before adjusting it was not sure enough of itself.",
        ),
        (
            {"before": {"ece": 0.01, "brier": 0.3, "nll": 0.9, "reliability": bins((300, 0.81, 0.8))}},
            "it hardly needed adjusting.",
        ),
        (
            {"before": {"ece": 0.02, "brier": 0.3, "nll": 0.9, "reliability": bins((300, 0.9, 0.8))}},
            "before adjusting it was too sure of itself, and adjusting did not help.",
        ),
        ({"count": 24}, "Only 24 images were looked at, so take it as a rough guide."),
    ],
)
def test_the_sentence_says_what_was_measured(
    birds: Site, visit: OpenVisit, changes: dict[str, Any], words: str
) -> None:
    birds.measured_round("birds", metrics(calibration=calibration(**changes)))
    page = visit().sign_in("mia", BOARD)
    expect(page.locator("#calibration-words")).to_contain_text(words)


def test_bins_without_images_are_left_out(birds: Site, visit: OpenVisit) -> None:
    empty = {"count": 0, "confidence": None, "accuracy": None, "low": None, "high": None}
    found = calibration()
    found["after"]["reliability"].insert(0, empty)
    birds.measured_round("birds", metrics(calibration=found))
    page = visit().sign_in("mia", BOARD)
    assert plotted(page)["after"] == [[55.0, 90.4, 99.0], [50.0, 88.0, 95.0]]


def test_without_calibration_the_panel_says_why(birds: Site, visit: OpenVisit) -> None:
    page = visit().sign_in("mia", BOARD)
    panel = page.get_by_role("region", name="Calibration", exact=True)
    expect(panel).to_contain_text("It is measured with the first round that has labelled evaluation images.")
    expect(panel.get_by_role("table")).to_have_count(0)
    expect(panel.get_by_role("link")).to_have_count(0)
    birds.measured_round("birds", metrics())
    expect(panel).to_contain_text("Round 1 was measured without it. The next measured round brings it.")
    nothing = {"temperature": 1.0, "count": 0, "before": {"reliability": []}, "after": {"reliability": []}}
    birds.measured_round("birds", metrics(calibration=nothing))
    expect(panel).to_contain_text("Round 2 was measured without it.")
    birds.measured_round("birds", metrics(calibration=calibration()))
    assert plotted(page)["before"] == [[70.0, 97.0], [50.0, 88.0]]
    expect(panel.get_by_role("link", name="CSV")).to_be_visible()


def test_numbers_that_do_not_load_are_said_and_come_by_themselves(birds: Site, visit: OpenVisit) -> None:
    birds.measured_round("birds", metrics(calibration=calibration()))
    one = visit()
    one.context.route("**/rounds/1/metrics", lambda route: route.abort())
    page = one.sign_in("mia", BOARD)
    panel = page.get_by_role("region", name="Calibration", exact=True)
    expect(panel).to_contain_text("These numbers do not load right now. The page keeps trying.")
    expect(page.locator("#confusion-words")).to_contain_text("These numbers do not load right now.")
    one.context.unroute("**/rounds/1/metrics")
    assert plotted(page)["before"] == [[70.0, 97.0], [50.0, 88.0]]
    one.expect_errors("Failed to load resource")


def test_without_the_plot_library_the_table_stays(birds: Site, visit: OpenVisit) -> None:
    birds.measured_round("birds", metrics(calibration=calibration()))
    one = visit()
    one.context.route("**/vendor/plotly*", lambda route: route.abort())
    page = one.sign_in("mia", BOARD)
    expect(page.locator("#reliability")).to_contain_text("The plot does not load; the table has the same numbers.")
    expect(page.locator("#calibration-scores")).to_contain_text("12.0 %")
    one.expect_errors("Failed to load resource")


def test_classes_come_worst_first_and_sort_by_every_column(birds: Site, visit: OpenVisit) -> None:
    birds.measured_round("birds", metrics())
    page = visit().sign_in("mia", BOARD)
    rows = page.locator("#per-class tbody tr")
    names = page.locator("#per-class tbody th")
    expect(names).to_have_text(["crow 9", "robin", "crow 10", "sparrow", "finch"])
    assert rows.all_text_contents()[1:3] == ["robin033 %25 %50 %7", "crow 10067 %100 %50 %1,200"]
    head = page.get_by_role("columnheader", name="F1", exact=True)
    expect(head).to_have_attribute("aria-sort", "ascending")
    head.get_by_role("button").click()
    expect(head).to_have_attribute("aria-sort", "descending")
    expect(names).to_have_text(["sparrow", "crow 10", "robin", "crow 9", "finch"])
    page.get_by_role("button", name="n", exact=True).press("Enter")
    expect(names).to_have_text(["finch", "crow 9", "robin", "sparrow", "crow 10"])
    page.get_by_role("button", name="Class").click()
    expect(names).to_have_text(["crow 9", "crow 10", "finch", "robin", "sparrow"])
    expect(head).to_have_attribute("aria-sort", "none")
    # A new round keeps the order that was asked for, and the focus where it was.
    birds.measured_round("birds", metrics(per_class={**PER_CLASS, "robin": {**PER_CLASS["robin"], "f1": 0.99}}))
    expect(rows.nth(3)).to_contain_text("99 %")
    expect(page.get_by_role("button", name="Class")).to_be_focused()


@pytest.mark.parametrize("width", [320, 1280])
def test_two_hundred_classes_fit_and_scroll_inside_their_panel(site: Site, visit: OpenVisit, width: int) -> None:
    site.person("mia")
    names = [f"a rather long class name {number}" for number in range(200)]
    site.project("birds", names, 2)
    per_class = {
        name: {"precision": 0.5, "recall": 0.5, "f1": 1 - number / 200, "support": 3}
        for number, name in enumerate(names)
    }
    site.measured_round("birds", metrics(per_class=per_class, calibration=calibration()))
    page = visit(viewport={"width": width, "height": 800}).sign_in("mia", BOARD)
    expect(page.locator("#per-class tbody th").first).to_have_text(names[-1])
    expect(page.locator("#per-class tbody tr")).to_have_count(200)
    expect(page.locator("#reliability .scatterlayer .trace")).to_have_count(5)
    assert page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth") <= 0
    region = page.get_by_role("region", name="Classes").locator(".scroll")
    assert region.evaluate("node => node.scrollHeight > node.clientHeight")
    # The names stay in sight while the numbers scroll by.
    region.evaluate("node => node.scrollTo(node.scrollWidth, 300)")
    box, name = region.bounding_box(), page.locator("#per-class thead th").first.bounding_box()
    assert box is not None
    assert name is not None
    assert 0 <= name["x"] - box["x"] <= 24
    assert abs(name["y"] - box["y"]) < 1


def test_advice_is_a_quiet_note_for_those_who_can_act_on_it(birds: Site, visit: OpenVisit) -> None:
    birds.measured_round("birds", metrics(advice=[{"code": "curriculum", "text": ADVICE}]))
    page = visit().sign_in("eve", BOARD)
    note = page.get_by_role("list", name="Advice")
    expect(note).to_have_text(ADVICE.replace("NAME", "birds"))
    expect(note.locator("code")).to_have_text("al project set birds curriculum=easy_first")
    settings = "About 14% look wrong. Until then curriculum=easy_first with curriculum_difficulty=knn helps."
    birds.measured_round("birds", metrics(advice=[{"code": "label_noise", "text": settings}]))
    expect(note).to_have_text(settings)
    expect(note.locator("code")).to_have_text(["curriculum=easy_first", "curriculum_difficulty=knn"])
    birds.measured_round("birds", metrics(advice=[]))
    expect(note).to_be_hidden()
    page = visit().sign_in("mia", BOARD)
    expect(page.get_by_role("heading", level=1)).to_have_text("Round 3 is done")
    expect(page.get_by_role("list", name="Advice")).to_have_count(0)


def test_accuracy_with_and_without_unlabelled_images(birds: Site, visit: OpenVisit) -> None:
    birds.measured_round("birds", metrics())
    birds.measured_round("birds", metrics(plain={"accuracy": 0.91, "macro_f1": 0.88}))
    page = visit().sign_in("mia", BOARD)
    expect(page.locator("#curve-words")).to_contain_text("93.1 % with, 91.0 % without unlabelled images.")
    cells = page.locator("#rounds tbody tr td:nth-child(4)")
    expect(cells).to_have_text([re.compile("91.0 % without unlabelled images$"), "93.1 % ± 3.0, n 300"])
    with page.expect_download() as download:
        page.get_by_role("region", name="Learning curve").get_by_role("link", name="CSV").click()
    lines = download.value.path().read_text(encoding="utf-8").splitlines()
    at = lines[0].split(",").index("accuracy_without_unlabelled")
    assert [line.split(",")[at] for line in lines[1:]] == ["", "0.91"]


def test_engineers_train_a_backbone_without_labels_and_follow_it(birds: Site, visit: OpenVisit) -> None:
    page = visit().sign_in("eve", BOARD)
    words = page.locator("#pretrain-words")
    expect(words).to_have_text("It learns from all images of the pool, the unlabelled ones too.")
    button = page.get_by_role("button", name="Train a backbone without labels")
    button.click()
    expect(words).to_have_text("Waiting for a worker.")
    expect(button).to_be_disabled()
    expect(page.get_by_role("button", name="Stop training the backbone")).to_be_focused()
    with birds.store.read() as tx:
        (job,) = [one for one in tx.jobs.all() if one.kind is JobKind.PRETRAIN]
    claimed = birds.claim(job)
    birds.services.jobs.beat(job.id, claimed.attempt, 10, 40, "epoch 10 of 40")
    expect(words).to_have_text("25 % done · epoch 10 of 40")
    result = {"images": 6, "epochs": 40, "seconds": 75.0, "knn_accuracy": 0.71, "knn_accuracy_before": 0.4}
    with birds.store.write() as tx:
        birds.services.jobs.finish(tx, claimed, result)
    expect(words).to_have_text(
        "The backbone is trained (6 images, 40 epochs, 1 min 15 s). Nearest neighbours are right 71 % of the time, "
        "40 % before. To use it: al project set birds weights=pretrained"
    )
    expect(button).to_be_enabled()


def test_training_a_backbone_can_be_stopped(birds: Site, visit: OpenVisit) -> None:
    page = visit().sign_in("eve", BOARD)
    page.get_by_role("button", name="Train a backbone without labels").click()
    page.get_by_role("button", name="Stop training the backbone").click()
    expect(page.locator("#pretrain-words")).to_have_text("The training was stopped; nothing was changed.")
    expect(page.get_by_role("button", name="Train a backbone without labels")).to_be_focused()
    with birds.store.read() as tx:
        assert [str(job.state) for job in tx.jobs.all() if job.kind is JobKind.PRETRAIN] == ["cancelled"]


def test_a_server_that_does_not_answer_starts_no_training(birds: Site, visit: OpenVisit) -> None:
    one = visit()
    page = one.sign_in("eve", BOARD)
    expect(page.get_by_role("heading", level=1)).to_have_text("No round yet")
    one.context.set_offline(True)
    page.get_by_role("button", name="Train a backbone without labels").click()
    expect(page.locator("#board-error")).to_have_text("The server does not answer. No training was started.")
    one.context.set_offline(False)
    one.expect_errors("net::ERR", "Failed to load resource")


@pytest.mark.parametrize("name", ["mia", "vic"])
def test_only_engineers_are_offered_training(birds: Site, visit: OpenVisit, name: str) -> None:
    page = visit().sign_in(name, BOARD)
    expect(page.get_by_role("heading", level=1)).to_have_text("No round yet")
    expect(page.get_by_role("button", name="Train a backbone without labels")).to_have_count(0)


# -- do more labels pay ------------------------------------------------------------------------------------------------

STOPPING = {
    "agreement": {"kappa": 0.953, "share": 0.97, "count": 200, "since_round": 3, "new_labels": 40},
    "gain": {"labels": 100, "gain": 0.0042, "low": 0.001, "high": 0.0093, "rounds": 5},
}


def worth(page: Page) -> dict[str, str]:
    """Rows of the panel."""
    rows = page.locator("#stop > div")
    expect(rows).to_have_count(3)
    return {row.locator("dt").inner_text(): row.locator("dd").inner_text() for row in rows.all()}


def test_the_panel_says_what_the_next_labels_are_expected_to_add(birds: Site, visit: OpenVisit) -> None:
    birds.measured_round("birds", metrics(stopping=STOPPING))
    page = visit().sign_in("vic", BOARD)
    assert worth(page) == {
        "next 100 labels": "+0.4 points (0.1 to 0.9)",
        "same answers": "97 %",
        "kappa": "0.95 since round 3",
    }
    expect(page.locator("#stop-words")).to_have_text("The project goes on asking: no rule says stop.")


@pytest.mark.parametrize("found", [None, {"agreement": None, "gain": None}])
def test_before_it_can_tell_it_says_when_it_will(birds: Site, visit: OpenVisit, found: Any) -> None:
    birds.measured_round("birds", metrics(stopping=found) if found else metrics())
    page = visit().sign_in("vic", BOARD)
    assert set(worth(page).values()) == {"not known yet"}
    expect(page.locator("#stop-words")).to_contain_text("four measured rounds" if found else "evaluation images tell")


def test_a_project_that_has_stopped_says_why_on_the_board_and_to_labelers(birds: Site, visit: OpenVisit) -> None:
    birds.measured_round("birds", metrics(stopping=STOPPING))
    birds.services.projects.change("birds", {"stop_gain": 0.01})
    page = visit().sign_in("vic", BOARD)
    why = "The next 100 labels would add 0.9 points of accuracy at most, less than the project's limit of 1."
    expect(page.locator("#stop-words")).to_have_text(why)
    expect(page.locator("#stop-panel")).to_have_class(re.compile("stopped"))

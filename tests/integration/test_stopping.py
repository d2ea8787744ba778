"""A project that finds its labels enough stops asking, says why, and goes on when the rule is loosened."""

from pathlib import Path
from typing import Any

import pytest

from al_service.domain.records import Round, User
from al_service.domain.states import RoundState, Stage
from tests.integration.conftest import DIGITS, Loop, truth_of

pytestmark = pytest.mark.parametrize("database_kind", ["sqlite"])


def a_loop_over(loop: Loop, digits: Path, **settings: Any) -> None:
    loop.truth = truth_of(digits)
    values = {"labels_per_round": 30, "training_mode": "probe", "reserve_factor": 1.0, **settings}
    loop.services.projects.create("digits", DIGITS, values)
    loop.services.projects.import_images("digits", str(digits), use_labels="evaluation")
    loop.work()


def rounds_until(loop: Loop, mia: User, number: int) -> list[Round]:
    """Answer batch after batch until that round has chosen, or nothing is asked any more."""
    for _ in range(number):
        if loop.services.projects.summary("digits").counts.free == 0:
            break
        loop.answer_all("digits", mia)
        loop.work()
    return loop.services.rounds.all("digits")


def test_every_measured_round_says_whether_more_labels_pay(loop: Loop, digits: Path, mia: User) -> None:
    a_loop_over(loop, digits)
    rounds = rounds_until(loop, mia, 5)
    found = [record.metrics.get("stopping") for record in rounds]
    assert found[0] is None, "no model yet"
    assert found[1] == {"agreement": None, "gain": None}, "nothing to compare with"
    for before, record, facts in zip(rounds[1:], rounds[2:], found[2:], strict=False):
        labels = [one.stage_record(Stage.TRAIN).result["labels"] for one in (before, record)]
        assert facts["agreement"]["since_round"] == before.number
        assert facts["agreement"]["new_labels"] == labels[1] - labels[0] > 0
        assert facts["agreement"]["count"] == record.metrics["evaluation_samples"]
        assert 0 < facts["agreement"]["kappa"] <= facts["agreement"]["share"] <= 1
    assert [facts["gain"] is not None for facts in found[1:5]] == [False, False, False, True]
    gain = found[4]["gain"]
    assert (gain["labels"], gain["rounds"]) == (100, 4)
    assert 0 <= gain["low"] <= gain["gain"] <= gain["high"] < 1
    assert loop.services.projects.summary("digits").stop is None


def test_stable_predictions_end_the_asking_until_the_rule_is_loosened(loop: Loop, digits: Path, mia: User) -> None:
    a_loop_over(loop, digits, stop_kappa=0.3)
    rounds = rounds_until(loop, mia, 8)
    last = rounds[-1]
    assert last.number == 5, "the fifth is the first with three comparisons behind it"
    assert (last.state, last.selected_count) == (RoundState.CLOSED, 0)
    assert last.stage_record(Stage.SELECT).result["stop"] == "stable"
    summary = loop.services.projects.summary("digits")
    assert summary.stop is not None and summary.stop.code == "stable"
    assert (summary.counts.free, summary.reserve_count, summary.new_labels) == (0, 0, 0)
    why = loop.services.assignments.lease_next("digits", mia, 1).why_empty
    assert why is not None and why.code == "stable" and "kappa" in why.text
    loop.work()
    assert len(loop.services.rounds.all("digits")) == len(rounds), "it rests"
    loop.services.projects.change("digits", {"stop_kappa": 0.0})
    loop.work()
    assert loop.services.projects.summary("digits").counts.free == 30


def test_little_to_gain_ends_the_asking(loop: Loop, digits: Path, mia: User) -> None:
    a_loop_over(loop, digits, stop_gain=1.0)
    last = rounds_until(loop, mia, 8)[-1]
    assert (last.number, last.selected_count) == (5, 0), "a curve needs four measured rounds"
    assert last.stage_record(Stage.SELECT).result["stop"] == "little_gain"


def test_predictions_that_somebody_cleared_away_are_no_failure(loop: Loop, digits: Path, mia: User) -> None:
    a_loop_over(loop, digits)
    rounds_until(loop, mia, 1)
    for path in (loop.settings.artifact_dir / "rounds").rglob("predictions-*"):
        path.unlink()
    record = rounds_until(loop, mia, 1)[-1]
    assert record.metrics["stopping"]["agreement"] is None
    assert record.metrics["accuracy"] > 0.3

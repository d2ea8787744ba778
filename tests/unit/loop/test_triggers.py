"""When a round starts: every rule, and the ways a loop could run away or fall asleep."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from al_service.domain.project_config import ProjectConfig
from al_service.domain.records import Round
from al_service.domain.states import RoundState, Stage
from al_service.loop.stopping import Stop
from al_service.loop.triggers import LoopFacts, decide

NOW = datetime(2026, 1, 2, 12, tzinfo=UTC)
CONFIG = ProjectConfig(labels_per_round=10)
LAST = Round(
    id=1, project_id=1, number=1, state=RoundState.CLOSED, stage=Stage.CLOSE, trigger="first", config=CONFIG,
    class_names=("a", "b"), seed=1, watermark=0, label_count=0, data_fingerprint=None, model_hash=None, metrics={},
    started_at=NOW - timedelta(minutes=5), finished_at=NOW, stages=(), selected_count=10, answered_count=10,
)  # fmt: skip
FACTS = LoopFacts(
    last_round=LAST, unlabelled=100, labelled=10, new_labels=0, has_queue=True, importing=False, imported=False
)


def test_first_round_starts_when_images_are_there_and_the_import_is_over() -> None:
    fresh = replace(FACTS, last_round=None, labelled=0, has_queue=False)
    assert decide(CONFIG, fresh, NOW) == "first"
    assert decide(CONFIG, replace(fresh, importing=True), NOW) is None
    assert decide(CONFIG, replace(fresh, unlabelled=0), NOW) is None


@pytest.mark.parametrize(("new_labels", "expected"), [(6, None), (7, "labels"), (11, "labels"), (250, "labels")])
def test_new_labels_are_a_watermark_not_a_modulo(new_labels: int, expected: str | None) -> None:
    """By default 70 % of a batch starts the next round: people have the rest while it trains."""
    assert decide(CONFIG, replace(FACTS, new_labels=new_labels), NOW) == expected


def test_own_trigger_number_counts_before_the_batch_size() -> None:
    config = replace(CONFIG, trigger_labels=3)
    assert decide(config, replace(FACTS, new_labels=2), NOW) is None
    assert decide(config, replace(FACTS, new_labels=3), NOW) == "labels"


def test_time_needs_at_least_one_new_label() -> None:
    config = replace(CONFIG, trigger_interval_s=60)
    assert decide(config, FACTS, NOW) is None
    assert decide(config, replace(FACTS, new_labels=1), NOW) == "time"
    assert decide(config, replace(FACTS, new_labels=1), LAST.started_at + timedelta(seconds=59)) is None


def test_an_empty_queue_goes_on_even_when_everything_was_skipped() -> None:
    assert decide(CONFIG, replace(FACTS, has_queue=False), NOW) == "queue_empty"


def test_a_round_that_had_nothing_to_ask_is_not_followed_until_something_changes() -> None:
    nothing = replace(FACTS, last_round=replace(LAST, selected_count=0), has_queue=False)
    assert decide(CONFIG, nothing, NOW) is None
    assert decide(CONFIG, replace(nothing, new_labels=1), NOW) == "queue_empty"
    assert decide(CONFIG, replace(nothing, imported=True), NOW) == "queue_empty"
    assert decide(CONFIG, replace(nothing, new_labels=7), NOW) == "labels"


@pytest.mark.parametrize("state", [RoundState.RUNNING, RoundState.FAILED, RoundState.CANCELLED])
def test_running_failed_and_cancelled_rounds_wait(state: RoundState) -> None:
    facts = replace(FACTS, last_round=replace(LAST, state=state), new_labels=500, has_queue=False)
    assert decide(CONFIG, facts, NOW) is None


def test_annotating_round_is_followed_by_the_next_when_enough_labels_came() -> None:
    facts = replace(FACTS, last_round=replace(LAST, state=RoundState.ANNOTATING))
    assert decide(CONFIG, facts, NOW) is None
    assert decide(CONFIG, replace(facts, new_labels=7), NOW) == "labels"


def test_last_labels_get_one_final_round_and_then_it_is_over() -> None:
    over = replace(FACTS, unlabelled=0, has_queue=False)
    assert decide(CONFIG, replace(over, new_labels=4), NOW) == "final"
    assert decide(CONFIG, over, NOW) is None


def test_a_spent_budget_ends_the_loop() -> None:
    config = replace(CONFIG, label_budget=10)
    stopped = replace(FACTS, stop=Stop("budget_spent", "The label budget of 10 is used up."), has_queue=False)
    assert decide(config, stopped, NOW) is None
    assert decide(config, replace(stopped, new_labels=10), NOW) == "final"
    assert decide(config, replace(stopped, new_labels=10, has_queue=True), NOW) is None
    assert decide(config, replace(FACTS, labelled=9, new_labels=10), NOW) == "labels"


@pytest.mark.parametrize("setting", ["label_budget", "stop_kappa", "stop_gain"])
def test_a_project_that_had_stopped_looks_again_when_the_rule_changes(setting: str) -> None:
    strict = replace(CONFIG, label_budget=10, stop_kappa=0.9, stop_gain=0.1)
    nothing = replace(FACTS, last_round=replace(LAST, selected_count=0, config=strict), has_queue=False)
    assert decide(strict, nothing, NOW) is None
    assert decide(replace(strict, **{setting: type(getattr(strict, setting))(0)}), nothing, NOW) == "queue_empty"


def test_nothing_starts_by_itself_where_people_start_rounds() -> None:
    assert decide(replace(CONFIG, auto_start=False), replace(FACTS, new_labels=500), NOW) is None

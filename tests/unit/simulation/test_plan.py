"""What a study may be, and at which counts of labels it measures."""

import pytest

from al_service.domain.project_config import InvalidConfigError, ProjectConfig
from al_service.domain.strategy_names import STRATEGIES, UnknownStrategyError
from al_service.errors import InvalidInputError
from al_service.simulation.plan import (
    Plan,
    checked_settings,
    checked_strategies,
    default_strategies,
    differences,
    filled,
)


@pytest.mark.parametrize(
    ("initial", "batch", "budget", "expected"),
    [
        (10, 20, 50, (10, 30, 50)),
        (10, 20, 45, (10, 30, 45)),
        (0, 20, 50, (20, 40, 50)),
        (0, 20, 10, (10,)),
        (10, 20, 10, (10,)),
        (1, 1, 3, (1, 2, 3)),
    ],
)
def test_counts_of_labels_end_at_the_budget(initial: int, batch: int, budget: int, expected: tuple[int, ...]) -> None:
    assert Plan(initial, batch, budget, budget).labels("margin") == expected


def test_random_may_go_on_alone() -> None:
    plan = Plan(10, 20, 30, 75)
    assert plan.labels("margin") == (10, 30)
    assert plan.labels("random") == (10, 30, 50, 70, 75)


def test_a_plan_is_cut_to_the_pool_and_refused_where_nothing_is_left() -> None:
    cut = Plan(10, 20, 100, 200).within(60)
    assert (cut.budget, cut.random_budget) == (60, 60)
    with pytest.raises(InvalidInputError, match="initial is 10, and the pool has only 5 images"):
        Plan(10, 20, 100, 200).within(5)


@pytest.mark.parametrize(
    ("numbers", "words"),
    [
        ((-1, 1, 1, 1), "initial is -1, expected at least 0"),
        ((0, 0, 1, 1), "batch is 0"),
        ((0, 1, 0, 1), "budget is 0"),
        ((5, 1, 4, 4), "initial is 5, more than the budget of 4"),
        ((1, 1, 4, 3), "random_budget is 3, below"),
    ],
)
def test_plans_that_make_no_sense_are_refused(numbers: tuple[int, int, int, int], words: str) -> None:
    with pytest.raises(InvalidInputError, match=words):
        Plan(*numbers)


def test_random_is_always_there_and_first() -> None:
    assert checked_strategies(["margin", "random", "margin"]) == ("random", "margin")
    assert default_strategies()[0] == "random"
    assert set(default_strategies()) <= set(STRATEGIES)
    with pytest.raises(UnknownStrategyError):
        checked_strategies(["magic"])


def test_settings_that_the_study_decides_are_refused() -> None:
    assert checked_settings({"augment": "none"}).augment == "none"
    with pytest.raises(InvalidInputError, match="--strategies"):
        checked_settings({"strategy": "margin"})
    with pytest.raises(InvalidInputError, match="give its file"):
        checked_settings({"weights": "pretrained"})
    with pytest.raises(InvalidConfigError):
        checked_settings({"colour": "red"})


def test_numbers_nobody_gave_follow_the_classes() -> None:
    plan = filled(3, ProjectConfig(), initial=None, batch=None, budget=None, random_budget=None)
    assert (plan.initial, plan.batch, plan.budget, plan.random_budget) == (6, 6, 66, 66)
    small = filled(3, ProjectConfig(), initial=None, batch=None, budget=4, random_budget=None)
    assert small.labels("random") == (4,)


def test_differences_name_the_setting_and_both_values() -> None:
    old, new = Plan(1, 1, 5, 5).to_json(), Plan(1, 2, 5, 5, ProjectConfig(augment="none")).to_json()
    assert differences(old, new) == ["batch was 1, now 2", "augment was 'shift', now 'none'"]
    assert differences(old, old) == []

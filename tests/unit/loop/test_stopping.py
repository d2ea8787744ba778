"""When a project has labels enough: each rule, and what is no reason to stop."""

from typing import Any

import pytest

from al_service.domain.project_config import ProjectConfig
from al_service.loop.stopping import why_stop


def found(kappa: float | None = None, high: float | None = None) -> dict[str, Any]:
    return {
        "agreement": {"kappa": kappa, "share": 0.9, "count": 100, "since_round": 1, "new_labels": 9},
        "gain": None if high is None else {"labels": 100, "gain": 0.0, "low": 0.0, "high": high, "rounds": 5},
    }


def test_without_rules_nothing_stops_a_project() -> None:
    assert why_stop(ProjectConfig(), 10**6, [found(1.0, 0.0)] * 9) is None
    assert why_stop(ProjectConfig(stop_kappa=0.9, stop_gain=0.1), 10**6, []) is None


@pytest.mark.parametrize(("labelled", "expected"), [(9, None), (10, "budget_spent"), (11, "budget_spent")])
def test_the_budget(labelled: int, expected: str | None) -> None:
    stop = why_stop(ProjectConfig(label_budget=10), labelled, [])
    assert (stop.code if stop else None) == expected


@pytest.mark.parametrize(
    ("kappas", "stops"),
    [
        ([1.0, 1.0], False),
        ([0.99, 0.98, 1.0], True),
        ([0.99, 0.9, 1.0], False),
        ([0.1, 0.99, 0.99, 0.99], True),
        ([0.99, 0.99, 0.99, 0.9], False),
        ([0.99, None, 0.99, 0.99], True),
        ([None, None, None], False),
    ],
)
def test_three_rounds_of_stable_predictions(kappas: list[float | None], stops: bool) -> None:
    stop = why_stop(ProjectConfig(stop_kappa=0.99), 5, [found(kappa) for kappa in kappas])
    assert (stop.code if stop else None) == ("stable" if stops else None)


@pytest.mark.parametrize(("high", "stops"), [(None, False), (0.006, False), (0.005, False), (0.0049, True)])
def test_the_upper_end_of_the_expected_gain_decides(high: float | None, stops: bool) -> None:
    stop = why_stop(ProjectConfig(stop_gain=0.005), 5, [found(high=0.0), found(high=high)])
    assert (stop.code if stop else None) == ("little_gain" if stops else None)


def test_the_words_name_what_was_seen_and_the_rule() -> None:
    stop = why_stop(ProjectConfig(stop_kappa=0.9), 5, [found(0.95)] * 3)
    assert stop is not None and "kappa was 0.950" in stop.text and "stops at 0.9" in stop.text
    stop = why_stop(ProjectConfig(stop_gain=0.005), 5, [found(high=0.002)])
    assert stop is not None and "next 100 labels would add 0.2 points" in stop.text and "limit of 0.5" in stop.text

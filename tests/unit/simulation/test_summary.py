"""What the runs of a study say together, on curves whose answers are plain."""

import numpy as np
import pytest
from scipy import stats

from al_service.simulation.run import Point, RunResult
from al_service.simulation.summary import (
    area,
    curves_of,
    labels_needed,
    mean_curve,
    mean_interval,
    savings,
    summarise,
)


def a_run(strategy: str, seed: int, accuracy: dict[int, float], classes: tuple[int, int] = (1, 1)) -> RunResult:
    def point(labels: int, value: float) -> Point:
        share = labels / sum(classes)
        selected = {"cat": round(classes[0] * share), "dog": round(classes[1] * share)}
        return Point(labels, value, value - 0.1, {}, selected, {"cat": value, "dog": None})

    return RunResult(strategy, seed, tuple(point(*pair) for pair in accuracy.items()), 100, 20)


def test_the_interval_is_students() -> None:
    values = [0.7, 0.75, 0.8, 0.9]
    mean, (low, high) = mean_interval(values)
    expected = stats.t.interval(0.95, 3, loc=np.mean(values), scale=stats.sem(values))
    assert (low, high) == pytest.approx(expected, rel=1e-9)
    assert mean == pytest.approx(np.mean(values))
    assert mean_interval([0.5]) == (0.5, [0.5, 0.5])


def test_the_area_is_the_trapezoid_over_its_range() -> None:
    labels, values = np.array([10, 20, 40]), np.array([[0.5, 0.7, 0.9], [0.5, 0.5, 0.5]])
    assert area(labels, values) == pytest.approx(np.trapezoid(values, labels, axis=1) / 30)
    assert area(np.array([10]), np.array([[0.5], [0.6]])) == pytest.approx([0.5, 0.6])


def test_labels_needed_are_those_of_the_first_crossing() -> None:
    labels = np.array([10, 20, 30, 40])
    values = np.array([0.5, 0.7, 0.6, 0.9])
    assert labels_needed(labels, values, 0.65) == pytest.approx(17.5)
    assert labels_needed(labels, values, 0.7) == pytest.approx(20)
    assert labels_needed(labels, values, 0.4) == 10
    assert labels_needed(labels, values, 0.95) is None


def test_savings_are_taken_where_both_curves_have_been() -> None:
    labels = {10: 0.5, 20: 0.6, 40: 0.8}
    random = curves_of([a_run("random", 0, labels)], "random")
    better = curves_of([a_run("margin", 0, {10: 0.5, 20: 0.8, 40: 0.95})], "margin")
    worse = curves_of([a_run("margin", 0, {10: 0.5, 20: 0.55, 40: 0.6})], "margin")
    seeds = np.array([0])
    assert savings(better, random, seeds) == {"accuracy": 0.8, "labels": 20.0, "random_labels": 40.0, "ratio": 2.0}
    assert savings(worse, random, seeds)["ratio"] == pytest.approx(20 / 40)
    assert savings(random, random, seeds)["ratio"] == 1.0


def test_a_summary_compares_seed_by_seed() -> None:
    runs = [a_run("random", seed, {10: 0.5, 20: 0.6 + seed / 10, 40: 0.8}) for seed in (0, 1)]
    runs += [a_run("margin", seed, {10: 0.5, 20: 0.8 + seed / 10, 30: 0.9}, (3, 1)) for seed in (1, 0)]
    random, margin = summarise(runs, ("random", "margin"), budget=30)
    assert random["label_savings_vs_random"] == 1.0
    assert random["label_savings_ci95"] == [1.0, 1.0]
    assert random["aubc_minus_random_ci95"] == [0.0, 0.0]
    # Up to the budget random has the points 10 and 20: what it did beyond says only how many labels it needs.
    assert random["aubc"] == pytest.approx((0.55 + 0.6) / 2)
    assert margin["at_own_final"] == {
        "accuracy": pytest.approx(0.9), "labels": 30, "random_labels": None, "random_measured_to": 40,
    }  # fmt: skip
    assert margin["at_random_final"]["accuracy"] == pytest.approx(0.65)
    assert margin["at_random_final"]["labels"] == pytest.approx(10 + 10 * 0.15 / 0.35)
    assert margin["aubc_ci95"][1] > margin["aubc"]
    assert margin["selected_per_class"]["cat"] > margin["selected_per_class"]["dog"]
    assert margin["f1_per_class"] == {"cat": pytest.approx(0.9), "dog": None}


def test_a_paired_difference_is_surer_than_two_means() -> None:
    runs = [a_run("random", seed, {10: 0.5 + seed / 10, 20: 0.6 + seed / 10}) for seed in range(4)]
    runs += [a_run("margin", seed, {10: 0.5 + seed / 10, 20: 0.7 + seed / 10}) for seed in range(4)]
    margin = summarise(runs, ("random", "margin"), budget=20)[1]
    assert margin["aubc_minus_random"] == pytest.approx(0.05)
    assert margin["aubc_minus_random_ci95"] == pytest.approx([0.05, 0.05])
    assert margin["aubc_ci95"][1] - margin["aubc_ci95"][0] > 0.3


def test_a_summary_is_the_same_twice() -> None:
    runs = [
        a_run(name, seed, {10: 0.5, 20: 0.6 + seed / 20, 30: 0.8 - seed / 50 + bonus})
        for name, bonus in (("random", 0.0), ("margin", 0.1))
        for seed in range(5)
    ]
    first = summarise(runs, ("random", "margin"), 30)
    assert first == summarise(runs[::-1], ("random", "margin"), 30)
    low, high = first[1]["label_savings_ci95"]
    assert low <= first[1]["label_savings_vs_random"] <= high


def test_mean_curves_hold_every_point() -> None:
    points = [{"labels": 10, "accuracy": 0.5}, {"labels": 20, "accuracy": 0.6}]
    runs = [{"strategy": "random", "points": points}, {"strategy": "margin", "points": points}]
    assert mean_curve(runs, "margin") == [
        {"labels": 10, "mean": 0.5, "low": 0.5, "high": 0.5, "seeds": 1},
        {"labels": 20, "mean": 0.6, "low": 0.6, "high": 0.6, "seeds": 1},
    ]

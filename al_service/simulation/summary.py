"""What the runs of a study say together: areas, differences to random seed by seed, labels saved, classes.

Intervals are 95 %. Those of areas and accuracies are Student's t over seeds; those of label savings, which are ratios
of crossings and far from normal, are percentiles of a bootstrap over seeds (both strategies keep their seed, since they
share its split and first batch). One seed has no interval: both ends are the value itself.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import stdtrit  # type: ignore[import-untyped]

from al_service.simulation.plan import RANDOM
from al_service.simulation.run import RunResult

CONFIDENCE = 0.95
BOOTSTRAPS = 2000


@dataclass(frozen=True)
class Curves:
    """One measure of a strategy over its seeds: labels (P,), values (S, P), seeds in the same order everywhere."""

    labels: np.ndarray
    values: np.ndarray

    def up_to(self, budget: int) -> "Curves":
        """The points with at most that many labels."""
        kept = self.labels <= budget
        return Curves(self.labels[kept], self.values[:, kept])

    def mean_of(self, seeds: np.ndarray) -> np.ndarray:
        """(P,) mean over some of the seeds."""
        return np.asarray(self.values[seeds].mean(0))


def mean_interval(values: Sequence[float] | np.ndarray) -> tuple[float, list[float]]:
    """The mean and its 95 % interval (Student's t); the interval of one value is that value.

    >>> mean, (low, high) = mean_interval([1.0, 2.0, 3.0])
    >>> round(mean, 3), round(low, 3), round(high, 3)
    (2.0, -0.484, 4.484)
    """
    found = np.asarray(values, np.float64)
    mean = float(found.mean())
    if len(found) < 2:
        return mean, [mean, mean]
    half = float(stdtrit(len(found) - 1, (1 + CONFIDENCE) / 2) * found.std(ddof=1) / np.sqrt(len(found)))
    return mean, [mean - half, mean + half]


def area(labels: np.ndarray, values: np.ndarray) -> np.ndarray:
    """(..., P) values over (P,) labels -> (...): area under the curve over its range, so a mean of the measure.

    >>> round(float(area(np.array([10, 20, 40]), np.array([0.5, 0.7, 0.9]))), 4)
    0.7333
    """
    if len(labels) < 2:
        return np.asarray(values[..., -1])
    widths = np.diff(labels)
    return np.asarray(((values[..., 1:] + values[..., :-1]) / 2 * widths).sum(-1) / widths.sum())


def labels_needed(labels: np.ndarray, values: np.ndarray, wanted: float) -> float | None:
    """Labels at which a curve first reaches a value, along straight lines; None when it never does.

    >>> labels_needed(np.array([10, 20]), np.array([0.5, 0.7]), 0.6)
    15.0
    """
    reached = np.flatnonzero(values >= wanted - 1e-12)
    if not len(reached):
        return None
    place = int(reached[0])
    if place == 0:
        return float(labels[0])
    below = values[place - 1]
    share = (wanted - below) / (values[place] - below)
    return float(labels[place - 1] + share * (labels[place] - labels[place - 1]))


def curves_of(runs: Sequence[RunResult], strategy: str, measure: str = "accuracy") -> Curves:
    """Of a strategy's runs, by rising seed."""
    mine = sorted((run for run in runs if run.strategy == strategy), key=lambda run: run.seed)
    labels = np.array([point.labels for point in mine[0].points])
    return Curves(labels, np.array([[getattr(point, measure) for point in run.points] for run in mine], np.float64))


def savings(ours: Curves, random: Curves, seeds: np.ndarray) -> dict[str, float]:
    """Labels that random needs over labels that the strategy needs, at the highest accuracy that both reach at the end
    of their mean curves; above 1 the strategy saves labels.
    """
    mine, other = ours.mean_of(seeds), random.mean_of(seeds)
    accuracy = float(min(mine[-1], other[-1]))
    needed, random_needed = labels_needed(ours.labels, mine, accuracy), labels_needed(random.labels, other, accuracy)
    assert needed is not None
    assert random_needed is not None
    return {"accuracy": accuracy, "labels": needed, "random_labels": random_needed, "ratio": random_needed / needed}


def summarise(runs: Sequence[RunResult], strategies: Sequence[str], budget: int, seed: int = 0) -> list[dict[str, Any]]:
    """One entry per strategy; the keys that other programs read are in docs/simulate.md.

    Random: the bootstrap, from seed.
    """
    random = curves_of(runs, RANDOM)
    return [_of_strategy(runs, name, random, budget, np.random.default_rng(seed)) for name in strategies]


def _of_strategy(
    runs: Sequence[RunResult], name: str, random: Curves, budget: int, rng: np.random.Generator
) -> dict[str, Any]:
    measured = {measure: curves_of(runs, name, measure).up_to(budget) for measure in ("accuracy", "macro_f1")}
    ours, short = measured["accuracy"], random.up_to(budget)
    areas, random_areas = area(ours.labels, ours.values), area(short.labels, short.values)
    aubc, aubc_interval = mean_interval(areas)
    gain, gain_interval = mean_interval(areas - random_areas)
    final, final_interval = mean_interval(ours.values[:, -1])
    macro_f1, macro_f1_interval = mean_interval(measured["macro_f1"].values[:, -1])
    found = {
        "strategy": name,
        "aubc": aubc,
        "aubc_ci95": aubc_interval,
        "aubc_minus_random": gain,
        "aubc_minus_random_ci95": gain_interval,
        "final_accuracy": final,
        "final_accuracy_ci95": final_interval,
        "final_macro_f1": macro_f1,
        "final_macro_f1_ci95": macro_f1_interval,
    }
    return found | _label_savings(ours, random, short, rng) | _classes(runs, name, budget)


def _label_savings(ours: Curves, random: Curves, short: Curves, rng: np.random.Generator) -> dict[str, Any]:
    """As `savings`, with its interval; and the two one-sided questions, None where a curve never gets there."""
    count = len(ours.values)
    every = np.arange(count)
    found = savings(ours, short, every)
    draws = rng.integers(0, count, (BOOTSTRAPS, count))
    ratios = [savings(ours, short, draw)["ratio"] for draw in draws] if count > 1 else [found["ratio"]]
    tail = (1 - CONFIDENCE) / 2
    mine, other = ours.mean_of(every), random.mean_of(every)
    return {
        "label_savings_vs_random": found["ratio"],
        "label_savings_ci95": [float(one) for one in np.quantile(ratios, [tail, 1 - tail])],
        "same_accuracy": found,
        "at_random_final": {
            "accuracy": float(short.mean_of(every)[-1]),
            "random_labels": int(short.labels[-1]),
            "labels": labels_needed(ours.labels, mine, float(short.mean_of(every)[-1])),
        },
        "at_own_final": {
            "accuracy": float(mine[-1]),
            "labels": int(ours.labels[-1]),
            "random_labels": labels_needed(random.labels, other, float(mine[-1])),
            "random_measured_to": int(random.labels[-1]),
        },
    }


def _classes(runs: Sequence[RunResult], name: str, budget: int) -> dict[str, Any]:
    """Means over seeds at the budget: labels and F1 of each class."""
    ends = [
        next(point for point in reversed(run.points) if point.labels <= budget) for run in runs if run.strategy == name
    ]
    selected = {
        one: float(np.mean([point.selected_per_class[one] for point in ends])) for one in ends[0].selected_per_class
    }
    f1 = {one: _mean([point.f1_per_class[one] for point in ends]) for one in ends[0].f1_per_class}
    return {"selected_per_class": selected, "f1_per_class": f1}


def _mean(values: Sequence[float | None]) -> float | None:
    there = [value for value in values if value is not None]
    return float(np.mean(there)) if there else None


def mean_curve(runs: Sequence[Mapping[str, Any]], strategy: str, measure: str = "accuracy") -> list[dict[str, Any]]:
    """Per count of labels the mean and 95 % interval over seeds, from runs as the result file holds them."""
    mine = [run["points"] for run in runs if run["strategy"] == strategy]
    found = []
    for points in zip(*mine, strict=True):
        mean, (low, high) = mean_interval([point[measure] for point in points])
        found.append({"labels": points[0]["labels"], "mean": mean, "low": low, "high": high, "seeds": len(points)})
    return found

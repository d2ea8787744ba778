"""Accuracy over labels: strategies against random, on the same seeds and from the same first batch.

What is measured is al_service/simulation; here are the studies and the lines. Each run has one thread, so the figures
do not depend on how many run at a time.
"""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from al_service.domain.project_config import ProjectConfig
from al_service.domain.strategy_names import STRATEGIES
from al_service.simulation.image_set import ImageSet
from al_service.simulation.plan import RANDOM, Plan
from al_service.simulation.run import RunResult
from al_service.simulation.study import Progress, Study, run_study
from al_service.simulation.summary import curves_of, mean_interval, summarise
from benchmarks import image_sets
from benchmarks.figures import Lines
from benchmarks.image_sets import CIFAR10_VARIABLE, cifar10_archive, read_cifar10, read_digits

PROCESSES = 2


@dataclass(frozen=True)
class Comparison:
    """What is compared on which images; strategies that this version does not have are left out."""

    dataset: str
    images: int
    plan: Plan
    strategies: tuple[str, ...]
    seeds: tuple[int, ...]

    @property
    def present(self) -> tuple[str, ...]:
        """Those of the strategies that there are."""
        return tuple(name for name in self.strategies if name in STRATEGIES)


DIGITS = Comparison(
    "digits",
    1797,
    Plan(initial=30, batch=30, budget=240, random_budget=480),
    (RANDOM, "auto", "margin+k_center", "margin", "entropy", "k_center", "bald"),
    tuple(range(10)),
)
DIGITS_QUICK = Comparison("digits", 1797, Plan(30, 30, 90, 90), (RANDOM, "margin+k_center"), (0, 1))
CIFAR10 = Comparison(
    "cifar10",
    6250,
    Plan(200, 200, 1600, 1600, ProjectConfig(augment="shift+flip")),
    (RANDOM, "auto", "margin+k_center", "margin"),
    (0, 1, 2),
)


def run(lines: Lines, *, quick: bool) -> None:
    """Digits, and a part of CIFAR-10 where the caller has it."""
    with tempfile.TemporaryDirectory() as folder:
        digits = of_images(read_digits(Path(folder)))
    compare(lines, DIGITS_QUICK if quick else DIGITS, digits)
    if quick:
        return
    archive = cifar10_archive()
    if archive is None:
        print(f"strategies: CIFAR-10 is left out; set {CIFAR10_VARIABLE} to an archive of its training images")
        return
    compare(lines, CIFAR10, of_images(read_cifar10(archive, CIFAR10.images)))


def of_images(found: image_sets.ImageSet) -> ImageSet:
    """The benchmarks' images as a study takes them."""
    return ImageSet(
        name=found.name,
        pixels=found.pixels,
        class_indices=found.class_indices,
        class_names=tuple(map(str, range(found.class_count))),
        hashes=found.hashes,
        sample_ids=found.hashes,
        is_test=np.zeros(len(found.hashes), bool),
    )


def compare(lines: Lines, comparison: Comparison, data: ImageSet, processes: int = PROCESSES) -> None:
    """A line for each curve as soon as it is there, then what they say together."""
    with tempfile.TemporaryDirectory() as folder:
        study = Study(Path(folder), comparison.plan, comparison.present, comparison.seeds)
        data.write(study.cache)

        def show(progress: Progress) -> None:
            if progress.finished is not None:
                strategy, seed, _ = progress.finished
                found = study.find_run(strategy, seed)
                assert found is not None
                lines.add("curve", runs=1, dataset=comparison.dataset, strategy=strategy, seed=seed, **_curve(found))

        runs = run_study(study, data, processes=processes, on_progress=show)
    report(lines, comparison, runs)


def _curve(found: RunResult) -> dict[str, list[float]]:
    points = found.points
    return {"labels": [point.labels for point in points], "accuracy": [point.accuracy for point in points]}


def report(lines: Lines, comparison: Comparison, runs: Sequence[RunResult]) -> None:
    """One line per strategy and count of labels, and one per strategy that compares it with random."""
    dataset, seeds = comparison.dataset, len(comparison.seeds)
    for name in comparison.present:
        curves = curves_of(runs, name)
        for place, labels in enumerate(curves.labels.tolist()):
            mean, interval = mean_interval(curves.values[:, place])
            figures = {"dataset": dataset, "strategy": name, "labels": labels, "accuracy": mean, "ci95": interval}
            lines.add("accuracy", runs=seeds, **figures)
    for one in summarise(runs, comparison.present, comparison.plan.budget):
        if one["strategy"] != RANDOM:
            kept = {key: value for key, value in one.items() if not key.endswith("_per_class")}
            lines.add("against_random", runs=seeds, dataset=dataset, **kept)

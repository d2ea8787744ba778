"""Accuracy over labels: every strategy against random, on the same seeds and from the same first batch.

Each curve runs in one thread, so the figures do not depend on how many run at a time.
"""

import multiprocessing
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch

from al_service.domain.project_config import ProjectConfig
from benchmarks.figures import Lines, mean_interval
from benchmarks.image_sets import CIFAR10_VARIABLE, ImageSet, cifar10_archive, read_cifar10, read_digits
from benchmarks.simulation import Curve, Plan, Simulation

RANDOM = "random"
STRATEGIES = (RANDOM, "margin+k_center", "margin", "entropy", "k_center", "bald")
PROCESSES = 2


@dataclass(frozen=True)
class Study:
    """What is compared on which images.

    Args:
        labels: counts of labels at which every strategy is measured.
        random_labels: further counts for random alone, to see how many labels it needs for the same accuracy.
    """

    dataset: str
    images: int
    labels: tuple[int, ...]
    random_labels: tuple[int, ...]
    strategies: tuple[str, ...]
    seeds: tuple[int, ...]
    config: ProjectConfig = ProjectConfig()


DIGITS = Study("digits", 1797, tuple(range(30, 241, 30)), (360, 480), STRATEGIES, tuple(range(10)))
DIGITS_QUICK = Study("digits", 1797, (30, 60, 90), (), STRATEGIES[:2], (0, 1))
CIFAR10 = Study(
    "cifar10",
    6250,
    tuple(range(200, 1601, 200)),
    (),
    (RANDOM, "margin+k_center", "margin"),
    (0, 1, 2),
    ProjectConfig(augment="shift+flip"),
)


def run(lines: Lines, *, quick: bool) -> None:
    """Digits, and a part of CIFAR-10 where the caller has it."""
    compare(lines, DIGITS_QUICK if quick else DIGITS)
    if quick:
        return
    if cifar10_archive() is None:
        print(f"strategies: CIFAR-10 is left out; set {CIFAR10_VARIABLE} to an archive of its training images")
        return
    compare(lines, CIFAR10)


def compare(lines: Lines, study: Study, processes: int = PROCESSES) -> None:
    """Run a study: a line for each curve as soon as it is there, then what they say together."""
    curves = []
    for curve in curves_of(study, processes):
        curves.append(curve)
        lines.add("curve", runs=1, dataset=study.dataset, **asdict(curve))
    report(lines, study, curves)


def curves_of(study: Study, processes: int = PROCESSES) -> Iterator[Curve]:
    """All curves of a study, strategy by strategy; several at a time."""
    work = [(study, name, seed) for name in study.strategies for seed in study.seeds]
    # Not forked: torch's threads do not survive a fork.
    with ProcessPoolExecutor(processes, multiprocessing.get_context("spawn"), initializer=_one_thread) as pool:
        yield from pool.map(_curve, *zip(*work, strict=True))


def _one_thread() -> None:
    torch.set_num_threads(1)


def _curve(study: Study, strategy: str, seed: int) -> Curve:
    further = study.random_labels if strategy == RANDOM else ()
    return Simulation(_images(study), Plan((*study.labels, *further), study.config), seed).curve(strategy)


@cache
def _images(study: Study) -> ImageSet:
    if study.dataset == "digits":
        with tempfile.TemporaryDirectory() as folder:
            return read_digits(Path(folder))
    archive = cifar10_archive()
    if archive is None:
        raise LookupError(f"{study.dataset} needs {CIFAR10_VARIABLE}")
    return read_cifar10(archive, study.images)


def report(lines: Lines, study: Study, curves: Sequence[Curve]) -> None:
    """One line per strategy and count of labels, and one per strategy that compares it with random."""
    by_name = {name: [curve for curve in curves if curve.strategy == name] for name in study.strategies}
    for name, found in by_name.items():
        for place, labels in enumerate(found[0].labels):
            mean, interval = mean_interval([curve.accuracy[place] for curve in found])
            figures = {"dataset": study.dataset, "strategy": name, "labels": labels, "accuracy": mean, "ci95": interval}
            lines.add("accuracy", runs=len(found), **figures)
    for name in study.strategies:
        if name != RANDOM:
            lines.add("against_random", runs=len(study.seeds), **compared(study, by_name[name], by_name[RANDOM]))


def compared(study: Study, ours: Sequence[Curve], random: Sequence[Curve]) -> dict[str, object]:
    """A strategy against random, seed by seed: area under the curve, accuracy at the end, labels saved."""
    last = len(study.labels) - 1
    area = mean_interval([aubc(curve, last) - aubc(other, last) for curve, other in zip(ours, random, strict=True)])
    ends = [curve.accuracy[last] - other.accuracy[last] for curve, other in zip(ours, random, strict=True)]
    end = mean_interval(ends)
    reached = np.mean([curve.accuracy for curve in ours], axis=0)
    return {
        "dataset": study.dataset,
        "strategy": ours[0].strategy,
        "aubc": float(np.mean([aubc(curve, last) for curve in ours])),
        "aubc_difference": area[0],
        "aubc_difference_ci95": area[1],
        "labels": study.labels[last],
        "accuracy": float(reached[last]),
        "accuracy_difference": end[0],
        "accuracy_difference_ci95": end[1],
        "random_needs": {
            labels: labels_needed(random, accuracy) for labels, accuracy in zip(study.labels, reached, strict=True)
        },
        "random_measured_to": random[0].labels[-1],
    }


def aubc(curve: Curve, last: int) -> float:
    """Area under accuracy over labels up to that place, as a mean accuracy.

    >>> aubc(Curve("margin", 0, (10, 20, 30), (0.5, 0.7, 0.9)), 2)
    0.7
    """
    labels, accuracy = np.array(curve.labels[: last + 1]), np.array(curve.accuracy[: last + 1])
    areas = np.diff(labels) * (accuracy[1:] + accuracy[:-1]) / 2
    return float(areas.sum() / (labels[-1] - labels[0]))


def labels_needed(curves: Sequence[Curve], accuracy: float) -> float | None:
    """Labels at which the curves' mean first reaches the accuracy, along straight lines; None when it never does.

    >>> labels_needed([Curve("random", 0, (10, 20), (0.5, 0.7))], 0.6)
    15.0
    """
    labels, mean = curves[0].labels, np.mean([curve.accuracy for curve in curves], axis=0)
    for place, value in enumerate(mean):
        if value >= accuracy:
            if place == 0:
                return float(labels[0])
            below = mean[place - 1]
            share = (accuracy - below) / (value - below)
            return float(labels[place - 1] + share * (labels[place] - labels[place - 1]))
    return None

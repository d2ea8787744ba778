"""Labels to 90 % of what all labels give: `auto` on a backbone trained without labels, from an empty start, beside
random choice and a network trained from scratch.

Everything is measured on the same images, which nothing is learned from: no label, and no pretraining either.
"""

import os
import tempfile
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from al_service.domain.project_config import ProjectConfig
from al_service.learning import checkpoints
from al_service.learning.pretrain_config import PretrainConfig
from al_service.learning.pretraining import pretrain
from al_service.learning.views import views_for
from al_service.simulation.image_set import ImageSet
from al_service.simulation.plan import RANDOM, Plan
from al_service.simulation.run import Material
from al_service.simulation.run import run as run_once
from al_service.simulation.study import Study, run_study
from al_service.simulation.summary import curves_of, mean_interval
from benchmarks import image_sets
from benchmarks.figures import Lines
from benchmarks.image_sets import (
    CIFAR10_VARIABLE,
    IMAGES_VARIABLE,
    cifar10_archive,
    read_cifar10,
    read_digits,
    read_folder,
)
from benchmarks.pretraining import NETWORK, halved
from benchmarks.strategies import PROCESSES, of_images

SHARE_WANTED = 0.9
ALL_IMAGES = 50_000


@dataclass(frozen=True)
class Race:
    """One set of images and how both sides go.

    Args:
        augment: which changes leave an image what it is; for training, and the flip for pretraining.
        pretrain_epochs: passes over the pool's images without a label.
        scratch_labels: counts at which a network is trained from scratch on images drawn at random; the last is all.
        scratch_seeds, seeds: repetitions of either side.
        batch, budget: of `auto` and of random choice on the pretrained backbone.
    """

    augment: str
    pretrain_epochs: int
    scratch_labels: tuple[int, ...]
    scratch_seeds: tuple[int, ...]
    seeds: tuple[int, ...]
    batch: int
    budget: int
    settings: tuple[tuple[str, str], ...] = (("training_mode", "probe"),)


DIGITS = Race(
    augment="shift",
    pretrain_epochs=50,
    scratch_labels=(10, 20, 40, 60, 80, 100, 1_797),
    scratch_seeds=tuple(range(5)),
    seeds=tuple(range(10)),
    batch=5,
    budget=100,
    settings=(("training_mode", "probe"), ("semi_supervised", "label_spreading")),
)
IMAGES = replace(
    DIGITS,
    augment="shift+flip",
    pretrain_epochs=100,
    scratch_labels=(4, 8, 16, 32, 64, 128, 256, ALL_IMAGES),
    batch=4,
    budget=64,
)
CIFAR10 = Race(
    augment="shift+flip",
    pretrain_epochs=60,
    scratch_labels=(250, 500, 1_000, 2_000, 4_000, 8_000, 16_000, ALL_IMAGES),
    scratch_seeds=(0,),
    seeds=tuple(range(10)),
    batch=100,
    budget=3_000,
)
QUICK = replace(
    DIGITS, pretrain_epochs=5, scratch_labels=(20, 100, 1_797), scratch_seeds=(0,), seeds=(0, 1), batch=20, budget=60
)


def run(lines: Lines, *, quick: bool) -> None:
    """Digits; images in class folders and CIFAR-10 at 16 px where the caller has them."""
    with tempfile.TemporaryDirectory() as name:
        digits = read_digits(Path(name))
    measure(lines, digits, QUICK if quick else DIGITS)
    if quick:
        return
    folder = os.environ.get(IMAGES_VARIABLE)
    if folder is None:
        print(
            f"label_efficiency: images of your own are left out; set {IMAGES_VARIABLE} to a folder with class folders"
        )
    else:
        measure(lines, read_folder(Path(folder)), IMAGES)
    archive = cifar10_archive()
    if archive is None:
        print(f"label_efficiency: CIFAR-10 is left out; set {CIFAR10_VARIABLE} to an archive of its training images")
        return
    measure(lines, halved(read_cifar10(archive, ALL_IMAGES)), CIFAR10)


def measure(lines: Lines, found: image_sets.ImageSet, race: Race) -> None:
    """A line per side and count of labels, and one that says how many labels either side needs."""
    data = replace(of_images(found), is_test=found.protected(0))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        scratch = from_scratch(lines, data, race)
        backbone = pretrained(lines, data, race, folder / "backbone.safetensors")
        on_backbone = from_empty(lines, data, race, backbone, folder / "study")
    wanted = SHARE_WANTED * scratch.accuracies[-1]
    facts: dict[str, Any] = {"dataset": data.name, "accuracy_of_all_labels": scratch.accuracies[-1], "wanted": wanted}
    needs = {"from_scratch": labels_at(scratch, wanted)}
    needs |= {name: labels_at(curve, wanted) for name, curve in on_backbone.items()}
    auto, random = needs["auto"], needs["from_scratch"]
    ratio = random / auto if auto is not None and random is not None else None
    lines.add("labels_to_90_percent", runs=len(race.seeds), **facts, **needs, fewer=ratio)


@dataclass(frozen=True)
class Curve:
    """Mean accuracies at counts of labels, rising."""

    labels: tuple[int, ...]
    accuracies: tuple[float, ...]


def labels_at(curve: Curve, accuracy: float) -> float | None:
    """Labels where the curve first reaches an accuracy, along straight lines; None where it does not.

    >>> labels_at(Curve((10, 20), (0.5, 0.7)), 0.6)
    15.0
    """
    points = list(zip(curve.labels, curve.accuracies, strict=True))
    if points[0][1] >= accuracy:
        return float(points[0][0])
    for (few, low), (many, high) in pairwise(points):
        if high >= accuracy:
            return round(few + (accuracy - low) / (high - low) * (many - few), 6)
    return None


def from_scratch(lines: Lines, data: ImageSet, race: Race) -> Curve:
    """All layers, from initial weights, on labels drawn at random; the last point is all labels of the pool."""
    config = ProjectConfig(training_mode="finetune", augment=race.augment)
    counts, accuracies = [], []
    for wanted in race.scratch_labels:
        found = []
        for seed in race.scratch_seeds:
            point = run_once(Material(data, Plan(wanted, wanted, wanted, wanted, config)), RANDOM, seed).points[0]
            found.append(point.accuracy)
        counts.append(point.labels)
        accuracies.append(_line(lines, data, "from_scratch", point.labels, found))
    return Curve(tuple(counts), tuple(accuracies))


def pretrained(lines: Lines, data: ImageSet, race: Race, path: Path) -> Path:
    """The file of a backbone that was trained on the pool's images alone."""
    views = views_for(data.image_px, flip="flip" in race.augment)
    pool = np.flatnonzero(~data.is_test)
    network, report = pretrain(NETWORK, data.pixels[pool], PretrainConfig(epochs=race.pretrain_epochs, views=views))
    path.write_bytes(checkpoints.backbone_to_bytes(network))
    lines.add("pretrained", runs=1, dataset=data.name, images=len(pool), epochs=report.epochs, seconds=report.seconds)
    return path


def from_empty(lines: Lines, data: ImageSet, race: Race, backbone: Path, folder: Path) -> dict[str, Curve]:
    """A head on the pretrained backbone, from an empty start: images that `auto` chose, and images drawn at random."""
    config = ProjectConfig(weights=str(backbone), augment=race.augment).with_values(dict(race.settings))
    plan = Plan(0, race.batch, race.budget, race.budget, config)
    study = Study(folder, plan, (RANDOM, "auto"), race.seeds)
    data.write(study.cache)
    runs = run_study(study, data, processes=PROCESSES, on_progress=lambda progress: None)
    curves = {}
    for name in study.strategies:
        found = curves_of(runs, name)
        places = enumerate(found.labels.tolist())
        means = [_line(lines, data, name, labels, found.values[:, place]) for place, labels in places]
        curves[name] = Curve(tuple(found.labels.tolist()), tuple(means))
    return curves


def _line(lines: Lines, data: ImageSet, side: str, labels: int, accuracies: Any) -> float:
    mean, interval = mean_interval(np.asarray(accuracies))
    lines.add(
        "accuracy", runs=len(accuracies), dataset=data.name, side=side, labels=labels, accuracy=mean, ci95=interval
    )
    return float(mean)

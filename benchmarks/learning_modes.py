"""When the ways to learn from few or bad labels help, and when they do not: each beside plain training on equal draws.

Curriculum over orders, pacings and shares of wrong labels; learning from unlabelled images too, for the probe and for
all layers; focal and class weighting where classes are rare. Each run has one thread, so the figures do not depend on
how many run at a time.
"""

import multiprocessing
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from al_service.learning import curriculum, networks, training
from al_service.learning.consistency import ConsistencyLoss
from al_service.learning.evaluation import evaluate
from al_service.learning.inference import predict
from al_service.learning.label_noise import estimate
from al_service.learning.neighbours import knn_disagreement
from al_service.learning.probe import fit_probe, held_out_probabilities
from al_service.learning.semi_supervised import spread_probe
from benchmarks.figures import Lines, mean_interval
from benchmarks.image_sets import CIFAR10_VARIABLE, ImageSet, cifar10_archive, read_cifar10, read_digits

#: Path of cifar_resnet20 weights (.safetensors): a backbone that knows the images; without it only one that does not.
BACKBONE_VARIABLE = "BENCH_CIFAR10_BACKBONE"
PROCESSES = 2
PLAIN = "plain"
CIFAR10_IMAGES = 5000
# Enough that training keeps a tenth aside to judge epochs: without it, the loss of a growing set is no judge.
CURRICULUM_LABELS, CURRICULUM_EPOCHS = 800, 15
UNLABELLED_MINIBATCH = 64
FOCAL_GAMMA = 2.0
COMMON_LABELS, RARE_LABELS = 60, 4


@dataclass(frozen=True)
class Plan:
    """How much is run."""

    noise: tuple[float, ...] = (0.0, 0.1, 0.3)
    curricula: tuple[tuple[str, str, str], ...] = (
        ("easy_first", "linear", "knn"),
        ("easy_first", "root", "knn"),
        ("easy_first", "step", "knn"),
        ("easy_first", "linear", "previous_round"),
        ("hard_first", "linear", "knn"),
        ("random_order", "linear", "knn"),
    )
    per_class: tuple[int, ...] = (2, 5, 20)
    curriculum_seeds: int = 4
    probe_seeds: int = 10
    finetune_seeds: int = 4
    focal_seeds: int = 6
    epochs: int = 60


FULL = Plan()
QUICK = Plan((0.3,), FULL.curricula[:1], (2,), 1, 2, 1, 1, 8)


def run(lines: Lines, *, quick: bool) -> None:
    """Every part, one after the other."""
    plan = QUICK if quick else FULL
    curricula(lines, plan)
    spreading(lines, plan, quick)
    consistency(lines, plan)
    imbalance(lines, plan)


def curricula(lines: Lines, plan: Plan) -> None:
    """Orders and pacings against none, on digits with wrong labels."""
    work = [(plan, noise, seed) for noise in plan.noise for seed in range(plan.curriculum_seeds)]
    found = list(_in_processes(_curriculum_runs, work))
    for noise in plan.noise:
        of_noise = [result for (_, share, _), result in zip(work, found, strict=True) if share == noise]
        for name in of_noise[0]:
            if name != "estimated_wrong":
                _report(lines, "curriculum", of_noise, name, wrong_labels=noise, labels=CURRICULUM_LABELS)
        mean, interval = mean_interval([result["estimated_wrong"] for result in of_noise])
        lines.add("wrong_labels", runs=len(of_noise), wrong_labels=noise, estimated=mean, ci95=interval)


def spreading(lines: Lines, plan: Plan, quick: bool) -> None:
    """The probe with spread labels beside the plain one."""
    sets = ["digits"]
    if not quick and cifar10_archive() is not None:
        sets += ["cifar10, untrained backbone"]
        sets += ["cifar10, trained backbone"] if os.environ.get(BACKBONE_VARIABLE) else []
    elif not quick:
        print(f"learning_modes: CIFAR-10 is left out; set {CIFAR10_VARIABLE} to an archive of its training images")
    work = [(name, count, seed) for name in sets for count in plan.per_class for seed in range(plan.probe_seeds)]
    _compare(lines, "label_spreading", _spreading_run, work)


def consistency(lines: Lines, plan: Plan) -> None:
    """All layers, with and without unlabelled images."""
    work = [(plan.epochs, count, seed) for count in plan.per_class for seed in range(plan.finetune_seeds)]
    _compare(lines, "pseudo_labels", _consistency_run, work)


def imbalance(lines: Lines, plan: Plan) -> None:
    """Half of the classes with few labels: focal loss and class weights beside neither."""
    found = list(_in_processes(_imbalance_run, [(plan.epochs, seed) for seed in range(plan.focal_seeds)]))
    for measure in ("accuracy", "macro_f1", "rare_recall"):
        of_measure = [{name: result[name][measure] for name in result} for result in found]
        for name in of_measure[0]:
            _report(lines, "imbalance", of_measure, name, measure=measure, common=COMMON_LABELS, rare=RARE_LABELS)


def _compare(lines: Lines, what: str, runner: Callable[..., dict[str, float]], work: Sequence[tuple]) -> None:
    found = list(_in_processes(runner, work))
    for dataset, count in dict.fromkeys((dataset, count) for dataset, count, _ in work):
        of_place = [result for (*place, _), result in zip(work, found, strict=True) if place == [dataset, count]]
        where = {"dataset": dataset} if isinstance(dataset, str) else {"dataset": "digits", "epochs": dataset}
        for name in of_place[0]:
            _report(lines, what, of_place, name, **where, labels_per_class=count)


def _report(lines: Lines, what: str, runs: Sequence[dict[str, float]], name: str, **where: Any) -> None:
    """The mean of a way to learn, and of its difference to plain training, draw by draw."""
    mean, interval = mean_interval([result[name] for result in runs])
    figures: dict[str, Any] = {**where, "way": name, "value": mean, "ci95": interval}
    if name != PLAIN:
        figures["gain"], figures["gain_ci95"] = mean_interval([result[name] - result[PLAIN] for result in runs])
    lines.add(what, runs=len(runs), **figures)


# -- runs, each in a process with one thread ---------------------------------------------------------------------


def _curriculum_runs(plan: Plan, noise: float, seed: int) -> dict[str, float]:
    data, pool, test = _drawn("digits", seed)
    rows = pool[:CURRICULUM_LABELS]
    labels = spoiled(data.class_indices[rows], noise, data.class_count, seed)
    config = training.TrainConfig(epochs_max=CURRICULUM_EPOCHS, patience=CURRICULUM_EPOCHS, seed=seed)
    plain = _trained(data, rows, labels, config)
    found = {PLAIN: _accuracy(plain, data, test)}
    outputs = predict(plain, data.pixels[rows])
    hardness = {
        "knn": knn_disagreement(outputs.embeddings, labels),
        "previous_round": curriculum.entropy_difficulty(outputs.probabilities),
    }
    for order, pacing, by in plan.curricula:
        how = curriculum.Curriculum(
            hardness[by], labels, order=order, pacing=pacing, epochs_max=CURRICULUM_EPOCHS, seed=seed
        )
        found[f"{order}, {pacing}, {by}"] = _accuracy(_trained(data, rows, labels, config, order=how), data, test)
    grey = _flat(data)[rows]
    held_out = held_out_probabilities(grey, labels, data.class_count, l2=fit_probe(grey, labels, data.class_count).l2)
    noise_found = estimate(held_out, labels)
    return {**found, "wrong_at_least": noise_found.low, "wrong_at_most": noise_found.high or 0.0}


def _spreading_run(dataset: str, per_class: int, seed: int) -> dict[str, float]:
    data, pool, test = _drawn(dataset, seed)
    embeddings = _embeddings(dataset)
    rows = _first_of_each(pool, data.class_indices, per_class)
    rest = np.setdiff1d(pool, rows)
    both = spread_probe(embeddings[rows], data.class_indices[rows], embeddings[rest], data.class_count, seed=seed)
    heads = {PLAIN: both.plain, "label_spreading": both.spread}
    right = {name: head.logits(embeddings[test]).argmax(1) == data.class_indices[test] for name, head in heads.items()}
    return {name: float(values.mean()) for name, values in right.items()}


def _consistency_run(epochs: int, per_class: int, seed: int) -> dict[str, float]:
    data, pool, test = _drawn("digits", seed)
    rows = _first_of_each(pool, data.class_indices, per_class)
    labels = data.class_indices[rows]
    config = training.TrainConfig(epochs_max=epochs, patience=epochs, seed=seed)
    extra = ConsistencyLoss(
        data.pixels[np.setdiff1d(pool, rows)],
        labels,
        data.class_count,
        minibatch_size=UNLABELLED_MINIBATCH,
        seed=seed,
    )
    return {
        PLAIN: _accuracy(_trained(data, rows, labels, config), data, test),
        "pseudo_labels": _accuracy(_trained(data, rows, labels, config, extra_loss=extra), data, test),
    }


def _imbalance_run(epochs: int, seed: int) -> dict[str, dict[str, float]]:
    data, pool, test = _drawn("digits", seed)
    rare = np.random.default_rng(seed).permutation(data.class_count)[: data.class_count // 2]
    of_class = data.class_indices[pool]
    rows = np.concatenate(
        [pool[of_class == one][: RARE_LABELS if one in rare else COMMON_LABELS] for one in range(data.class_count)]
    )
    ways: dict[str, dict[str, Any]] = {
        PLAIN: {},
        "focal": {"focal_gamma": FOCAL_GAMMA},
        "class weights": {"class_balance": "weights"},
        "class sampling": {"class_balance": "sampling"},
        "focal and class weights": {"focal_gamma": FOCAL_GAMMA, "class_balance": "weights"},
    }
    found = {}
    for name, options in ways.items():
        config = training.TrainConfig(epochs_max=max(1, epochs // 2), seed=seed, **options)
        network = _trained(data, rows, data.class_indices[rows], config)
        measured = evaluate(predict(network, data.pixels[test]).probabilities, data.class_indices[test])
        recalls = [measured.per_class[one].recall or 0.0 for one in rare]
        found[name] = {
            "accuracy": measured.accuracy,
            "macro_f1": measured.macro_f1,
            "rare_recall": float(np.mean(recalls)),
        }
    return found


def spoiled(labels: np.ndarray, share: float, class_count: int, seed: int) -> np.ndarray:
    """The labels, that share of them replaced by another class drawn at random."""
    rng = np.random.default_rng([seed, 1])
    rows = rng.permutation(len(labels))[: round(share * len(labels))]
    wrong = labels.copy()
    wrong[rows] = (labels[rows] + rng.integers(1, class_count, len(rows))) % class_count
    return wrong


def _trained(
    data: ImageSet, rows: np.ndarray, labels: np.ndarray, config: training.TrainConfig, **hooks: Any
) -> networks.Network:
    network = networks.build("small_cnn", data.class_count, data.image_px, seed=config.seed)
    training.train(network, data.pixels[rows], labels, config, **hooks)
    return network


def _accuracy(network: networks.Network, data: ImageSet, test: np.ndarray) -> float:
    return float((predict(network, data.pixels[test]).probabilities.argmax(1) == data.class_indices[test]).mean())


def _drawn(dataset: str, seed: int) -> tuple[ImageSet, np.ndarray, np.ndarray]:
    """The images, a shuffled pool, and the protected images."""
    data = _images(dataset)
    protected = data.protected(seed)
    pool = np.random.default_rng([seed, 0]).permutation(np.flatnonzero(~protected))
    return data, pool, np.flatnonzero(protected)


def _first_of_each(pool: np.ndarray, class_indices: np.ndarray, count: int) -> np.ndarray:
    of_class = class_indices[pool]
    return np.concatenate([pool[of_class == one][:count] for one in np.unique(of_class)])


@cache
def _images(dataset: str) -> ImageSet:
    if dataset == "digits":
        with tempfile.TemporaryDirectory() as folder:
            return read_digits(Path(folder))
    archive = cifar10_archive()
    if archive is None:
        raise LookupError(f"{dataset} needs {CIFAR10_VARIABLE}")
    return read_cifar10(archive, CIFAR10_IMAGES)


@cache
def _embeddings(dataset: str) -> np.ndarray:
    data = _images(dataset)
    if dataset == "digits":
        return _flat(data)
    weights = os.environ[BACKBONE_VARIABLE] if dataset.endswith(", trained backbone") else "none"
    name = "small_cnn" if weights == "none" else "cifar_resnet20"
    return predict(networks.build(name, data.class_count, data.image_px, weights=weights), data.pixels).embeddings


def _flat(data: ImageSet) -> np.ndarray:
    """Grey values as embeddings, which do for digits."""
    return (data.pixels[..., 0].reshape(len(data.pixels), -1) / 255).astype(np.float16)


def _in_processes(runner: Callable[..., Any], work: Sequence[tuple]) -> Iterator[Any]:
    # Not forked: torch's threads do not survive a fork.
    with ProcessPoolExecutor(
        min(PROCESSES, len(work)), multiprocessing.get_context("spawn"), initializer=_one_thread
    ) as pool:
        yield from pool.map(runner, *zip(*work, strict=True))


def _one_thread() -> None:
    torch.set_num_threads(1)

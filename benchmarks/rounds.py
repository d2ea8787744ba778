"""Seconds per stage of real rounds, the floors under them, and how long people wait between two batches.

Stages run through the real jobs in this process, with nobody waiting and no broker. The wait is measured over the real
processes: from the last acknowledged answer of a batch to the first assignment of the next.
"""

import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from al_service.acquisition.scored_pool import ScoredPool
from al_service.domain.records import Round, User
from al_service.domain.states import AnnotationKind, JobState, Role, Stage
from al_service.ingest.digits import write_digits
from al_service.learning import checkpoints, networks
from al_service.learning.inference import predict
from al_service.learning.minibatches import epoch_minibatches
from al_service.learning.networks import Network
from al_service.loop.annotations import Answer
from al_service.loop.services import Services
from al_service.rehearsal.labelers import read_truth
from benchmarks.figures import Lines
from benchmarks.image_sets import CIFAR10_VARIABLE, cifar10_archive
from benchmarks.service import InProcess, in_process, processes

PROJECT = "bench"
LEASES = 100
MINIBATCHES = (64, 256, 1024)
FLOOR_IMAGES = 4096
TURNS = 3
POLL_S = 0.02
WAIT_MAX_S = 600.0


@dataclass(frozen=True)
class Case:
    """Which images, how large a batch, how many rounds with a model."""

    dataset: str
    labels_per_round: int
    rounds: int


def run(lines: Lines, *, quick: bool) -> None:
    """Digits, CIFAR-10 where the caller has it, and the wait on digits."""
    with tempfile.TemporaryDirectory(prefix="bench-rounds-") as name:
        folder = Path(name)
        write_digits(folder / "digits")
        stages(lines, Case("digits", 50, 1 if quick else 5), folder / "digits", folder / "in-process-digits")
        archive = cifar10_archive()
        if quick:
            print("rounds: CIFAR-10 is left out of a quick run")
        elif archive is None:
            print(f"rounds: CIFAR-10 is left out; set {CIFAR10_VARIABLE} to an archive of its training images")
        else:
            stages(lines, Case("cifar10", 200, 3), archive, folder / "in-process-cifar10")
        wait(lines, Case("digits", 30, 2 if quick else 6), folder / "digits", folder / "processes")
        turnaround(lines, Case("digits", 50, 2), "small_cnn", 8, folder / "digits", folder / "probe-digits")
        if archive is not None and not quick:
            turnaround(lines, Case("cifar10", 500, 4), "resnet18", 32, archive, folder / "probe-cifar10")


# -- stages --------------------------------------------------------------------------------------------------------


def stages(lines: Lines, case: Case, location: Path, folder: Path) -> None:
    """Import, a first batch at random, then rounds with a model; every stage beside its floor."""
    truth = read_truth(str(location), folder.with_name(f"{folder.name}-truth"))
    with in_process(folder) as loop:
        settings = {"labels_per_round": case.labels_per_round}
        loop.services.projects.create(PROJECT, truth.class_names, settings)
        started = time.perf_counter()
        job = loop.services.projects.import_images(PROJECT, str(location), use_labels="evaluation")
        loop.queue.run_all()
        seconds = time.perf_counter() - started
        with loop.services.store.read() as tx:
            result = tx.jobs.get(job.id).result
        rate = result["added"] / seconds
        lines.add("ingest", runs=1, dataset=case.dataset, seconds=seconds, images=result["added"], images_per_s=rate)
        loop.work()
        person = loop.services.accounts.ensure_user("labeler", Role.LABELER)
        found = []
        for _ in range(case.rounds):
            answer_batch(loop.services, person, truth.class_of_hash)
            loop.work()
            found.append(_round_figures(loop, case))
            lines.add("round", runs=1, dataset=case.dataset, **found[-1])
    for what in found[0]:
        runs = [figures[what] for figures in found]
        lines.add(what, runs=len(runs), dataset=case.dataset, **_medians(runs))


def answer_batch(services: Services, person: User, class_of_hash: Any) -> int:
    """Answer everything that the queue holds; how many."""
    count = 0
    while leased := services.assignments.lease_next(PROJECT, person, LEASES).assignments:
        for assignment in leased:
            class_name = class_of_hash[assignment.sample.sha256]
            answer = Answer(AnnotationKind.LABEL, class_name, f"{person.id}-{assignment.id}")
            services.annotations.annotate(assignment.id, person, answer)
            count += 1
    return count


def _round_figures(loop: InProcess, case: Case) -> dict[str, dict[str, float]]:
    """The round that has just opened its batch: each stage's figures, and its floor measured now."""
    record = loop.services.rounds.all(PROJECT)[-1]
    facts = record.stage_record(Stage.SELECT).result
    read = loop.services.artifacts.get
    candidates = ScoredPool.from_bytes(read(facts["candidates_artifact"])).sample_ids
    scored = ScoredPool.read(read, facts["scores_artifacts"], candidates)
    return {
        "train": _train_figures(record),
        "score": _score_figures(loop, record),
        "select": _select_figures(record, scored, case.labels_per_round),
        "k_center": _k_center_figures(scored, case.labels_per_round),
    }


def _seconds(record: Round, stage: Stage) -> float:
    return record.stage_record(stage).seconds or 0.0


def _train_figures(record: Round) -> dict[str, float]:
    facts = record.stage_record(Stage.TRAIN).result
    parts = epoch_minibatches(np.arange(record.label_count), record.config.minibatch_size, np.random.default_rng(0))
    seen = sum(map(len, parts)) * facts["epochs"]
    fit = facts["fit_seconds"]
    seconds = _seconds(record, Stage.TRAIN)
    return {
        "seconds": seconds,
        "fit_seconds": fit,
        "labels": record.label_count,
        "epochs": facts["epochs"],
        "images_per_s": seen / fit,
        "accuracy": record.metrics["accuracy"],
    }


def _score_figures(loop: InProcess, record: Round) -> dict[str, float]:
    from workers.context import current

    context = current()
    with loop.services.store.read() as tx:
        hashes = [sha256 for _, sha256 in tx.samples.selectable(record.project_id)]
    counts = loop.services.projects.summary(PROJECT).counts
    everything = counts.total + counts.train_total + counts.evaluation_total
    pixels = context.pixel_rows(context.network.image_px, everything).view(hashes)
    part = pixels[:FLOOR_IMAGES]
    ours, floor = forward_beside_floor(context.network, part)
    facts, seconds = record.stage_record(Stage.SCORE).result, _seconds(record, Stage.SCORE)
    floor_seconds = statistics.median(floor) * len(hashes) / len(part)
    return {
        "seconds": seconds,
        "forward_seconds": facts["seconds"],
        "images": len(hashes),
        "floor_seconds": floor_seconds,
        "ratio": seconds / floor_seconds,
        "forward_ratio": statistics.median(mine / its for mine, its in zip(ours, floor, strict=True)),
    }


def forward_beside_floor(network: Network, pixels: np.ndarray) -> tuple[list[float], list[float]]:
    """Seconds of `predict` and of one plain pass at the minibatch size that is quickest, in turns."""
    tensor = torch.from_numpy(pixels)

    def plain(size: int) -> None:
        for images in tensor.split(size):
            network(images.permute(0, 3, 1, 2))

    with torch.inference_mode():
        network.eval()
        best = min(MINIBATCHES, key=lambda size: min(timed(lambda: plain(size)) for _ in range(2)))
        turns = [(timed(lambda: predict(network, pixels)), timed(lambda: plain(best))) for _ in range(TURNS)]
    return [mine for mine, _ in turns], [its for _, its in turns]


def timed(work: Callable[[], object]) -> float:
    """Seconds that it takes."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def _select_figures(record: Round, scored: ScoredPool, count: int) -> dict[str, float]:
    """The stage, and the strategy's arithmetic alone."""
    config = record.config
    alone = timed(
        lambda: scored.choose(config.strategy, count, seed=record.seed, random_fraction=config.random_fraction)
    )
    return {"seconds": _seconds(record, Stage.SELECT), "choose_seconds": alone, "picks": count}


def _k_center_figures(scored: ScoredPool, count: int) -> dict[str, float]:
    """k-center over the whole pool against one read of the embeddings per pick."""
    assert scored.embeddings is not None
    points = torch.from_numpy(scored.embeddings).float()
    floor = count * min(timed(points.sum) for _ in range(5))
    seconds = timed(lambda: scored.choose("k_center", count, seed=0, random_fraction=0.0))
    return {
        "seconds": seconds,
        "pool": len(points),
        "width": points.shape[1],
        "picks": count,
        "floor_seconds": floor,
        "ratio": seconds / floor,
    }


def _medians(runs: list[dict[str, float]]) -> dict[str, float]:
    return {key: statistics.median(run[key] for run in runs) for key in runs[0]}


# -- the wait ------------------------------------------------------------------------------------------------------


def wait(lines: Lines, case: Case, location: Path, folder: Path) -> None:
    """From the last acknowledged answer of a batch to the first assignment of the next, over the real processes."""
    settings = {"labels_per_round": case.labels_per_round}
    waits, done = _waits(case, settings, location, folder)
    in_stages = [sum(_stage_seconds(one).values()) for one in done]
    between = [waited - worked for waited, worked in zip(waits, in_stages, strict=True)]
    figures = {
        "seconds": statistics.median(waits),
        "in_stages_seconds": statistics.median(in_stages),
        "between_stages_seconds": statistics.median(between),
        "labels_per_round": case.labels_per_round,
        "first_seconds": waits[0],
    }
    lines.add("wait_for_next_batch", runs=len(waits), dataset=case.dataset, **figures)


def turnaround(lines: Lines, case: Case, network: str, image_px: int, location: Path, folder: Path) -> None:
    """A probe's rounds: the first, in which the backbone sees every image once, and the later ones, and where the
    seconds go. The backbone's weights are drawn at random, which takes as long as trained ones.
    """
    folder.mkdir()
    weights = folder / "backbone.safetensors"
    weights.write_bytes(checkpoints.backbone_to_bytes(networks.build(network, 1, image_px)))
    settings = {
        "labels_per_round": case.labels_per_round,
        "training_mode": "probe",
        "network": network,
        "image_px": image_px,
        "weights": str(weights),
    }
    waits, done = _waits(case, settings, location, folder / "data")
    for waited, record in zip(waits, done, strict=True):
        train, score = (record.stage_record(stage).result for stage in (Stage.TRAIN, Stage.SCORE))
        stages_s = _stage_seconds(record)
        figures = {
            "seconds": waited,
            "labels": record.label_count,
            "pool": score["scored"],
            "stages": stages_s,
            "between_stages_seconds": waited - sum(stages_s.values()),
            "fit_seconds": train["fit_seconds"],
            "learn_seconds": train["learn_seconds"],
            "accuracy": record.metrics["accuracy"],
        }
        lines.add("probe_turnaround", runs=1, dataset=case.dataset, round=record.number, network=network, **figures)


def _waits(case: Case, settings: dict[str, Any], location: Path, folder: Path) -> tuple[list[float], list[Round]]:
    """Seconds without work after each batch, and the rounds that passed in them.

    Without a reserve: with one, people would go on with the last scores and there would be nothing to wait for.
    """
    truth = read_truth(str(location), folder.with_name(f"{folder.name}-truth"))
    folder.mkdir()
    settings = {**settings, "reserve_factor": 0.0, "trigger_labels": case.labels_per_round}
    with processes(folder, workers=1) as (_, services):
        services.projects.create(PROJECT, truth.class_names, settings)
        person = services.accounts.ensure_user("labeler", Role.LABELER)
        _until(lambda: _imported(services, str(location)))
        _until(lambda: _has_work(services, person))
        waits = []
        for _ in range(case.rounds):
            answer_batch(services, person, truth.class_of_hash)
            waits.append(timed(lambda: _until(lambda: _has_work(services, person))))
        return waits, services.rounds.all(PROJECT)[1 : case.rounds + 1]


def _stage_seconds(record: Round) -> dict[str, float]:
    return {stage.value: _seconds(record, stage) for stage in (Stage.TRAIN, Stage.SCORE, Stage.SELECT)}


def _imported(services: Services, location: str) -> bool:
    with services.store.read() as tx:
        jobs = tx.jobs.all(limit=1)
    if not jobs:
        services.projects.import_images(PROJECT, location, use_labels="evaluation")
        return False
    return jobs[0].state is JobState.DONE


def _has_work(services: Services, person: User) -> bool:
    return bool(services.assignments.lease_next(PROJECT, person, 1).assignments)


def _until(ready: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WAIT_MAX_S
    while not ready():
        if time.monotonic() > deadline:
            raise TimeoutError(f"nothing happened within {WAIT_MAX_S:.0f} s")
        time.sleep(POLL_S)

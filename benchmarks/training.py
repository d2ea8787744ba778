"""Training beside its floor: the same network on a tensor in memory, in a plain loop.

The plain loop does what anybody would write first: shuffled minibatches of a tensor, cross-entropy, AdamW, and after
each epoch the loss of the same validation part. It counts no progress, keeps no best weights, looks for no NaN. Both
run in turns; a run is a few epochs where one would be too short to time.

Then what each option costs against our own training without any.
"""

import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from al_service.learning import networks, training
from al_service.learning.minibatches import epoch_minibatches, minibatches, validation_split
from al_service.learning.networks import Network
from al_service.learning.threads import threads_for
from al_service.learning.training import TrainConfig
from benchmarks.figures import Lines
from benchmarks.image_sets import CIFAR10_VARIABLE, ImageSet, cifar10_archive, read_cifar10, read_digits

CPU = torch.device("cpu")
OPTIONS = {
    "shift": {"augment": "shift"},
    "shift+flip": {"augment": "shift+flip"},
    "ema": {"ema_decay": 0.99},
    "focal": {"focal_gamma": 2.0},
    "sampling": {"class_balance": "sampling"},
    "record_samples": {},
}


@dataclass(frozen=True)
class Case:
    """Which network on how many images, and how long."""

    network: str
    count: int
    epochs: int
    turns: int


def run(lines: Lines, *, quick: bool) -> None:
    """Digits with all options, then CIFAR-10 at 32 px where the caller has it."""
    with tempfile.TemporaryDirectory(prefix="bench-training-") as name:
        digits = read_digits(Path(name) / "digits")
        beside_floor(lines, digits, Case("small_cnn", 1000, 1 if quick else 2, 3 if quick else 15), Path(name))
        options(lines, digits, Case("small_cnn", 1000, 1, 1 if quick else 5))
    archive = cifar10_archive()
    if quick:
        print("training: CIFAR-10 is left out of a quick run")
    elif archive is None:
        print(f"training: CIFAR-10 is left out; set {CIFAR10_VARIABLE} to an archive of its training images")
    else:
        with tempfile.TemporaryDirectory(prefix="bench-training-") as name:
            cifar10 = read_cifar10(archive, 2000)
            beside_floor(lines, cifar10, Case("small_cnn", 640, 1, 11), Path(name))
            beside_floor(lines, cifar10, Case("resnet18", 192, 1, 7), Path(name))
            options(lines, cifar10, Case("small_cnn", 400, 1, 5))


# -- beside the floor ----------------------------------------------------------------------------------------------


def beside_floor(lines: Lines, images: ImageSet, case: Case, folder: Path) -> None:
    """Ours without augmentation, from a memory map of a file, and the plain loop, in turns."""
    path = folder / f"{images.name}-{case.count}.npy"
    np.save(path, images.pixels[: case.count])
    mapped, labels = np.load(path, mmap_mode="r"), images.class_indices[: case.count]
    config = TrainConfig(epochs_max=case.epochs, augment="none", patience=case.epochs)

    def build() -> Network:
        return networks.build(case.network, images.class_count, images.image_px)

    with threads_for(images.image_px, CPU) as threads:
        work: dict[str, Callable[[Network], object]] = {
            "ours": lambda network: training.train(network, mapped, labels, config),
            "floor": lambda network: plain_loop(network, mapped, labels, config),
        }
        turns: list[dict[str, Spent]] = []
        for turn in range(case.turns):
            # Who goes first changes: a machine that gets busier or warmer in a turn favours neither.
            order = list(work) if turn % 2 else list(reversed(work))
            turns.append({name: spent(work[name], build()) for name in order})
    ratios = [turn["ours"].seconds / turn["floor"].seconds for turn in turns]
    lines.add(
        "epoch",
        runs=case.turns,
        dataset=images.name,
        network=case.network,
        images=case.count,
        threads=threads,
        seconds=statistics.median(turn["ours"].seconds for turn in turns) / case.epochs,
        floor_seconds=statistics.median(turn["floor"].seconds for turn in turns) / case.epochs,
        ratio=statistics.median(ratios),
        ratios=sorted(ratios),
        cpu_ratio=statistics.median(turn["ours"].cpu_seconds / turn["floor"].cpu_seconds for turn in turns),
    )


def plain_loop(network: Network, pixels: np.ndarray, labels: np.ndarray, config: TrainConfig) -> float:
    """Train as one would in a notebook; the last validation loss."""
    images, targets = torch.from_numpy(np.array(pixels)).permute(0, 3, 1, 2), torch.from_numpy(labels)
    rng = np.random.default_rng(config.seed)
    train_part, validation_part = validation_split(labels, rng)
    optimiser = torch.optim.AdamW(network.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay)
    loss_of = nn.CrossEntropyLoss()
    value = 0.0
    for _ in range(config.epochs_max):
        network.train()
        for rows in epoch_minibatches(train_part, config.minibatch_size, rng):
            which = torch.from_numpy(rows)
            optimiser.zero_grad()
            loss: Tensor = loss_of(network(images[which]), targets[which])
            loss.backward()
            optimiser.step()
        network.eval()
        with torch.inference_mode():
            for rows in minibatches(validation_part, config.minibatch_size) if len(validation_part) else ():
                which = torch.from_numpy(rows)
                value = float(loss_of(network(images[which]), targets[which]))
    return value


@dataclass(frozen=True)
class Spent:
    """Seconds on the clock, and of all cores together: on a busy machine the latter are steadier."""

    seconds: float
    cpu_seconds: float


def spent(work: Callable[[Network], object], network: Network) -> Spent:
    """What it takes to do that with the network."""
    started, cpu_started = time.perf_counter(), time.process_time()
    work(network)
    return Spent(time.perf_counter() - started, time.process_time() - cpu_started)


# -- options -------------------------------------------------------------------------------------------------------


def options(lines: Lines, images: ImageSet, case: Case) -> None:
    """Processor seconds with each option over those without any, in turns."""
    pixels, labels = images.pixels[: case.count], images.class_indices[: case.count]
    plain = TrainConfig(epochs_max=case.epochs, augment="none")

    def seconds(name: str | None) -> float:
        config = plain if name is None else replace(plain, **OPTIONS[name])
        recorded = name == "record_samples"
        return spent(
            lambda network: training.train(network, pixels, labels, config, record_samples=recorded),
            networks.build(case.network, images.class_count, images.image_px),
        ).cpu_seconds

    with threads_for(images.image_px, CPU):
        turns = [{"none": seconds(None), **{name: seconds(name) for name in OPTIONS}} for _ in range(case.turns)]
    ratios = {name: statistics.median(turn[name] / turn["none"] for turn in turns) for name in OPTIONS}
    lines.add(
        "options", runs=case.turns, dataset=images.name, network=case.network, images=case.count, cpu_ratios=ratios
    )

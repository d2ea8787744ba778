"""What pretraining without labels is worth: methods at equal CPU time, and labels saved beside training from scratch.

One thread, and budgets in CPU seconds, so that other work on the machine changes how long it takes, not what it says.
"""

import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from al_service.learning import networks, training
from al_service.learning.inference import predict
from al_service.learning.networks import Network
from al_service.learning.pretraining_probe import NeighbourProbe, neighbour_accuracy, spread_and_rank
from al_service.learning.probe import fit_probe
from al_service.learning.views import Views, views_for
from benchmarks.figures import Lines
from benchmarks.image_sets import CIFAR10_VARIABLE, DIGITS_PX, ImageSet, cifar10_archive, read_cifar10, read_digits
from benchmarks.pretraining_methods import METHODS, Course, train_for

NETWORK = "small_cnn"
LABELS = (100, 1000)
DRAWS = 3
# What the service does.
SERVICE_METHOD = "simclr"
FINETUNE_EPOCHS = 30
CIFAR10_IMAGES = 12_500


@dataclass(frozen=True, eq=False)
class Case:
    """Images to pretrain on and to label, images to measure on, and how long each method may train."""

    images: ImageSet
    views: Views
    cpu_seconds: float
    seeds: int = 1
    minibatch_size: int = 128
    labels: tuple[int, ...] = LABELS

    @property
    def rows(self) -> tuple[np.ndarray, np.ndarray]:
        """Rows of the pool and of the protected images."""
        kept = self.images.protected(0)
        return np.flatnonzero(~kept), np.flatnonzero(kept)


def run(lines: Lines, *, quick: bool) -> None:
    """Digits, and CIFAR-10 at 16 px where the caller has it."""
    everything, ours = tuple(METHODS), (SERVICE_METHOD,)
    with tempfile.TemporaryDirectory(prefix="bench-pretraining-") as name, one_thread():
        digits = read_digits(Path(name) / "digits")
        if quick:
            measure(lines, Case(digits, views_for(DIGITS_PX), 5.0, labels=LABELS[:1]), ours)
            print("pretraining: CIFAR-10 is left out of a quick run")
            return
        measure(lines, Case(digits, views_for(DIGITS_PX), 12.0), everything)
        archive = cifar10_archive()
        if archive is None:
            print(f"pretraining: CIFAR-10 is left out; set {CIFAR10_VARIABLE} to an archive of its training images")
            return
        cifar10 = halved(read_cifar10(archive, CIFAR10_IMAGES))
        views = views_for(cifar10.image_px, flip=True)
        measure(lines, Case(cifar10, views, 30.0), everything)
        measure(lines, Case(cifar10, views, 120.0), ours)


def halved(images: ImageSet) -> ImageSet:
    """The same at half the side, which trains four times as fast: a minute then shows what takes four."""
    count, side = len(images.pixels), images.image_px // 2
    means = images.pixels.reshape(count, side, 2, side, 2, 3).astype(np.float32).mean((2, 4))
    return replace(images, name=f"{images.name}_{side}px", pixels=means.round().astype(np.uint8))


def measure(lines: Lines, case: Case, methods: tuple[str, ...]) -> None:
    """A line for the initial backbone, one per method, and labels' worth from scratch and from the service's method."""
    pool, _ = case.rows
    for seed in range(case.seeds):
        facts = {"dataset": case.images.name, "seed": seed}
        course = Course(case.cpu_seconds, case.views, case.minibatch_size, seed)
        lines.add("initial", runs=1, **facts, **worth(_initial(case, seed), case))
        starts: dict[str, Network | None] = {"from_scratch": None}
        for name in methods:
            network = _initial(case, seed)
            torch.manual_seed(seed)
            trained = train_for(network, METHODS[name](network), case.images.pixels[pool], course)
            figures = {"cpu_seconds": case.cpu_seconds, **trained, **worth(network, case)}
            lines.add("method", runs=1, **facts, method=name, **figures)
            if name == SERVICE_METHOD:
                starts[name] = network
        for name, start in starts.items():
            lines.add("finetuned", runs=1, **facts, start=name, **finetuned(case, start, seed))


def _initial(case: Case, seed: int) -> Network:
    return networks.build(NETWORK, 1, case.images.image_px, seed=seed)


def worth(network: Network, case: Case) -> dict[str, Any]:
    """k-NN accuracy over the pool's labels, the linear probe's at few labels, and how spread the embeddings are."""
    pool, kept = case.rows
    pixels, classes = case.images.pixels, case.images.class_indices
    embeddings = predict(network, pixels).embeddings
    found: dict[str, Any] = {}
    for count in case.labels:
        right = []
        for draw in range(DRAWS):
            rows = np.random.default_rng(draw).permutation(pool)[:count]
            head = fit_probe(embeddings[rows], classes[rows], case.images.class_count)
            right.append((head.logits(embeddings[kept]).argmax(1) == classes[kept]).mean())
        found[f"linear_{count}"] = float(np.mean(right))
    probe = NeighbourProbe(pixels[pool], classes[pool], pixels[kept], classes[kept])
    spread, rank = spread_and_rank(embeddings[pool[:2000]])
    return {"knn": neighbour_accuracy(network, probe), **found, "spread": spread, "effective_rank": rank}


def finetuned(case: Case, pretrained: Network | None, seed: int) -> dict[str, float]:
    """Accuracy of all layers trained on few labels, from the pretrained backbone or from scratch, and CPU seconds."""
    pool, kept = case.rows
    pixels, classes = case.images.pixels, case.images.class_indices
    found = {}
    for count in case.labels:
        rows = np.random.default_rng(seed).permutation(pool)[:count]
        network = networks.build(NETWORK, case.images.class_count, case.images.image_px, seed=seed)
        if pretrained is not None:
            network.backbone.load_state_dict(pretrained.backbone.state_dict())
        started = time.process_time()
        config = training.TrainConfig(
            epochs_max=FINETUNE_EPOCHS, augment="shift+flip" if case.views.flip else "shift", seed=seed
        )
        training.train(network, pixels[rows], classes[rows], config)
        found[f"cpu_seconds_{count}"] = time.process_time() - started
        right = predict(network, pixels[kept]).logits.argmax(1) == classes[kept]
        found[f"finetuned_{count}"] = float(right.mean())
    return found


@contextmanager
def one_thread() -> Iterator[None]:
    """CPU seconds of several threads are not comparable: they count waiting."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)

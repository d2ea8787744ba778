"""Batches that are chosen before the labels of earlier ones have come back: what it costs, and what noise would do.

The service keeps a reserve behind each batch, and people go on with it while the next round trains. Here four parts of
a batch are chosen with one model, each as if the parts before it were labelled, and compared with the whole batch
chosen at once and with parts drawn by Gumbel noise (`power_margin`), the usual remedy where batches do not know of each
other.
"""

import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from al_service.acquisition.scored_pool import ScoredPool
from al_service.learning import networks
from al_service.learning.inference import embed
from al_service.learning.probe import fit_probe
from al_service.simulation.summary import mean_interval
from benchmarks.figures import Lines
from benchmarks.image_sets import ImageSet, read_digits
from benchmarks.pretraining import NETWORK, one_thread

FIRST, BATCH, PARTS, BATCHES, SEEDS = 20, 40, 4, 6, 10


@dataclass(frozen=True)
class Way:
    """How a batch comes about: in how many parts, and by which strategy the parts after the first are chosen."""

    name: str
    parts: int
    later: str


WAYS = (Way("at_once", 1, "auto"), Way("in_parts", PARTS, "auto"), Way("in_parts_with_noise", PARTS, "power_margin"))


def run(lines: Lines, *, quick: bool) -> None:
    """Digits: mean accuracy over all batches, and the difference to the batch chosen at once, seed by seed."""
    seeds = range(2 if quick else SEEDS)
    with tempfile.TemporaryDirectory() as folder, one_thread():
        digits = read_digits(Path(folder))
        network = networks.build(NETWORK, digits.class_count, digits.image_px, seed=0)
        embeddings = embed(network, digits.pixels)
        found = {way.name: [accuracies(digits, embeddings, way, seed) for seed in seeds] for way in WAYS}
    at_once = np.mean(found[WAYS[0].name], axis=1)
    for name, curves in found.items():
        means = np.mean(curves, axis=1)
        difference, interval = mean_interval(means - at_once)
        lines.add(
            "early_batches",
            runs=len(seeds),
            way=name,
            accuracy=float(means.mean()),
            minus_at_once=difference,
            ci95=interval,
            curve=np.mean(curves, axis=0).round(4).tolist(),
        )


def accuracies(digits: ImageSet, embeddings: np.ndarray, way: Way, seed: int) -> list[float]:
    """Accuracy on the protected images after each batch."""
    kept = digits.protected(seed)
    pool, labels = np.flatnonzero(~kept), digits.class_indices
    labelled = np.random.default_rng(seed).permutation(pool)[:FIRST]
    found = []
    for number in range(BATCHES):
        head = fit_probe(embeddings[labelled], labels[labelled], digits.class_count)
        free = np.setdiff1d(pool, labelled)
        scored = ScoredPool(
            free,
            head.probabilities(embeddings[free]),
            embeddings[free],
            labelled_embeddings=embeddings[labelled],
        )
        chosen: list[int] = []
        for part in range(way.parts):
            strategy = way.later if part else "auto"
            picks = scored.choose(strategy, BATCH // way.parts, seed=[seed, number, part], already_chosen=chosen)
            chosen += map(int, picks.sample_ids)
        labelled = np.concatenate([labelled, np.array(chosen, np.int64)])
        head = fit_probe(embeddings[labelled], labels[labelled], digits.class_count)
        found.append(float((head.logits(embeddings[kept]).argmax(1) == labels[kept]).mean()))
    return found

"""Which rows of the labelled set are trained on together, and which are kept aside. Called by training.py."""

import numpy as np

VALIDATION_FRACTION = 0.1
# With fewer, a tenth is one to four images a class: their loss says little about which epoch is best, and the labels
# are missed in training. On digits, 150 and 240 labels drawn at random, training on all of them was right 0.8 points
# more often (14 pairs of runs, 95 % interval 0.1 to 1.4).
VALIDATION_LEAST_PER_CLASS = 50
# A few labels make few steps in a pass, and steps are what training needs: small sets take smaller minibatches and
# several passes an epoch.
_PER_EPOCH_LEAST = 8
_PER_PASS = 4
_SIZE_LEAST = 16


def validation_split(labels: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Rows to train on and rows to validate on: a tenth of each class; none where a present class has fewer than 50.

    Random: one permutation per class.
    """
    classes, counts = np.unique(labels, return_counts=True)
    if counts.min() < VALIDATION_LEAST_PER_CLASS:
        return np.arange(len(labels)), np.empty(0, np.int64)
    kept = [
        rng.permutation(np.flatnonzero(labels == one))[: round(count * VALIDATION_FRACTION)]
        for one, count in zip(classes, counts, strict=True)
    ]
    validation = np.sort(np.concatenate(kept))
    return np.setdiff1d(np.arange(len(labels)), validation), validation


def minibatches(rows: np.ndarray, size: int) -> list[np.ndarray]:
    """The rows cut into minibatches of about equal length, at most `size`, none of a single row.

    Batch normalisation needs two, so one row alone comes twice, and of an odd count cut in pairs one has three.

    >>> [len(part) for part in minibatches(np.arange(9), 4)]
    [3, 3, 3]
    """
    if len(rows) == 1:
        return [np.repeat(rows, 2)]
    # size >= 2 and equal parts: a part of one row would need fewer than two rows per part.
    parts = min(-(-len(rows) // size), len(rows) // 2)
    return np.array_split(rows, parts)


def epoch_minibatches(rows: np.ndarray, size_max: int, rng: np.random.Generator) -> list[np.ndarray]:
    """The minibatches of one epoch, shuffled: eight at least, so a small set is passed over several times.

    Random: one permutation per pass.
    """
    size = max(2, min(size_max, max(_SIZE_LEAST, len(rows) // _PER_PASS)))
    passes = -(-_PER_EPOCH_LEAST // len(minibatches(rows, size)))
    return [part for _ in range(passes) for part in minibatches(rng.permutation(rows), size)]

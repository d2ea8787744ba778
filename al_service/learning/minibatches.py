"""Which rows of the labelled set are trained on together, and which are kept aside. Called by training_run.py."""

import numpy as np

from al_service.errors import InvalidInputError
from al_service.learning.train_config import EpochOrder

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
# What the second generator of an epoch is for; training_run.py has 1 and 2.
_BALANCE = 3


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


def balanced(rows: np.ndarray, labels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """As many rows as are given, shuffled, drawn from them so that their classes come equally often.

    Within a class every row comes equally often too, give or take one; where the count cannot be shared out equally,
    chance decides which classes have one more.

    Args:
        rows: (n,) int64, n >= 1.
        labels: (N,) int64, of all rows.

    Random: a permutation of the classes, one of each class's rows, and one of the result.
    """
    classes, which = np.unique(labels[rows], return_inverse=True)
    shares = np.full(len(classes), len(rows) // len(classes))
    shares[rng.permutation(len(classes))[: len(rows) % len(classes)]] += 1
    drawn = [np.resize(rng.permutation(rows[which == one]), share) for one, share in enumerate(shares)]
    return rng.permutation(np.concatenate(drawn))


def ordered_rows(order: EpochOrder, seed: int, epoch: int) -> np.ndarray:
    """The rows that an order gives for an epoch, from the generator of that epoch; as given, unchecked."""
    return np.asarray(order(epoch, np.random.default_rng([seed, epoch])))


class EpochPlan:
    """Which rows every step of every epoch trains on.

    Each epoch draws from its own generators, made from the seed and its number: a training that is taken up again needs
    to know only how far it was. Balancing has one of its own, so that it draws the same where an order's rows are given
    to another process as a list. All epochs have the same number of steps; rows that are fewer than an epoch holds come
    again, in the same order, until it is full.

    Args:
        train_part: rows that may be trained on.
        labels: (N,) int64.
        size_max: most rows of a minibatch.
        seed: of everything drawn.
        balance: whether classes are drawn equally often.
        order: gives each epoch's rows (see train_config.EpochOrder); those outside train_part are left out.
    """

    def __init__(
        self,
        train_part: np.ndarray,
        labels: np.ndarray,
        size_max: int,
        seed: int,
        *,
        balance: bool = False,
        order: EpochOrder | None = None,
    ) -> None:
        self.train_part, self.labels, self.size_max, self.seed = train_part, labels, size_max, seed
        self.balance, self.order = balance, order
        self._may_train = np.zeros(len(labels), bool)
        self._may_train[train_part] = True
        whole = epoch_minibatches(train_part, size_max, np.random.default_rng(0))
        self.steps, self.rows_per_epoch = len(whole), sum(map(len, whole))

    def epoch(self, number: int) -> list[np.ndarray]:
        """The minibatches of an epoch, the first being 1; equal numbers give equal minibatches."""
        if self.order is None and not self.balance:
            return epoch_minibatches(self.train_part, self.size_max, np.random.default_rng([self.seed, number]))
        rows = self.train_part if self.order is None else self._ordered(self.order, number)
        rows = np.resize(rows, self.rows_per_epoch)
        if self.balance:
            rows = balanced(rows, self.labels, np.random.default_rng([self.seed, number, _BALANCE]))
        return np.array_split(rows, self.steps)

    def _ordered(self, order: EpochOrder, number: int) -> np.ndarray:
        rows = ordered_rows(order, self.seed, number)
        if rows.ndim != 1 or (len(rows) and rows.dtype.kind not in "iu"):
            raise InvalidInputError(
                f"order gave an array of shape {rows.shape} and dtype {rows.dtype} for epoch {number}; "
                "expected (n,) whole numbers"
            )
        outside = rows[(rows < 0) | (rows >= len(self.labels))]
        if len(outside):
            raise InvalidInputError(
                f"order gave row {outside[0]} for epoch {number}, expected 0 to {len(self.labels) - 1}"
            )
        kept = rows[self._may_train[rows.astype(np.int64)]] if len(rows) else rows
        if not len(kept):
            raise InvalidInputError(
                f"order gave {len(rows)} rows for epoch {number}, none of which may be trained on; give at least one"
            )
        return kept.astype(np.int64)

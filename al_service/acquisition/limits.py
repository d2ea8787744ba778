"""Two limits that any strategy keeps on request: a cap on predicted classes, and no near duplicates in a batch.

The idea in words: let the strategy choose, go through its picks in order, and turn away those whose class is full or
that lie too close to a pick or to a labelled sample. Then let it choose anew for the places left, knowing what was
accepted and without what was turned away. When nothing else is left, what was turned away fills the batch: a limit
never leaves people without work.
"""

import math
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from al_service.acquisition.candidates import Candidates, Choice, Chooser, Options
from al_service.geometry.distances import Centred, evenly_spaced, squared_distances, squared_to_nearest

# So many samples of the pool say what a usual distance is.
_USUAL_SAMPLES = 1024


def within_limits(
    choose: Chooser, candidates: Candidates, k: int, options: Options, rng: np.random.Generator
) -> Choice:
    """As `choose`, within class_cap and duplicate_radius as far as the pool allows."""
    if k == 0 or (options.class_cap == 1 and options.duplicate_radius == 0):
        return choose(candidates, k, options, rng)
    # Less a hair: 0.07 * 100 is a little more than 7 in binary.
    classes = _Classes(candidates, math.ceil(options.class_cap * k - 1e-9))
    nearby = _Nearby(candidates, options.duplicate_radius)
    first: Choice | None = None
    accepted, refused = _Picks(), _Picks()
    left = replace(candidates, free=nearby.without_those_near(candidates.free, None))
    while len(accepted) < k and len(left.free):
        choice = choose(left, min(k - len(accepted), len(left.free)), options, rng)
        first = first or choice
        before = len(accepted)
        for at, position in enumerate(choice.positions.tolist()):
            into = accepted if classes.take(position) and nearby.take(position) else refused
            into.add(choice, at)
        new = torch.tensor(accepted.positions[before:], dtype=torch.int64)
        free = left.free[~torch.isin(left.free, choice.positions)]
        free = nearby.without_those_near(free[classes.is_open(free)], new)
        left = replace(left, taken=torch.cat([left.taken, new]), free=free)
    accepted.take_from(refused, k - len(accepted))
    if len(accepted) < k:
        first = _fill(choose, candidates, k, options, rng, accepted, first)
    assert first is not None  # k is not 0
    return accepted.as_choice(first)


def _fill(
    choose: Chooser,
    candidates: Candidates,
    k: int,
    options: Options,
    rng: np.random.Generator,
    accepted: "_Picks",
    first: Choice | None,
) -> Choice:
    """Fill what is left of the batch with whatever the strategy likes best; the first choice of all, which may be this.

    With `first`, the samples taken before this call still have their scores and the strategy its say of the whole.
    """
    chosen = torch.tensor(accepted.positions, dtype=torch.int64)
    free = candidates.free[~torch.isin(candidates.free, chosen)]
    rest = replace(candidates, taken=torch.cat([candidates.taken, chosen]), free=free)
    choice = choose(rest, k - len(accepted), options, rng)
    for at in range(len(choice.positions)):
        accepted.add(choice, at)
    return first or choice


class _Picks:
    """A choice that grows pick by pick."""

    def __init__(self) -> None:
        self.positions: list[int] = []
        self._parts: list[tuple[Choice, int]] = []

    def __len__(self) -> int:
        return len(self.positions)

    def add(self, choice: Choice, at: int) -> None:
        self.positions.append(int(choice.positions[at]))
        self._parts.append((choice, at))

    def take_from(self, other: "_Picks", count: int) -> None:
        for choice, at in other._parts[: max(0, count)]:
            self.add(choice, at)

    def as_choice(self, first: Choice) -> Choice:
        return Choice(
            torch.tensor(self.positions, dtype=torch.int64),
            [choice.scores[at] for choice, at in self._parts],
            [choice.reasons[at] for choice, at in self._parts],
            first.scores_of_taken,
            first.facts,
        )


class _Classes:
    """How many of each predicted class are in the batch."""

    def __init__(self, candidates: Candidates, cap: int) -> None:
        outputs = candidates.arrays.get("probabilities", candidates.arrays.get("sampled_probabilities"))
        self.counts: dict[int, int] = {}
        self._cap = cap
        if outputs is not None and cap < len(candidates.free):
            means = outputs if outputs.dim() == 2 else outputs.mean(1)  # (N, M, C) -> (N, C)
            self._predicted = means.argmax(1).cpu()
            self.counts = dict.fromkeys(range(outputs.shape[-1]), 0)

    def take(self, position: int) -> bool:
        if not self.counts:
            return True
        one = int(self._predicted[position])
        if self.counts[one] >= self._cap:
            return False
        self.counts[one] += 1
        return True

    def is_open(self, positions: Tensor) -> Tensor:
        if not self.counts:
            return torch.ones(len(positions), dtype=torch.bool)
        full = torch.tensor([one for one, count in self.counts.items() if count >= self._cap])
        return ~torch.isin(self._predicted[positions], full)


class _Nearby:
    """What lies within the radius of a pick or of a labelled sample."""

    def __init__(self, candidates: Candidates, share: float) -> None:
        self.radius = 0.0
        embeddings = candidates.arrays.get("embeddings")
        if embeddings is None or share <= 0 or not len(embeddings):
            return
        self._embeddings = embeddings
        self._covered = candidates.covered
        self.radius = share * _usual_distance(embeddings)
        self._taken: list[Tensor] = []

    def take(self, position: int) -> bool:
        if not self.radius:
            return True
        row = self._embeddings[position].to(torch.float32)
        if self._taken and float((torch.stack(self._taken) - row).square().sum(1).min()) <= self.radius**2:
            return False
        self._taken.append(row)
        return True

    def without_those_near(self, positions: Tensor, new: Tensor | None) -> Tensor:
        """Those positions that are not near new picks (None: near what is labelled or taken)."""
        if not self.radius or not len(positions):
            return positions
        near = self._covered if new is None else self._embeddings[new.to(self._embeddings.device)]
        if near is None or not len(near):
            return positions
        view = Centred.on_mean(self._embeddings[positions.to(self._embeddings.device)])
        squared = squared_to_nearest(view, view.seen(near))
        return positions[(squared > (self.radius * view.scale) ** 2).cpu()]


def _usual_distance(embeddings: Tensor) -> float:
    """Median distance between evenly spaced samples of the pool that are not in one place; 0 where all are."""
    view = Centred.on_mean(embeddings[evenly_spaced(len(embeddings), _USUAL_SAMPLES, embeddings.device)])
    rows = view.rows(slice(None))
    squared = squared_distances(rows, rows)
    apart = squared[squared > 0]
    return float(apart.median().sqrt()) / view.scale if len(apart) else 0.0

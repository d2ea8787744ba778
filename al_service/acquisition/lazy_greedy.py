"""Greedy choice of what represents a pool best, without looking at most of it again: facility location and herding.

Represented is sum_n w_n max_s similarity(n, s) over the chosen samples s. A pick's gain is what it adds to that sum,
and gains only fall as more is chosen. So a gain computed earlier is a bound from above: the candidates with the highest
bounds are computed anew, a block at a time, until the best of them is above all other bounds. The picks are those of
the plain greedy algorithm, and worth at least 1 - 1/e of the best possible k (Nemhauser, Wolsey, Fisher 1978; lazily:
Minoux 1978).
"""

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor

from al_service.geometry.distances import row_slices

# A matrix of this many samples squared is held whole: 1 GB. Larger ones are computed a block of rows at a time.
HELD_SAMPLES_MAX = 16_384
# Gains that differ by less than this share are equal. Two samples that are each other's nearest and represent nobody
# else add exactly the same, and only rounding would choose between them.
_TIE = 1e-6
_BLOCK_FIRST = 16
_BLOCK_MAX = 256

Rows = Callable[[Tensor], Tensor]


class Representation(Protocol):
    """What the greedy algorithm asks of a pool."""

    def gains(self, candidates: Tensor) -> Tensor:
        """(b,) float64: how much each of these candidates would add now."""

    def take(self, candidate: int) -> None:
        """Count this candidate as chosen from now on."""


class DenseRepresentation:
    """Every sample is represented by every candidate, more or less.

    Args:
        rows: (b,) positions -> (b, N) float32 similarities >= 0, symmetric.
        weights: (N,) float32 >= 0.
        best: (N,) float32 similarity to what is labelled already, 0 where nothing is; kept and written to.
    """

    def __init__(self, rows: Rows, weights: Tensor, best: Tensor) -> None:
        self._weights, self._best = weights, best
        self._rows = rows
        if len(weights) <= HELD_SAMPLES_MAX:
            every = torch.arange(len(weights), device=weights.device)
            held = torch.empty((len(weights), len(weights)), dtype=torch.float32, device=weights.device)
            for part in row_slices(len(weights), len(weights)):
                held[part] = rows(every[part])
            self._rows = held.__getitem__

    def gains(self, candidates: Tensor) -> Tensor:
        """As in Representation: sums over the whole pool."""
        # Differences first, so that a row that adds nothing sums to exactly 0.
        found = [
            (self._rows(candidates[part]) - self._best).clamp_(min=0) @ self._weights
            for part in row_slices(len(candidates), len(self._weights))
        ]
        return torch.cat(found).to(torch.float64)

    def take(self, candidate: int) -> None:
        """As in Representation."""
        row = self._rows(torch.tensor([candidate], device=self._best.device))[0]
        torch.maximum(self._best, row, out=self._best)


class ListRepresentation:
    """Every sample is represented by its nearest samples and itself only; all other similarities count as 0.

    Args:
        positions: (N, m) int64 neighbour lists, without the samples themselves.
        similarities: (N, m) float32 beside them; a sample's similarity to itself is 1.
        weights, best: as for DenseRepresentation.
    """

    def __init__(self, positions: Tensor, similarities: Tensor, weights: Tensor, best: Tensor) -> None:
        count, width = positions.shape
        every = torch.arange(count, device=positions.device)
        candidates = torch.cat([every, positions.flatten()])
        order = torch.sort(candidates, stable=True).indices
        self._represented = torch.cat([every, every.repeat_interleave(width)])[order]
        self._similarities = torch.cat([torch.ones_like(best), similarities.flatten()])[order]
        self._sizes = torch.bincount(candidates, minlength=count)
        self._starts = self._sizes.cumsum(0) - self._sizes
        self._weights, self._best = weights, best

    def gains(self, candidates: Tensor) -> Tensor:
        """As in Representation: sums over the samples that have these candidates in their lists."""
        sizes = self._sizes[candidates]
        owners = torch.arange(len(candidates), device=sizes.device).repeat_interleave(sizes)
        firsts = sizes.cumsum(0) - sizes
        edges = torch.arange(len(owners), device=sizes.device) + (self._starts[candidates] - firsts)[owners]
        samples = self._represented[edges]
        added = (self._similarities[edges] - self._best[samples]).clamp_(min=0) * self._weights[samples]
        sums = torch.zeros(len(candidates), dtype=torch.float64, device=sizes.device)
        return sums.index_add_(0, owners, added.to(torch.float64))

    def take(self, candidate: int) -> None:
        """As in Representation."""
        start, size = int(self._starts[candidate]), int(self._sizes[candidate])
        samples = self._represented[start : start + size]
        self._best[samples] = torch.maximum(self._best[samples], self._similarities[start : start + size])


def lazy_greedy(pool: Representation, count: int, k: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """The k of `count` candidates that the greedy algorithm picks, and what each adds at its turn.

    Returns:
        (k,) int64 positions, equal gains in order of position, and (k,) float64 gains, falling but for rounding.
    """
    positions = torch.empty(k, dtype=torch.int64, device=device)
    added = torch.zeros(k, dtype=torch.float64, device=device)
    if k == 0:
        return positions, added
    bounds = pool.gains(torch.arange(count, device=device))
    current = torch.ones(count, dtype=torch.bool, device=device)
    for pick in range(k):
        chosen = _best_now(pool, bounds, current)
        if float(bounds[chosen]) <= 0:
            # Nothing adds anything any more, and gains never grow.
            positions[pick:] = bounds.isfinite().nonzero().flatten()[: k - pick]
            break
        positions[pick], added[pick] = chosen, bounds[chosen]
        pool.take(chosen)
        bounds[chosen] = -torch.inf
        current.zero_()
    return positions, added


def _best_now(pool: Representation, bounds: Tensor, current: Tensor) -> int:
    """The candidate of the highest gain; bounds that had to be computed anew are, and are marked as current."""
    block = _BLOCK_FIRST
    while True:
        highest = float(bounds.max())
        leading = bounds >= highest * (1 - _TIE) if highest > 0 else bounds == highest
        if highest <= 0 or bool(current[leading].all()):
            return int(leading.to(torch.uint8).argmax())
        stale = torch.where(current, -torch.inf, bounds).topk(min(block, len(bounds)))
        which = stale.indices[stale.values.isfinite()]
        bounds[which] = pool.gains(which)
        current[which] = True
        block = min(2 * block, _BLOCK_MAX)

"""Greedy choice with stale bounds: which few candidates must be exact so that the next choices are certain.

A greedy selector takes the candidate with the highest value, and values only ever fall as others are chosen. So a value
that was computed some choices ago is a bound from above, and most candidates need not be looked at: bring the highest
bounds up to date until enough of them lie above all others (the front), and choose among the front alone for as long as
its best lies above the best of the rest (the bar). k_center.py and badge.py choose so; the answer is that of looking at
everything each time.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

# Bring up twice as many as may stay in the front; if fewer than a sixteenth of the front's size come out ahead, look
# at twice as many again: a front for a few choices would be paid for again at once.
_LOOKED_AT_PER_PLACE = 2
_ENOUGH_SHARE = 16


@dataclass(frozen=True)
class Front:
    """Candidates whose values are exact, and the bar: the best of all others, by their bounds.

    Args:
        positions: (F,) int64, rising.
        bar: value of the best other candidate; -inf where there is none.
        bar_position: its position, the lowest of those with that value.
    """

    positions: Tensor
    bar: float
    bar_position: int

    def holds_next(self, value: float, position: int) -> bool:
        """Whether the front's best comes before every other candidate: by value, then by the lower position."""
        return value > self.bar or (value == self.bar and position < self.bar_position)


def leading_front(bounds: Tensor, bring_up: Callable[[Tensor], None], places: int) -> Front:
    """The front of at most `places` candidates, never empty.

    Args:
        bounds: (N,) upper bounds, N >= 1; equal ones go to the lower position.
        bring_up: makes the bounds at these (rising) positions exact, in place; it never raises one.
        places: at least 1.
    """
    looked_at = 0
    while True:
        looked_at = min(len(bounds), max(2 * looked_at, _LOOKED_AT_PER_PLACE * places))
        best = _highest(bounds, looked_at)
        bring_up(best)
        ahead = _ahead_of_the_rest(bounds, best)
        if looked_at == len(bounds) or len(ahead) * _ENOUGH_SHARE >= places:
            break
    if len(ahead) > places:
        ahead = ahead[_highest(bounds[ahead], places)]
    return Front(ahead, *_best_of_others(bounds, ahead))


def _highest(bounds: Tensor, count: int) -> Tensor:
    """Positions, rising, of the `count` highest, of equal ones those with the lower positions."""
    if count == len(bounds):
        return torch.arange(count, device=bounds.device)
    lowest = torch.topk(bounds, count, sorted=False).values.min()
    above = (bounds > lowest).nonzero()[:, 0]
    level = (bounds == lowest).nonzero()[:, 0]
    return torch.cat([above, level[: count - len(above)]]).sort().values


def _ahead_of_the_rest(bounds: Tensor, best: Tensor) -> Tensor:
    bar, bar_position = _best_of_others(bounds, best)
    values = bounds[best]
    return best[(values > bar) | ((values == bar) & (best < bar_position))]


def _best_of_others(bounds: Tensor, positions: Tensor) -> tuple[float, int]:
    if len(positions) == len(bounds):
        return -torch.inf, len(bounds)
    others = torch.ones_like(bounds, dtype=torch.bool)
    others[positions] = False
    bar = bounds[others].max()
    return float(bar), int(((bounds == bar) & others).nonzero()[0, 0])

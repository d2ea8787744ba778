"""Power sampling: a batch drawn by score instead of cut off at the top.

Two batches drawn before any label returned differ, and near-duplicates at the top do not fill the batch. The idea in
words: drawing without replacement with chances proportional to score^beta is the same as taking the k largest of
beta log(score) + Gumbel noise, one number a sample, so it is one pass over the scores.
"""

import math

import numpy as np
import torch
from torch import Tensor

from al_service.acquisition.arrays import (
    FloatArray,
    IntArray,
    InvalidArrayError,
    check_count,
    check_scores,
    in_kind_of,
)
from al_service.errors import InvalidInputError


def power(scores: FloatArray, k: int, beta: float = 1.0, *, rng: np.random.Generator) -> IntArray:
    """k positions drawn without replacement, each time with chances proportional to score ** beta.

    Args:
        scores: (N,) float, finite and at least 0, higher = ask first.
        k: 0 <= k <= N.
        beta: at least 0: 0 draws uniformly (scores of 0 still last), 1 in proportion, large ones come close to top_k.
        rng: one Gumbel number a sample is drawn, whatever k is.

    Returns:
        (k,) int64 distinct positions in order of drawing. Scores of 0 come after all others, in random order.

    Raises:
        InvalidArrayError: scores that are not (N,), not finite or negative.
        InvalidInputError: k outside 0..N, or beta negative or not finite.

    Random: N draws from rng. Cost: O(N log N).

    Source: Kirsch et al. 2021 (2106.12059), power acquisition; Kool, van Hoof, Welling 2019 (1903.06059), Gumbel-top-k.

    >>> power(np.array([0.0, 0.5, 0.0, 0.9]), 3, 1.0, rng=np.random.default_rng(0)).tolist()[:2]
    [3, 1]
    """
    checked = check_scores(scores)
    k = check_count(k, len(checked))
    if isinstance(beta, bool) or not isinstance(beta, int | float | np.floating) or not 0 <= beta < math.inf:
        raise InvalidInputError(f"beta is {beta!r}, expected a number that is at least 0")
    negative = (checked < 0).nonzero().flatten()
    if len(negative):
        row = int(negative[0])
        raise InvalidArrayError(
            f"scores[{row}] is {float(checked[row])}, expected at least 0: a power of a negative score is no chance"
        )
    return in_kind_of(power_order(checked, k, float(beta), rng), scores)


def power_order(scores: Tensor, k: int, beta: float, rng: np.random.Generator) -> Tensor:
    """As power, for input that is already checked."""
    noise = torch.from_numpy(rng.gumbel(size=len(scores))).to(scores.device)
    keys = beta * scores.to(torch.float64).log() + noise
    possible = scores > 0
    ordered = [_falling(keys, possible), _falling(noise, ~possible)]
    return torch.cat(ordered)[:k]


def _falling(keys: Tensor, where: Tensor) -> Tensor:
    """The positions at which `where` holds, highest key first."""
    positions = where.nonzero().flatten()
    return positions[torch.sort(keys[positions], descending=True, stable=True).indices]

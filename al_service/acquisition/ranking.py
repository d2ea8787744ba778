"""The simplest ways to choose: the highest scores, or by chance. Ties go to the lower position."""

import numpy as np
import torch
from torch import Tensor

from al_service.acquisition.arrays import FloatArray, IntArray, check_count, check_scores, in_kind_of


def top_k(scores: FloatArray, k: int) -> IntArray:
    """The positions of the k highest scores, highest first.

    Args:
        scores: (N,) float, finite.
        k: 0 <= k <= N.

    Returns:
        (k,) int64 distinct positions; equal scores in order of position.

    Raises:
        InvalidArrayError: scores are not (N,) or hold NaN.
        InvalidInputError: k < 0 or k > N.

    Cost: O(N log N).

    >>> top_k(np.array([0.1, 0.9, 0.5, 0.9]), 3)
    array([1, 3, 2])
    """
    checked = check_scores(scores)
    k = check_count(k, len(checked))
    return in_kind_of(highest(checked, k), scores)


def highest(scores: Tensor, k: int) -> Tensor:
    """As top_k, for input that is already checked."""
    return torch.sort(scores, descending=True, stable=True).indices[:k]


def random_choice(n: int, k: int, rng: np.random.Generator) -> np.ndarray:
    """k distinct positions out of n, every ordered choice equally likely.

    Returns:
        (k,) int64.

    Raises:
        InvalidInputError: n < 0, k < 0 or k > n.

    Random: one draw from rng.
    """
    n = check_count(n, np.iinfo(np.int64).max, name="n")
    k = check_count(k, n)
    return rng.permutation(n)[:k].astype(np.int64)

"""Class quotas: a share of the batch for every predicted class, so that no class starves.

The idea in words: top scores alone may all be of one confused pair of classes, and a rare class may get nothing. Here
every predicted class has a weight, its share of the pool to a power times how hard it is, and places are given out one
by one to the class that has got the least for its weight (Webster's method: weight / (places + 1/2) decides), once
each class has one place. A class that has run out of samples drops out, and its places go to the others. Within a
class the highest score comes first. Every beginning of such an order is itself in proportion, and the first of many
are the few.
"""

import torch
from torch import Tensor

from al_service.acquisition.arrays import (
    FloatArray,
    IntArray,
    InvalidArrayError,
    by_rows,
    check_count,
    check_fraction,
    check_probabilities,
    check_scores,
    in_kind_of,
)
from al_service.acquisition.probability_scores import normalised_entropy, scaled

#: How much a class's share of the predictions counts, between not at all (0) and in proportion (1).
SHARE_POWER = 0.5


def class_quota(
    probabilities: FloatArray,
    scores: FloatArray,
    k: int,
    hardness: FloatArray | None = None,
    *,
    share_power: float = SHARE_POWER,
) -> IntArray:
    """k positions, the highest scores of every predicted class, in proportion to (share of the pool)^a times hardness.

    Args:
        probabilities: (N, C) as in scores.least_confidence; a sample's predicted class is its likeliest, the first of
            them in a tie.
        scores: (N,) finite, higher = ask first.
        k: 0 <= k <= N.
        hardness: (C,) at least 0, e.g. 1 - F1 of each class on the random slice; None takes the mean normalised entropy
            of the samples predicted to be of the class.
        share_power: a in [0, 1]: 1 asks in proportion to predictions, 0 of all classes alike.

    Returns:
        (k,) int64 distinct positions in order of choice: first one of each class that has samples, the heaviest class
        first, then by turns in proportion; classes whose turn it is alike, by score, then by position.

    Raises:
        InvalidArrayError: probabilities or scores that are not such, of different lengths, or hardness that is not (C,)
            or negative.
        InvalidInputError: k outside 0..N, or share_power outside [0, 1].

    Cost: O(N (C + log N)).

    Source: ours; Webster 1832 for the places, compare Munro 2021 (stratified sampling by predicted label).

    >>> import numpy as np
    >>> rows = np.array([[0.9, 0.1], [0.8, 0.2], [0.7, 0.3], [0.4, 0.6]])
    >>> class_quota(rows, np.array([0.1, 0.2, 0.3, 0.0]), 3, np.array([1.0, 1.0]))
    array([2, 3, 1])
    """
    p, values = check_probabilities(probabilities), check_scores(scores)
    if len(values) != len(p):
        raise InvalidArrayError(f"scores has {len(values)} rows for {len(p)} of probabilities; expected one for each")
    k = check_count(k, len(p))
    share_power = check_fraction(share_power, name="share_power")
    given = None if hardness is None else _checked_hardness(hardness, p.shape[1])
    return in_kind_of(quota_order(p, values.to(p.device), k, given, share_power), probabilities)


def quota_order(p: Tensor, scores: Tensor, k: int, hardness: Tensor | None, share_power: float) -> Tensor:
    """As class_quota, for input that is already checked."""
    predicted = p.argmax(1)  # (N, C) -> (N,)
    counts = torch.bincount(predicted, minlength=p.shape[1])
    if hardness is None:
        entropies = by_rows(lambda rows: normalised_entropy(scaled(rows)), p)
        hardness = torch.zeros(p.shape[1], dtype=torch.float64, device=p.device)
        hardness = hardness.scatter_add_(0, predicted, entropies) / counts.clamp_min(1)
        # The last digits of a sum depend on the order of its terms, and the answer must not.
        hardness = hardness.round(decimals=12)
    weights = (counts.to(torch.float64) / max(1, len(p))) ** share_power * hardness.to(p.device, torch.float64)
    rank = _rank_in_class(predicted, scores, counts)
    turn = weights[predicted] / (rank + 0.5)
    # Sorted by the least important key first; every sort keeps what the one before has put in order.
    order = torch.sort(scores, descending=True, stable=True).indices
    order = order[torch.sort(turn[order], descending=True, stable=True).indices]
    order = order[torch.sort((rank > 0)[order].to(torch.int8), stable=True).indices]
    return order[:k]


def _rank_in_class(predicted: Tensor, scores: Tensor, counts: Tensor) -> Tensor:
    """(N,) how many samples of the same predicted class come before, by score and then by position."""
    order = torch.sort(scores, descending=True, stable=True).indices
    order = order[torch.sort(predicted[order], stable=True).indices]
    before = counts.cumsum(0) - counts
    places = torch.arange(len(order), device=order.device)
    rank = torch.empty_like(order)
    rank[order] = places - before[predicted[order]]
    return rank


def _checked_hardness(hardness: FloatArray, classes: int) -> Tensor:
    values = check_scores(hardness, name="hardness")
    if len(values) != classes:
        raise InvalidArrayError(f"hardness has {len(values)} values for {classes} classes; expected one for each")
    if bool((values < 0).any()):
        row = int((values < 0).nonzero()[0])
        raise InvalidArrayError(f"hardness[{row}] is {float(values[row])}, expected at least 0")
    return values

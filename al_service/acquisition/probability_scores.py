"""Scores of one row of probabilities: least confidence, margin, ratio, entropy.

Every row is first scaled to sum to 1 in float64, so rounded rows (float16) score as distributions. What a nearly
certain row leaves for the other classes is summed, not taken as 1 - first: 1 - 1e-20 is 1, and its order would be lost.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from al_service.acquisition.arrays import FloatArray, by_rows, check_probabilities, in_kind_of
from al_service.acquisition.score_registry import register

#: In place of 0 where a logarithm or a quotient is taken and then multiplied by 0.
LEAST = 1e-300


@register("least_confidence", "probabilities")
def least_confidence(probabilities: FloatArray) -> FloatArray:
    """Score each sample by how unlikely its likeliest class is; higher = ask first.

    (1 - first) C / (C - 1): 1.0 for a uniform row, 0.0 for a certain model.

    Args:
        probabilities: (N, C) float, C >= 2, rows sum to 1 within 1e-3. Softmax outputs, not logits.

    Returns:
        (N,) float64 in [0, 1], in row order.

    Raises:
        InvalidArrayError: wrong shape, C < 2, NaN, or a row that does not sum to 1; names the first bad row.

    Source: Lewis, Gale 1994.

    >>> import numpy as np
    >>> least_confidence(np.array([[0.5, 0.5], [1.0, 0.0]]))
    array([1., 0.])
    """
    return _scored(_least_confidence, probabilities)


@register("margin", "probabilities")
def margin(probabilities: FloatArray) -> FloatArray:
    """Score each sample by how close its two likeliest classes are; higher = ask first.

    1 - (first - second): 1.0 for a tie, 0.0 for a certain model. Args, Returns, Raises as in least_confidence.

    Source: Scheffer, Decomain, Wrobel 2001. We turn it so that higher asks first.

    >>> import numpy as np
    >>> margin(np.array([[0.5, 0.5, 0.0], [1.0, 0.0, 0.0]]))
    array([1., 0.])
    """
    return _scored(_margin, probabilities)


@register("ratio", "probabilities")
def ratio(probabilities: FloatArray) -> FloatArray:
    """Score each sample by second / first of its two likeliest classes; higher = ask first.

    1.0 for a tie, 0.0 for a certain model. Args, Returns, Raises as in least_confidence.

    Source: Munro 2021, Human-in-the-Loop Machine Learning.

    >>> import numpy as np
    >>> ratio(np.array([[0.5, 0.25, 0.25], [1.0, 0.0, 0.0]]))
    array([0.5, 0. ])
    """
    return _scored(_ratio, probabilities)


@register("entropy", "probabilities")
def entropy(probabilities: FloatArray) -> FloatArray:
    """Score each sample by the entropy of its row over log C; higher = ask first.

    1.0 for a uniform row, exactly 0.0 for a one-hot row. Args, Returns, Raises as in least_confidence.

    Source: Shannon 1948; for asking, Dagan, Engelson 1995.

    >>> import numpy as np
    >>> entropy(np.array([[0.5, 0.5], [1.0, 0.0]]))
    array([1., 0.])
    """
    return _scored(normalised_entropy, probabilities)


def scaled(p: Tensor) -> Tensor:
    """Rows (..., C) scaled to sum to 1."""
    return p / p.sum(-1, keepdim=True)


def without_first(p: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Rows (..., C) with their likeliest class set to 0, what that leaves in all (...), and the class (..., 1)."""
    first = p.argmax(-1, keepdim=True)
    others = p.scatter(-1, first, 0.0)
    return others, others.sum(-1), first


def entropy_nats(p: Tensor) -> Tensor:
    """(..., C) rows that sum to 1 -> (...) entropy in nats, to full relative precision near 0."""
    others, rest, _ = without_first(p)
    # p log p with 0 for 0; torch.xlogy takes twice as long.
    return -(others * others.clamp_min(LEAST).log()).sum(-1) - (1 - rest) * torch.log1p(-rest)


def normalised_entropy(p: Tensor) -> Tensor:
    """(..., C) rows that sum to 1 -> (...) entropy over log C."""
    return entropy_nats(p) / math.log(p.shape[-1])


def _scored(kernel: Callable[[Tensor], Tensor], probabilities: FloatArray) -> FloatArray:
    scores = by_rows(lambda p: kernel(scaled(p)), check_probabilities(probabilities))
    return in_kind_of(scores.clamp_(0, 1), probabilities)


def _least_confidence(p: Tensor) -> Tensor:
    _, rest, _ = without_first(p)
    return rest * (p.shape[1] / (p.shape[1] - 1))  # (N, C) -> (N,)


def _margin(p: Tensor) -> Tensor:
    others, rest, first = without_first(p)
    gap = p.gather(1, first)[:, 0] - others.amax(1)  # (N, C) -> (N,)
    # Exact for ties, where the gap is 0, and for near certainty, where the gap would round to 1.
    return torch.where(rest < 0.5, rest + others.amax(1), 1 - gap)


def _ratio(p: Tensor) -> Tensor:
    others, _, first = without_first(p)
    return others.amax(1) / p.gather(1, first)[:, 0]

"""Scores: how much we want each sample's label, (N,) float64, higher = ask first, always.

Each is normalised to [0, 1] and is 0 for a certain model. They read probabilities only; what to do with scores is the
selectors' business. Scores are found by name through `names()` and `get()`. Arithmetic is float64 whatever comes in,
because differences of entropies near 0 decide ranks; 0 log 0 is 0 throughout. Probabilities that sum to 1.001 could
score a hair outside [0, 1]; scores are clamped to it.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from al_service.acquisition.arrays import (
    FloatArray,
    by_rows,
    check_probabilities,
    check_sampled_probabilities,
    in_kind_of,
)
from al_service.errors import InvalidInputError

Needs = Literal["probabilities", "sampled_probabilities"]
ScoreFunction = Callable[[FloatArray], FloatArray]


class UnknownScoreError(InvalidInputError):
    """No score has this name; the message lists those that exist."""

    code = "unknown_score"


class RepeatedScoreError(InvalidInputError):
    """A score of this name is already registered."""

    code = "repeated_score"


@dataclass(frozen=True)
class Score:
    """A score as registered: its stored name, the array it reads and the function."""

    name: str
    needs: Needs
    function: ScoreFunction


_REGISTRY: dict[str, Score] = {}


def register(name: str, needs: Needs) -> Callable[[ScoreFunction], ScoreFunction]:
    """Decorator that gives a score its stored name.

    Raises:
        RepeatedScoreError: the name is taken.
    """

    def add(function: ScoreFunction) -> ScoreFunction:
        if name in _REGISTRY:
            raise RepeatedScoreError(f"score {name!r} is already registered as {_REGISTRY[name].function.__qualname__}")
        _REGISTRY[name] = Score(name, needs, function)
        return function

    return add


def names() -> tuple[str, ...]:
    """Names of all registered scores, in order of registration."""
    return tuple(_REGISTRY)


def get(name: str) -> Score:
    """The score registered under that name.

    Raises:
        UnknownScoreError: no such name.
    """
    if name not in _REGISTRY:
        raise UnknownScoreError(f"unknown score {name!r}; known: {', '.join(_REGISTRY)}", name=name)
    return _REGISTRY[name]


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
    """
    return _scored(_ratio, probabilities)


@register("entropy", "probabilities")
def entropy(probabilities: FloatArray) -> FloatArray:
    """Score each sample by the entropy of its row over log C; higher = ask first.

    1.0 for a uniform row, exactly 0.0 for a one-hot row. Args, Returns, Raises as in least_confidence.

    Source: Shannon 1948; for asking, Dagan, Engelson 1995.
    """
    return _scored(_normalised_entropy, probabilities)


@register("predictive_entropy", "sampled_probabilities")
def predictive_entropy(sampled: FloatArray) -> FloatArray:
    """Score each sample by the entropy of its mean row over log C; higher = ask first. All uncertainty, of either kind.

    Args:
        sampled: (N, M, C) float, M >= 1 stochastic passes, C >= 2, rows sum to 1 within 1e-3.

    Returns:
        (N,) float64 in [0, 1], in row order.

    Raises:
        InvalidArrayError: wrong shape, M = 0, C < 2, NaN, or a row that does not sum to 1; names the first bad row.

    Source: Gal, Islam, Ghahramani 2017 (1703.02910).
    """
    return _scored_passes(lambda q: _normalised_entropy(q.mean(1)), sampled)


@register("expected_entropy", "sampled_probabilities")
def expected_entropy(sampled: FloatArray) -> FloatArray:
    """Score each sample by the mean entropy of its passes over log C; higher = ask first.

    High where every pass is unsure: the image is ambiguous, more training does not help. Args, Returns, Raises as in
    predictive_entropy.
    """
    return _scored_passes(lambda q: _normalised_entropy(q).mean(1), sampled)


@register("bald", "sampled_probabilities")
def bald(sampled: FloatArray) -> FloatArray:
    """Score each sample by how much its passes disagree: the mutual information of label and model; higher = ask first.

    Entropy of the mean minus mean of the entropies, over log min(C, M), computed as the mean KL divergence of the
    passes from their mean, which is the same number without the cancellation. 0.0 where all passes agree and for M = 1.
    High where each pass is sure of something else: the image is unknown, a label helps. Args, Returns, Raises as in
    predictive_entropy.

    Source: Houlsby, Huszar, Ghahramani, Lengyel 2011; Gal, Islam, Ghahramani 2017 (1703.02910).

    >>> import numpy as np
    >>> bald(np.array([[[1.0, 0.0], [0.0, 1.0]], [[0.5, 0.5], [0.5, 0.5]]]))
    array([1., 0.])
    """
    return _scored_passes(_bald, sampled)


@register("mean_std", "sampled_probabilities")
def mean_std(sampled: FloatArray) -> FloatArray:
    """Score each sample by twice the standard deviation of its passes, averaged over classes; higher = ask first.

    A standard deviation of values in [0, 1] is at most 0.5, hence the factor; 1.0 is reached for C = 2 only. Args,
    Returns, Raises as in predictive_entropy.

    Source: Kampffmeyer, Salberg, Jenssen 2016.
    """
    return _scored_passes(lambda q: 2 * q.std(1, correction=0).mean(1), sampled)


@register("variation_ratio", "sampled_probabilities")
def variation_ratio(sampled: FloatArray) -> FloatArray:
    """Score each sample by the share of passes that do not vote for the commonest class; higher = ask first.

    (1 - most votes / M) C / (C - 1); a pass votes for its likeliest class, the first of them in a tie. Args, Returns,
    Raises as in predictive_entropy.

    Source: Freeman 1965; Gal, Islam, Ghahramani 2017 (1703.02910).
    """
    return _scored_passes(_variation_ratio, sampled)


def _scored(function: Callable[[Tensor], Tensor], probabilities: FloatArray) -> FloatArray:
    scores = by_rows(function, check_probabilities(probabilities))
    return in_kind_of(scores.clamp_(0, 1), probabilities)


def _scored_passes(function: Callable[[Tensor], Tensor], sampled: FloatArray) -> FloatArray:
    scores = by_rows(function, check_sampled_probabilities(sampled))
    return in_kind_of(scores.clamp_(0, 1), sampled)


def _least_confidence(p: Tensor) -> Tensor:
    return (1 - p.amax(1)) * (p.shape[1] / (p.shape[1] - 1))  # (N, C) -> (N,)


def _margin(p: Tensor) -> Tensor:
    first_two = p.topk(2, dim=1).values  # (N, C) -> (N, 2)
    return 1 - (first_two[:, 0] - first_two[:, 1])


def _ratio(p: Tensor) -> Tensor:
    first_two = p.topk(2, dim=1).values  # (N, C) -> (N, 2)
    return first_two[:, 1] / first_two[:, 0]


def _normalised_entropy(p: Tensor) -> Tensor:
    return -torch.xlogy(p, p).sum(-1) / math.log(p.shape[-1])  # (..., C) -> (...)


def _bald(q: Tensor) -> Tensor:
    passes, classes = q.shape[1:]
    if passes == 1:
        return q.new_zeros(q.shape[0])
    mean = q.mean(1, keepdim=True)
    # mean is 0 only where every pass is 0, and there xlogy gives 0 for both terms.
    divergence = (torch.xlogy(q, q) - torch.xlogy(q, mean)).sum(2)  # (N, M, C) -> (N, M)
    return divergence.mean(1) / math.log(min(classes, passes))


def _variation_ratio(q: Tensor) -> Tensor:
    samples, passes, classes = q.shape
    votes = q.new_zeros(samples, classes)
    votes.scatter_add_(1, q.argmax(2), q.new_ones(samples, passes))  # (N, M, C) -> (N, C)
    return (1 - votes.amax(1) / passes) * (classes / (classes - 1))

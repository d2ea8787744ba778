"""Scores of several predictions for each sample: by stochastic passes of one model, or by the members of a committee.

Both are (N, M, C) arrays, and pass m or member m is the same model for every sample. Entropy of the mean is all that is
unknown; mean of the entropies is what stays ambiguous whatever is learned; their difference, the disagreement, is
what a label can tell. Rows are scaled to sum to 1 in float64 first.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from al_service.acquisition.arrays import (
    CHUNK_ELEMENTS,
    FloatArray,
    InvalidArrayError,
    by_rows,
    check_probabilities,
    check_sampled_probabilities,
    in_kind_of,
    row_chunks,
)
from al_service.acquisition.probability_scores import LEAST, entropy_nats, normalised_entropy, scaled
from al_service.acquisition.score_registry import register
from al_service.geometry.distances import row_slices

# Mutual informations are sums of products by blocks, whose last digits depend on where a sample stands in its block.
# Without them equal samples score equally.
_EPIG_DECIMALS = 13
_EPIG_TARGETS = 64  # at a time, or fewer where classes are many


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

    >>> import numpy as np
    >>> predictive_entropy(np.array([[[1.0, 0.0], [0.0, 1.0]], [[1.0, 0.0], [1.0, 0.0]]]))
    array([1., 0.])
    """
    return _scored_passes(_predictive_entropy, sampled)


@register("expected_entropy", "sampled_probabilities")
def expected_entropy(sampled: FloatArray) -> FloatArray:
    """Score each sample by the mean entropy of its passes over log C; higher = ask first.

    High where every pass is unsure: the image is ambiguous, more training does not help. Args, Returns, Raises as in
    predictive_entropy.

    Source: Kendall, Gal 2017 (1703.04977), the aleatoric part.

    >>> import numpy as np
    >>> expected_entropy(np.array([[[1.0, 0.0], [0.0, 1.0]], [[0.5, 0.5], [0.5, 0.5]]]))
    array([0., 1.])
    """
    return _scored_passes(lambda q: normalised_entropy(q).mean(1), sampled)


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


@register("vote_entropy", "sampled_probabilities")
def vote_entropy(sampled: FloatArray) -> FloatArray:
    """Score each sample by the entropy of its members' votes over log min(C, M); higher = ask first.

    A member votes for its likeliest class, the first of them in a tie. 0.0 where all vote alike and for M = 1. Args,
    Returns, Raises as in predictive_entropy; the passes are the members of the committee.

    Source: Dagan, Engelson 1995.

    >>> import numpy as np
    >>> vote_entropy(np.array([[[0.9, 0.1], [0.4, 0.6]], [[0.9, 0.1], [0.6, 0.4]]]))
    array([1., 0.])
    """
    return _scored_passes(_vote_entropy, sampled)


@register("consensus_entropy", "sampled_probabilities")
def consensus_entropy(sampled: FloatArray) -> FloatArray:
    """Score each sample by the entropy of the committee's mean row over log C; higher = ask first.

    The number of predictive_entropy, under the name that it has for committees. Args, Returns, Raises as there.

    Source: Abe, Mamitsuka 1998; Seung, Opper, Sompolinsky 1992 (committees).
    """
    return _scored_passes(_predictive_entropy, sampled)


@register("mean_kl", "sampled_probabilities")
def mean_kl(sampled: FloatArray) -> FloatArray:
    """Score each sample by the mean KL divergence of the committee's members from their mean; higher = ask first.

    The number of bald, under the name that it has for committees, and normalised alike: it is at most log min(C, M).
    Args, Returns, Raises as in predictive_entropy.

    Source: McCallum, Nigam 1998.
    """
    return _scored_passes(_bald, sampled)


@register("dropquery", "probabilities", "sampled_probabilities")
def dropquery(probabilities: FloatArray, sampled: FloatArray) -> FloatArray:
    """Score each sample by the share of passes whose likeliest class is not the clean prediction's; higher = ask first.

    Args:
        probabilities: (N, C) of the clean pass.
        sampled: (N, M, C) of passes under dropout; the paper drops 75 % of the embedding, in 3 passes.

    Returns:
        (N,) float64 in [0, 1], in row order.

    Raises:
        InvalidArrayError: as predictive_entropy, or arrays of different N or C.

    Source: Gupte et al. 2024 (2401.14555).

    >>> import numpy as np
    >>> dropquery(np.array([[0.9, 0.1]]), np.array([[[0.8, 0.2], [0.4, 0.6]]]))
    array([0.5])
    """
    clean, passes = check_probabilities(probabilities), check_sampled_probabilities(sampled)
    if (len(clean), clean.shape[1]) != (len(passes), passes.shape[2]):
        raise InvalidArrayError(
            f"sampled_probabilities have shape {tuple(passes.shape)} beside probabilities of shape "
            f"{tuple(clean.shape)}; expected ({len(clean)}, M, {clean.shape[1]})"
        )
    predicted = clean.argmax(1).to(passes.device)  # (N, C) -> (N,)
    shares = (passes.argmax(2) != predicted[:, None]).to(torch.float64).mean(1)  # (N, M, C) -> (N,)
    return in_kind_of(shares.to(clean.device), probabilities)


@register("epig", "sampled_probabilities", "target_sampled_probabilities", is_normalised=False)
def epig(sampled: FloatArray, target_sampled: FloatArray) -> FloatArray:
    """Score each sample by what its label would tell about predictions on target samples, in nats; higher = ask first.

    The mutual information between the sample's label and a target's label, averaged over targets. BALD asks what a
    label tells about the model; this asks only for what matters for inputs of the kind that will be predicted, e.g. the
    random slice. 0.0 for M = 1.

    Args:
        sampled: (N, M, C), as in predictive_entropy.
        target_sampled: (T, M, C), T >= 1, of the same M passes (same masks or same members, in the same order).

    Returns:
        (N,) float64 at least 0, in nats: not normalised. Rounded to 1e-13.

    Raises:
        InvalidArrayError: as predictive_entropy, no targets, or another M or C.

    Cost: O(N T C^2 M). Memory beside the input: some ten blocks of at most 32 MB each, or of one sample's (M, C) where
    that is larger.

    Source: Bickford Smith et al. 2023 (2304.08151).

    >>> import numpy as np
    >>> epig(np.array([[[1.0, 0.0], [0.0, 1.0]]]), np.array([[[1.0, 0.0], [0.0, 1.0]]])).round(4)
    array([0.6931])
    """
    passes = check_sampled_probabilities(sampled)
    targets = check_sampled_probabilities(target_sampled, name="target_sampled_probabilities")
    if not len(targets) or targets.shape[1:] != passes.shape[1:]:
        raise InvalidArrayError(
            f"target_sampled_probabilities have shape {tuple(targets.shape)}, expected (T, {passes.shape[1]}, "
            f"{passes.shape[2]}) with T >= 1: the same passes over both"
        )
    return in_kind_of(_epig(passes, targets.to(passes.device)), sampled)


def _scored_passes(kernel: Callable[[Tensor], Tensor], sampled: FloatArray) -> FloatArray:
    scores = by_rows(lambda q: kernel(scaled(q)), check_sampled_probabilities(sampled))
    return in_kind_of(scores.clamp_(0, 1), sampled)


def _predictive_entropy(q: Tensor) -> Tensor:
    return normalised_entropy(q.mean(1))  # (N, M, C) -> (N,)


def _bald(q: Tensor) -> Tensor:
    passes, classes = q.shape[1:]
    if passes == 1:
        return q.new_zeros(q.shape[0])
    mean = q.mean(1, keepdim=True)
    return _divergence(mean, q - mean).sum(2).mean(1) / math.log(min(classes, passes))  # (N, M, C) -> (N,)


def _divergence(expected: Tensor, difference: Tensor) -> Tensor:
    """x log(x / e) - x + e of x = e + difference, elementwise; summed over distributions, the KL divergence.

    Every term is at least 0, so small divergences do not drown in the rounding of large terms that cancel. Where e is
    0, x is too, and so is the term.
    """
    change = difference / expected.clamp_min(LEAST)
    return expected * (torch.special.xlog1py(1 + change, change) - change)


def _votes(q: Tensor) -> Tensor:
    votes = q.new_zeros(q.shape[0], q.shape[2])
    return votes.scatter_add_(1, q.argmax(2), q.new_ones(q.shape[:2]))  # (N, M, C) -> (N, C)


def _variation_ratio(q: Tensor) -> Tensor:
    passes, classes = q.shape[1:]
    return (1 - _votes(q).amax(1) / passes) * (classes / (classes - 1))


def _vote_entropy(q: Tensor) -> Tensor:
    passes, classes = q.shape[1:]
    if passes == 1:
        return q.new_zeros(q.shape[0])
    return entropy_nats(_votes(q) / passes) / math.log(min(classes, passes))


def _epig(passes: Tensor, targets: Tensor) -> Tensor:
    """Mutual informations from the covariances of probabilities over passes: joint = product of means + covariance."""
    samples, count, classes = passes.shape
    together = max(1, min(len(targets), _EPIG_TARGETS, CHUNK_ELEMENTS // (classes * max(classes, count))))
    rows = max(1, CHUNK_ELEMENTS // (classes * max(classes * together, count)))
    total = torch.zeros(samples, dtype=torch.float64, device=passes.device)
    for block in targets.split(together):
        of_targets = scaled(block.to(torch.float64))
        target_mean = of_targets.mean(1)  # (T, M, C) -> (T, C)
        target_spread = (of_targets - target_mean[:, None]).transpose(0, 1).flatten(1) / count  # (M, T C)
        start = 0
        for part in row_chunks(passes, rows * count * classes):
            q = scaled(part.to(torch.float64))
            mean = q.mean(1)  # (n, M, C) -> (n, C)
            spread = (q - mean[:, None]).transpose(1, 2).flatten(0, 1)  # (n C, M)
            found = q.new_zeros(len(spread))
            for columns in row_slices(target_spread.shape[1], len(spread)):
                covariance = spread @ target_spread[:, columns]  # (n C, T C), or fewer columns for very many classes
                expected = mean.flatten()[:, None] * target_mean.flatten()[columns]
                found += _divergence(expected, covariance.maximum(-expected)).sum(1)
            total[start : start + len(q)] += found.view(len(q), classes).sum(1)
            start += len(q)
    return (total / len(targets)).round(decimals=_EPIG_DECIMALS).clamp_(min=0)

"""Scores by the length of the last layer's gradient, in closed form: no backward pass.

The gradient of the loss -log p_y in the last layer's weights is (p - e_y) h', an outer product; its length is
|p - e_y| |h|. These scores are not normalised: embeddings have no common length. They serve to put samples in order.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from al_service.acquisition.arrays import (
    CHUNK_ELEMENTS,
    FloatArray,
    InvalidArrayError,
    check_embeddings,
    check_probabilities,
    in_kind_of,
)
from al_service.acquisition.probability_scores import scaled, without_first
from al_service.acquisition.score_registry import register


@register("expected_gradient_length", "probabilities", "embeddings", is_normalised=False)
def expected_gradient_length(probabilities: FloatArray, embeddings: FloatArray) -> FloatArray:
    """Score each sample by the length expected of the last layer's gradient once it is labelled; higher = ask first.

    sum_c p_c |p - e_c| |h|, exactly 0.0 for a certain model. Not normalised.

    Args:
        probabilities: (N, C), as in least_confidence.
        embeddings: (N, D) float, what the last layer reads; its bias is left out.

    Returns:
        (N,) float64 at least 0, in row order.

    Raises:
        InvalidArrayError: as least_confidence; embeddings that are not (N, D) or not finite; different N.

    Source: Settles, Craven, Ray 2007; the closed form of the last layer.

    >>> import numpy as np
    >>> expected_gradient_length(np.array([[0.5, 0.5], [1.0, 0.0]]), np.array([[3.0, 4.0], [3.0, 4.0]])).round(4)
    array([3.5355, 0.    ])
    """
    return _scored(_expected_length, probabilities, embeddings)


@register("gradient_norm", "probabilities", "embeddings", is_normalised=False)
def gradient_norm(probabilities: FloatArray, embeddings: FloatArray) -> FloatArray:
    """Score each sample by the last layer's gradient length if its likeliest class were its label; higher = ask first.

    |p - e_first| |h|, exactly 0.0 for a certain model. Not normalised. Args, Returns, Raises as in
    expected_gradient_length.

    Source: Ash et al. 2020 (1906.03671), the length of BADGE's gradient embedding.

    >>> import numpy as np
    >>> gradient_norm(np.array([[0.5, 0.5], [1.0, 0.0]]), np.array([[3.0, 4.0], [3.0, 4.0]])).round(4)
    array([3.5355, 0.    ])
    """
    return _scored(_length_at_first, probabilities, embeddings)


def _scored(kernel: Callable[[Tensor], Tensor], probabilities: FloatArray, embeddings: FloatArray) -> FloatArray:
    p, h = check_probabilities(probabilities), check_embeddings(embeddings)
    if len(p) != len(h):
        raise InvalidArrayError(f"embeddings has {len(h)} rows for {len(p)} of probabilities; expected one for each")
    scores = torch.empty(len(p), dtype=torch.float64, device=p.device)
    rows = max(1, CHUNK_ELEMENTS // (p.shape[1] + h.shape[1]))
    for start in range(0, len(p), rows):
        part = slice(start, start + rows)
        lengths = torch.linalg.vector_norm(h[part].to(torch.float64), dim=1)  # (n, D) -> (n,)
        scores[part] = kernel(scaled(p[part].to(torch.float64))) * lengths.to(p.device)
    return in_kind_of(scores, probabilities)


def _length_at_first(p: Tensor) -> Tensor:
    others, rest, _ = without_first(p)
    return (rest.square() + others.square().sum(1)).sqrt()  # (N, C) -> (N,)


def _expected_length(p: Tensor) -> Tensor:
    others, rest, _ = without_first(p)
    squares = p.square().sum(1, keepdim=True)
    # |p - e_c|^2 = |p|^2 - 2 p_c + 1; the likeliest class has the form above, which does not cancel near certainty.
    lengths = (squares - 2 * others + 1).clamp_(min=0).sqrt()
    return (1 - rest) * _length_at_first(p) + (others * lengths).sum(1)

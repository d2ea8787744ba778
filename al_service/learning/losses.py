"""The loss of each sample: cross-entropy, with label smoothing, focal weighting and class weights where they are asked.

With q the target (1 - smoothing on the given label, plus smoothing / C everywhere), p the network's probabilities and
w the weight of the given label's class:

    loss = w * sum over classes c of  q_c * (1 - p_c)^gamma * -log p_c

gamma 0 is cross-entropy; without smoothing it is the focal loss of Lin et al. 2017 with w as their alpha. The factor
stands at each class's own term: were it the given label's alone, a confident network would not feel the smoothing.
A minibatch's loss is the mean over its samples, not divided by their weights as torch's is: a class that is in one
minibatch of thirty would weigh no more than that one minibatch. Class weights are 1 on average over the whole set.
"""

import numpy as np
import torch
from torch import Tensor, nn


def class_weights(labels: np.ndarray, class_count: int) -> Tensor:
    """(C,) weights that make every present class count the same, 1 on average over samples; 1 for absent classes."""
    counts = np.bincount(labels, minlength=class_count)
    present = np.count_nonzero(counts)
    weights = np.where(counts > 0, len(labels) / (present * np.maximum(counts, 1)), 1.0)
    return torch.tensor(weights, dtype=torch.float32)


def sample_losses(logits: Tensor, targets: Tensor, *, label_smoothing: float = 0.0, focal_gamma: float = 0.0) -> Tensor:
    """(n,) losses without class weights; gradients flow.

    Args:
        logits: (n, C) float32.
        targets: (n,) int64 in [0, C).

    Source: Lin, Goyal, Girshick, He, Dollar 2017 (focal); Szegedy et al. 2016 (smoothing).
    """
    if focal_gamma == 0:
        return nn.functional.cross_entropy(logits, targets, label_smoothing=label_smoothing, reduction="none")
    log_p = nn.functional.log_softmax(logits, 1)
    # -expm1 keeps 1 - p exact near p = 1; the clamp keeps the slope of a fractional power finite at 0.
    terms = -log_p * (-torch.expm1(log_p)).clamp_min(1e-12) ** focal_gamma  # (n, C)
    given = terms.gather(1, targets[:, None])[:, 0]
    return (1 - label_smoothing) * given + label_smoothing * terms.mean(1)


def margins(logits: Tensor, targets: Tensor) -> Tensor:
    """(n,) logit of the given label minus the largest other one; NaN where there is one class only."""
    if logits.shape[1] < 2:
        return torch.full((len(logits),), torch.nan, device=logits.device)
    given = logits.gather(1, targets[:, None])  # (n, 1)
    others = logits.scatter(1, targets[:, None], -torch.inf)
    return given[:, 0] - others.amax(1)

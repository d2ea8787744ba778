"""The probe: a linear head on embeddings of a frozen backbone, fitted to its one optimum in well under a second.

It is multinomial logistic regression, so it has no learning rate, no epochs and no luck: equal labels give the equal
head, wherever the search starts. The search itself is in softmax_regression.py; penalty_choice.py centres and scales
embeddings and chooses how strongly weights are held back (l2). This module checks the input and gives a head for raw
embeddings back.

Objective, in nats: the weighted mean of the cross-entropy over labelled samples, plus l2 / 2 times the squared weights
on *scaled* embeddings. Scaled: each column less its mean over the labelled samples, over its standard deviation there.
So l2 has no unit, and one grid suits every backbone. The bias is free. With scikit-learn's
LogisticRegression on the scaled embeddings, this is C = 1 / (l2 L).

Classes without a label have no optimum (their logit would fall for ever). They get zero weights and a bias that leaves
them, all together, at most 1 / (L + 2) of the probability, by the rule of succession: low, finite, and lower the more
labels were seen without them. The same holds with labels of one class only, where the probe is a constant.
"""

import math
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from al_service.errors import InvalidInputError
from al_service.learning.networks import Head
from al_service.learning.penalty_choice import FOLDS_MAX, ScaledFit, TriedL2, stratified_folds

_BLOCK = 16_384


class InvalidProbeDataError(InvalidInputError):
    """Embeddings, labels or weights that do not fit each other, or none at all."""

    code = "invalid_probe_data"


@dataclass(frozen=True, eq=False)
class Probe:
    """A fitted head: logits = embeddings @ weights.T + bias, on raw embeddings.

    Args:
        weights: (C, D) float32.
        bias: (C,) float32.
        l2: the penalty used, given or chosen; see the module.
        objective: its value at the end, in nats.
        iterations: Newton steps of the last fit (the choice of l2 not counted).
        products: products of the Hessian with a direction in it, each about two passes over the labelled embeddings.
        gradient_norm: at the end, as a share of its norm at zero.
        converged: whether the optimum was reached, to 1e-8 in that measure.
        seconds: of wall time, everything included.
        tried: the penalties that were compared; empty where l2 was given or there was nothing to hold out.
    """

    weights: np.ndarray
    bias: np.ndarray
    l2: float
    objective: float
    iterations: int
    products: int
    gradient_norm: float
    converged: bool
    seconds: float
    tried: tuple[TriedL2, ...]

    def logits(self, embeddings: Any) -> np.ndarray:
        """(N, D) array-like -> (N, C) float32, read block by block."""
        shape = tuple(embeddings.shape)
        if len(shape) != 2 or shape[1] != self.weights.shape[1]:
            raise InvalidProbeDataError(f"embeddings have shape {shape}, expected (N, {self.weights.shape[1]})")
        found = np.empty((shape[0], len(self.bias)), np.float32)
        for start in range(0, shape[0], _BLOCK):
            rows = slice(start, start + _BLOCK)
            found[rows] = _numpy(embeddings[rows]).astype(np.float32) @ self.weights.T + self.bias
        return found

    def probabilities(self, embeddings: Any) -> np.ndarray:
        """(N, D) array-like -> (N, C) float32, rows sum to 1."""
        return torch.from_numpy(self.logits(embeddings)).softmax(1).numpy()


def probe_from_head(weights: Tensor, bias: Tensor) -> Probe:
    """A stored head as a place to start from: its weights (C, D) and bias (C,), and no word on how they were found."""
    return Probe(
        weights=weights.float().cpu().numpy(),
        bias=bias.float().cpu().numpy(),
        l2=0.0,
        objective=math.nan,
        iterations=0,
        products=0,
        gradient_norm=math.nan,
        converged=False,
        seconds=0.0,
        tried=(),
    )


def fit_probe(
    embeddings: Any,
    class_indices: Any,
    class_count: int,
    *,
    l2: float | None = None,
    start: Probe | None = None,
    seed: int = 0,
    sample_weights: Any = None,
    device: str | torch.device = "cpu",
) -> Probe:
    """The head that minimises the objective of the module.

    Args:
        embeddings: (L, D) float16, 32 or 64 array or tensor, L >= 1; held in memory as float64.
        class_indices: (L,) whole numbers in [0, C), or (L, C) float rows that sum to 1 within 1e-3 (soft targets).
        class_count: C >= 1; classes may be missing.
        l2: above 0; None chooses it from L2_GRID by stratified cross-validation: 5 folds, 3 from 300 labels on. A class
            with one label stays in every training part; where every class has one, it is L2_WITHOUT_CHOICE.
        start: an earlier probe of the same shape. It saves steps and changes nothing else.
        seed: of the folds.
        sample_weights: (L,) at least 0, how much each sample counts; all alike otherwise. Only their ratios matter.
        device: where it is computed; it must know float64.

    Raises:
        InvalidProbeDataError: shapes that do not fit, no samples, labels outside [0, C), soft targets that are no
            probabilities, weights that are negative or all 0, embeddings that are not finite, or a start of another
            shape.
        InvalidInputError: l2 not above 0, or class_count < 1.

    Random: the folds, from seed. Cost: of a fit, L min(L, D)^2 once, and about 50 to 150 products of L D C.
    """
    started = time.perf_counter()
    if class_count < 1:
        raise InvalidInputError(f"class_count is {class_count}, expected at least 1")
    if l2 is not None and not 0 < l2 < math.inf:
        raise InvalidInputError(f"l2 is {l2}, expected above 0; None chooses it")
    samples = _checked_embeddings(embeddings).to(device)
    targets = _checked_targets(class_indices, len(samples), class_count).to(device)
    weights = _checked_weights(sample_weights, len(samples)).to(device)
    if start is not None and start.weights.shape != (class_count, samples.shape[1]):
        raise InvalidProbeDataError(
            f"start has weights of shape {start.weights.shape}, expected ({class_count}, {samples.shape[1]})"
        )
    used = weights > 0
    fit = ScaledFit(samples[used], targets[used], weights[used])
    tried: tuple[TriedL2, ...] = ()
    nearby = None
    if l2 is None:
        l2, tried, nearby = fit.choose_l2(seed)
    found = fit.solve(l2, nearby if start is None else fit.on_scaled_embeddings(start.weights, start.bias))
    full_weights, full_bias = fit.on_raw_embeddings(found)
    return Probe(
        weights=full_weights.float().cpu().numpy(),
        bias=full_bias.float().cpu().numpy(),
        l2=l2,
        objective=found.objective,
        iterations=found.newton_steps,
        products=found.products,
        gradient_norm=found.gradient_norm,
        converged=found.converged,
        seconds=time.perf_counter() - started,
        tried=tried,
    )


def held_out_probabilities(
    embeddings: Any,
    class_indices: Any,
    class_count: int,
    *,
    l2: float,
    seed: int = 0,
    device: str | torch.device = "cpu",
) -> np.ndarray:
    """What probes say of labelled samples that they were not fitted on; for neighbours.label_noise_estimate.

    Args:
        embeddings, class_indices, class_count, device: as in fit_probe; labels, no soft targets.
        l2: of the probe of all samples.
        seed: of the folds.

    Returns:
        (L, C) float32. A class's only label is never held out; its row says that label for certain.

    Raises:
        InvalidProbeDataError: as fit_probe.

    Cost: up to five fits.
    """
    rows, labels = _numpy(embeddings), _numpy(class_indices)
    _checked_targets(labels, len(_checked_embeddings(rows)), class_count)
    if labels.ndim != 1:
        raise InvalidProbeDataError(f"class_indices have shape {labels.shape}, expected ({len(rows)},) whole numbers")
    found = np.eye(class_count, dtype=np.float32)[labels]
    folds = stratified_folds(labels, FOLDS_MAX, seed)
    for fold in range(int(folds.max()) + 1):
        kept = folds != fold
        if kept.any() and not kept.all():
            probe = fit_probe(rows[kept], labels[kept], class_count, l2=l2, device=device)
            found[~kept] = probe.probabilities(rows[~kept])
    return found


def install(probe: Probe, head: Head) -> None:
    """Write the probe into the head of a network.

    Raises:
        InvalidInputError: the head is of another shape.
    """
    if tuple(head.linear.weight.shape) != probe.weights.shape:
        raise InvalidInputError(
            f"the probe has weights of shape {probe.weights.shape}, the head {tuple(head.linear.weight.shape)}"
        )
    with torch.no_grad():
        head.linear.weight.copy_(torch.from_numpy(probe.weights))
        head.linear.bias.copy_(torch.from_numpy(probe.bias))


def _numpy(values: Any) -> np.ndarray:
    return values.detach().cpu().numpy() if isinstance(values, Tensor) else np.asarray(values)


def _checked_embeddings(embeddings: Any) -> Tensor:
    rows = _numpy(embeddings)
    if rows.ndim != 2 or len(rows) == 0 or rows.dtype.kind != "f":
        raise InvalidProbeDataError(
            f"embeddings have shape {rows.shape} and dtype {rows.dtype}; expected (L, D) float with L >= 1 "
            "(label at least one sample, better two per class)"
        )
    bad = np.flatnonzero(~np.isfinite(rows).all(1))
    if len(bad):
        raise InvalidProbeDataError(f"embeddings[{bad[0]}] holds NaN or infinity; embed that sample again")
    return torch.from_numpy(rows.astype(np.float64))


def _checked_targets(class_indices: Any, count: int, class_count: int) -> Tensor:
    """(L, C) float64."""
    labels = _numpy(class_indices)
    if labels.shape == (count,) and labels.dtype.kind in "iu":
        outside = np.flatnonzero((labels < 0) | (labels >= class_count))
        if len(outside):
            row = int(outside[0])
            raise InvalidProbeDataError(f"class_indices[{row}] is {labels[row]}, expected 0 to {class_count - 1}")
        return torch.nn.functional.one_hot(torch.from_numpy(labels.astype(np.int64)), class_count).double()
    if labels.shape != (count, class_count) or labels.dtype.kind != "f":
        raise InvalidProbeDataError(
            f"class_indices have shape {labels.shape} and dtype {labels.dtype}; expected ({count},) whole numbers or "
            f"({count}, {class_count}) float"
        )
    bad = np.flatnonzero(~((np.abs(labels.sum(1) - 1) <= 1e-3) & (labels >= 0).all(1)))
    if len(bad):
        row = int(bad[0])
        raise InvalidProbeDataError(
            f"soft target {row} sums to {labels[row].sum():.3f}, expected values >= 0 that sum to 1 within 0.001"
        )
    return torch.from_numpy(labels.astype(np.float64))


def _checked_weights(sample_weights: Any, count: int) -> Tensor:
    if sample_weights is None:
        return torch.ones(count, dtype=torch.float64)
    weights = _numpy(sample_weights).astype(np.float64)
    if weights.shape != (count,):
        raise InvalidProbeDataError(f"sample_weights have shape {weights.shape}, expected ({count},)")
    bad = np.flatnonzero(~((weights >= 0) & np.isfinite(weights)))
    if len(bad):
        raise InvalidProbeDataError(f"sample_weights[{bad[0]}] is {weights[bad[0]]}, expected at least 0")
    if not weights.any():
        raise InvalidProbeDataError("all sample_weights are 0; at least one sample must count")
    return torch.from_numpy(weights)

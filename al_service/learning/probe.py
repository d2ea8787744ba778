"""The probe: a linear head on embeddings of a frozen backbone, fitted to its one optimum in well under a second.

It is multinomial logistic regression, so it has no learning rate, no epochs and no luck: equal labels give the equal
head, wherever the search starts. The search itself is in softmax_regression.py. This module checks the input, centres
and scales the embeddings, chooses how strongly weights are held back (l2), and gives a head for raw embeddings back.

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
from al_service.learning.softmax_regression import Design, Solution, solve

#: Penalties that cross-validation compares, the strongest first.
L2_GRID = (10.0, 3.0, 1.0, 0.3, 0.1, 0.03, 0.01, 0.003, 0.001, 0.0003, 0.0001)
#: Where no class has two labels nothing can be held out, and this is taken.
L2_WITHOUT_CHOICE = 0.1
FOLDS_MAX = 5
FOLDS_OF_MANY = 3
_MANY = 300
# Choosing among penalties a factor 3 apart needs neither every label nor every digit.
_CHOICE_SAMPLES_MAX = 4096
_CHOICE_GAP = 0.02
# After so many weaker penalties in a row that were worse, the rest is left out.
_WORSE_IN_A_ROW = 2
_LEAST_CLASS_SHARE = 1e-6
# Of the largest standard deviation of a column; a column that hardly moves is not blown up to the size of the others.
_LEAST_SCALE = 1e-3
_BLOCK = 16_384


class InvalidProbeDataError(InvalidInputError):
    """Embeddings, labels or weights that do not fit each other, or none at all."""

    code = "invalid_probe_data"


@dataclass(frozen=True)
class TriedL2:
    """One penalty of the grid and how well it did on labels held out; lower is better."""

    l2: float
    held_out_nll: float


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
    fit = _Fit(samples[used], targets[used], weights[used])
    tried: tuple[TriedL2, ...] = ()
    nearby = None
    if l2 is None:
        l2, tried, nearby = fit.choose_l2(seed)
    found = fit.solve(l2, start, nearby)
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


class _Fit:
    """Centred and scaled samples with the classes that occur."""

    def __init__(self, samples: Tensor, targets: Tensor, weights: Tensor) -> None:
        shares = weights / weights.sum()
        self.class_count = targets.shape[1]
        self.present = torch.nonzero(shares @ targets > _LEAST_CLASS_SHARE).flatten()
        self.targets = targets[:, self.present]
        self.targets /= self.targets.sum(1, keepdim=True).clamp_min(1e-12)
        self.weights = weights
        self.mean = shares @ samples
        centred = samples - self.mean
        deviation = (shares @ centred.square()).sqrt()
        largest = deviation.max() if deviation.numel() else deviation.sum()
        self.scale = torch.where(largest > 0, deviation.clamp_min(largest * _LEAST_SCALE), 1.0)
        self.design = Design(centred / self.scale)

    def solve(self, l2: float, start: Probe | None, nearby: tuple[Tensor, Tensor] | None) -> Solution:
        initial = nearby
        if start is not None:
            raw = torch.from_numpy(start.weights).to(self.mean)[self.present]
            bias = torch.from_numpy(start.bias).to(self.mean)[self.present] + raw @ self.mean
            initial = self.design.turned(raw * self.scale), bias
        return solve(self.design, self.targets, self.weights, l2, initial)

    def on_raw_embeddings(self, found: Solution) -> tuple[Tensor, Tensor]:
        """(C, D) weights and (C,) bias that give the logits of raw embeddings."""
        present, absent = len(self.present), self.class_count - len(self.present)
        weights = self.mean.new_zeros(self.class_count, len(self.mean))
        weights[self.present] = self.design.turned_back(found.weights) / self.scale
        bias = self.mean.new_zeros(self.class_count)
        if absent:
            # The present logits sum to 0 (to the zero weights of the absent), so their exponentials sum to `present`
            # at least.
            bias += np.log(present / (absent * (len(self.targets) + 1)))
        bias[self.present] = found.bias - weights[self.present] @ self.mean
        return weights, bias

    def choose_l2(self, seed: int) -> tuple[float, tuple[TriedL2, ...], tuple[Tensor, Tensor] | None]:
        """The penalty with the lowest held-out NLL, all that were tried, and a head that is near the optimum there."""
        most = FOLDS_MAX if len(self.targets) < _MANY else FOLDS_OF_MANY
        folds = stratified_folds(self.targets.argmax(1).cpu().numpy(), most, seed)
        if len(self.present) < 2 or folds.max() < 1:
            return L2_WITHOUT_CHOICE, (), None
        rows = np.random.default_rng(seed).permutation(len(folds))[:_CHOICE_SAMPLES_MAX]
        numbers = range(int(folds.max()) + 1)
        parts = [_Fold(self, rows[(folds[rows] != fold)], rows[folds[rows] == fold]) for fold in numbers]
        parts = [part for part in parts if part.held_out_weight > 0]
        tried: list[TriedL2] = []
        best, nearby, worse = math.inf, None, 0
        for l2 in L2_GRID:
            nll = sum(part.held_out_loss(l2) for part in parts) / sum(part.held_out_weight for part in parts)
            tried.append(TriedL2(l2, nll))
            worse += 1
            if nll < best:
                best, nearby, worse = nll, parts[0].on_all_classes(), 0
            if worse == _WORSE_IN_A_ROW:
                break
        return min(tried, key=lambda one: one.held_out_nll).l2, tuple(tried), nearby


class _Fold:
    """One part held out; each penalty starts from the optimum of the one before."""

    def __init__(self, fit: _Fit, kept: np.ndarray, held_out: np.ndarray) -> None:
        single = torch.float32
        into = torch.from_numpy(kept).to(fit.mean.device), torch.from_numpy(held_out).to(fit.mean.device)
        self.kept, self.held_out = fit.design.quick_part(into[0]), fit.design.quick_part(into[1])
        # A class whose labels are all held out can be neither learned nor judged.
        known = (fit.targets[into[0]] * fit.weights[into[0], None]).sum(0) > 0
        targets = fit.targets[into[0]][:, known].to(single)
        self.targets = targets / targets.sum(1, keepdim=True).clamp_min(1e-12)
        self.weights = fit.weights[into[0]].to(single)
        self.held_out_shares = (fit.weights[into[1], None] * fit.targets[into[1]][:, known]).to(single)
        self.held_out_weight = float(self.held_out_shares.sum())
        # The penalty stands for what is known before any label: as much of it beside fewer labels weighs more.
        self.stronger = float(fit.weights.sum()) / float(self.weights.sum())
        self.start: tuple[Tensor, Tensor] | None = None
        self.known_all = bool(known.all())

    def on_all_classes(self) -> tuple[Tensor, Tensor] | None:
        """The last head in double precision; None where it lacks a class."""
        return (self.start[0].double(), self.start[1].double()) if self.start and self.known_all else None

    def held_out_loss(self, l2: float) -> float:
        found = solve(self.kept, self.targets, self.weights, l2 * self.stronger, self.start, _CHOICE_GAP)
        self.start = found.weights, found.bias
        logits = self.held_out.samples @ found.weights.T + found.bias
        return -float((self.held_out_shares * logits.log_softmax(1)).sum())


def stratified_folds(class_indices: np.ndarray, folds_max: int, seed: int) -> np.ndarray:
    """(L,) int64: the fold of each sample, -1 for a class with one label, which is never held out.

    There are as many folds as the largest class has labels, at most folds_max; each class is spread evenly.

    Random: one permutation for each class.

    >>> np.unique(stratified_folds(np.array([0, 0, 0, 1, 1, 2]), 5, 0), return_counts=True)[1].tolist()
    [1, 2, 2, 1]
    """
    rng = np.random.default_rng(seed)
    folds = np.full(len(class_indices), -1, np.int64)
    classes, counts = np.unique(class_indices, return_counts=True)
    count = min(folds_max, int(counts.max()))
    offset = 0
    for one in classes[counts > 1]:
        rows = rng.permutation(np.flatnonzero(class_indices == one))
        folds[rows] = (offset + np.arange(len(rows))) % count
        offset += len(rows)
    return folds


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

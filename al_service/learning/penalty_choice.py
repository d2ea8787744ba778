"""How strongly the probe's weights are held back: centred, scaled embeddings, and l2 by stratified cross-validation.

Called by probe.py, whose docstring has the objective; the search for an optimum is in softmax_regression.py.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

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

#: Weights and bias to search from, turned and scaled as the design is.
Start = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class TriedL2:
    """One penalty of the grid and how well it did on labels held out; lower is better."""

    l2: float
    held_out_nll: float


class ScaledFit:
    """Centred and scaled samples with the classes that occur.

    Args:
        samples: (L, D) float64.
        targets: (L, C) float64, rows sum to 1; changed in place.
        weights: (L,) float64 above 0.
    """

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

    def solve(self, l2: float, start: Start | None) -> Solution:
        """The optimum, on scaled embeddings and the classes that occur."""
        return solve(self.design, self.targets, self.weights, l2, start)

    def on_scaled_embeddings(self, weights: np.ndarray, bias: np.ndarray) -> Start:
        """A head for raw embeddings, (C, D) and (C,), as a place to start from."""
        raw = torch.from_numpy(weights).to(self.mean)[self.present]
        moved = torch.from_numpy(bias).to(self.mean)[self.present] + raw @ self.mean
        return self.design.turned(raw * self.scale), moved

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

    def choose_l2(self, seed: int) -> tuple[float, tuple[TriedL2, ...], Start | None]:
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

    def __init__(self, fit: ScaledFit, kept: np.ndarray, held_out: np.ndarray) -> None:
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
        self.start: Start | None = None
        self.known_all = bool(known.all())

    def on_all_classes(self) -> Start | None:
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

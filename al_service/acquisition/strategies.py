"""Strategies: from a pool to a selection of sample ids, by name.

A strategy puts the pool in order of sample id before anything else. So the answer does not depend on the order in which
the pool was read, ties go to the lower id, and one seed draws the same ids. The names and what each needs are in
al_service/domain/strategy_names.py.

Every strategy may give a slice of its budget to chance (`random_fraction`). The slice is drawn first, from the whole
pool and whatever the scores say, so that it stays a fair sample of the pool; the strategy then chooses from what
remains and knows the slice as taken.
"""

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from al_service.acquisition import scores as score_registry
from al_service.acquisition.arrays import (
    InvalidArrayError,
    PoolArrays,
    Selection,
    check_count,
    check_fraction,
    to_tensor,
)
from al_service.acquisition.selectors import farthest_first, highest, random_choice
from al_service.domain.strategy_names import STRATEGIES, StrategyNeeds, get_strategy_needs
from al_service.errors import InvalidInputError


@dataclass(frozen=True)
class _Candidates:
    """The pool in order of id: the arrays in need by name; positions that chance has taken; those free, rising."""

    arrays: dict[str, Tensor]
    labelled_embeddings: Tensor | None
    taken: Tensor
    free: Tensor


@dataclass(frozen=True)
class _Choice:
    """Positions in order of choice, their scores, and the scores of the taken ones where the strategy has such."""

    positions: Tensor
    scores: list[float | None]
    reasons: list[dict[str, Any]]
    scores_of_taken: list[float | None]


_Chooser = Callable[[_Candidates, int, int], _Choice]


@dataclass(frozen=True)
class Strategy:
    """A way of choosing; get one with `get`."""

    needs: StrategyNeeds
    _choose: _Chooser

    @property
    def name(self) -> str:
        """The stored name."""
        return self.needs.name

    def select(
        self,
        pool: PoolArrays,
        budget: int,
        *,
        rng: np.random.Generator,
        random_fraction: float = 0.0,
        prefilter_factor: int = 10,
    ) -> Selection:
        """Choose `budget` samples, in order of choice: the random slice first, then the strategy's own picks.

        Args:
            pool: with the arrays that `needs` names.
            budget: 0 <= budget <= N.
            rng: read for the random slice (and by "random") only.
            random_fraction: share of the budget drawn uniformly from the whole pool, rounded to whole samples, half up;
                reason code "random".
            prefilter_factor: strategies with a "+" diversify within this many times the budget, best scores first;
                at least 1.

        Raises:
            InvalidArrayError: the pool lacks an array that this strategy needs.
            InvalidInputError: budget above N or negative, random_fraction outside [0, 1], prefilter_factor < 1.

        Random: one permutation of the pool from rng.
        """
        budget = check_count(budget, len(pool), name="budget")
        random_fraction = check_fraction(random_fraction, name="random_fraction")
        if check_count(prefilter_factor, 2**31, name="prefilter_factor") < 1:
            raise InvalidInputError("prefilter_factor is 0, expected at least 1")
        _check_needs(self.needs, pool)
        order = sorted(range(len(pool)), key=pool.sample_ids.__getitem__)
        by_chance = budget if self.name == "random" else int(np.floor(random_fraction * budget + 0.5))
        taken = random_choice(len(pool), by_chance, rng)
        candidates = _candidates(pool, self.needs, order, taken)
        choice = self._choose(candidates, budget - by_chance, prefilter_factor)
        positions = [*taken.tolist(), *choice.positions.tolist()]
        return Selection(
            sample_ids=tuple(pool.sample_ids[order[position]] for position in positions),
            scores=(*choice.scores_of_taken, *choice.scores),
            reasons=(*({"code": "random"} for _ in taken), *choice.reasons),
        )


def names() -> tuple[str, ...]:
    """Names of all strategies."""
    return tuple(_STRATEGIES)


def get(name: str) -> Strategy:
    """The strategy of that name.

    Raises:
        UnknownStrategyError: no such name.

    >>> pool = PoolArrays([7, 8, 9], np.array([[0.9, 0.1], [0.5, 0.5], [0.6, 0.4]]))
    >>> get("margin").select(pool, 2, rng=np.random.default_rng(0)).sample_ids
    (8, 9)
    """
    return _STRATEGIES[get_strategy_needs(name).name]


def _check_needs(needs: StrategyNeeds, pool: PoolArrays) -> None:
    for name in _array_names(needs):
        if getattr(pool, name) is None:
            raise InvalidArrayError(f"strategy {needs.name!r} needs {name}, and the pool has none", strategy=needs.name)


def _array_names(needs: StrategyNeeds) -> list[str]:
    table = (
        (needs.needs_probabilities, "probabilities"),
        (needs.needs_embeddings, "embeddings"),
        (needs.needs_sampled, "sampled_probabilities"),
    )
    return [name for needed, name in table if needed]


def _candidates(pool: PoolArrays, needs: StrategyNeeds, order: list[int], taken: np.ndarray) -> _Candidates:
    in_order = all(before < after for before, after in itertools.pairwise(order))
    arrays = {}
    for name in _array_names(needs):
        tensor = to_tensor(getattr(pool, name), name)
        arrays[name] = tensor if in_order else tensor[torch.tensor(order, device=tensor.device)]
    free = np.setdiff1d(np.arange(len(pool)), taken)
    labelled = pool.labelled_embeddings
    return _Candidates(
        arrays=arrays,
        labelled_embeddings=None if labelled is None else to_tensor(labelled, "labelled_embeddings"),
        taken=torch.from_numpy(taken),
        free=torch.from_numpy(free),
    )


def _nothing_more(candidates: _Candidates, k: int, prefilter_factor: int) -> _Choice:
    """For "random": chance has taken the whole budget."""
    return _Choice(candidates.free[:0], [], [], [None] * len(candidates.taken))


def _by_score(score_name: str, reason_code: str) -> _Chooser:
    score = score_registry.get(score_name)

    def choose(candidates: _Candidates, k: int, prefilter_factor: int) -> _Choice:
        outputs = candidates.arrays[score.needs]
        values = to_tensor(score.function(outputs), "scores").cpu()
        best = candidates.free[highest(values[candidates.free], k)]
        reasons = [{"code": reason_code, "between": pair} for pair in _likeliest_two(outputs, best)]
        return _Choice(best, values[best].tolist(), reasons, values[candidates.taken].tolist())

    return choose


def _by_coverage(candidates: _Candidates, k: int, prefilter_factor: int) -> _Choice:
    positions, distances = _farthest_of(candidates, candidates.free, k)
    scores = [distance if math.isfinite(distance) else None for distance in distances]
    reasons: list[dict[str, Any]] = [
        {"code": "far"} if distance is None else {"code": "far", "distance": distance} for distance in scores
    ]
    return _Choice(positions, scores, reasons, [None] * len(candidates.taken))


def _by_margin_then_coverage(candidates: _Candidates, k: int, prefilter_factor: int) -> _Choice:
    probabilities = candidates.arrays["probabilities"]
    values = to_tensor(score_registry.margin(probabilities), "scores").cpu()
    # In order of margin, so that of equally far samples the less certain one is taken.
    closest = candidates.free[highest(values[candidates.free], prefilter_factor * k)]
    positions, distances = _farthest_of(candidates, closest, k)
    pairs = _likeliest_two(probabilities, positions)
    reasons: list[dict[str, Any]] = [{"code": "margin+far", "between": pair} for pair in pairs]
    for reason, distance in zip(reasons, distances, strict=True):
        if math.isfinite(distance):
            reason["distance"] = distance
    return _Choice(positions, values[positions].tolist(), reasons, values[candidates.taken].tolist())


def _farthest_of(candidates: _Candidates, among: Tensor, k: int) -> tuple[Tensor, list[float]]:
    """k-center among some positions; what is labelled and what chance has taken is covered already."""
    embeddings = candidates.arrays["embeddings"]
    covered = [embeddings[candidates.taken.to(embeddings.device)]]
    if candidates.labelled_embeddings is not None:
        covered.append(candidates.labelled_embeddings.to(embeddings))
    points = embeddings[among.to(embeddings.device)]
    picks, distances = farthest_first(points, k, torch.cat(covered))
    return among[picks.cpu()], distances.tolist()


def _likeliest_two(outputs: Tensor, positions: Tensor) -> list[list[int]]:
    """Per position the two likeliest class indices, of the mean pass where there are several passes."""
    rows = outputs[positions.to(outputs.device)].to(torch.float64)
    means = rows if rows.dim() == 2 else rows.mean(1)  # (K, M, C) -> (K, C)
    return torch.sort(means, dim=1, descending=True, stable=True).indices[:, :2].tolist()


_CHOOSERS: dict[str, _Chooser] = {
    "random": _nothing_more,
    "least_confidence": _by_score("least_confidence", "uncertain"),
    "margin": _by_score("margin", "margin"),
    "ratio": _by_score("ratio", "margin"),
    "entropy": _by_score("entropy", "uncertain"),
    "bald": _by_score("bald", "disagreement"),
    "k_center": _by_coverage,
    "margin+k_center": _by_margin_then_coverage,
}
_STRATEGIES = {name: Strategy(STRATEGIES[name], choose) for name, choose in _CHOOSERS.items()}

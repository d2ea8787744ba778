"""Strategies: from a pool to a selection of sample ids, by name.

A strategy puts the pool in order of sample id before anything else. So the answer does not depend on the order in which
the pool was read, ties go to the lower id, and one seed draws the same ids. The names and what each needs are in
al_service/domain/strategy_names.py; how each chooses is in choosers.py and auto.py.

Every strategy may give a slice of its budget to chance (`random_fraction`). The slice is drawn first, from the whole
pool and whatever the scores say, so that it stays a fair sample of the pool; the strategy then chooses from what
remains and knows the slice as taken.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from al_service.acquisition import choosers
from al_service.acquisition.arrays import (
    InvalidArrayError,
    PoolArrays,
    Selection,
    check_count,
    check_fraction,
    to_tensor,
)
from al_service.acquisition.auto import by_auto
from al_service.acquisition.candidates import Candidates, Chooser, Options
from al_service.acquisition.choosers import by_geometry, by_margin_then, by_score
from al_service.acquisition.limits import within_limits
from al_service.acquisition.ranking import random_choice
from al_service.domain.strategy_names import STRATEGIES, StrategyNeeds, get_strategy_needs
from al_service.errors import InvalidInputError


@dataclass(frozen=True)
class Strategy:
    """A way of choosing; get one with `get`."""

    needs: StrategyNeeds
    _choose: Chooser

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
        class_cap: float = 1.0,
        duplicate_radius: float = 0.0,
        already_chosen: Sequence[int] | Sequence[str] = (),
    ) -> Selection:
        """Choose `budget` samples, in order of choice: the random slice first, then the strategy's own picks.

        Args:
            pool: with the arrays that `needs` names. Strategies with a cold start need embeddings only while there is
                no model (probabilities are None).
            budget: 0 <= budget <= N less those already chosen.
            rng: read for the random slice, and by strategies that draw.
            random_fraction: share of the budget drawn uniformly from the whole pool, rounded to whole samples, half up;
                reason code "random".
            prefilter_factor: strategies with a "+" diversify within this many times the budget, best scores first;
                at least 1.
            class_cap: most of the strategy's own picks that one predicted class may take, as a share in (0, 1].
            duplicate_radius: picks keep this distance from each other and from what is labelled, as a share of the
                usual (median) distance in the pool; 0 for no such limit. Needs embeddings.
            already_chosen: ids of the pool that count as labelled, e.g. of the batch that people work on.

        Raises:
            InvalidArrayError: the pool lacks an array that this strategy needs.
            InvalidInputError: budget too large or negative, a fraction outside its range, prefilter_factor < 1, or an
                id that is not in the pool.

        Random: one permutation of the pool from rng, then what the strategy draws.
        """
        random_fraction = check_fraction(random_fraction, name="random_fraction")
        options = Options(
            check_count(prefilter_factor, 2**31, name="prefilter_factor"),
            check_fraction(class_cap, name="class_cap"),
            check_fraction(duplicate_radius, name="duplicate_radius"),
        )
        if options.prefilter_factor < 1 or options.class_cap == 0:
            raise InvalidInputError(
                f"prefilter_factor is {prefilter_factor} and class_cap {class_cap}; expected at least 1 and above 0"
            )
        names_read = _names_to_read(self.needs, pool, options)
        ids = np.array(pool.sample_ids)
        order = np.argsort(ids, kind="stable")
        before = _places(ids[order], already_chosen)
        budget = check_count(budget, len(pool) - len(before), name="budget")
        by_chance = budget if self.name == "random" else int(np.floor(random_fraction * budget + 0.5))
        free = np.setdiff1d(np.arange(len(pool)), before)
        slice_ = free[random_choice(len(free), by_chance, rng)]
        candidates = _candidates(pool, names_read, order, np.concatenate([before, slice_]))
        choice = within_limits(self._choose, candidates, budget - by_chance, options, rng)
        positions = [*slice_.tolist(), *choice.positions.tolist()]
        return Selection(
            sample_ids=tuple(pool.sample_ids[order[position]] for position in positions),
            scores=(*choice.scores_of_taken[len(before) : len(before) + by_chance], *choice.scores),
            reasons=(*({"code": "random"} for _ in slice_), *choice.reasons),
            facts=choice.facts,
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


def _names_to_read(needs: StrategyNeeds, pool: PoolArrays, options: Options) -> list[str]:
    """Arrays that the strategy or a limit reads of this pool."""
    if needs.cold_start and pool.probabilities is None and pool.sampled_probabilities is None:
        wanted = ["embeddings"]
    else:
        wanted = list(needs.arrays)
    for name in wanted:
        if getattr(pool, name) is None:
            raise InvalidArrayError(f"strategy {needs.name!r} needs {name}, and the pool has none", strategy=needs.name)
    limits = {"probabilities": options.class_cap < 1, "embeddings": options.duplicate_radius > 0}
    there = [name for name, is_read in limits.items() if is_read and getattr(pool, name) is not None]
    return list(dict.fromkeys([*wanted, *there]))


def _places(ids: np.ndarray, chosen: Sequence[object]) -> np.ndarray:
    """Places of some ids in the pool's, which rise; each once."""
    if not len(chosen):
        return np.empty(0, np.int64)
    wanted = np.unique(np.array(list(chosen)))
    if wanted.dtype.kind != ids.dtype.kind:
        raise InvalidInputError(f"already_chosen holds {wanted[0].item()!r}, which is not in the pool")
    places = np.searchsorted(ids, wanted).clip(max=len(ids) - 1)
    unknown = np.flatnonzero(ids[places] != wanted)
    if len(unknown):
        raise InvalidInputError(f"already_chosen holds {wanted[unknown[0]].item()!r}, which is not in the pool")
    return places


def _candidates(pool: PoolArrays, names_read: list[str], order: np.ndarray, taken: np.ndarray) -> Candidates:
    in_order = bool((np.diff(order) > 0).all())
    arrays = {}
    for name in names_read:
        tensor = to_tensor(getattr(pool, name), name)
        arrays[name] = tensor if in_order else tensor[torch.from_numpy(order).to(tensor.device)]
    free = np.setdiff1d(np.arange(len(pool)), taken)
    labelled = pool.labelled_embeddings
    return Candidates(
        arrays=arrays,
        labelled_embeddings=None if labelled is None else to_tensor(labelled, "labelled_embeddings"),
        taken=torch.from_numpy(taken),
        free=torch.from_numpy(free),
    )


_CHOOSERS: dict[str, Chooser] = {
    "random": choosers.nothing_more,
    "least_confidence": by_score("least_confidence", "uncertain"),
    "margin": by_score("margin", "margin"),
    "ratio": by_score("ratio", "margin"),
    "entropy": by_score("entropy", "uncertain"),
    "bald": by_score("bald", "disagreement"),
    "k_center": choosers.by_k_center,
    "margin+k_center": by_margin_then(choosers.farthest_of_closest, "margin+far"),
    "predictive_entropy": by_score("predictive_entropy", "uncertain"),
    "mean_std": by_score("mean_std", "disagreement"),
    "variation_ratio": by_score("variation_ratio", "disagreement"),
    "vote_entropy": by_score("vote_entropy", "disagreement"),
    "mean_kl": by_score("mean_kl", "disagreement"),
    "expected_gradient_length": by_score("expected_gradient_length", "gradient"),
    "power_margin": choosers.by_power,
    "class_quota": choosers.by_quota,
    "k_means": by_geometry(choosers.by_medoids, "typical"),
    "typiclust": by_geometry(choosers.by_typiclust, "typical"),
    "prob_cover": by_geometry(choosers.by_prob_cover, "typical"),
    "herding": by_geometry(choosers.by_herding, "typical"),
    "margin+facility_location": by_margin_then(choosers.representatives_of_closest, "margin+typical"),
    "cluster_margin": choosers.by_cluster_margin,
    "badge": choosers.by_badge,
    "batch_bald": choosers.by_batch_bald,
    "auto": by_auto,
    "expected_entropy": by_score("expected_entropy", "uncertain"),
    "epig": choosers.by_epig,
    "dropquery": by_score("dropquery", "disagreement"),
    "gradient_norm": by_score("gradient_norm", "gradient"),
}
_STRATEGIES = {name: Strategy(STRATEGIES[name], choose) for name, choose in _CHOOSERS.items()}

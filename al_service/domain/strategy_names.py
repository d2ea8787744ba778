"""The strategies by name and what each needs: plain data that both halves of the service read.

The arithmetic is in al_service/acquisition/strategies.py, which implements exactly these names (a test compares them).
Names are stored with rounds, so they never change.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from al_service.errors import InvalidInputError


class UnknownStrategyError(InvalidInputError):
    """No strategy has this name; the message lists those that exist."""

    code = "unknown_strategy"


@dataclass(frozen=True)
class StrategyNeeds:
    """What a strategy reads of the pool, and which parameters change it.

    Args:
        name: stored name.
        summary: one line for people.
        needs_probabilities: reads the model's (N, C) probabilities.
        needs_embeddings: reads (N, D) embeddings, of the pool and, where there are any, of the labelled samples.
        needs_sampled: reads (N, M, C) probabilities of M stochastic passes.
        cold_start: chooses by embeddings alone where there is no model yet.
        parameters: names of the parameters beside `budget` and `rng` that change its choice.
    """

    name: str
    summary: str
    needs_probabilities: bool = False
    needs_embeddings: bool = False
    needs_sampled: bool = False
    cold_start: bool = False
    parameters: tuple[str, ...] = ("random_fraction", "class_cap", "duplicate_radius")

    @property
    def arrays(self) -> tuple[str, ...]:
        """Names of the arrays of the pool that it reads."""
        table = (
            (self.needs_probabilities, "probabilities"),
            (self.needs_embeddings, "embeddings"),
            (self.needs_sampled, "sampled_probabilities"),
        )
        return tuple(name for needed, name in table if needed)

    @property
    def needs_model(self) -> bool:
        """Whether a trained model must score the pool first."""
        return self.needs_probabilities or self.needs_embeddings or self.needs_sampled


_LIMITS = ("random_fraction", "class_cap", "duplicate_radius")
_FILTERED = (*_LIMITS, "prefilter_factor")


def _by_probabilities(name: str, summary: str, **more: Any) -> StrategyNeeds:
    return StrategyNeeds(name, summary, needs_probabilities=True, **more)


def _by_passes(name: str, summary: str) -> StrategyNeeds:
    return StrategyNeeds(name, summary, needs_sampled=True)


def _by_embeddings(name: str, summary: str) -> StrategyNeeds:
    return StrategyNeeds(name, summary, needs_embeddings=True, cold_start=True)


_TABLE = (
    StrategyNeeds("random", "uniformly at random", parameters=()),
    _by_probabilities("least_confidence", "the likeliest class is least likely"),
    _by_probabilities("margin", "the two likeliest classes are closest"),
    _by_probabilities("ratio", "as margin, by the ratio of the two"),
    _by_probabilities("entropy", "the probabilities are most spread out"),
    _by_passes("bald", "stochastic passes of the model disagree most"),
    _by_embeddings("k_center", "farthest from everything labelled or chosen so far"),
    _by_probabilities(
        "margin+k_center",
        "of the samples with the closest margins, those that differ most from each other",
        needs_embeddings=True,
        parameters=_FILTERED,
    ),
    _by_passes("predictive_entropy", "the mean of the passes is most spread out"),
    _by_passes("mean_std", "probabilities vary most from pass to pass"),
    _by_passes("variation_ratio", "fewest passes vote for the commonest class"),
    _by_passes("vote_entropy", "votes of the passes are most spread out"),
    _by_passes("mean_kl", "passes differ most from their mean"),
    _by_probabilities(
        "expected_gradient_length", "a label is expected to change the last layer most", needs_embeddings=True
    ),
    _by_probabilities("power_margin", "drawn at random, close margins more often"),
    _by_probabilities("class_quota", "the closest margins of every predicted class, more of common and hard ones"),
    _by_embeddings("k_means", "the middle of each of as many clusters as are asked for"),
    _by_embeddings("typiclust", "the densest sample of each large cluster without labels"),
    _by_embeddings("prob_cover", "covers most samples within a radius"),
    _by_embeddings("herding", "covers the pool best by soft balls"),
    _by_probabilities(
        "margin+facility_location",
        "of the samples with the closest margins, those that stand for most of them",
        needs_embeddings=True,
        parameters=_FILTERED,
    ),
    _by_probabilities(
        "cluster_margin",
        "of the samples with the closest margins, a few from each cluster",
        needs_embeddings=True,
        parameters=_FILTERED,
    ),
    _by_probabilities("badge", "long gradients of the last layer that point different ways", needs_embeddings=True),
    _by_passes("batch_bald", "passes disagree most about the batch as a whole"),
    _by_probabilities(
        "auto",
        "typical samples while labels are few, then uncertain ones that stand for many",
        needs_embeddings=True,
        cold_start=True,
    ),
    _by_passes("expected_entropy", "single passes are unsure by themselves"),
    _by_passes("epig", "a label would tell most about the labels of other samples"),
    _by_probabilities(
        "dropquery", "passes most often leave the prediction of the model without dropout", needs_sampled=True
    ),
    _by_probabilities("gradient_norm", "the likeliest label would change the last layer most", needs_embeddings=True),
)

STRATEGIES: Mapping[str, StrategyNeeds] = MappingProxyType({needs.name: needs for needs in _TABLE})


def get_strategy_needs(name: str) -> StrategyNeeds:
    """The needs of the strategy of that name.

    Raises:
        UnknownStrategyError: no such name.

    >>> get_strategy_needs("margin").needs_embeddings
    False
    """
    if name not in STRATEGIES:
        raise UnknownStrategyError(f"unknown strategy {name!r}; known: {', '.join(STRATEGIES)}", name=name)
    return STRATEGIES[name]

"""The strategies by name and what each needs: plain data that both halves of the service read.

The arithmetic is in al_service/acquisition/strategies.py, which implements exactly these names (a test compares them).
Names are stored with rounds, so they never change.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

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
        parameters: names of the parameters beside `budget` and `rng` that change its choice.
    """

    name: str
    summary: str
    needs_probabilities: bool = False
    needs_embeddings: bool = False
    needs_sampled: bool = False
    parameters: tuple[str, ...] = ("random_fraction",)

    @property
    def needs_model(self) -> bool:
        """Whether a trained model must score the pool first."""
        return self.needs_probabilities or self.needs_embeddings or self.needs_sampled


_TABLE = (
    StrategyNeeds("random", "uniformly at random", parameters=()),
    StrategyNeeds("least_confidence", "the likeliest class is least likely", needs_probabilities=True),
    StrategyNeeds("margin", "the two likeliest classes are closest", needs_probabilities=True),
    StrategyNeeds("ratio", "as margin, by the ratio of the two", needs_probabilities=True),
    StrategyNeeds("entropy", "the probabilities are most spread out", needs_probabilities=True),
    StrategyNeeds("bald", "stochastic passes of the model disagree most", needs_sampled=True),
    StrategyNeeds("k_center", "farthest from everything labelled or chosen so far", needs_embeddings=True),
    StrategyNeeds(
        "margin+k_center",
        "of the samples with the closest margins, those that differ most from each other",
        needs_probabilities=True,
        needs_embeddings=True,
        parameters=("random_fraction", "prefilter_factor"),
    ),
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

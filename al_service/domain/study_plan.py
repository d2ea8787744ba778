"""What a study is: which strategies, how many labels, how often; and the counts of labels at which all are measured.

Plain data: `al simulate` and the workers run it, the service checks it before it queues one.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from al_service.domain.project_config import ProjectConfig
from al_service.domain.strategy_names import STRATEGIES, get_strategy_needs
from al_service.errors import InvalidInputError

RANDOM = "random"
DEFAULT = "auto"
#: Per class: what the first batch and every later one hold where nobody says.
BATCH_PER_CLASS = 2
#: Batches after the first where nobody says.
BATCHES = 10
#: Of a pool that is all there is: a first batch, and where the curves end where nobody says. At the whole pool all
#: strategies have the same labels, so a study that ends there compares nothing.
SHARE_OF_FIRST, SHARE_OF_BUDGET = 6, 2 / 3


class InvalidPlanError(InvalidInputError):
    """A study that cannot be run as asked."""

    code = "invalid_plan"


@dataclass(frozen=True)
class Plan:
    """How every run of a study goes; strategies and seeds are apart, since more of them may join later.

    Args:
        initial: labels drawn at random before anything is chosen; 0 is an empty start.
        batch: labels chosen at a time.
        budget: labels at the end.
        random_budget: labels at the end of the random runs, at least `budget`: where they go on, it is seen how many
            labels random needs for the accuracy that others have at the budget.
        config: the project's settings.
    """

    initial: int
    batch: int
    budget: int
    random_budget: int
    config: ProjectConfig = ProjectConfig()

    def __post_init__(self) -> None:
        for name, low in (("initial", 0), ("batch", 1), ("budget", 1)):
            if getattr(self, name) < low:
                raise InvalidPlanError(f"{name} is {getattr(self, name)}, expected at least {low}")
        if self.initial > self.budget:
            raise InvalidPlanError(f"initial is {self.initial}, more than the budget of {self.budget} labels")
        if self.random_budget < self.budget:
            raise InvalidPlanError(f"random_budget is {self.random_budget}, below the budget of {self.budget}")

    def labels(self, strategy: str) -> tuple[int, ...]:
        """Counts of labels at which a strategy is measured, rising; the last batch may be smaller.

        >>> Plan(initial=10, batch=20, budget=40, random_budget=60).labels("margin")
        (10, 30, 40)
        >>> Plan(initial=0, batch=20, budget=40, random_budget=60).labels("random")
        (20, 40, 60)
        """
        counts = [*range(self.initial or self.batch, self.budget, self.batch), self.budget]
        if strategy == RANDOM and self.random_budget > self.budget:
            counts += [*range(self.budget + self.batch, self.random_budget, self.batch), self.random_budget]
        return tuple(dict.fromkeys(min(count, counts[-1]) for count in counts))

    def models(self, strategies: Sequence[str], seeds: int) -> int:
        """How many models all runs train: one for each measurement.

        >>> Plan(initial=10, batch=20, budget=40, random_budget=60).models(("random", "margin"), 5)
        35
        """
        return seeds * sum(len(self.labels(name)) for name in strategies)

    def within(self, pool_size: int) -> "Plan":
        """The same with no more labels than the pool has.

        Raises:
            InvalidPlanError: the first batch alone is larger.
        """
        if self.initial > pool_size:
            raise InvalidPlanError(f"initial is {self.initial}, and the pool has only {pool_size} images")
        return replace(
            self, budget=min(self.budget, pool_size), random_budget=max(1, min(self.random_budget, pool_size))
        )

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)


def checked_strategies(names: Sequence[str]) -> tuple[str, ...]:
    """Each once, random first, since all are compared with it.

    Raises:
        UnknownStrategyError: there is no such strategy.

    >>> checked_strategies(["margin", "margin"])
    ('random', 'margin')
    """
    return tuple(dict.fromkeys((RANDOM, *(get_strategy_needs(name).name for name in names))))


def default_strategies() -> tuple[str, ...]:
    """Random, and what a new project would take."""
    return RANDOM, DEFAULT if DEFAULT in STRATEGIES else ProjectConfig().strategy


def filled(
    class_count: int,
    config: ProjectConfig,
    *,
    initial: int | None,
    batch: int | None,
    budget: int | None,
    random_budget: int | None,
) -> Plan:
    """A plan with what nobody said chosen from the number of classes.

    >>> filled(10, ProjectConfig(), initial=None, batch=None, budget=None, random_budget=None).labels("random")[:3]
    (20, 40, 60)
    """
    usual = max(2, BATCH_PER_CLASS * class_count)
    first = usual if initial is None else initial
    size = usual if batch is None else batch
    last = first + BATCHES * size if budget is None else budget
    if initial is None:
        first = min(first, last)
    return Plan(first, size, last, last if random_budget is None else random_budget, config)


def fitted(
    class_count: int,
    pool_size: int,
    config: ProjectConfig,
    *,
    initial: int | None = None,
    batch: int | None = None,
    budget: int | None = None,
    random_budget: int | None = None,
) -> Plan:
    """As `filled`, for a pool that may be small: what nobody said leaves the strategies something to choose among.

    >>> fitted(10, 60, ProjectConfig()).labels("random")
    (10, 20, 30, 40)
    """
    usual = min(max(2, BATCH_PER_CLASS * class_count), max(1, pool_size // SHARE_OF_FIRST))
    first = usual if initial is None else initial
    size = usual if batch is None else batch
    if budget is None:
        budget = min(first + BATCHES * size, max(first + size, int(pool_size * SHARE_OF_BUDGET)))
    if initial is None:
        first = min(first, budget)
    return Plan(first, size, budget, budget if random_budget is None else random_budget, config)

"""How much the model's suggestions sway the people who see them.

Some images are kept blind: whoever asks there is told nothing. Which ones is drawn, so people who asked and were told
differ from people who asked and were not by nothing but the suggestion, and the difference of their agreement with the
model is what the suggestion did.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass

from al_service.domain.proportions import wilson_interval
from al_service.domain.records import SuggestionCount


@dataclass(frozen=True)
class Share:
    """`agreed` of `answered` labels named the model's likeliest class."""

    answered: int
    agreed: int

    @property
    def value(self) -> float | None:
        """0 to 1; None where nobody answered."""
        return self.agreed / self.answered if self.answered else None


@dataclass(frozen=True)
class Pull:
    """Agreement with the model: of who was told, of who asked and was not, of who never asked.

    Attributes:
        difference: told minus not told, -1 to 1; above 0: suggestions pull people to the model. None while either is
            empty.
        interval: 95 % of `difference`; None with it.
    """

    told: Share
    kept_blind: Share
    never_asked: Share
    difference: float | None
    interval: tuple[float, float] | None


def pull_of(counts: Iterable[SuggestionCount]) -> Pull:
    """The pull of suggestions on all the people that are counted.

    >>> pull = pull_of([SuggestionCount(1, True, True, 10, 9), SuggestionCount(1, True, False, 10, 6)])
    >>> round(pull.difference, 3), [round(end, 2) for end in pull.interval]
    (0.3, [-0.08, 0.6])
    """
    rows = list(counts)
    told = _sum(row for row in rows if row.seen)
    blind = _sum(row for row in rows if row.asked and not row.seen)
    never = _sum(row for row in rows if not row.asked)
    if told.value is None or blind.value is None:
        return Pull(told, blind, never, None, None)
    return Pull(told, blind, never, told.value - blind.value, newcombe(told, blind))


def newcombe(first: Share, second: Share) -> tuple[float, float]:
    """95 % interval of the difference of two independent shares, first minus second; both have answers.

    Source: Newcombe 1998, method 10 (from Wilson's intervals of each share, without continuity correction).
    """
    low_1, high_1 = wilson_interval(first.agreed, first.answered)
    low_2, high_2 = wilson_interval(second.agreed, second.answered)
    share_1, share_2 = first.agreed / first.answered, second.agreed / second.answered
    difference = share_1 - share_2
    return (
        difference - math.hypot(share_1 - low_1, high_2 - share_2),
        difference + math.hypot(high_1 - share_1, share_2 - low_2),
    )


def _sum(rows: Iterable[SuggestionCount]) -> Share:
    found = list(rows)
    return Share(sum(row.answered for row in found), sum(row.agreed for row in found))

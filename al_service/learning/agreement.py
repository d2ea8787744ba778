"""How far two models agree on the same samples: Cohen's kappa, the sign that predictions have become stable.

Accuracy asks for labels; agreement needs none. The samples must be the same for both models and must not change from
round to round: on a pool from which the loop takes what it is unsure of, agreement rises by itself.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from sklearn.metrics import cohen_kappa_score

from al_service.errors import InvalidInputError


@dataclass(frozen=True)
class Agreement:
    """Cohen's kappa, the share of samples on which both say the same, and how many samples were compared.

    kappa is None where it says nothing: both models give one and the same class to everything.
    """

    kappa: float | None
    share: float
    count: int


def agreement(first: Sequence[str], second: Sequence[str]) -> Agreement:
    """Agreement of two lists of classes, sample by sample; 1 = the same, 0 = as often as by chance, below 0 = rarer.

    Kappa takes off what two models would agree by chance, given how often each says which class: with 95 % of one class
    two models agree on 90 % without knowing anything.

    Args:
        first: class names, one per sample.
        second: of the same samples in the same order.

    Raises:
        InvalidInputError: lists of different lengths, or empty ones.

    Source: Cohen 1960; as a rule to stop: Bloodgood and Vijay-Shanker 2009.

    >>> agreement(["cat", "dog", "cat", "dog"], ["cat", "dog", "cat", "cat"])
    Agreement(kappa=0.5, share=0.75, count=4)
    """
    if len(first) != len(second) or not len(first):
        raise InvalidInputError(f"{len(first)} and {len(second)} classes; expected as many of both, at least one")
    share = float(np.mean(np.asarray(first) == np.asarray(second)))
    if len({*first, *second}) == 1:
        return Agreement(None, share, len(first))
    return Agreement(float(cohen_kappa_score(first, second)), share, len(first))

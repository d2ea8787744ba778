"""How much suggestions sway people: shares, their difference, and an interval that covers what it should."""

import numpy as np
import pytest

from al_service.domain.pull import Pull, Share, newcombe, pull_of
from al_service.domain.records import SuggestionCount


def test_the_pull_compares_only_who_asked() -> None:
    rows = [
        SuggestionCount(1, True, True, 40, 36),
        SuggestionCount(2, True, True, 10, 9),
        SuggestionCount(1, True, False, 20, 12),
        SuggestionCount(2, False, False, 500, 100),
    ]
    pull = pull_of(rows)
    assert (pull.told, pull.kept_blind, pull.never_asked) == (Share(50, 45), Share(20, 12), Share(500, 100))
    assert pull.difference == pytest.approx(0.3)


@pytest.mark.parametrize("rows", [[], [SuggestionCount(1, True, True, 4, 4)], [SuggestionCount(1, True, False, 4, 4)]])
def test_without_both_sides_there_is_no_number(rows: list[SuggestionCount]) -> None:
    pull = pull_of(rows)
    assert (pull.difference, pull.interval) == (None, None)
    assert isinstance(pull, Pull)


def test_newcombe_gives_the_figures_of_the_paper() -> None:
    """Newcombe 1998, table II, method 10: (56/70, 48/80), (9/10, 3/10), (10/10, 0/10)."""
    for first, second, low, high in (
        (Share(70, 56), Share(80, 48), 0.0524, 0.3339),
        (Share(10, 9), Share(10, 3), 0.1705, 0.8090),
        (Share(10, 10), Share(10, 0), 0.6075, 1.0),
    ):
        found = newcombe(first, second)
        assert found == pytest.approx((low, high), abs=5e-5)


def test_the_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    truth = 0.9 - 0.75
    hits = 0
    for _ in range(2000):
        low, high = newcombe(Share(60, int(rng.binomial(60, 0.9))), Share(25, int(rng.binomial(25, 0.75))))
        hits += low <= truth <= high
    assert 0.93 <= hits / 2000 <= 0.985

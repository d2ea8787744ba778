"""The protected split: by content alone."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from al_service.ingest.split import InvalidFractionError, in_evaluation

HASHES = [hashlib.sha256(str(number).encode()).hexdigest() for number in range(5000)]


def draw_evaluation(hashes, fraction, seed):
    return frozenset(one for one in hashes if in_evaluation(one, fraction=fraction, seed=seed))


@given(st.permutations(HASHES[:50]), st.integers(0, 50), st.integers(0, 2**40), st.floats(0, 1))
def test_neither_order_nor_company_matters(order, cut, seed, fraction):
    whole = draw_evaluation(HASHES[:50], fraction, seed)
    assert draw_evaluation(order, fraction, seed) == whole
    assert draw_evaluation(order[:cut], fraction, seed) | draw_evaluation(order[cut:], fraction, seed) == whole
    assert whole == {key for key in order if in_evaluation(key, fraction=fraction, seed=seed)}


@given(st.floats(0, 1), st.floats(0, 1), st.integers())
def test_a_larger_fraction_keeps_the_members_of_a_smaller_one(one, other, seed):
    small, large = sorted((one, other))
    assert draw_evaluation(HASHES[:100], small, seed) <= draw_evaluation(HASHES[:100], large, seed)


@pytest.mark.parametrize("fraction", [0.05, 0.2, 0.5])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_share_is_about_right_and_seeds_differ(fraction, seed):
    drawn = draw_evaluation(HASHES, fraction, seed)
    spread = (fraction * (1 - fraction) / len(HASHES)) ** 0.5
    assert abs(len(drawn) / len(HASHES) - fraction) < 4 * spread
    overlap = len(drawn & draw_evaluation(HASHES, fraction, seed + 100)) / len(drawn)
    assert abs(overlap - fraction) < 0.1


def test_ends_and_known_answer():
    assert draw_evaluation(HASHES, 0.0, 7) == frozenset()
    assert draw_evaluation(HASHES, 1.0, 7) == frozenset(HASHES)
    assert draw_evaluation(HASHES[:20], 0.2, 7) == {HASHES[index] for index in KNOWN}
    assert in_evaluation(HASHES[0].upper(), fraction=0.5, seed=7) == in_evaluation(HASHES[0], fraction=0.5, seed=7)


KNOWN = (2, 6, 10, 13, 16, 17, 18)
"""Never to change: a project's protected images would move into training."""


@pytest.mark.parametrize("fraction", [-0.1, 1.1, float("nan"), float("inf")])
def test_no_share(fraction):
    with pytest.raises(InvalidFractionError, match="expected 0 to 1"):
        in_evaluation(HASHES[0], fraction=fraction, seed=0)

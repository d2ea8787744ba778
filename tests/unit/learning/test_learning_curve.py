"""The expected gain: the curve that made the figures is found again, and intervals hold what they promise."""

import numpy as np
import pytest

from al_service.errors import InvalidInputError
from al_service.learning.learning_curve import MeasuredRound, expected_gain

COUNTS = (50, 100, 150, 200, 300, 400)


def error(labels: float, floor: float = 0.08, height: float = 2.0, exponent: float = 0.5) -> float:
    return floor + height * labels**-exponent


def exact(samples: int = 10_000) -> list[MeasuredRound]:
    return [MeasuredRound(count, 1 - error(count), samples) for count in COUNTS]


def test_a_power_law_is_found_again():
    found = expected_gain(exact())
    assert found is not None
    assert (found.labels, found.rounds) == (100, len(COUNTS))
    assert found.gain == pytest.approx(error(400) - error(500), rel=0.1)
    assert found.low < found.gain < found.high


def test_more_labels_bring_more_and_never_less_than_nothing():
    gains = [found.gain for labels in (1, 10, 100, 1000) if (found := expected_gain(exact(), labels))]
    assert gains == sorted(gains) and gains[0] > 0
    falling = [MeasuredRound(count, 0.9 - count / 10_000, 500) for count in COUNTS]
    found = expected_gain(falling)
    assert found is not None and (found.gain, found.low) == (0, 0) and found.high >= 0


def test_a_curve_that_is_flat_at_no_error_promises_little():
    found = expected_gain([MeasuredRound(count, 1.0, 2000) for count in COUNTS])
    assert found is not None and found.gain == 0 and found.high < 0.01


def test_the_interval_holds_the_truth_about_as_often_as_it_says():
    truth = error(400) - error(500)
    rng = np.random.default_rng(0)
    inside = []
    for _ in range(100):
        drawn = [MeasuredRound(count, 1 - rng.binomial(500, error(count)) / 500, 500) for count in COUNTS]
        found = expected_gain(drawn)
        assert found is not None
        inside.append(found.low <= truth <= found.high)
    assert np.mean(inside) >= 0.85


def test_fewer_evaluation_samples_make_a_wider_interval():
    few, many = expected_gain(exact(100)), expected_gain(exact(10_000))
    assert few is not None and many is not None
    assert few.high - few.low > 2 * (many.high - many.low)


def test_four_different_numbers_of_labels_are_needed_and_the_newest_of_equals_counts():
    assert expected_gain(exact()[:3]) is None
    assert expected_gain([*exact()[:3], exact()[2]]) is None
    doubled = [MeasuredRound(400, 0.1, 10_000), *exact()]
    assert expected_gain(doubled) == expected_gain(exact())


def test_the_order_of_rounds_and_the_call_do_not_matter():
    assert expected_gain(exact()[::-1]) == expected_gain(exact()) == expected_gain(exact())


@pytest.mark.parametrize(
    ("curve", "labels", "words"),
    [
        (exact(), 0, "labels is 0"),
        ([MeasuredRound(0, 0.5, 10)], 100, "no measured round"),
        ([MeasuredRound(10, 0.5, 0)], 100, "no measured round"),
        ([MeasuredRound(10, float("nan"), 10)], 100, "no measured round"),
    ],
)
def test_bad_input_is_named(curve, labels, words):
    with pytest.raises(InvalidInputError, match=words):
        expected_gain(curve, labels)

"""What the next labels are expected to bring: a power law through the accuracies of a project's rounds.

The error of a model over its number of labels falls about like error(n) = c + a n^-g: quickly at first, ever more
slowly, down to what no label removes. The three numbers are fitted to the rounds so far, each measured on the protected
random slice and weighted by how sure it is. How far they could be off is found by drawing all accuracies anew from
their binomial distributions and fitting again: the interval is that of the gains of the redrawn curves.

All rounds share one evaluation set, so the luck of its draw is common to them and does not move differences as much as
independent draws do: the interval is rather too wide than too narrow.

Called by workers after each round; `loop/stopping.py` decides by it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from al_service.errors import InvalidInputError

#: Three numbers are fitted; with as many points every curve fits.
ROUNDS_MIN = 4
#: Exponents tried. Published curves of image classifiers have 0.1 to 1 (Hestness et al. 2017).
_EXPONENTS = np.geomspace(0.05, 2.0, 40)
_REDRAWN = 400


@dataclass(frozen=True)
class MeasuredRound:
    """One point of a learning curve: labels trained on, accuracy in 0..1, and on how many samples it was measured."""

    label_count: int
    accuracy: float
    sample_count: int


@dataclass(frozen=True)
class ExpectedGain:
    """Accuracy that so many further labels are expected to add, in 0..1, with its 95 % interval.

    rounds: how many measured rounds the curve went through.
    """

    labels: int
    gain: float
    low: float
    high: float
    rounds: int


def expected_gain(curve: Sequence[MeasuredRound], labels: int = 100, *, seed: int = 0) -> ExpectedGain | None:
    """What `labels` more labels are expected to add to the accuracy of the last round; at least 0.

    Args:
        curve: rounds in any order. Of several with the same number of labels the last one counts.
        labels: how many more, at least 1.
        seed: of the redrawn curves.

    Returns:
        None while fewer than four rounds differ in their number of labels: no curve can be told from another.

    Raises:
        InvalidInputError: labels < 1, or a round without labels or samples or with an accuracy outside 0..1.

    Source: Hestness et al. 2017, "Deep Learning Scaling is Predictable, Empirically" (the form); Figueroa et al. 2012
    (weighted fits of it to predict what annotation brings).

    >>> rounds = [MeasuredRound(n, 1 - (0.1 + n**-0.5), 1000) for n in (50, 100, 200, 400)]
    >>> found = expected_gain(rounds)
    >>> round(400**-0.5 - 500**-0.5, 3), found.low < 0.0053 < found.high
    (0.005, True)
    """
    if labels < 1:
        raise InvalidInputError(f"labels is {labels}, expected at least 1")
    for point in curve:
        if point.label_count < 1 or point.sample_count < 1 or not 0 <= point.accuracy <= 1:
            raise InvalidInputError(f"{point} is no measured round; expected labels and samples, accuracy in 0..1")
    points = sorted({point.label_count: point for point in curve}.values(), key=lambda point: point.label_count)
    if len(points) < ROUNDS_MIN:
        return None
    counts = np.array([point.label_count for point in points], np.float64)
    samples = np.array([point.sample_count for point in points], np.int64)
    errors = 1 - np.array([point.accuracy for point in points], np.float64)
    # One more error and one more hit: a round without an error is not infinitely sure of it.
    shrunk = (errors * samples + 1) / (samples + 2)
    weights = samples / (shrunk * (1 - shrunk))
    redrawn = np.random.default_rng(seed).binomial(samples, shrunk, size=(_REDRAWN, len(samples))) / samples
    gains = _gains(counts, np.vstack([errors, redrawn]), weights, labels)
    low, high = np.quantile(gains[1:], (0.025, 0.975))
    gain = float(gains[0])
    return ExpectedGain(labels, gain, min(gain, float(low)), max(gain, float(high)), len(points))


def _gains(
    counts: NDArray[np.float64], errors: NDArray[np.float64], weights: NDArray[np.float64], labels: int
) -> NDArray[np.float64]:
    """(R,) gains after the largest count, of the best curve through each row of (R, P) errors."""
    least = np.full(len(errors), np.inf)
    gains = np.zeros(len(errors))
    for exponent in _EXPONENTS:
        falling = (counts / counts[-1]) ** -exponent  # (P,), scaled so that the last is 1
        floor, height = _two_non_negative(falling, errors, weights)
        misfit = ((errors - floor[:, None] - height[:, None] * falling) ** 2) @ weights
        gain = height * (1 - ((counts[-1] + labels) / counts[-1]) ** -exponent)
        is_better = misfit < least
        least, gains = np.where(is_better, misfit, least), np.where(is_better, gain, gains)
    return gains


def _two_non_negative(
    falling: NDArray[np.float64], errors: NDArray[np.float64], weights: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(R,) c and a >= 0 that minimise sum of weights * (errors - c - a * falling)^2, row by row."""
    total = weights.sum()
    mean_x, mean_y = falling @ weights / total, errors @ weights / total
    slope = (errors - mean_y[:, None]) @ (weights * (falling - mean_x)) / (weights @ (falling - mean_x) ** 2)
    height = np.maximum(slope, 0)
    floor = mean_y - height * mean_x
    # Where the floor would be negative the best non-negative one is 0, and the height is that of a line through 0.
    through_zero = errors @ (weights * falling) / (weights @ falling**2)
    return np.maximum(floor, 0), np.where(floor < 0, np.maximum(through_zero, 0), height)

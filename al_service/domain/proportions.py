"""Intervals of shares of things that were counted."""

import math
from statistics import NormalDist

_Z95 = NormalDist().inv_cdf(0.975)


def wilson_interval(successes: int, count: int) -> tuple[float, float]:
    """The 95 % interval of a share; (0, 1) where nothing was counted.

    Source: Wilson 1927.

    >>> [round(end, 3) for end in wilson_interval(90, 100)]
    [0.826, 0.945]
    """
    if count == 0:
        return 0.0, 1.0
    share = successes / count
    shrunk = 1 + _Z95**2 / count
    centre = (share + _Z95**2 / (2 * count)) / shrunk
    half = _Z95 / shrunk * math.sqrt(share * (1 - share) / count + _Z95**2 / (4 * count**2))
    # At the ends the formula gives 0 and 1 but for rounding.
    low = 0.0 if successes == 0 else max(0.0, centre - half)
    high = 1.0 if successes == count else min(1.0, centre + half)
    return low, high

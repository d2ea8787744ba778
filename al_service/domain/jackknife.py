"""A figure with its interval, from what it would be with one sample left out (jackknife).

For figures of the form 1 - disagreement. Nothing is drawn at random, and the cost is that of leaving out. Callers:
`agreement`, `agreement_tables`.

Source: Efron 1982, The jackknife, the bootstrap and other resampling plans.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from statistics import NormalDist
from typing import NamedTuple

#: An interval rests on at least so many samples with different answers; fewer say too little of how many to expect.
DISAGREEMENTS_MIN = 5
Z95 = NormalDist().inv_cdf(0.975)

#: (how far from agreement, how many samples have exactly this influence) for each kind of sample left out.
LeftOut = Iterable[tuple[float | None, int]]


@dataclass(frozen=True)
class Estimate:
    """A figure and its 95 % interval.

    value is None where the figure is undefined. low and high are None without a value, with fewer than
    `DISAGREEMENTS_MIN` samples on which people differ, and where leaving out one sample changes nothing or leaves no
    figure.
    """

    value: float | None
    low: float | None = None
    high: float | None = None


UNDEFINED = Estimate(None)


class Scale(NamedTuple):
    """On which scale a disagreement between 0 and `limit` varies evenly to both sides, and the way back."""

    limit: float
    forth: Callable[[float], float]
    back: Callable[[float], float]


#: A disagreement by chance's can be anything above 0, so that 1 - it never exceeds 1.
RATIO = Scale(math.inf, math.log, math.exp)
#: A share of pairs lies between 0 and 1.
SHARE = Scale(1.0, lambda share: math.log(share / (1 - share)), lambda odds: 1 / (1 + math.exp(-odds)))


def estimate_of(apart: float | None, left_out: LeftOut, differing: int, scale: Scale) -> Estimate:
    """1 - apart, with its jackknife interval.

    Args:
        apart: disagreement, as a share or by chance's; None: undefined.
        left_out: the same with one sample left out, and for how many samples it is that.
        differing: samples on which people differ.
    """
    if apart is None:
        return UNDEFINED
    if differing < DISAGREEMENTS_MIN:
        return Estimate(1 - apart)
    values = list(left_out)
    inside = [(value, times) for value, times in values if value is not None and 0 < value < scale.limit]
    if len(inside) < len(values):
        return Estimate(1 - apart)
    points = [(scale.forth(value), times) for value, times in inside]
    count = sum(times for _, times in points)
    mean = math.fsum(point * times for point, times in points) / count
    variance = (count - 1) / count * math.fsum((point - mean) ** 2 * times for point, times in points)
    if variance <= 0:
        return Estimate(1 - apart)
    centre, reach = scale.forth(apart), Z95 * math.sqrt(variance)
    return Estimate(1 - apart, 1 - scale.back(centre + reach), 1 - scale.back(centre - reach))

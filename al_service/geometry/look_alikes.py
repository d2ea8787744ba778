"""Groups of neighbours of a size that fits on a screen, in an order in which groups side by side are alike.

Embeddings are halved again and again, each time across the direction in which two means lie apart, at the place that
leaves both halves tightest, until a part is small enough. k-means gives groups of 1 and of 200; here every group has
the wanted size, and the order of the halves is the order of the groups.
"""

from typing import Any

import numpy as np

from al_service.errors import InvalidInputError

SIZE_LEAST, SIZE_MOST = 8, 24
_PASSES = 6
#: A half has at least this share of its whole, so that halving ends soon.
_HALF_LEAST = 1 / 8


def look_alike_groups(embeddings: Any, *, least: int = SIZE_LEAST, most: int = SIZE_MOST) -> np.ndarray:
    """The group of each row, from 0; neighbouring numbers are neighbouring groups.

    Args:
        embeddings: (N, D) float array-like, finite. Directions count, lengths do not.
        least, most: rows of a group, 2 * least <= most + 1; one group where there are fewer rows than `least`.

    Returns:
        (N,) int64. The same rows give the same groups.

    Raises:
        InvalidInputError: another shape, NaN or infinity, or sizes that cannot be met.

    Cost: about N D log2(N / most) * 8 multiplications; memory: two copies of the rows in float32.

    >>> look_alike_groups(np.array([[1, 0], [0, 1], [0, 2], [3, 0.1]]), least=2, most=3).tolist()
    [0, 1, 1, 0]
    """
    rows = np.array(embeddings, np.float32)
    if rows.ndim != 2 or not np.isfinite(rows).all():
        raise InvalidInputError(f"embeddings have shape {rows.shape}, expected (N, D) of finite numbers")
    if not 1 <= least <= (most + 1) // 2:
        raise InvalidInputError(
            f"groups of {least} to {most} rows: the most must be at least twice the least, less one"
        )
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    rows /= np.where(length > 0, length, 1)
    groups = np.zeros(len(rows), np.int64)
    waiting = [(np.arange(len(rows)), rows.mean(0) if len(rows) else rows)]
    before: np.ndarray | None = None
    number = 0
    while waiting:
        part, middle = waiting.pop()
        if len(part) <= most:
            groups[part] = number
            number, before = number + 1, middle
            continue
        halves = [(half, rows[half].mean(0)) for half in _halves(rows, part, least)]
        after = waiting[-1][1] if waiting else None
        waiting += halves if _is_turned(before, halves[0][1], halves[1][1], after) else halves[::-1]
    return groups


def _is_turned(before: np.ndarray | None, low: np.ndarray, high: np.ndarray, after: np.ndarray | None) -> bool:
    """Whether the higher half should come first, by what is beside the two."""

    def apart(one: np.ndarray | None, other: np.ndarray | None) -> float:
        return 0.0 if one is None or other is None else float(((one - other) ** 2).sum())

    return apart(before, high) + apart(low, after) < apart(before, low) + apart(high, after)


def _halves(rows: np.ndarray, part: np.ndarray, least: int) -> tuple[np.ndarray, np.ndarray]:
    """The part in two, each at least `least` long."""
    values = rows[part]
    away = np.argmax(((values - values.mean(0)) ** 2).sum(1))
    axis = values[np.argmax(((values - values[away]) ** 2).sum(1))] - values[away]
    for _ in range(_PASSES):
        places = values @ axis
        is_high = places > places.mean()
        if is_high.all() or not is_high.any():
            break  # all rows are equal
        axis = values[is_high].mean(0) - values[~is_high].mean(0)
    places = (values @ axis).astype(np.float64)
    order = np.argsort(places, kind="stable")
    cut = _tightest_cut(places[order], max(least, int(len(part) * _HALF_LEAST)))
    return part[order[:cut]], part[order[cut:]]


def _tightest_cut(places: np.ndarray, least: int) -> int:
    """Where to cut rising numbers so that the squared distances to the two means are least."""
    sums, count = np.cumsum(places), np.arange(1, len(places) + 1)
    left = sums[:-1] ** 2 / count[:-1]
    right = (sums[-1] - sums[:-1]) ** 2 / (len(places) - count[:-1])
    between = (left + right)[least - 1 : len(places) - least]
    return least + int(np.argmax(between))

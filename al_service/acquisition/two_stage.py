"""Selecting from a pool in shards that nobody holds whole: in every shard first, then among what the shards picked.

Shards need not know of each other, so each may be a job of its own: `pick_in_shard` is what such a job does,
`merge_picks` what the last one does with their answers, `two_stage` both in turn.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from al_service.acquisition.arrays import FloatArray, IntArray, InvalidArrayError, check_count
from al_service.errors import InvalidInputError

# From arrays that hold a row per sample and a count to as many distinct positions.
Select = Callable[[Sequence[FloatArray], int], IntArray]


@dataclass(frozen=True, eq=False)
class ShardPicks:
    """What one shard proposes.

    Args:
        positions: (K,) int64 positions within the shard, in order of choice.
        arrays: the rows of the shard's arrays at these positions.
        shard_size: samples in the shard.
    """

    positions: np.ndarray
    arrays: tuple[FloatArray, ...]
    shard_size: int


def two_stage(
    select: Select, shards: Iterable[Sequence[FloatArray]], k: int, *, per_shard: int | None = None
) -> np.ndarray:
    """k positions chosen in every shard, then among the picks of all shards.

    For k_center the covering radius is at most four times that of the best possible k centres, with k picks per shard
    (each shard's picks lie within twice the best radius of all its samples, and the second stage within twice of
    those).

    Args:
        select: from the arrays of a shard and a count to positions in it; knows what is labelled, and its own rng.
        shards: per shard its arrays, a row per sample; each is let go before the next is asked for.
        k: 0 <= k <= N, samples in all shards together.
        per_shard: picks in every shard, k unless given; all of a shard that has fewer. The second stage needs k of
            them in all.

    Returns:
        (k,) int64 distinct positions in the shards laid end to end, in order of choice.

    Raises:
        InvalidArrayError: a shard's arrays have different lengths.
        InvalidInputError: k or per_shard is negative, or fewer than k picks come together.

    Cost: one selection per shard and one among the picks of all; memory for one shard and all picks.

    Source: for k-center Malkomes, Kusner, Chen, Weinberger, Moseley 2015; for submodular objectives Mirzasoleiman,
    Karbasi, Sarkar, Krause 2013 (GreeDi).

    >>> from al_service.acquisition.k_center import k_center
    >>> line = np.array([[0.0], [1.0], [5.0], [9.0], [8.0]])
    >>> two_stage(lambda arrays, count: k_center(arrays[0], count), [[line[:2]], [line[2:]]], 2)
    array([2, 0])
    """
    count = k if per_shard is None else per_shard
    return merge_picks(select, [pick_in_shard(select, arrays, count) for arrays in shards], k)


def pick_in_shard(select: Select, arrays: Sequence[FloatArray], count: int) -> ShardPicks:
    """The picks of one shard with their rows: `count` of them, or all samples where there are fewer.

    Raises:
        InvalidArrayError: no arrays, or arrays of different lengths.
        InvalidInputError: count is negative or not a whole number.
    """
    sizes = {len(array) for array in arrays}
    if len(sizes) != 1:
        raise InvalidArrayError(f"a shard's arrays have {sorted(sizes)} rows; expected one row each per sample")
    size = sizes.pop()
    positions = _as_numpy(select(arrays, min(check_count(count, 2**62, name="count"), size)))
    return ShardPicks(positions, tuple(_rows(array, positions) for array in arrays), size)


def merge_picks(select: Select, picks: Sequence[ShardPicks], k: int) -> np.ndarray:
    """k of the shards' picks, as positions in the shards laid end to end.

    Raises:
        InvalidInputError: k is negative or above the number of picks.
    """
    proposed = sum(len(one.positions) for one in picks)
    k = check_count(k, 2**62)
    if k > proposed:
        raise InvalidInputError(f"k is {k}, and the shards picked {proposed}; ask each of them for more (per_shard)")
    if not proposed:
        return np.empty(0, np.int64)
    starts = np.cumsum([0, *(one.shard_size for one in picks)])[:-1]
    positions = np.concatenate([start + one.positions for start, one in zip(starts, picks, strict=True)])
    together = [_joined(rows) for rows in zip(*(one.arrays for one in picks), strict=True)]
    return positions[_as_numpy(select(together, k))]


def _joined(rows: Sequence[FloatArray]) -> FloatArray:
    tensors = [one for one in rows if isinstance(one, Tensor)]
    return torch.cat(tensors) if tensors else np.concatenate(rows)


def _rows(array: FloatArray, positions: np.ndarray) -> FloatArray:
    if isinstance(array, Tensor):
        return array[torch.from_numpy(positions).to(array.device)]
    return array[positions]


def _as_numpy(positions: IntArray) -> np.ndarray:
    return positions.cpu().numpy() if isinstance(positions, Tensor) else positions

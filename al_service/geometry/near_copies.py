"""Near-copies among images, by their pixels: the same picture cropped by a little, re-saved, brighter or resized.

Pixels and not embeddings, because a young network says that many images are alike, and because what is told apart here
must be told apart in every round. Two looks, so that few pairs pay for the second:

1. Every image is shrunk to 8 x 8 in colour, less its mean colour, and all pairs are compared by correlation in blocks.
   Correlation does not see brightness and contrast.
2. Pairs that correlate there are compared at 16 x 16, also with a sixteenth of either image cut off at any of its
   sides, and the best correlation counts.

Pairs above the limit are joined to groups. The limits were measured: docs/queue.md has the figures.
"""

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from al_service.errors import InvalidInputError

#: Images compared with each other at most; those behind them have no group. All pairs of so many take half a minute.
COMPARED_MAX = 100_000
_COARSE_PX, _FINE_PX = 8, 16
_COARSE_LEAST = 0.85
_FINE_LEAST = 0.97
#: Below 16 pixels there is too little to see: two people's zeros correlate by 0.98.
_SMALL_LEAST = 0.99
#: Grey levels by which the pixels of a shrunk image must vary; an empty wall is no copy of another one.
_CONTRAST_LEAST = 2.0
_READ_ROWS = 256
_BLOCK = 2048
#: Pairs that get a second look at most, the closest first.
PAIRS_MAX = 200_000


def near_copies(pixels: Any, *, compared_max: int = COMPARED_MAX, pairs_max: int = PAIRS_MAX) -> np.ndarray:
    """The group of each image: near-copies of each other share a number; -1 for an image without any.

    Args:
        pixels: (N, H, W, 3) uint8 array-like; sliced and picked from piece by piece.
        compared_max, pairs_max: what bounds the cost, as above.

    Returns:
        (N,) int64; groups are numbered from 0 by their first image.

    Raises:
        InvalidInputError: another shape.

    Cost: N^2 / 2 correlations of 192 numbers, and 31 of 768 for each of at most 200,000 pairs that get a second look.
        Memory: 768 bytes an image and about 150 MB.

    >>> dark = np.arange(8 * 8 * 3, dtype=np.uint8).reshape(1, 8, 8, 3) // 2
    >>> near_copies(np.concatenate([dark, 255 - dark, dark + 20])).tolist()
    [0, -1, 0]
    """
    shape = tuple(pixels.shape)
    if len(shape) != 4 or shape[3] != 3:
        raise InvalidInputError(f"pixels have shape {shape}, expected (N, H, W, 3)")
    count = min(len(pixels), compared_max)
    groups = np.full(len(pixels), -1, np.int64)
    if count < 2:
        return groups
    pairs = _verified(pixels, _candidates(_coarse(pixels, count), pairs_max))
    groups[:count] = _joined(count, pairs)
    return groups


def _coarse(pixels: Any, count: int) -> Tensor:
    """(count, 192) unit rows; zeros for images without contrast, which then correlate with nothing."""
    rows = [_read(pixels, slice(start, min(count, start + _READ_ROWS))) for start in range(0, count, _READ_ROWS)]
    return torch.cat([_unit(_shrunk(images, _COARSE_PX), _CONTRAST_LEAST) for images in rows])


def _read(pixels: Any, which: Any) -> Tensor:
    """Those images as (n, 3, H, W) float32, 64 x 64 where they are larger."""
    values = torch.from_numpy(np.array(pixels[which])).permute(0, 3, 1, 2).float()
    return values if max(values.shape[2:]) <= 4 * _FINE_PX else _shrunk(values, 4 * _FINE_PX)


def _shrunk(images: Tensor, side: int) -> Tensor:
    """(n, 3, side, side), each pixel the mean of its area."""
    return images if images.shape[2:] == (side, side) else functional.interpolate(images, (side, side), mode="area")


def _unit(images: Tensor, contrast_least: float = 0.0) -> Tensor:
    """(n, 3 h w): each less its mean colour, of length one; products of rows are correlations."""
    rows = (images - images.mean((2, 3), keepdim=True)).flatten(1)
    length = rows.norm(dim=1, keepdim=True)
    is_flat = length < max(contrast_least, 1e-6) * rows.shape[1] ** 0.5
    return torch.where(is_flat, 0.0, rows / length.clamp_min(1e-6))


def _candidates(coarse: Tensor, pairs_max: int) -> Tensor:
    """(P, 2) pairs first < second that may be near-copies, the closest where there are very many."""
    pairs, closeness = torch.empty((0, 2), dtype=torch.int64), torch.empty(0)
    for start in range(0, len(coarse), _BLOCK):
        for other in range(start, len(coarse), _BLOCK):
            close = coarse[start : start + _BLOCK] @ coarse[other : other + _BLOCK].T
            if other == start:
                close = close.triu(1)
            found = torch.nonzero(close >= _COARSE_LEAST)
            pairs = torch.cat([pairs, found + torch.tensor([start, other])])
            closeness = torch.cat([closeness, close[found[:, 0], found[:, 1]]])
            if len(pairs) > 2 * pairs_max:
                pairs, closeness = _closest(pairs, closeness, pairs_max)
    return _closest(pairs, closeness, pairs_max)[0]


def _closest(pairs: Tensor, closeness: Tensor, most: int) -> tuple[Tensor, Tensor]:
    """Not more pairs than get a second look, in their order."""
    if len(pairs) <= most:
        return pairs, closeness
    kept = closeness.topk(most).indices.sort().values
    return pairs[kept], closeness[kept]


def _verified(pixels: Any, pairs: Tensor) -> Tensor:
    """Those of the pairs that hold the second look."""
    least = _FINE_LEAST if min(pixels.shape[1:3]) >= _FINE_PX else _SMALL_LEAST
    kept = [part[_best_correlation(pixels, part) >= least] for part in torch.split(pairs, _READ_ROWS)]
    return torch.cat(kept) if kept else pairs


def _best_correlation(pixels: Any, pairs: Tensor) -> Tensor:
    """(P,) correlation of each pair, either of them cut as it fits best."""
    which, places = torch.unique(pairs, return_inverse=True)
    images = _read(pixels, which.numpy())
    side = min(_FINE_PX, *images.shape[2:])
    cuts = torch.stack([_unit(_shrunk(part, side)) for part in _cuts(images)], 1)  # (images, cuts, 3 side side)
    one, other = cuts[places[:, 0]], cuts[places[:, 1]]
    to_other = torch.einsum("pd,pcd->pc", one[:, 0], other).amax(1)
    return torch.maximum(to_other, torch.einsum("pd,pcd->pc", other[:, 0], one).amax(1))


def _cuts(images: Tensor) -> Iterator[Tensor]:
    """The images whole, then with a sixteenth cut off at some of the four sides."""
    yield images
    high, wide = images.shape[2:]
    y, x = round(high / 16), round(wide / 16)
    if min(high, wide) < _FINE_PX:
        return
    for top, bottom, left, right in list(itertools.product((0, 1), repeat=4))[1:]:
        yield images[:, :, top * y : high - bottom * y, left * x : wide - right * x]


def _joined(count: int, pairs: Tensor) -> np.ndarray:
    """(count,) group of each, by following pairs; -1 for those in none."""
    parent = list(range(count))

    def root(at: int) -> int:
        while parent[at] != at:
            parent[at] = parent[parent[at]]
            at = parent[at]
        return at

    for first, second in pairs.tolist():
        low, high = sorted((root(first), root(second)))
        parent[high] = low  # the first image of a group stays its root
    roots = np.array([root(at) for at in range(count)], np.int64)
    members = np.bincount(roots, minlength=count)
    numbers = np.where(members > 1, np.cumsum(members > 1) - 1, -1)
    return np.asarray(numbers[roots])

"""Rows and hashes for the tests of row stores."""

import hashlib

import numpy as np
from numpy.typing import NDArray


def hashes_of(*numbers: int) -> list[str]:
    """A hash for each number."""
    return [hashlib.sha256(str(number).encode()).hexdigest() for number in numbers]


def hash_range(start: int, stop: int) -> list[str]:
    """As `hashes_of` for a range."""
    return hashes_of(*range(start, stop))


def pixels_of(count: int, px: int = 4, seed: int = 0) -> NDArray[np.uint8]:
    """Random (count, px, px, 3) pixels."""
    return np.random.default_rng(seed).integers(0, 256, (count, px, px, 3), dtype=np.uint8)


def smooth_pixels(count: int, px: int, seed: int = 0) -> NDArray[np.uint8]:
    """Pixels that change slowly, as photographs do: what JPEG is made for."""
    corners = np.random.default_rng(seed).uniform(0, 255, (count, 2, 2, 3))
    ramp = np.linspace(0, 1, px)
    down = corners[:, :1] * (1 - ramp)[None, :, None, None] + corners[:, 1:] * ramp[None, :, None, None]
    across = (
        down[:, :, :1] * (1 - ramp)[None, None, :, None] + down[:, :, 1:] * ramp[None, None, :, None]
    )  # (count, px, px, 3)
    return across.astype(np.uint8)

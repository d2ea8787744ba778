"""Minibatches of pixels from disk, the next one read while the network is busy with this one. Called by inference.py.

A memory map is read when it is touched, so the copy in a second thread is the reading. Arrays in memory need no thread.
"""

from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from torch import Tensor


def read_ahead(pixels: Any, size: int, *, pin: bool = False) -> Generator[tuple[int, Tensor], None, None]:
    """Give (first row, (n, H, W, 3) uint8 tensor) for all rows, `size` at a time, in order.

    Args:
        pixels: array-like, sliced.
        size: the last part may be smaller.
        pin: put them into memory that a GPU fetches from by itself.
    """
    starts = range(0, len(pixels), size)

    def read(start: int) -> Tensor:
        tensor = torch.from_numpy(_own_rows(pixels[start : start + size]))
        return tensor.pin_memory() if pin else tensor

    if len(starts) < 2 or _is_in_memory(pixels):
        for start in starts:
            yield start, read(start)
        return
    with ThreadPoolExecutor(1, "read-ahead") as reader:
        coming = reader.submit(read, starts[0])
        for start in starts:
            tensor = coming.result()
            if start + size < len(pixels):
                coming = reader.submit(read, start + size)
            yield start, tensor


def _is_in_memory(pixels: Any) -> bool:
    return type(pixels) is np.ndarray and not isinstance(pixels.base, np.memmap)


def _own_rows(rows: Any) -> np.ndarray:
    """Rows that torch can wrap: in memory, writable, in order; copied only where they are not."""
    if type(rows) is np.ndarray and rows.flags.writeable and rows.flags.c_contiguous and _is_in_memory(rows):
        return rows
    return np.array(rows)

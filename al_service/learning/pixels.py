"""Pixels as the networks take them: (N, px, px, 3) uint8, made from stored images by a few threads.

Decoding itself is in al_service/images.py; where the bytes come from is the caller's business.
"""

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from al_service import images
from al_service.errors import InvalidInputError

OnProgress = Callable[[int, int], None]
_SLICE_PER_THREAD = 16


class InvalidPixelsError(InvalidInputError):
    """Pixels that are not (N, px, px, 3) uint8 of the side that the network was built for."""

    code = "invalid_pixels"


def check_pixels(pixels: Any, image_px: int) -> None:
    """Raises InvalidPixelsError unless pixels are (N, image_px, image_px, 3) uint8."""
    shape, dtype = tuple(pixels.shape), str(pixels.dtype)
    if len(shape) != 4 or shape[1:] != (image_px, image_px, 3) or dtype != "uint8":
        raise InvalidPixelsError(
            f"pixels have shape {shape} and dtype {dtype}; expected (N, {image_px}, {image_px}, 3) uint8"
        )


class PixelCache:
    """Decoded images of a long-lived worker, the least recently used dropped first. Safe to share between threads.

    Args:
        max_bytes: of all pixels held; 0 holds nothing.
    """

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self._held: OrderedDict[tuple[str, int], np.ndarray] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    @property
    def held_bytes(self) -> int:
        """Bytes held now; never above max_bytes."""
        return self._bytes

    def __len__(self) -> int:
        return len(self._held)

    def find(self, content_hash: str, image_px: int) -> np.ndarray | None:
        """The read-only pixels of that image at that size, or None."""
        with self._lock:
            pixels = self._held.get((content_hash, image_px))
            if pixels is not None:
                self._held.move_to_end((content_hash, image_px))
            return pixels

    def keep(self, content_hash: str, image_px: int, pixels: np.ndarray) -> None:
        """Hold a copy of these pixels, unless they alone are more than may be held."""
        if pixels.nbytes > self.max_bytes:
            return
        held = pixels.copy()
        held.flags.writeable = False
        with self._lock:
            before = self._held.pop((content_hash, image_px), None)
            self._bytes += held.nbytes - (0 if before is None else before.nbytes)
            self._held[content_hash, image_px] = held
            while self._bytes > self.max_bytes:
                _, dropped = self._held.popitem(last=False)
                self._bytes -= dropped.nbytes


def stack_pixels(
    read: Callable[[str], bytes],
    keys: Sequence[str],
    image_px: int,
    threads: int = 4,
    on_progress: OnProgress | None = None,
    cache: PixelCache | None = None,
) -> np.ndarray:
    """The images as one array, in the order of the keys.

    Args:
        read: gives an image file's bytes for a key; called from several threads.
        keys: with a cache, keys are content hashes.
        image_px: side of the squares.
        threads: how many read and decode at a time; Pillow decodes outside Python's lock.
        on_progress: called in this thread with (done, N); what it raises stops the work.
        cache: looked into first, filled after.

    Returns:
        (N, image_px, image_px, 3) uint8.

    Raises:
        UnreadableImageError: an image cannot be decoded; its details hold the key. What `read` raises passes through.
    """
    if threads < 1 or image_px < 1:
        raise InvalidInputError(f"threads is {threads} and image_px is {image_px}, expected at least 1")
    pixels = np.empty((len(keys), image_px, image_px, 3), np.uint8)

    def fill(position: int) -> None:
        pixels[position] = _square(read, keys[position], image_px, cache)

    with ThreadPoolExecutor(threads) as pool:
        # In slices, so that an error or a stop leaves at most one slice to finish.
        for start in range(0, len(keys), threads * _SLICE_PER_THREAD):
            stop = min(len(keys), start + threads * _SLICE_PER_THREAD)
            for _ in pool.map(fill, range(start, stop)):
                pass
            if on_progress is not None:
                on_progress(stop, len(keys))
    return pixels


def _square(read: Callable[[str], bytes], key: str, image_px: int, cache: PixelCache | None) -> np.ndarray:
    held = None if cache is None else cache.find(key, image_px)
    if held is not None:
        return held
    try:
        square = images.square_pixels(read(key), image_px)
    except images.UnreadableImageError as error:
        error.details["key"] = key
        error.add_note(f"image {key}")
        raise
    if cache is not None:
        cache.keep(key, image_px, square)
    return square

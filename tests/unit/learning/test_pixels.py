"""Stacking stored images, and the cache between rounds."""

import io
import threading

import numpy as np
import pytest
from PIL import Image

from al_service.errors import InvalidInputError
from al_service.images import UnreadableImageError, square_pixels
from al_service.learning.pixels import PixelCache, stack_pixels


def png(value: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (12, 10), (value, value, value)).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.mark.parametrize("threads", [1, 4])
def test_images_come_in_the_order_of_their_keys(threads):
    keys = [str(value) for value in range(150)]
    pixels = stack_pixels(lambda key: png(int(key)), keys, 8, threads)
    assert pixels.shape == (150, 8, 8, 3) and pixels.dtype == np.uint8
    np.testing.assert_array_equal(pixels[:, 0, 0, 0], np.arange(150))
    np.testing.assert_array_equal(pixels[7], square_pixels(png(7), 8))


def test_no_keys_give_no_pixels():
    assert stack_pixels(lambda key: b"", [], 8).shape == (0, 8, 8, 3)


def test_progress_is_told_in_this_thread_and_may_stop():
    told = []

    def note(done: int, total: int) -> None:
        told.append((done, total, threading.current_thread() is threading.main_thread()))
        if done >= 64:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stack_pixels(lambda key: png(1), [str(one) for one in range(100)], 8, 2, note)
    assert told == [(32, 100, True), (64, 100, True)]


def test_an_unreadable_image_is_named():
    with pytest.raises(UnreadableImageError) as caught:
        stack_pixels(lambda key: b"no image" if key == "bad" else png(1), ["good", "bad"], 8)
    assert caught.value.details["key"] == "bad"


def test_what_reading_raises_passes_through():
    def read(key: str) -> bytes:
        raise FileNotFoundError(key)

    with pytest.raises(FileNotFoundError):
        stack_pixels(read, ["a"], 8)


def test_a_size_below_1_is_refused():
    with pytest.raises(InvalidInputError, match="image_px is 0"):
        stack_pixels(lambda key: png(1), ["a"], 0)
    with pytest.raises(InvalidInputError, match="threads is 0"):
        stack_pixels(lambda key: png(1), ["a"], 8, 0)


def test_a_second_stack_reads_from_the_cache():
    reads = []

    def read(key: str) -> bytes:
        reads.append(key)
        return png(int(key))

    cache = PixelCache(10**6)
    first = stack_pixels(read, ["1", "2"], 8, cache=cache)
    np.testing.assert_array_equal(stack_pixels(read, ["2", "1", "3"], 8, cache=cache)[:2], first[::-1])
    assert sorted(reads) == ["1", "2", "3"]
    stack_pixels(read, ["1"], 16, cache=cache)
    assert len(reads) == 4


def test_the_cache_drops_the_least_recently_used_and_keeps_within_its_bound():
    one = np.zeros((8, 8, 3), np.uint8)
    cache = PixelCache(2 * one.nbytes)
    for key in ("a", "b"):
        cache.keep(key, 8, one)
    assert cache.find("a", 8) is not None
    cache.keep("c", 8, one)
    assert (cache.find("a", 8) is not None, cache.find("b", 8), cache.find("c", 8) is not None) == (True, None, True)
    assert len(cache) == 2 and cache.held_bytes == 2 * one.nbytes
    cache.keep("a", 8, one)
    assert cache.held_bytes == 2 * one.nbytes


def test_the_cache_refuses_what_is_larger_than_itself_and_its_pixels_cannot_be_changed():
    cache = PixelCache(200)
    cache.keep("large", 64, np.zeros((64, 64, 3), np.uint8))
    assert len(cache) == 0
    mine = np.zeros((8, 8, 3), np.uint8)
    cache.keep("small", 8, mine)
    mine[:] = 9
    held = cache.find("small", 8)
    assert held.max() == 0
    with pytest.raises(ValueError, match="read-only"):
        held[0] = 1

"""Stacking stored images, and the cache between rounds."""

import io
import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from al_service.errors import InvalidInputError
from al_service.images import UnreadableImageError, plain_jpeg_bytes, square_pixels
from al_service.learning import decoding
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


# -- decoding by several cores -------------------------------------------------------------------------------------


def jpeg(seed: int, side: int = 16, **options) -> bytes:
    buffer = io.BytesIO()
    noise = np.random.default_rng(seed).integers(0, 256, (side, side, 3), np.uint8)
    Image.fromarray(noise).save(buffer, "JPEG", **options)
    return buffer.getvalue()


def as_opened(data: bytes) -> np.ndarray:
    """Pixels by the way of every other file."""
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


@pytest.mark.parametrize(
    "options", [{}, {"quality": 10}, {"subsampling": 0}, {"progressive": True}, {"optimize": True}]
)
def test_a_plain_jpeg_of_the_size_has_the_same_pixels_on_the_short_way(options):
    data = jpeg(1, **options)
    assert plain_jpeg_bytes(data, 16) == as_opened(data).tobytes()
    pixels = square_pixels(data, 16)
    np.testing.assert_array_equal(pixels, as_opened(data))
    pixels[:] = 0  # its own, to be written to


def test_other_files_take_the_long_way():
    turned = Image.Exif()
    turned[0x0112] = 6
    grey = io.BytesIO()
    Image.new("L", (16, 16), 7).save(grey, "JPEG")
    cmyk = io.BytesIO()
    Image.new("CMYK", (16, 16)).save(cmyk, "JPEG")
    others = [jpeg(1, exif=turned), jpeg(1, side=17), grey.getvalue(), cmyk.getvalue(), png(3), b"", b"\xff\xd8"]
    assert [plain_jpeg_bytes(data, 16) for data in others] == [None] * len(others)
    np.testing.assert_array_equal(square_pixels(others[0], 16), np.rot90(as_opened(others[0]), -1))


def test_a_damaged_jpeg_gives_the_same_pixels_or_the_same_refusal():
    rng = np.random.default_rng(0)
    whole = jpeg(2)
    for _ in range(500):
        data = bytearray(whole)
        data[rng.integers(0, len(data))] = rng.integers(0, 256)
        data = bytes(data[: rng.integers(2, len(data))] if rng.random() < 0.2 else data)
        short = plain_jpeg_bytes(data, 16)
        if short is not None:
            assert short == as_opened(data).tobytes()


@pytest.mark.parametrize("workers", [1, 2, None])
def test_decoding_equals_square_pixels_in_the_order_of_the_keys(workers):
    files = {str(one): jpeg(one) if one % 3 else png(one % 256) for one in range(150)}
    pixels = decoding.decode_pixels(files.__getitem__, list(files), 16, workers)
    np.testing.assert_array_equal(pixels, np.stack([square_pixels(data, 16) for data in files.values()]))


def test_many_small_files_are_decoded_by_processes_to_the_same_pixels():
    files = [jpeg(seed) for seed in range(7)]
    keys = [str(one) for one in range(decoding.PROCESSES_FROM + 5)]
    told = []
    pixels = decoding.decode_pixels(
        lambda key: files[int(key) % 7], keys, 16, 2, lambda done, total: told.append((done, total))
    )
    np.testing.assert_array_equal(pixels[:7], np.stack([square_pixels(data, 16) for data in files]))
    np.testing.assert_array_equal(pixels, pixels[:7][np.arange(len(keys)) % 7])
    assert told[-1] == (len(keys), len(keys)) and told == sorted(told)


@pytest.mark.parametrize("count", [10, decoding.PROCESSES_FROM])
def test_a_file_that_cannot_be_decoded_is_named_by_threads_and_processes(count):
    keys = [str(one) for one in range(count)]
    good = jpeg(1)
    with pytest.raises(UnreadableImageError, match="the file is empty") as caught:
        decoding.decode_pixels(lambda key: b"" if key == "7" else good, keys, 16, 2)
    assert caught.value.details["key"] == "7" and caught.value.reason == "empty"


def test_decoding_goes_on_when_a_process_is_gone():
    files = [jpeg(seed) for seed in range(5)]
    with decoding.decoding_process() as connection:
        connection.close()
        into = np.empty((5, 16, 16, 3), np.uint8)
        assert not decoding.decode_there(connection, files, into, 16)
    with decoding.decoding_process() as connection:
        assert decoding.decode_there(connection, files, into, 16)
        np.testing.assert_array_equal(into, np.stack([square_pixels(data, 16) for data in files]))


def test_decoding_stops_when_progress_raises_and_refuses_odd_numbers():
    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        decoding.decode_pixels(lambda key: jpeg(1), [str(one) for one in range(200)], 16, 2, stop)
    with pytest.raises(FileNotFoundError):
        decoding.decode_pixels(lambda key: Path("/nowhere", key).read_bytes(), ["a"], 16)
    with pytest.raises(InvalidInputError, match="workers is 0"):
        decoding.decode_pixels(lambda key: b"", ["a"], 16, 0)
    assert decoding.decode_pixels(lambda key: b"", [], 16).shape == (0, 16, 16, 3)

"""Decoding many images: the same pixels as one by one, by threads and by processes."""

import io
import os
import threading
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from al_service.errors import InvalidInputError, NotFoundError
from al_service.images import UnreadableImageError, plain_jpeg_bytes, square_pixels
from al_service.learning import decoding


def png(value: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (12, 10), (value, value, value)).save(buffer, "PNG")
    return buffer.getvalue()


def test_no_keys_give_no_pixels():
    assert decoding.decode_pixels(lambda key: b"", [], 8).shape == (0, 8, 8, 3)


def test_what_reading_raises_passes_through():
    def read(key: str) -> bytes:
        raise FileNotFoundError(key)

    with pytest.raises(FileNotFoundError):
        decoding.decode_pixels(read, ["a"], 8)


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
        assert decoding.decode_there(connection, files, into, 16) is None
    with decoding.decoding_process() as connection:
        assert decoding.decode_there(connection, files, into, 16) == []
        np.testing.assert_array_equal(into, np.stack([square_pixels(data, 16) for data in files]))


# -- files that are left out ----------------------------------------------------------------------------------------


def not_found(key: str) -> bytes:
    raise NotFoundError(f"no artifact {key!r}")


@pytest.mark.parametrize(("count", "readers"), [(200, None), (200, 16), (decoding.PROCESSES_FROM, None)])
def test_files_that_cannot_be_had_are_left_out_with_their_reasons_and_read_once(count, readers):
    """One bad file costs nothing but itself, by threads and by processes."""
    good = [jpeg(seed) for seed in range(3)]
    bad = {3: b"", 64: None, 70: good[0][:200], 71: None, count - 1: b"no image"}
    asked = Counter()

    def read(key: str) -> bytes:
        asked[key] += 1
        data = bad.get(int(key), good[int(key) % 3])
        return not_found(key) if data is None else data

    keys = [str(one) for one in range(count)]
    with decoding.Decoder(16, workers=2, readers=readers) as decoder:
        decoded = decoder.decode(read, keys)
    told = [(one.position, getattr(one.error, "reason", type(one.error).__name__)) for one in decoded.failures]
    assert told == [
        (3, "empty"), (64, "NotFoundError"), (70, "damaged"), (71, "NotFoundError"), (count - 1, "not_an_image"),
    ]  # fmt: skip
    assert decoded.failures[0].error.details["key"] == "3"
    expected = np.stack([square_pixels(data, 16) for data in good])
    left = [one for one in range(count) if one not in bad]
    np.testing.assert_array_equal(decoded.pixels, expected[np.array(left) % 3])
    assert all(asked[key] == 1 for key in keys[1:])


def test_all_files_missing_or_none_asked_for():
    with decoding.Decoder(8) as decoder:
        decoded = decoder.decode(not_found, ["a", "b"])
        assert decoded.pixels.shape == (0, 8, 8, 3) and [one.position for one in decoded.failures] == [0, 1]
        assert decoder.decode(not_found, []).failures == ()
    with pytest.raises(NotFoundError, match="no artifact 'a'"):
        decoding.decode_pixels(not_found, ["a", "b"], 8)


def test_a_block_of_which_every_file_is_missing_among_others():
    keys = [str(one) for one in range(200)]
    good = jpeg(1)
    with decoding.Decoder(16, workers=1) as decoder:
        decoded = decoder.decode(lambda key: not_found(key) if 64 <= int(key) < 128 else good, keys)
    assert [one.position for one in decoded.failures] == list(range(64, 128))
    assert len(decoded.pixels) == 136 and (decoded.pixels == square_pixels(good, 16)).all()


@pytest.mark.parametrize("count", [10, decoding.PROCESSES_FROM])
def test_images_of_too_many_pixels_are_left_out_by_threads_and_processes(count):
    """Also where a JPEG has the wanted side already."""
    files = [jpeg(1), jpeg(2, side=20), jpeg(3, side=21)]
    keys = [str(one) for one in range(count)]
    for pixels_max, refused in ((16 * 16, {1, 2}), (16 * 16 - 1, {0, 1, 2})):
        with decoding.Decoder(16, workers=2, pixels_max=pixels_max) as decoder:
            decoded = decoder.decode(lambda key: files[int(key) % 3], keys)
        assert {one.position for one in decoded.failures} == {one for one in range(count) if one % 3 in refused}
        assert {one.error.reason for one in decoded.failures} == {"too_many_pixels"}
    with pytest.raises(UnreadableImageError, match="400 pixels, at most 256"):
        decoding.decode_pixels(files.__getitem__, [1], 16, pixels_max=256)


def test_processes_serve_all_parts_of_a_decoder_and_end_with_it():
    """Also parts that alone would be too small to start processes for."""
    good = jpeg(1)
    with decoding.Decoder(16, workers=2, expected_count=decoding.PROCESSES_FROM) as decoder:
        children = set()
        for count in (70, 1, 70):
            decoded = decoder.decode(lambda key: good, [str(one) for one in range(count)])
            assert len(decoded.pixels) == count and (decoded.pixels == square_pixels(good, 16)).all()
            children.add(frozenset(decoding_children()))
        assert len(children) == 1 and len(next(iter(children))) == 2
    assert not decoding_children()


def decoding_children() -> set[int]:
    """Processes of ours that decode."""
    found = set()
    for task in Path("/proc/self/task").iterdir():
        for child in (task / "children").read_text().split():
            if b"al_service.learning.decoding_process" in Path("/proc", child, "cmdline").read_bytes():
                found.add(int(child))
    return found


def test_many_threads_read_and_no_more_decode_than_workers():
    """Sixteen readers wait for one another: with fewer none would come through."""
    together = threading.Barrier(16)
    good = jpeg(1)

    def read(key: str) -> bytes:
        if int(key) % 8 == 0:
            together.wait(timeout=60)
        return good

    with decoding.Decoder(16, workers=1, readers=16) as decoder:
        assert len(decoder.decode(read, [str(one) for one in range(16 * 8)]).pixels) == 128


def test_as_many_decode_as_this_process_may_use_cores():
    assert 1 <= decoding.cores() <= (os.cpu_count() or 1)
    if hasattr(os, "sched_setaffinity"):
        before = os.sched_getaffinity(0)
        try:
            os.sched_setaffinity(0, {min(before)})
            assert decoding.cores() == 1
        finally:
            os.sched_setaffinity(0, before)


def test_decoding_stops_when_progress_raises_and_refuses_odd_numbers():
    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        decoding.decode_pixels(lambda key: jpeg(1), [str(one) for one in range(200)], 16, 2, stop)
    with pytest.raises(FileNotFoundError):
        decoding.decode_pixels(lambda key: Path("/nowhere", key).read_bytes(), ["a"], 16)
    with pytest.raises(InvalidInputError, match="workers is 0"):
        decoding.decode_pixels(lambda key: b"", ["a"], 16, 0)
    with pytest.raises(InvalidInputError, match="readers 0"):
        decoding.Decoder(16, readers=0)
    assert decoding.decode_pixels(lambda key: b"", [], 16).shape == (0, 16, 16, 3)

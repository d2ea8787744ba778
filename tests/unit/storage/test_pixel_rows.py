"""Pixels as JPEG files: the same interface as raw rows, close to the original, the same each time."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from al_service.errors import InvalidInputError
from al_service.storage.artifacts import FileArtifacts
from al_service.storage.pixel_rows import JpegRows, open_pixel_rows
from al_service.storage.row_store import MissingRowsError, RowStore
from tests.unit.storage.row_samples import hash_range, smooth_pixels


def by_image_open(pixels: np.ndarray) -> np.ndarray:
    """The slow and obvious way there and back."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=95, subsampling=0)
    return np.asarray(Image.open(file))


@pytest.mark.parametrize("px", [1, 7, 32, 224])
@pytest.mark.parametrize("threads", [1, 3])
def test_rows_come_back_as_pillow_would_give_them(tmp_path: Path, px: int, threads: int) -> None:
    rows = smooth_pixels(30, px)
    wanted = np.stack([by_image_open(one) for one in rows])
    store = JpegRows(tmp_path, px, threads=threads)
    for start in (0, 10, 20):
        store.append(hash_range(start, start + 10), rows[start : start + 10])
    view = JpegRows(tmp_path, px, threads=threads).view(hash_range(0, 30))
    assert (view.shape, view.dtype) == ((30, px, px, 3), np.uint8)
    np.testing.assert_array_equal(view[:], wanted)
    positions = np.array([29, 0, 0, 15, 14, 7])
    np.testing.assert_array_equal(view[positions], wanted[positions])
    np.testing.assert_array_equal(view[-3], wanted[-3])
    out = np.empty((2, px, px, 3), np.uint8)
    np.testing.assert_array_equal(view.gather(slice(9, 11), out=out), wanted[9:11])


def test_what_is_lost_is_little(tmp_path: Path) -> None:
    rows = smooth_pixels(8, 64)
    store = JpegRows(tmp_path, 64)
    store.append(hash_range(0, 8), rows)
    back = store.view(hash_range(0, 8))[:]
    assert np.abs(back.astype(int) - rows).mean() < 1.5
    assert store.held_bytes() < rows.nbytes / 2


def test_no_rows_missing_rows_and_wrong_rows(tmp_path: Path) -> None:
    store = JpegRows(tmp_path, 8)
    store.append([], smooth_pixels(0, 8))
    assert store.view([])[:].shape == (0, 8, 8, 3)
    with pytest.raises(MissingRowsError, match="1 of 1 rows"):
        store.view(hash_range(0, 1))
    with pytest.raises(InvalidInputError, match="rows have shape"):
        store.append(hash_range(0, 1), smooth_pixels(1, 9))
    for px, threads in ((0, 1), (8, 0), (100_000, 1)):
        with pytest.raises(InvalidInputError):
            JpegRows(tmp_path, px, threads=threads)


def test_merging_keeps_the_files_as_they_are(tmp_path: Path) -> None:
    """Encoding again at each merge would blur them."""
    rows = smooth_pixels(40, 16)
    store = JpegRows(tmp_path, 16)
    for start in range(0, 40, 4):
        store.append([*hash_range(start, start + 4), *hash_range(0, 1)], rows[[*range(start, start + 4), 0]])
    before = store.view(hash_range(0, 40))[:]
    store.compact(everything=True)
    assert len(list(tmp_path.glob("*.rows"))) == 1
    np.testing.assert_array_equal(JpegRows(tmp_path, 16).view(hash_range(0, 40))[:], before)


def test_raw_while_it_fits_the_budget_else_jpeg(tmp_path: Path) -> None:
    image_bytes = 16 * 16 * 3
    shared = FileArtifacts(tmp_path / "shared")
    fits = open_pixel_rows(tmp_path, 16, 10, 10 * image_bytes, shared, mirror_prefix="caches/pixels")
    too_many = open_pixel_rows(tmp_path, 16, 11, 10 * image_bytes, shared, mirror_prefix="caches/pixels")
    assert (type(fits), type(too_many)) == (RowStore, JpegRows)
    assert type(open_pixel_rows(tmp_path, 16, 0, 0)) is RowStore
    assert type(open_pixel_rows(tmp_path, 16, 1, 0)) is JpegRows
    for store in (fits, too_many):
        store.append(hash_range(0, 3), smooth_pixels(3, 16))
        assert store.view(hash_range(0, 3))[:].shape == (3, 16, 16, 3)
    assert sorted({name.rpartition("/")[0] for name in shared.names("")}) == [
        "caches/pixels/16px-jpeg", "caches/pixels/16px-raw",
    ]  # fmt: skip
    for px, count, max_bytes in ((0, 1, 1), (16, -1, 1), (16, 1, -1)):
        with pytest.raises(InvalidInputError):
            open_pixel_rows(tmp_path, px, count, max_bytes)

"""Where a pool's decoded pixels lie: raw rows while they fit the disk budget, small JPEG files where they do not."""

from collections.abc import Sequence
from pathlib import Path

from al_service.errors import InvalidInputError
from al_service.loop.ports import Artifacts
from al_service.storage.row_packing import JpegPacking
from al_service.storage.row_store import RowStore

IMAGE_PX_MAX = 4096


class JpegRows(RowStore):
    """As `RowStore`, for (px, px, 3) uint8 pixels kept as JPEG files of quality 95 in full colour resolution.

    What comes back differs from what was appended by what JPEG loses, and is the same each time.

    Args:
        folder, mirror, mirror_prefix: as in `RowStore`.
        image_px: side of the squares.
        threads: that encode and decode; all cores by default.
    """

    def __init__(
        self,
        folder: Path,
        image_px: int,
        *,
        threads: int | None = None,
        mirror: Artifacts | None = None,
        mirror_prefix: str = "",
    ) -> None:
        _check_px(image_px)
        if threads is not None and threads < 1:
            raise InvalidInputError(f"threads is {threads}, expected 1 or more")
        self._open(folder, JpegPacking(image_px, threads), mirror, mirror_prefix)


def open_pixel_rows(
    folder: Path,
    image_px: int,
    expected_count: int,
    max_bytes: int,
    mirror: Artifacts | None = None,
    *,
    mirror_prefix: str = "",
    threads: int | None = None,
) -> RowStore:
    """The store for a pool's pixels: raw where `expected_count` images fit into max_bytes, else JPEG.

    Args:
        folder: of this preprocessing; both kinds and all sizes have their own folder inside.
        expected_count: images that will lie there.
        mirror, mirror_prefix: as in `RowStore`; the inner folder's name is added to the prefix.
    """
    _check_px(image_px)
    if expected_count < 0 or max_bytes < 0:
        raise InvalidInputError(f"expected_count is {expected_count} and max_bytes {max_bytes}, expected 0 or more")
    is_raw = expected_count * image_px * image_px * 3 <= max_bytes
    inner = f"{image_px}px-{'raw' if is_raw else 'jpeg'}"
    prefix = "/".join(part for part in (mirror_prefix.rstrip("/"), inner) if part)
    if is_raw:
        shape: Sequence[int] = (image_px, image_px, 3)
        return RowStore(folder / inner, shape, "uint8", mirror=mirror, mirror_prefix=prefix)
    return JpegRows(folder / inner, image_px, threads=threads, mirror=mirror, mirror_prefix=prefix)


def _check_px(image_px: int) -> None:
    if not 1 <= image_px <= IMAGE_PX_MAX:
        raise InvalidInputError(f"image_px is {image_px}, expected 1 to {IMAGE_PX_MAX}")

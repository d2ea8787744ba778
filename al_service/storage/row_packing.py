"""How rows become bytes of a shard and come back: as they are in memory, or each an image file of its own (JPEG)."""

import io
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from al_service.storage.row_hashes import Positions
from al_service.storage.row_shards import BLOCK_BYTES, DamagedShardError, PackedRows, RowFormat, Shard

JPEG_QUALITY = 95
NO_SUBSAMPLING = 0
#: Rows that are scattered over a shard pass through a piece of memory of this size, small enough for the CPU's cache.
SCRATCH_BYTES = 1 << 20
#: Small images are pasted into one strip of about this size and leave Pillow together.
STRIP_BYTES = 1 << 17
_JPEGS_PER_TURN = 64


Kept = Sequence[tuple[Shard, Positions]]
ReadPart = Callable[[int, int], NDArray[Any]]


class Packing(Protocol):
    """Rows <-> bytes of a shard."""

    @property
    def format(self) -> RowFormat:
        """What a row is."""

    def pack(self, count: int, part: ReadPart) -> PackedRows:
        """So many rows as blocks of bytes; `part(start, stop)` gives some of them."""

    def copy(self, kept: Kept) -> PackedRows:
        """Rows of shards as blocks for another one, in that order.

        Raises (while the blocks are taken):
            DamagedShardError: one of them is garbled.
        """

    def read(self, shard: Shard, rows: Positions, out: NDArray[Any], places: Positions) -> None:
        """Check rows of a shard and put row rows[i] at out[places[i]]."""


class RawPacking:
    """Rows as they are in memory; all have the same length."""

    def __init__(self, row_format: RowFormat) -> None:
        self.format = row_format
        self._block_rows = max(1, BLOCK_BYTES // max(1, row_format.row_bytes))

    def pack(self, count: int, part: ReadPart) -> PackedRows:
        """As in `Packing`. Rows are asked for while the blocks are taken, so few are in memory at a time."""
        step = self._block_rows * max(1, SCRATCH_BYTES // BLOCK_BYTES)

        def blocks() -> Iterator[NDArray[Any]]:
            for start in range(0, count, step):
                rows = np.ascontiguousarray(part(start, min(start + step, count)))
                for at in range(0, len(rows), self._block_rows):
                    yield rows[at : at + self._block_rows]

        return PackedRows(blocks(), self._block_rows, None, count * self.format.row_bytes)

    def copy(self, kept: Kept) -> PackedRows:
        """As in `Packing`."""
        count = sum(len(rows) for _, rows in kept)
        return PackedRows(self._copied(kept), self._block_rows, None, count * self.format.row_bytes)

    def _copied(self, kept: Kept) -> Iterator[NDArray[Any]]:
        block = np.empty((self._block_rows, *self.format.shape), self.format.dtype)
        filled = 0
        for shard, rows in kept:
            at = 0
            while at < len(rows):
                some = rows[at : at + self._block_rows - filled]
                shard.check(some)
                block[filled : filled + len(some)] = shard.raw[some]
                at, filled = at + len(some), filled + len(some)
                if filled == self._block_rows:
                    yield block
                    filled = 0
            shard.release()
        if filled:
            yield block[:filled]

    def read(self, shard: Shard, rows: Positions, out: NDArray[Any], places: Positions) -> None:
        """As in `Packing`. Neighbours in the shard that are neighbours in `out` are one copy."""
        shard.check(rows)
        together = _run(places)
        run = _run(rows)
        if together is not None and run is not None:
            out[together] = shard.raw[run]
        elif together is not None:
            # "clip" never clips here; the default would first fill a copy of `out`.
            np.take(shard.raw, rows, axis=0, out=out[together], mode="clip")
        else:
            step = max(1, SCRATCH_BYTES // max(1, self.format.row_bytes))
            for at in range(0, len(rows), step):
                out[places[at : at + step]] = shard.raw[rows[at : at + step]]


class JpegPacking:
    """(px, px, 3) uint8 pixels, each a JPEG file (quality 95, full colour resolution), decoded by several threads."""

    def __init__(self, image_px: int, threads: int | None = None) -> None:
        self.format = RowFormat((image_px, image_px, 3), "uint8", "jpeg")
        self._threads = threads or os.cpu_count() or 1
        self._pool: ThreadPoolExecutor | None = None
        self._pool_of = 0

    def pack(self, count: int, part: ReadPart) -> PackedRows:
        """As in `Packing`."""
        files: list[bytes] = []
        step = _JPEGS_PER_TURN * self._threads
        for at in range(0, count, step):
            files += self._executor().map(_encode, np.ascontiguousarray(part(at, min(at + step, count))))
        lengths = np.array([len(data) for data in files], np.int64)
        return PackedRows(iter(files), 1, lengths, int(lengths.sum()))

    def copy(self, kept: Kept) -> PackedRows:
        """As in `Packing`. The files stay as they are: encoding again would blur them."""

        def files() -> Iterator[NDArray[np.uint8]]:
            for shard, rows in kept:
                shard.check(rows)
                for row in rows.tolist():
                    yield shard.data[slice(*shard.span(row, row + 1))]
                shard.release()

        lengths = np.concatenate([shard.lengths(rows) for shard, rows in kept])
        return PackedRows(files(), 1, lengths, int(lengths.sum()))

    def read(self, shard: Shard, rows: Positions, out: NDArray[Any], places: Positions) -> None:
        """As in `Packing`. Pillow decodes outside Python's lock, so threads add up."""
        strip = max(1, STRIP_BYTES // self.format.row_bytes)
        share = max(1, min(strip, -(-len(rows) // self._threads)))
        starts = range(0, len(rows), share)
        if len(starts) < 2:
            self._decode(shard, rows, out, places)
            return
        done = self._executor().map(
            lambda at: self._decode(shard, rows[at : at + share], out, places[at : at + share]), starts
        )
        for _ in done:
            pass

    def _decode(self, shard: Shard, rows: Positions, out: NDArray[Any], places: Positions) -> None:
        shard.check(rows)
        px = self.format.shape[0]
        spans = [shard.span(row, row + 1) for row in rows.tolist()]
        squares = [_decode_square(shard, px, begin, end) for begin, end in spans]
        if len(squares) == 1:
            out[places[0]] = np.asarray(squares[0])
            return
        # One strip leaves Pillow in one piece: for 32 px this saves a third of the time.
        strip = Image.new("RGB", (px, px * len(squares)))
        for number, square in enumerate(squares):
            strip.paste(square, (0, number * px))
        out[places] = np.asarray(strip).reshape(len(squares), px, px, 3)

    def _executor(self) -> ThreadPoolExecutor:
        if self._pool is None or self._pool_of != os.getpid():
            # A forked child has none of its parent's threads.
            self._pool, self._pool_of = ThreadPoolExecutor(self._threads, "row-jpegs"), os.getpid()
        return self._pool


def _decode_square(shard: Shard, px: int, begin: int, end: int) -> Image.Image:
    try:
        # The decoder alone: we know size and kind, so looking for them (Image.open) would only cost time.
        return Image.frombytes("RGB", (px, px), shard.data[begin:end].tobytes(), "jpeg", "RGB", "")
    except (ValueError, OSError) as error:
        raise DamagedShardError(f"an image of {shard.path.name} cannot be decoded: {error}") from error


def _encode(pixels: NDArray[np.uint8]) -> bytes:
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "JPEG", quality=JPEG_QUALITY, subsampling=NO_SUBSAMPLING)
    return out.getvalue()


def _run(rows: Positions) -> slice | None:
    """The rows as a slice where they follow each other, else None."""
    first, count = int(rows[0]), len(rows)
    if int(rows[-1]) != first + count - 1 or (count > 2 and not (np.diff(rows) == 1).all()):
        return None
    return slice(first, first + count)

"""One shard of a row store: an immutable file with many rows, a sorted index of their hashes and checksums.

    header       4096 bytes: magic, checksum, JSON (format, counts, where the data begins, checksum of the index)
    prefixes     N x 8   first numbers of the sorted hashes (row_hashes)
    rest         N x 24  their other three numbers
    offsets      (N + 1) x 8, only where rows differ in length
    rows         N x 4   the row of each sorted hash
    checksums    one CRC-32 for each block of rows
    data         from a page border on: the rows in the order in which they were appended

Opening checks sizes, header and index. A block of rows is checked when a process first reads it: that costs one pass
over what is really read, while checking whole shards when they are opened would read the disk before the first image.
"""

import json
import mmap
import os
import time
import uuid
import zlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from al_service.errors import UnavailableError
from al_service.storage.row_files import writing
from al_service.storage.row_hashes import Keys, KeyTable, Positions, sort_request

MAGIC = b"ALROWS1\n"
SUFFIX = ".rows"
HEADER_BYTES = 4096
PAGE_BYTES = 4096
#: Rows are checked in blocks of about so many bytes: small enough that a first random minibatch reads little beside.
BLOCK_BYTES = 1 << 16


class DamagedShardError(UnavailableError):
    """The file is cut, garbled or no shard. Caught by the store, which counts its rows as missing.

    Like DamagedRowsError a matter of trying again: the rows are made anew.
    """

    code = "damaged_shard"


@dataclass(frozen=True)
class RowFormat:
    """What a row is.

    Args:
        shape: of one row as the reader gets it.
        dtype: likewise, a numpy name.
        packing: raw (as in memory) or jpeg.
    """

    shape: tuple[int, ...]
    dtype: str
    packing: str = "raw"

    @property
    def row_bytes(self) -> int:
        """Bytes of one row in memory."""
        return int(np.prod(self.shape, dtype=np.int64)) * np.dtype(self.dtype).itemsize


@dataclass(frozen=True)
class PackedRows:
    """Rows on their way into a shard.

    Args:
        blocks: the bytes of each block of `block_rows` rows, in order.
        lengths: (N,) bytes of each row where they differ, else None.
        data_bytes: of all blocks.
    """

    blocks: Iterator[Any]
    block_rows: int
    lengths: Positions | None
    data_bytes: int


@dataclass(frozen=True)
class _Sections:
    """Where the parts of the index lie: byte positions in the file."""

    prefix: int
    rest: int
    offsets: int
    rows: int
    checks: int
    end: int
    data: int

    @classmethod
    def of(cls, count: int, blocks: int, *, has_offsets: bool) -> "_Sections":
        prefix = HEADER_BYTES
        rest = prefix + 8 * count
        offsets = rest + 24 * count
        rows = offsets + (8 * (count + 1) if has_offsets else 0)
        checks = rows + 4 * count
        end = checks + 4 * blocks
        return cls(prefix, rest, offsets, rows, checks, end, -(-end // PAGE_BYTES) * PAGE_BYTES)


def write_shard(folder: Path, row_format: RowFormat, keys: Keys, packed: PackedRows) -> Path:
    """Write one shard durably and atomically; keys are distinct, in the order of the rows. Returns its path.

    Raises:
        ArtifactStorageError: the disk is full or refuses; nothing remains.
    """
    count = len(keys)
    blocks = -(-count // packed.block_rows)
    at = _Sections.of(count, blocks, has_offsets=packed.lengths is not None)
    request = sort_request(keys)
    # The time comes first in the name so that shards sort by age, and merging keeps rows in the order they came in.
    path = folder / f"{time.time_ns():020d}-{uuid.uuid4().hex[:12]}{SUFFIX}"
    with writing(path, at.data + packed.data_bytes) as file:
        file.seek(at.data)
        checks = np.empty(blocks, np.uint32)
        for number, block in enumerate(packed.blocks):
            checks[number] = zlib.crc32(block)
            file.write(block)
        offsets = b""
        if packed.lengths is not None:
            offsets = np.concatenate(([0], np.cumsum(packed.lengths))).astype(np.uint64).tobytes()
        table = request.table
        rows = request.first.astype(np.uint32)
        index = b"".join((table.prefix.tobytes(), table.rest.tobytes(), offsets, rows.tobytes(), checks.tobytes()))
        facts = {
            "format": asdict(row_format),
            "count": count,
            "block_rows": packed.block_rows,
            "distinct_prefixes": table.distinct_prefixes,
            "data_bytes": packed.data_bytes,
            "index_check": zlib.crc32(index),
        }
        file.seek(0)
        file.write(_header(facts))
        file.write(index)
    return path


class Head:
    """Header and index of a shard, memory-mapped; the data may lie elsewhere.

    Args:
        path: a shard, or only the part of one before its data.

    Raises:
        DamagedShardError: as the module says.
        FileNotFoundError: somebody removed it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with path.open("rb") as file:
            self.file_bytes = os.fstat(file.fileno()).st_size
            if self.file_bytes < HEADER_BYTES:
                raise DamagedShardError(f"{path.name} has {self.file_bytes} bytes, a header alone has {HEADER_BYTES}")
            self.map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        facts = _read_header(self.map[:HEADER_BYTES], path.name)
        self.format = RowFormat(**{**facts["format"], "shape": tuple(facts["format"]["shape"])})
        self.count: int = facts["count"]
        self.block_rows: int = facts["block_rows"]
        self.data_bytes: int = facts["data_bytes"]
        has_offsets = self.format.packing != "raw"
        blocks = -(-self.count // self.block_rows)
        at = _Sections.of(self.count, blocks, has_offsets=has_offsets)
        self.data_at = at.data
        if self.file_bytes not in (at.data, at.data + self.data_bytes):
            raise DamagedShardError(
                f"{path.name} has {self.file_bytes} bytes, its header says {at.data + self.data_bytes}"
            )
        if zlib.crc32(memoryview(self.map)[HEADER_BYTES : at.end]) != facts["index_check"]:
            raise DamagedShardError(f"the index of {path.name} is garbled")
        self.table = KeyTable(
            self._array(np.uint64, self.count, at.prefix),
            self._array(np.uint64, 3 * self.count, at.rest).reshape(self.count, 3),
            bool(facts["distinct_prefixes"]),
        )
        self.rows = self._array(np.uint32, self.count, at.rows)
        self.offsets = self._array(np.uint64, self.count + 1, at.offsets) if has_offsets else None
        self.checks = self._array(np.uint32, blocks, at.checks)
        self.release()

    def release(self) -> None:
        """Let go of the pages read so far; the file's bytes stay in the system's cache, not in this process."""
        if hasattr(self.map, "madvise"):
            self.map.madvise(mmap.MADV_DONTNEED)

    def _array(self, dtype: type[Any], count: int, offset: int) -> NDArray[Any]:
        return np.frombuffer(self.map, dtype, count, offset)


class Shard(Head):
    """A whole shard."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        if self.file_bytes != self.data_at + self.data_bytes:
            raise DamagedShardError(f"{path.name} holds no data")
        self.data = np.frombuffer(self.map, np.uint8, self.data_bytes, self.data_at)
        if self.format.packing == "raw":
            self.raw = self.data.view(self.format.dtype).reshape(self.count, *self.format.shape)
        self._good = np.zeros(len(self.checks), bool)

    def check(self, rows: Positions) -> None:
        """Check the blocks of those rows that this process has not checked yet.

        Raises:
            DamagedShardError: a block's checksum does not match.
        """
        blocks = rows // self.block_rows
        if self._good[blocks].all():
            return
        for block in np.unique(blocks[~self._good[blocks]]).tolist():
            first = block * self.block_rows
            begin, end = self.span(first, min(first + self.block_rows, self.count))
            if zlib.crc32(memoryview(self.map)[self.data_at + begin : self.data_at + end]) != self.checks[block]:
                raise DamagedShardError(f"rows {first} and following of {self.path.name} are garbled")
            self._good[block] = True

    def span(self, first: int, stop: int) -> tuple[int, int]:
        """The bytes of the data that hold rows first..stop."""
        if self.offsets is None:
            return first * self.format.row_bytes, stop * self.format.row_bytes
        return int(self.offsets[first]), int(self.offsets[stop])

    def lengths(self, rows: Positions) -> Positions:
        """Bytes of each of those rows."""
        if self.offsets is None:
            return np.full(len(rows), self.format.row_bytes, np.int64)
        lengths: Positions = (self.offsets[rows + 1] - self.offsets[rows]).astype(np.int64)
        return lengths

    def keys_in_row_order(self) -> Keys:
        """(N, 4) the hashes in the order of the rows."""
        keys = np.empty((self.count, 4), np.uint64)
        keys[self.rows, 0] = self.table.prefix
        keys[self.rows, 1:] = self.table.rest
        return keys


def _header(facts: dict[str, Any]) -> bytes:
    text = json.dumps(facts).encode().ljust(HEADER_BYTES - 12)
    return MAGIC + zlib.crc32(text).to_bytes(4, "little") + text


def _read_header(data: bytes, name: str) -> dict[str, Any]:
    if data[:8] != MAGIC:
        raise DamagedShardError(f"{name} begins with {data[:8]!r}, expected {MAGIC!r}")
    if zlib.crc32(data[12:]) != int.from_bytes(data[8:12], "little"):
        raise DamagedShardError(f"the header of {name} is garbled")
    facts: dict[str, Any] = json.loads(data[12:])
    return facts

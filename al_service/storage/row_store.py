"""An on-disk cache of rows by content hash: decoded pixels, embeddings, probabilities. A cache: losing it costs time.

    rows = RowStore(folder, (32, 32, 3), "uint8")
    absent = rows.missing(hashes)                 # positions in the request
    rows.append([hashes[i] for i in absent], make(absent))
    view = rows.view(hashes)                      # len, shape, dtype, [slice], [positions]

Rows lie in immutable shards (row_shards). A shard exists as a whole or not at all, whatever is killed when; two
processes may append the same rows. A damaged shard is removed and counts as missing. docs/caches.md tells the rest.
"""

import contextlib
import logging
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from al_service.errors import InvalidInputError, NotFoundError
from al_service.loop.ports import Artifacts
from al_service.storage.artifacts import ArtifactStorageError
from al_service.storage.row_compaction import SHARD_BYTES, SHARD_ROWS, compaction_due, merge_shards
from al_service.storage.row_files import clear_orphans, only_one
from al_service.storage.row_hashes import KeyTable, Positions, hash_text, match, pack_hashes, sort_request
from al_service.storage.row_mirror import RowMirror
from al_service.storage.row_packing import Packing, RawPacking
from al_service.storage.row_shards import SUFFIX, DamagedShardError, RowFormat, Shard, write_shard
from al_service.storage.row_view import Residency, RowView

logger = logging.getLogger(__name__)

_NOWHERE = -1
Hashes = Sequence[str] | NDArray[Any]


class MissingRowsError(NotFoundError):
    """Rows that the store does not hold; details: missing (how many), first (the first hash)."""

    code = "missing_rows"


class RowStore:
    """Rows of one shape and dtype in a folder of their own.

    Args:
        folder: made by the first append. One folder per preprocessing and model: the hash names the image only.
        row_shape: of one row, e.g. (32, 32, 3) or (512,).
        dtype: e.g. "uint8", "float16".
        mirror: artifacts that several hosts share; new shards are uploaded, and `missing` fetches what others made.
        mirror_prefix: begins their names there, e.g. "caches/pixels-32/".

    Safe to share between threads and processes.
    """

    def __init__(
        self,
        folder: Path,
        row_shape: Sequence[int],
        dtype: Any,
        *,
        mirror: Artifacts | None = None,
        mirror_prefix: str = "",
    ) -> None:
        shape, name = tuple(int(side) for side in row_shape), np.dtype(dtype).newbyteorder("=").name
        if any(side < 1 for side in shape) or np.dtype(dtype).hasobject:
            raise InvalidInputError(f"rows of shape {shape} and dtype {name}: expected sides of at least 1 and numbers")
        self._open(folder, RawPacking(RowFormat(shape, name)), mirror, mirror_prefix)

    def _open(self, folder: Path, packing: Packing, mirror: Artifacts | None, mirror_prefix: str) -> None:
        self.folder = folder
        self.row_shape = packing.format.shape
        self.dtype: np.dtype[Any] = np.dtype(packing.format.dtype)
        self._packing = packing
        self._mirror = None if mirror is None else RowMirror(mirror, mirror_prefix, folder)
        self._residency = Residency()
        self._shards: dict[str, Shard] = {}
        self._foreign: set[str] = set()
        self._cleared = False
        self._lock = threading.RLock()

    def missing(self, hashes: Hashes) -> Positions:
        """Positions in the request whose row is not there, ascending; of repeated hashes the first only.

        With a mirror, shards of other hosts that hold such rows are fetched first.

        Raises:
            InvalidInputError: a hash that is not 64 hex digits.
        """
        request = sort_request(pack_hashes(hashes))
        self._refresh()
        shard_of = self._find(request.table)[1]
        absent = np.flatnonzero(shard_of == _NOWHERE)
        if len(absent) and self._mirror is not None:
            wanted = _some(request.table, absent)
            if self._mirror.fetch(wanted, self._packing.format):
                self._refresh()
                absent = absent[self._find(wanted)[1] == _NOWHERE]
        return np.sort(request.first[absent])

    def append(self, hashes: Hashes, rows: Any) -> None:
        """Store the rows durably, in one shard (several where they are very many). Repeated hashes: the first counts.

        Args:
            rows: (N, ...) array or array-like of the store's shape and dtype; read piece by piece.

        Raises:
            InvalidInputError: lengths, shape or dtype differ, or a hash that is not 64 hex digits.
            ArtifactStorageError: the disk is full or refuses; of the shard that did not fit nothing remains.
        """
        keys = pack_hashes(hashes)
        self._check_rows(len(keys), rows)
        first = np.sort(sort_request(keys).first)
        step = max(1, min(SHARD_ROWS, SHARD_BYTES // max(1, self._packing.format.row_bytes)))
        for start in range(0, len(first), step):
            some = first[start : start + step]
            packed = self._packing.pack(len(some), _reader(rows, some, is_run=len(first) == len(keys)))
            path = write_shard(self.folder, self._packing.format, keys[some], packed)
            if self._mirror is not None:
                self._mirror.publish(path)
        self._tidy()

    def view(self, hashes: Hashes) -> RowView:
        """The rows as an array-like, in the order of the request.

        Raises:
            MissingRowsError: some are not there; says how many and the first hash.
            InvalidInputError: a hash that is not 64 hex digits.
        """
        keys = pack_hashes(hashes)
        request = sort_request(keys)
        shards, shard_of, row_of = self._find(request.table)
        if (shard_of == _NOWHERE).any():
            self._refresh()
            shards, shard_of, row_of = self._find(request.table)
        absent = np.flatnonzero(shard_of == _NOWHERE)
        if len(absent):
            first = hash_text(keys[request.first[absent].min()])
            raise MissingRowsError(
                f"{self.folder}: {len(absent)} of {len(request.table)} rows are not stored, the first is {first}; "
                "append what `missing` names, then ask again",
                missing=len(absent),
                first=first,
            )
        return RowView(
            self._packing, shards, shard_of[request.place], row_of[request.place], self._residency, self._discard
        )

    def held_bytes(self) -> int:
        """Bytes on disk of all shards."""
        return sum(shard.file_bytes for shard in self._known())

    def verify(self) -> int:
        """Read everything and check it; damaged shards are removed. Returns how many rows were lost."""
        lost = 0
        for shard in self._known():
            try:
                for start in range(0, shard.count, SHARD_ROWS // 16):
                    shard.check(np.arange(start, min(start + SHARD_ROWS // 16, shard.count)))
                    shard.release()
            except DamagedShardError as error:
                logger.warning("%s", error)
                self._discard(shard)
                lost += shard.count
        return lost

    def compact(self, *, everything: bool = False) -> None:
        """Merge small shards into large ones, without rows that are stored twice. `append` calls it when due.

        Args:
            everything: also where few are small, down to as few shards as their size limit allows.

        Readers keep what they have mapped. One process at a time; another that asks meanwhile does nothing.

        Raises:
            ArtifactStorageError: as in `append`; the old shards stay.
        """
        with only_one(self.folder / ".compacting") as alone:
            if not alone:
                return
            clear_orphans(self.folder)
            while group := compaction_due(self._known(), everything=everything):
                self._merge(group)

    def clear(self) -> None:
        """Remove all rows here (not in the mirror). Views that are open stay readable."""
        for shard in self._known():
            self._discard(shard)
        clear_orphans(self.folder)

    def _tidy(self) -> None:
        """What an append leaves to do now and then; failing at it loses nothing that was stored."""
        if not self._cleared:
            clear_orphans(self.folder)
            self._cleared = True
        if not compaction_due(self._known()):
            return
        try:
            self.compact()
        except ArtifactStorageError as error:
            logger.warning("small shards stay as they are: %s", error)

    def _merge(self, group: list[Shard]) -> None:
        names = {shard.path.name for shard in group}
        others = [shard for shard in self._known() if shard.path.name not in names]
        try:
            merged = merge_shards(self.folder, self._packing, group, others)
        except DamagedShardError as error:
            logger.warning("%s", error)
            for shard in group:
                self._drop_if_damaged(shard)
            return
        if self._mirror is not None:
            self._mirror.replace(sorted(names), merged)
        for shard in group:
            self._discard(shard)

    def _drop_if_damaged(self, shard: Shard) -> None:
        try:
            shard.check(np.arange(shard.count))
        except DamagedShardError:
            self._discard(shard)

    def _known(self) -> list[Shard]:
        """Shards on disk now, oldest first."""
        self._refresh()
        with self._lock:
            return [self._shards[name] for name in sorted(self._shards)]

    def _refresh(self) -> None:
        """Meet shards that other processes wrote, let go of those that are gone, remove those that are damaged."""
        try:
            names = {path.name for path in self.folder.iterdir() if path.suffix == SUFFIX}
        except FileNotFoundError:
            names = set()
        with self._lock:
            for name in self._shards.keys() - names:
                del self._shards[name]
            for name in sorted(names - self._shards.keys() - self._foreign):
                self._meet(name)

    def _meet(self, name: str) -> None:
        path = self.folder / name
        try:
            shard = Shard(path)
        except FileNotFoundError:
            return
        except DamagedShardError as error:
            logger.warning("%s: %s; removed, its rows are made anew", self.folder, error)
            path.unlink(missing_ok=True)
            return
        if shard.format != self._packing.format:
            # Sound, but not ours: somebody opened the folder with another shape. Not a reason to destroy it.
            logger.warning("%s holds %s, expected %s; left alone", path, shard.format, self._packing.format)
            self._foreign.add(name)
            return
        self._shards[name] = shard

    def _discard(self, shard: Shard) -> None:
        with self._lock:
            self._shards.pop(shard.path.name, None)
        with contextlib.suppress(FileNotFoundError):
            shard.path.unlink()

    def _find(self, table: KeyTable) -> tuple[list[Shard], NDArray[np.int32], NDArray[np.uint32]]:
        """Shards, and for each hash of the table its shard (or _NOWHERE) and row; the newest shard counts."""
        with self._lock:
            shards = [self._shards[name] for name in sorted(self._shards)]
        shard_of = np.full(len(table), _NOWHERE, np.int32)
        row_of = np.zeros(len(table), np.uint32)
        for number, shard in enumerate(shards):
            ours, theirs = match(table, shard.table)
            shard_of[ours] = number
            row_of[ours] = shard.rows[theirs]
            shard.release()
        return shards, shard_of, row_of

    def _check_rows(self, count: int, rows: Any) -> None:
        shape, dtype = tuple(rows.shape), np.dtype(rows.dtype)
        if shape != (count, *self.row_shape) or dtype != self.dtype:
            raise InvalidInputError(
                f"rows have shape {shape} and dtype {dtype} for {count} hashes; "
                f"expected {(count, *self.row_shape)} and {self.dtype}"
            )


def _reader(rows: Any, positions: Positions, *, is_run: bool) -> Callable[[int, int], NDArray[Any]]:
    """Gives parts of the rows at those positions; slices where the positions follow each other."""
    if is_run:
        begin = int(positions[0])
        return lambda start, stop: rows[begin + start : begin + stop]
    return lambda start, stop: rows[positions[start:stop]]


def _some(table: KeyTable, places: Positions) -> KeyTable:
    return KeyTable(table.prefix[places], table.rest[places], table.distinct_prefixes)

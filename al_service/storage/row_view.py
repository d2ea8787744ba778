"""An array-like over rows that lie in shards: `view[10:20]`, `view[positions]` give fresh arrays, a whole minibatch at
once. Made by `RowStore.view`; holds 8 bytes a row and no pixels.
"""

import threading
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from al_service.errors import InvalidInputError, UnavailableError
from al_service.storage.row_hashes import Positions
from al_service.storage.row_packing import Packing
from al_service.storage.row_shards import DamagedShardError, Shard

#: Mapped pages that a store lets stay in this process; the system's own cache keeps what fits. 50,000 images of 32 px
#: stay below it, so that small pools are read at the speed of memory.
RESIDENT_BYTES = 160 << 20
#: What one scattered row brings in with it: the system maps 16 pages around the one that is touched.
_AROUND_BYTES = 1 << 16


class DamagedRowsError(UnavailableError):
    """A stored row turned out garbled while it was read. Its shard is gone now: when the job runs again, `missing`
    names those rows and they are made anew.
    """

    code = "damaged_rows"


class Residency:
    """Keeps the resident memory of mapped shards flat: after so many bytes read, all of them are let go.

    Letting go drops this process's page tables only. The next touch finds the page in the system's cache.
    """

    def __init__(self, max_bytes: int = RESIDENT_BYTES) -> None:
        self._max_bytes = max_bytes
        self._touched: dict[Shard, int] = {}
        self._lock = threading.Lock()

    def note(self, shard: Shard, count: int, row_bytes: int) -> None:
        """So many rows of that shard were read."""
        with self._lock:
            touched = self._touched.get(shard, 0) + count * max(row_bytes, _AROUND_BYTES)
            self._touched[shard] = min(touched, shard.data_bytes)
            if sum(self._touched.values()) < self._max_bytes:
                return
            shards, self._touched = list(self._touched), {}
        for one in shards:
            one.release()


class RowView:
    """Rows in the order of the request.

    Args:
        shards: those that hold the rows.
        shard_of: (N,) position in `shards`.
        row_of: (N,) row in that shard.
        on_damage: told of a shard that turned out damaged, before DamagedRowsError is raised.
    """

    def __init__(
        self,
        packing: Packing,
        shards: list[Shard],
        shard_of: NDArray[np.int32],
        row_of: NDArray[np.uint32],
        residency: Residency,
        on_damage: Callable[[Shard], None],
    ) -> None:
        self._packing = packing
        self._shards = shards
        self._shard_of = shard_of
        self._row_of = row_of
        self._residency = residency
        self._on_damage = on_damage
        self.shape: tuple[int, ...] = (len(row_of), *packing.format.shape)
        self.dtype: np.dtype[Any] = np.dtype(packing.format.dtype)

    def __len__(self) -> int:
        return self.shape[0]

    @property
    def ndim(self) -> int:
        """As of an array."""
        return len(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes of all rows, were they in memory."""
        return len(self) * self._packing.format.row_bytes

    def __getitem__(self, rows: Any) -> NDArray[Any]:
        """A fresh contiguous array of those rows: a slice or (K,) int positions; of one row for a single int.

        Raises:
            IndexError: a position outside the view.
            DamagedRowsError: as there.
        """
        if isinstance(rows, int | np.integer):
            return self.gather(np.array([rows]))[0]  # type: ignore[no-any-return]
        return self.gather(rows)

    def part(self, start: int, stop: int) -> "RowView":
        """A view of the rows from `start` to before `stop`; nothing is read."""
        return RowView(
            self._packing,
            self._shards,
            self._shard_of[start:stop],
            self._row_of[start:stop],
            self._residency,
            self._on_damage,
        )

    def gather(self, rows: Any, out: NDArray[Any] | None = None) -> NDArray[Any]:
        """The rows, written into `out` (K, ...) where given; saves a copy where `out` is pinned or used again.

        Raises:
            InvalidInputError: positions or `out` of a wrong kind.
            IndexError, DamagedRowsError: as in `[]`.
        """
        shard_of, row_of = self._places(rows)
        shape = (len(row_of), *self.shape[1:])
        if out is None:
            out = np.empty(shape, self.dtype)
        elif out.shape != shape or out.dtype != self.dtype or not out.flags.c_contiguous:
            raise InvalidInputError(
                f"out has shape {out.shape}, dtype {out.dtype}; expected {shape}, {self.dtype}, contiguous"
            )
        if len(row_of):
            self._read(shard_of, row_of.astype(np.int64), out)
        return out

    def _places(self, rows: Any) -> tuple[NDArray[np.int32], NDArray[np.uint32]]:
        if isinstance(rows, slice):
            return self._shard_of[rows], self._row_of[rows]
        positions = np.asarray(rows)
        if positions.size == 0:
            positions = positions.astype(np.int64)
        if positions.ndim != 1 or positions.dtype.kind not in "iu":
            raise InvalidInputError(
                f"rows are {positions.dtype} of shape {positions.shape}; expected a slice or (K,) whole numbers "
                "(for a mask: np.flatnonzero(mask))"
            )
        return self._shard_of[positions], self._row_of[positions]

    def _read(self, shard_of: NDArray[np.int32], rows: Positions, out: NDArray[Any]) -> None:
        if (shard_of == shard_of[0]).all():
            self._read_shard(int(shard_of[0]), rows, out, np.arange(len(rows)))
            return
        order = np.argsort(shard_of, kind="stable")
        grouped = shard_of[order]
        starts = np.flatnonzero(np.concatenate(([True], grouped[1:] != grouped[:-1])))
        for start, stop in zip(starts.tolist(), [*starts[1:].tolist(), len(order)], strict=True):
            places = order[start:stop]
            self._read_shard(int(grouped[start]), rows[places], out, places)

    def _read_shard(self, number: int, rows: Positions, out: NDArray[Any], places: Positions) -> None:
        shard = self._shards[number]
        try:
            self._packing.read(shard, rows, out, places)
        except DamagedShardError as error:
            self._on_damage(shard)
            raise DamagedRowsError(
                f"{shard.path}: {error}. It was removed; run again and its {shard.count} rows are made anew",
                path=str(shard.path),
                rows=shard.count,
            ) from error
        self._residency.note(shard, len(rows), self._packing.format.row_bytes)

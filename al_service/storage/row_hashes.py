"""Content hashes as rows of four numbers, and finding many of them at once in sorted tables. No files here.

A SHA-256 is kept as four 64-bit numbers in big-endian order, so that comparing numbers compares hashes. The first
number nearly always decides alone; where two hashes share it, the slow path compares all 32 bytes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from al_service.errors import InvalidInputError

HASH_BYTES = 32
HEX_LENGTH = 2 * HASH_BYTES

Keys = NDArray[np.uint64]
Positions = NDArray[np.int64]


@dataclass(frozen=True)
class KeyTable:
    """Distinct hashes in ascending order.

    Args:
        prefix: (M,) the first of the four numbers.
        rest: (M, 3) the other three.
        distinct_prefixes: True when no two hashes share the first number.
    """

    prefix: NDArray[np.uint64]
    rest: NDArray[np.uint64]
    distinct_prefixes: bool

    def __len__(self) -> int:
        return len(self.prefix)


@dataclass(frozen=True)
class SortedRequest:
    """The distinct hashes of a request, sorted, and the way back.

    Args:
        table: the U distinct hashes.
        first: (U,) position in the request where each hash stands first.
        place: (N,) for each row of the request its place in the table.
    """

    table: KeyTable
    first: Positions
    place: Positions


def pack_hashes(hashes: Sequence[str] | NDArray[Any]) -> Keys:
    """The hashes as (N, 4) numbers; an array that is packed already comes back as it is.

    Raises:
        InvalidInputError: an entry that is not 64 hex digits; names its position.

    >>> pack_hashes(["00" * 31 + "ff"])
    array([[  0,   0,   0, 255]], dtype=uint64)
    """
    if isinstance(hashes, np.ndarray) and hashes.dtype == np.uint64:
        if hashes.ndim != 2 or hashes.shape[1] != 4:
            raise InvalidInputError(f"packed hashes have shape {hashes.shape}, expected (N, 4)")
        return hashes
    if isinstance(hashes, str):
        raise InvalidInputError("hashes are one string, expected a sequence of 64 hex digits each")
    try:
        data = bytes.fromhex("".join(hashes))
        right = len(data) == HASH_BYTES * len(hashes) and set(map(len, hashes)) <= {HEX_LENGTH}
    except (TypeError, ValueError):
        right = False
    if not right:
        raise _wrong_hash(hashes)
    return np.frombuffer(data, ">u8").astype(np.uint64).reshape(len(hashes), 4)


def hash_text(key: Keys) -> str:
    """One packed hash as 64 hex digits.

    >>> hash_text(pack_hashes(["ab" * 32])[0])[:6]
    'ababab'
    """
    return key.astype(">u8").tobytes().hex()


def sort_request(keys: Keys) -> SortedRequest:
    """Sort the request and drop repeated hashes. Cost: one sort of N numbers."""
    order = np.argsort(keys[:, 0], kind="stable")
    ordered = keys[order]  # (N, 4)
    shared = np.flatnonzero(ordered[1:, 0] == ordered[:-1, 0])
    differs = np.ones(len(keys), bool)
    differs[shared + 1] = (ordered[shared + 1] != ordered[shared]).any(axis=1)
    distinct_prefixes = not bool(differs[shared + 1].any())
    if not distinct_prefixes:
        order = np.lexsort((keys[:, 3], keys[:, 2], keys[:, 1], keys[:, 0]))
        ordered = keys[order]
        differs[1:] = (ordered[1:] != ordered[:-1]).any(axis=1)
    place = np.empty(len(keys), np.int64)
    place[order] = np.cumsum(differs) - 1
    chosen = ordered[differs]  # (U, 4)
    table = KeyTable(np.ascontiguousarray(chosen[:, 0]), np.ascontiguousarray(chosen[:, 1:]), distinct_prefixes)
    return SortedRequest(table, order[differs], place)


def match(wanted: KeyTable, held: KeyTable) -> tuple[Positions, Positions]:
    """Positions (in `wanted`, in `held`) of the hashes that both tables hold.

    Cost: the smaller table is looked up in the larger one, so that many tables together cost about one pass over them.
    """
    if not len(wanted) or not len(held):
        return np.empty(0, np.int64), np.empty(0, np.int64)
    if not (wanted.distinct_prefixes and held.distinct_prefixes):
        return _match_whole(wanted, held)
    if len(held) <= len(wanted):
        in_held, in_wanted = _look_up(held, wanted)
        return in_wanted, in_held
    return _look_up(wanted, held)


def _look_up(few: KeyTable, many: KeyTable) -> tuple[Positions, Positions]:
    at = np.searchsorted(many.prefix, few.prefix)
    np.minimum(at, len(many) - 1, out=at)
    in_few = np.flatnonzero(many.prefix[at] == few.prefix)
    in_many = at[in_few]
    same = (few.rest[in_few] == many.rest[in_many]).all(axis=1)
    return in_few[same], in_many[same]


def _match_whole(wanted: KeyTable, held: KeyTable) -> tuple[Positions, Positions]:
    ours, theirs = _as_bytes(wanted), _as_bytes(held)
    at = np.minimum(np.searchsorted(theirs, ours), len(theirs) - 1)
    hits = np.flatnonzero(theirs[at] == ours)
    return hits, at[hits]


def _as_bytes(table: KeyTable) -> NDArray[np.bytes_]:
    words = np.column_stack((table.prefix, table.rest)).astype(">u8")  # (M, 4)
    return np.frombuffer(words.tobytes(), f"S{HASH_BYTES}")


def _wrong_hash(hashes: Sequence[str] | NDArray[Any]) -> InvalidInputError:
    for position, one in enumerate(hashes):
        text = one if isinstance(one, str) else repr(one)
        if len(text) != HEX_LENGTH or not set(text) <= set("0123456789abcdefABCDEF"):
            return InvalidInputError(
                f"hashes[{position}] is {text[:80]!r}, expected the 64 hex digits of a SHA-256", position=position
            )
    return InvalidInputError("hashes are not a sequence of 64 hex digits each")

"""Merging many small shards of a row store into few large ones.

Shards stand in tiers by size, each tier FANOUT times the one below. When a tier holds FANOUT shards they become one of
the next tier. So a store that is appended to in small pieces holds at most FANOUT shards a tier, and each row is
rewritten once a tier (log-structured merge; O'Neil et al. 1996).
"""

from pathlib import Path

import numpy as np

from al_service.storage.row_hashes import Keys, Positions, match
from al_service.storage.row_packing import Packing
from al_service.storage.row_shards import Shard, write_shard

FANOUT = 16
#: Above this a shard is not merged further. Small enough to travel to a mirror in one piece.
SHARD_BYTES = 256 << 20
SHARD_ROWS = 1 << 20
_TIER_0_BYTES = 1 << 16


def compaction_due(shards: list[Shard], *, everything: bool = False) -> list[Shard]:
    """The next group that should become one shard, oldest first; empty when there is none.

    Args:
        shards: all of the store, oldest first.
        everything: any two that fit together, instead of whole tiers.
    """
    small = [shard for shard in shards if shard.file_bytes < SHARD_BYTES // 2 and shard.count < SHARD_ROWS // 2]
    if everything:
        return _that_fit(small)
    tiers: dict[int, list[Shard]] = {}
    for shard in small:
        tiers.setdefault(_tier(shard.file_bytes), []).append(shard)
    due = [tiers[tier] for tier in sorted(tiers) if len(tiers[tier]) >= FANOUT]
    return _that_fit(due[0]) if due else []


def merge_shards(folder: Path, packing: Packing, group: list[Shard], others: list[Shard]) -> Path | None:
    """Write one shard with the group's rows, each once, without those that `others` hold; None when nothing is left.

    The group's own files stay.

    Raises:
        DamagedShardError: a row that should be copied is garbled.
        ArtifactStorageError: the disk is full or refuses.
    """
    kept: list[tuple[Shard, Positions]] = []
    keys: list[Keys] = []
    for number, shard in enumerate(group):
        twice = np.zeros(shard.count, bool)
        for other in (*others, *group[:number]):
            twice[shard.rows[match(shard.table, other.table)[0]]] = True
            other.release()
        rows = np.flatnonzero(~twice)
        if len(rows):
            kept.append((shard, rows))
            keys.append(shard.keys_in_row_order()[rows])
    if not kept:
        return None
    return write_shard(folder, packing.format, np.concatenate(keys), packing.copy(kept))


def _that_fit(shards: list[Shard]) -> list[Shard]:
    chosen: list[Shard] = []
    size = rows = 0
    for shard in shards:
        size, rows = size + shard.file_bytes, rows + shard.count
        if chosen and (size > SHARD_BYTES or rows > SHARD_ROWS):
            break
        chosen.append(shard)
    return chosen if len(chosen) > 1 else []


def _tier(size: int) -> int:
    tier = 0
    while size > _TIER_0_BYTES * FANOUT**tier:
        tier += 1
    return tier

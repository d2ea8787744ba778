"""A mirror that takes nothing for a while: no row that other hosts can read is lost meanwhile."""

import os
from pathlib import Path

import pytest

from al_service.errors import UnavailableError
from al_service.storage.artifacts import FileArtifacts
from al_service.storage.row_shards import DamagedShardError
from al_service.storage.row_store import RowStore
from tests.unit.storage.row_samples import hash_range, pixels_of


class FullArtifacts(FileArtifacts):
    """A shared folder that refuses new files while `full`, and still removes old ones: as a full disk does."""

    full = False

    def put(self, name: str, data: bytes) -> None:
        if self.full:
            raise UnavailableError(f"no room for {name}")
        super().put(name, data)


def store_of(folder: Path, shared: FileArtifacts) -> RowStore:
    return RowStore(folder, (4, 4, 3), "uint8", mirror=shared, mirror_prefix="caches/p")


def test_merging_keeps_the_mirrors_small_shards_until_the_merged_one_is_there(tmp_path: Path) -> None:
    shared = FullArtifacts(tmp_path / "shared")
    ours = store_of(tmp_path / "ours", shared)
    for start in (0, 5, 10):
        ours.append(hash_range(start, start + 5), pixels_of(5))
    small = shared.names("caches/p/")
    shared.full = True
    ours.compact(everything=True)
    assert shared.names("caches/p/") == small
    assert store_of(tmp_path / "theirs", shared).missing(hash_range(0, 15)).tolist() == []
    shared.full = False
    ours.append(hash_range(15, 20), pixels_of(5))
    names = shared.names("caches/p/")
    assert len(names) == 4, "the merged shard and the new one, each with its head"
    assert not set(names) & set(small)
    assert store_of(tmp_path / "others", shared).missing(hash_range(0, 20)).tolist() == []


def test_a_shard_that_was_garbled_before_it_was_sent_does_not_stop_the_others(tmp_path: Path) -> None:
    shared = FullArtifacts(tmp_path / "shared")
    ours = store_of(tmp_path / "ours", shared)
    shared.full = True
    ours.append(hash_range(0, 5), pixels_of(5))
    (shard,) = ours.folder.glob("*.rows")
    os.truncate(shard, 10)
    shared.full = False
    ours.append(hash_range(5, 10), pixels_of(5))
    theirs = store_of(tmp_path / "theirs", shared)
    assert theirs.missing(hash_range(0, 10)).tolist() == [0, 1, 2, 3, 4]


def test_a_damaged_shard_is_one_of_the_five_families() -> None:
    with pytest.raises(UnavailableError) as caught:
        raise DamagedShardError("cut")
    assert caught.value.code == "damaged_shard"

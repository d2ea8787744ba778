"""Many small shards become few large ones, and nothing is lost, doubled or taken from a reader."""

import multiprocessing
from pathlib import Path

import numpy as np

from al_service.storage.row_compaction import FANOUT
from al_service.storage.row_files import only_one
from al_service.storage.row_store import RowStore
from tests.unit.storage.row_samples import hash_range, pixels_of


def shard_count(store: RowStore) -> int:
    return len(list(store.folder.glob("*.rows")))


def test_many_small_appends_end_in_few_shards(tmp_path: Path) -> None:
    store = RowStore(tmp_path, (4, 4, 3), "uint8")
    rows = pixels_of(300)
    for start in range(300):
        store.append(hash_range(start, start + 1), rows[start : start + 1])
        assert shard_count(store) <= 3 * FANOUT
    np.testing.assert_array_equal(RowStore(tmp_path, (4, 4, 3), "uint8").view(hash_range(0, 300))[:], rows)
    store.compact(everything=True)
    assert shard_count(store) == 1
    np.testing.assert_array_equal(store.view(hash_range(0, 300))[:], rows)


def test_merging_keeps_each_row_once_and_the_order_of_arrival(tmp_path: Path) -> None:
    store = RowStore(tmp_path, (4, 4, 3), "uint8")
    rows = pixels_of(30)
    for start in (0, 10, 5, 20, 0):
        store.append(hash_range(start, start + 10), rows[start : start + 10])
    before = store.held_bytes()
    store.compact(everything=True)
    assert store.held_bytes() < before
    (shard,) = RowStore(tmp_path, (4, 4, 3), "uint8")._known()
    assert shard.count == 30
    np.testing.assert_array_equal(shard.raw, rows)


def test_rows_that_a_large_shard_holds_are_dropped(tmp_path: Path) -> None:
    """As after a kill between writing the merged shard and removing the old ones."""
    store = RowStore(tmp_path, (4, 4, 3), "uint8")
    store.append(hash_range(0, 5), pixels_of(30)[:5])
    store.append(hash_range(0, 30), pixels_of(30))
    store.compact(everything=True)
    assert [shard.count for shard in store._known()] == [30]


def test_readers_keep_the_shards_they_have(tmp_path: Path) -> None:
    store, reader = RowStore(tmp_path, (4, 4, 3), "uint8"), RowStore(tmp_path, (4, 4, 3), "uint8")
    rows = pixels_of(20)
    for start in range(0, 20, 5):
        store.append(hash_range(start, start + 5), rows[start : start + 5])
    view = reader.view(hash_range(0, 20))
    store.compact(everything=True)
    np.testing.assert_array_equal(view[:], rows)
    np.testing.assert_array_equal(reader.view(hash_range(0, 20))[::-1], rows[::-1])


def test_an_empty_store_and_a_single_shard_have_nothing_to_merge(tmp_path: Path) -> None:
    store = RowStore(tmp_path / "rows", (4, 4, 3), "uint8")
    store.compact(everything=True)
    store.append(hash_range(0, 5), pixels_of(5))
    (before,) = store.folder.glob("*.rows")
    store.compact(everything=True)
    assert list(store.folder.glob("*.rows")) == [before]


def _compact(folder: Path, answer: "multiprocessing.Queue[int]") -> None:
    store = RowStore(folder, (4, 4, 3), "uint8")
    store.compact(everything=True)
    answer.put(shard_count(store))


def test_a_second_process_that_asks_meanwhile_does_nothing(tmp_path: Path) -> None:
    store = RowStore(tmp_path, (4, 4, 3), "uint8")
    for start in range(3):
        store.append(hash_range(start, start + 1), pixels_of(1))
    context = multiprocessing.get_context("spawn")
    answer: multiprocessing.Queue[int] = context.Queue()
    with only_one(tmp_path / ".compacting") as alone:
        assert alone
        other = context.Process(target=_compact, args=(tmp_path, answer))
        other.start()
        assert answer.get() == 3
        other.join()
    answer.close()
    answer.join_thread()
    store.compact(everything=True)
    assert shard_count(store) == 1

"""Row stores: what is appended comes back by hash, in the order of the request, however it was cut into shards."""

import multiprocessing
import threading
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from al_service.errors import InvalidInputError, NotFoundError
from al_service.storage.row_hashes import pack_hashes
from al_service.storage.row_store import MissingRowsError, RowStore
from tests.unit.storage.row_samples import hash_range, hashes_of, pixels_of


@pytest.fixture
def store(tmp_path: Path) -> RowStore:
    return RowStore(tmp_path / "rows", (4, 4, 3), "uint8")


def again(store: RowStore) -> RowStore:
    """The same folder as another process would open it."""
    return RowStore(store.folder, store.row_shape, store.dtype)


def shard_names(store: RowStore) -> list[str]:
    return sorted(path.name for path in store.folder.glob("*.rows"))


def test_rows_come_back_in_the_order_of_the_request(store: RowStore) -> None:
    hashes, rows = hash_range(0, 100), pixels_of(100)
    assert store.missing(hashes).tolist() == list(range(100))
    store.append(hashes, rows)
    for one in (store, again(store)):
        assert one.missing(hashes).tolist() == []
        order = np.random.default_rng(1).permutation(100)
        view = one.view([hashes[position] for position in order])
        assert (len(view), view.shape, view.dtype, view.ndim) == (100, (100, 4, 4, 3), np.uint8, 4)
        assert view.nbytes == rows.nbytes
        np.testing.assert_array_equal(view[:], rows[order])


@pytest.mark.parametrize(
    ("shape", "dtype"),
    [((4, 4, 3), "uint8"), ((7,), "float16"), ((3,), "float32"), ((), "int64"), ((70_000,), "uint8")],
)
def test_any_shape_and_type(tmp_path: Path, shape: tuple[int, ...], dtype: str) -> None:
    rows = np.random.default_rng(0).uniform(0, 100, (9, *shape)).astype(dtype)
    store = RowStore(tmp_path, shape, dtype)
    store.append(hash_range(0, 9), rows)
    back = again(store).view(hash_range(0, 9))
    assert back.dtype == np.dtype(dtype)
    np.testing.assert_array_equal(back[:], rows)
    np.testing.assert_array_equal(back[np.array([8, 0, 0])], rows[[8, 0, 0]])
    np.testing.assert_array_equal(back[3], rows[3])


def test_reading_across_shards_as_an_array_would(store: RowStore) -> None:
    rows = pixels_of(60)
    for start in range(0, 60, 7):
        store.append(hash_range(start, min(60, start + 7)), rows[start : start + 7])
    view = store.view(hash_range(0, 60))
    for wanted in (slice(None), slice(5, 40), slice(40, 5, -3), slice(0, 0), slice(-5, None), slice(55, 99)):
        np.testing.assert_array_equal(view[wanted], rows[wanted])
    for positions in ([3], [59, 0, 30, 30, 2], [-1, -60], [], range(10, 20), range(3, 60, 5)):
        wanted_rows = np.array(positions, np.int64)
        got = view[wanted_rows]
        np.testing.assert_array_equal(got, rows[wanted_rows])
        assert got.flags.c_contiguous
        assert got.flags.owndata or got.base is not None
    np.testing.assert_array_equal(view[-1], rows[-1])
    for start, stop in ((0, 60), (5, 40), (30, 30), (50, 99)):
        part = view.part(start, stop)
        assert part.shape == rows[start:stop].shape
        np.testing.assert_array_equal(part[:], rows[start:stop])


def test_what_comes_back_is_the_callers_own(store: RowStore) -> None:
    store.append(hash_range(0, 4), pixels_of(4))
    view = store.view(hash_range(0, 4))
    view[:][:] = 0
    view[np.array([1, 2])][:] = 0
    np.testing.assert_array_equal(view[:], pixels_of(4))


def test_gather_fills_what_it_is_given(store: RowStore) -> None:
    store.append(hash_range(0, 10), pixels_of(10))
    view = store.view(hash_range(0, 10))
    out = np.empty((3, 4, 4, 3), np.uint8)
    assert view.gather(np.array([9, 1, 4]), out=out) is out
    np.testing.assert_array_equal(out, pixels_of(10)[[9, 1, 4]])
    for wrong in (
        np.empty((2, 4, 4, 3), np.uint8),
        np.empty((3, 4, 4, 3)),
        np.empty((3, 4, 3, 4), np.uint8).swapaxes(2, 3),
    ):
        with pytest.raises(InvalidInputError, match="out has shape"):
            view.gather(np.array([9, 1, 4]), out=wrong)


@pytest.mark.parametrize("positions", [np.array([4]), np.array([-5]), 4])
def test_positions_outside_are_index_errors(store: RowStore, positions: object) -> None:
    store.append(hash_range(0, 4), pixels_of(4))
    with pytest.raises(IndexError):
        store.view(hash_range(0, 4))[positions]


@pytest.mark.parametrize("positions", [np.array([True, False, True, False]), np.array([0.0]), np.zeros((2, 2), int)])
def test_other_positions_are_refused(store: RowStore, positions: np.ndarray) -> None:
    store.append(hash_range(0, 4), pixels_of(4))
    with pytest.raises(InvalidInputError, match="expected a slice"):
        store.view(hash_range(0, 4))[positions]


def test_no_rows_and_one_row(store: RowStore) -> None:
    assert store.missing([]).tolist() == []
    store.append([], pixels_of(0))
    assert shard_names(store) == []
    empty = store.view([])
    assert (len(empty), empty[:].shape, empty[np.array([], int)].shape) == (0, (0, 4, 4, 3), (0, 4, 4, 3))
    store.append(hashes_of(1), pixels_of(1))
    np.testing.assert_array_equal(store.view(hashes_of(1))[:], pixels_of(1))
    assert store.held_bytes() == sum(path.stat().st_size for path in store.folder.glob("*.rows"))


def test_missing_names_the_first_of_repeated_hashes_only(store: RowStore) -> None:
    a, b, c = hashes_of(1, 2, 3)
    store.append([b], pixels_of(1))
    assert store.missing([c, b, a, c, a]).tolist() == [0, 2]
    with pytest.raises(MissingRowsError, match=f"2 of 3 rows .* first is {c}") as caught:
        store.view([c, b, a, c, a])
    assert isinstance(caught.value, NotFoundError)
    assert caught.value.details == {"missing": 2, "first": c}


def test_repeated_hashes_in_an_append_and_in_a_view(store: RowStore) -> None:
    a, b = hashes_of(1, 2)
    rows = pixels_of(4)
    store.append([a, b, a, b], rows)
    np.testing.assert_array_equal(store.view([b, a, b, b])[:], rows[[1, 0, 1, 1]])


def test_rows_and_hashes_are_checked_at_the_door(store: RowStore) -> None:
    for rows in (pixels_of(2), pixels_of(3, px=5), pixels_of(3).astype(np.int16), pixels_of(3)[0]):
        with pytest.raises(InvalidInputError, match="expected"):
            store.append(hash_range(0, 3), rows)
    good = hashes_of(1)[0]
    for bad in ("", "zz" * 32, good[:-1], good + "0", good[:-2] + " a", 7, None):
        with pytest.raises(InvalidInputError, match=r"hashes\[1\]"):
            store.missing([good, bad])  # type: ignore[list-item]
    with pytest.raises(InvalidInputError, match="one string"):
        store.missing(good)
    with pytest.raises(InvalidInputError, match="packed hashes"):
        store.missing(np.zeros((2, 3), np.uint64))
    for shape in ((0,), (3, -1)):
        with pytest.raises(InvalidInputError, match="sides"):
            RowStore(store.folder, shape, "uint8")
    assert shard_names(store) == []


def test_packed_and_upper_case_hashes_mean_the_same(store: RowStore) -> None:
    hashes = hash_range(0, 5)
    store.append([one.upper() for one in hashes], pixels_of(5))
    assert store.missing(pack_hashes(hashes)).tolist() == []
    np.testing.assert_array_equal(store.view(pack_hashes(hashes))[1:3], pixels_of(5)[1:3])


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_hashes_that_begin_alike_are_told_apart(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    """Reference: a dict. Few distinct first and last bytes, so that prefixes, and zero bytes at the end, collide."""
    words = st.builds(
        lambda first, middle, last: first * 8 + middle * 12 + last * 12,
        *[st.sampled_from(["00", "01", "ff"])] * 3,
    )
    held = data.draw(st.lists(st.lists(words, max_size=8), max_size=4))
    asked = data.draw(st.lists(words, max_size=12))
    store = RowStore(tmp_path_factory.mktemp("rows"), (), "int64")
    known: dict[str, set[int]] = {}
    for number, hashes in enumerate(held):
        store.append(hashes, np.arange(len(hashes)) + 100 * number)
        for position, one in reversed(list(enumerate(hashes))):
            known[one] = {*known.get(one, set()), position + 100 * number}
    first_absent = [at for at, one in enumerate(asked) if one not in known and asked.index(one) == at]
    assert store.missing(asked).tolist() == first_absent
    present = [one for one in asked if one in known]
    assert all(int(row) in known[one] for one, row in zip(present, store.view(present)[:], strict=True))


def test_a_second_store_sees_what_the_first_appends_later(store: RowStore) -> None:
    reader = again(store)
    assert reader.missing(hash_range(0, 3)).tolist() == [0, 1, 2]
    store.append(hash_range(0, 3), pixels_of(3))
    np.testing.assert_array_equal(reader.view(hash_range(0, 3))[:], pixels_of(3))
    assert reader.missing(hash_range(0, 4)).tolist() == [3]


def _append_all(folder: Path, start: int) -> None:
    store = RowStore(folder, (4, 4, 3), "uint8")
    rows = pixels_of(80)
    for at in range(start, 80, 10):
        store.append(hash_range(at, at + 10), rows[at : at + 10])


def test_two_processes_append_the_same_rows_at_once(store: RowStore) -> None:
    """Each append may also merge what the other one wrote."""
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=_append_all, args=(store.folder, start)) for start in (0, 0, 40)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert [writer.exitcode for writer in writers] == [0, 0, 0]
    assert store.missing(hash_range(0, 80)).tolist() == []
    np.testing.assert_array_equal(store.view(hash_range(0, 80))[:], pixels_of(80))
    store.compact(everything=True)
    assert len(shard_names(store)) == 1
    np.testing.assert_array_equal(again(store).view(hash_range(0, 80))[:], pixels_of(80))


def test_threads_read_while_others_append_and_merge(store: RowStore) -> None:
    rows = pixels_of(400)
    store.append(hash_range(0, 50), rows[:50])
    view = store.view(hash_range(0, 50))
    over = threading.Event()
    wrong: list[int] = []

    def read(seed: int) -> None:
        rng = np.random.default_rng(seed)
        while not over.is_set():
            positions = rng.integers(0, 50, 20)
            if not (view[positions] == rows[positions]).all():
                wrong.append(seed)

    readers = [threading.Thread(target=read, args=(seed,)) for seed in range(3)]
    for reader in readers:
        reader.start()
    for start in range(50, 400, 5):
        store.append(hash_range(start, start + 5), rows[start : start + 5])
    store.compact(everything=True)
    over.set()
    for reader in readers:
        reader.join()
    assert not wrong
    np.testing.assert_array_equal(store.view(hash_range(0, 400))[:], rows)


def test_a_healthy_shard_of_another_shape_is_left_alone(store: RowStore) -> None:
    other = RowStore(store.folder, (5,), "float32")
    other.append(hash_range(0, 3), np.ones((3, 5), np.float32))
    assert store.missing(hash_range(0, 3)).tolist() == [0, 1, 2]
    store.append(hash_range(0, 3), pixels_of(3))
    store.compact(everything=True)
    np.testing.assert_array_equal(again(store).view(hash_range(0, 3))[:], pixels_of(3))
    np.testing.assert_array_equal(other.view(hash_range(0, 3))[:], np.ones((3, 5)))


def test_clear_removes_the_rows_and_leaves_open_views_readable(store: RowStore) -> None:
    store.append(hash_range(0, 3), pixels_of(3))
    view = store.view(hash_range(0, 3))
    store.clear()
    assert (store.held_bytes(), store.missing(hash_range(0, 3)).tolist()) == (0, [0, 1, 2])
    np.testing.assert_array_equal(view[:], pixels_of(3))

"""Row stores after bad things: damaged files, killed writers, full disks."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from al_service.errors import UnavailableError
from al_service.storage.artifacts import ArtifactStorageError
from al_service.storage.pixel_rows import JpegRows
from al_service.storage.row_shards import HEADER_BYTES, Head
from al_service.storage.row_store import RowStore
from al_service.storage.row_view import DamagedRowsError
from tests.unit.storage.row_samples import hash_range, pixels_of, smooth_pixels

ROOT = Path(__file__).parents[3]


def open_store(folder: Path) -> RowStore:
    return RowStore(folder, (4, 4, 3), "uint8")


@pytest.fixture
def shard(tmp_path: Path) -> Path:
    """The only shard of a store of 3000 rows (several blocks)."""
    open_store(tmp_path).append(hash_range(0, 3000), pixels_of(3000))
    (path,) = tmp_path.glob("*.rows")
    return path


def overwrite(path: Path, at: int, data: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(at)
        file.write(data)


def cut_in_half(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def cut_by_one(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 1)


def cut_to_its_index(path: Path) -> None:
    os.truncate(path, Head(path).data_at)


def empty(path: Path) -> None:
    os.truncate(path, 0)


def grow(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"x")


def garble_the_header(path: Path) -> None:
    overwrite(path, 40, b"\xff\xff")


def garble_the_magic(path: Path) -> None:
    overwrite(path, 0, b"PK")


def garble_the_index(path: Path) -> None:
    overwrite(path, HEADER_BYTES + 100, b"\x00\x01\x02\x03")


def make_it_foreign(path: Path) -> None:
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(10_000))


AT_OPENING = [
    cut_in_half, cut_by_one, cut_to_its_index, empty, grow, garble_the_header, garble_the_magic, garble_the_index,
    make_it_foreign,
]  # fmt: skip


@pytest.mark.parametrize("damage", AT_OPENING)
def test_a_damaged_shard_counts_as_missing_is_removed_and_made_anew(shard: Path, damage: object) -> None:
    open_store(shard.parent).append(hash_range(5000, 5002), pixels_of(2))
    damage(shard)  # type: ignore[operator]
    store = open_store(shard.parent)
    hashes = [*hash_range(0, 3000), *hash_range(5000, 5002)]
    assert store.missing(hashes).tolist() == list(range(3000))
    assert not shard.exists()
    store.append(hashes[:3000], pixels_of(3000))
    np.testing.assert_array_equal(store.view(hashes)[:3000], pixels_of(3000))
    np.testing.assert_array_equal(store.view(hashes)[3000:], pixels_of(2))


def test_garbled_rows_are_found_when_they_are_read(shard: Path) -> None:
    overwrite(shard, Head(shard).data_at + 2000 * 48, b"garbled")
    store = open_store(shard.parent)
    view = store.view(hash_range(0, 3000))
    np.testing.assert_array_equal(view[:100], pixels_of(3000)[:100])
    with pytest.raises(DamagedRowsError, match="3000 rows are made anew") as caught:
        view[np.array([1, 2000])]
    assert isinstance(caught.value, UnavailableError)  # the job is retried, and then finds:
    assert len(store.missing(hash_range(0, 3000))) == 3000
    store.append(hash_range(0, 3000), pixels_of(3000))
    np.testing.assert_array_equal(store.view(hash_range(0, 3000))[:], pixels_of(3000))


def test_verify_finds_garbled_rows_that_nobody_has_read(shard: Path) -> None:
    store = open_store(shard.parent)
    assert store.verify() == 0
    overwrite(shard, Head(shard).data_at + 2000 * 48, b"garbled")
    store = open_store(shard.parent)
    assert store.verify() == 3000
    assert len(store.missing(hash_range(0, 3000))) == 3000


def test_merging_does_not_carry_garbled_rows_on(shard: Path) -> None:
    overwrite(shard, Head(shard).data_at + 2000 * 48, b"garbled")
    store = open_store(shard.parent)
    store.append(hash_range(5000, 5003), pixels_of(3))
    store.compact(everything=True)
    assert store.missing([*hash_range(5000, 5003), *hash_range(0, 3000)]).tolist() == list(range(3, 3003))
    np.testing.assert_array_equal(store.view(hash_range(5000, 5003))[:], pixels_of(3))
    assert [path for path in shard.parent.iterdir() if path.name.endswith(".part")] == []


def test_a_garbled_jpeg_is_found_when_it_is_read(tmp_path: Path) -> None:
    store = JpegRows(tmp_path, 16)
    store.append(hash_range(0, 20), smooth_pixels(20, 16))
    (path,) = tmp_path.glob("*.rows")
    overwrite(path, Head(path).data_at + Head(path).data_bytes // 2, b"\xff\xd9\x00\x00")
    with pytest.raises(DamagedRowsError):
        JpegRows(tmp_path, 16).view(hash_range(0, 20))[:]
    assert len(JpegRows(tmp_path, 16).missing(hash_range(0, 20))) == 20


KILLED_WRITER = """
import os, signal, sys
from pathlib import Path
import numpy as np
from al_service.storage.row_store import RowStore
from tests.unit.storage.row_samples import hash_range

class Rows:
    shape, dtype = (30_000, 4, 4, 3), np.dtype("uint8")
    def __len__(self):
        return 30_000
    def __getitem__(self, some):
        if some.start <= {before} < some.stop:
            os.kill(os.getpid(), {signal})
        return np.zeros((some.stop - some.start, 4, 4, 3), np.uint8)

print("begun", flush=True)
RowStore(Path(sys.argv[1]), (4, 4, 3), "uint8").append(hash_range(0, 30_000), Rows())
"""


def start_writer(folder: Path, stop_with: signal.Signals, before: int) -> "subprocess.Popen[bytes]":
    """A process that stops itself by a signal when row `before` is about to be written."""
    code = KILLED_WRITER.format(before=before, signal=int(stop_with))
    return subprocess.Popen([sys.executable, "-c", code, str(folder)], cwd=ROOT, stdout=subprocess.PIPE)


@pytest.mark.parametrize("before", [0, 25_000])
def test_a_killed_writer_leaves_no_shard_and_its_rest_is_cleared(tmp_path: Path, before: int) -> None:
    with start_writer(tmp_path, signal.SIGKILL, before) as writer:
        assert writer.wait() == -signal.SIGKILL
    (rest,) = tmp_path.iterdir()
    assert rest.name.endswith(".part")
    store = open_store(tmp_path)
    assert len(store.missing(hash_range(0, 30_000))) == 30_000
    store.append(hash_range(0, 1), pixels_of(1))
    assert not rest.exists()
    np.testing.assert_array_equal(store.view(hash_range(0, 1))[:], pixels_of(1))


def test_the_file_of_a_live_writer_is_left_alone(tmp_path: Path) -> None:
    with start_writer(tmp_path, signal.SIGSTOP, 25_000) as writer:
        os.waitid(os.P_PID, writer.pid, os.WSTOPPED | os.WNOWAIT)
        store = open_store(tmp_path)
        store.append(hash_range(0, 1), pixels_of(1))
        store.compact(everything=True)
        writer.send_signal(signal.SIGCONT)
        writer.communicate()
    assert writer.returncode == 0
    assert store.missing(hash_range(0, 30_000)).tolist() == []


def test_a_failing_source_of_rows_leaves_nothing(tmp_path: Path) -> None:
    class Broken:
        shape, dtype = (30_000, 4, 4, 3), np.dtype("uint8")

        def __len__(self) -> int:
            return 30_000

        def __getitem__(self, some: slice) -> np.ndarray:
            if some.start > 0:
                raise RuntimeError("the image vanished")
            return np.zeros((some.stop, 4, 4, 3), np.uint8)

    with pytest.raises(RuntimeError, match="vanished"):
        open_store(tmp_path).append(hash_range(0, 30_000), Broken())
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 2 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)], check=True)
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def may_mount(tmp_path: Path) -> bool:
    """True where this process is allowed to mount."""
    folder = tmp_path / "try"
    folder.mkdir()
    if os.geteuid() != 0 or shutil.which("mount") is None:
        return False
    tried = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)], capture_output=True)
    return tried.returncode == 0 and subprocess.run(["umount", str(folder)]).returncode == 0


def fill_the_disk(folder: Path) -> None:
    """Body of the test of a full disk."""
    store = RowStore(folder, (64, 64, 3), "uint8")
    rows = pixels_of(40, px=64)
    store.append(hash_range(0, 40), rows)
    kept = sorted(path.name for path in folder.iterdir())
    with pytest.raises(ArtifactStorageError, match="no room for") as caught:
        store.append(hash_range(100, 400), pixels_of(300, px=64))
    assert caught.value.details["needed_bytes"] > 300 * 64 * 64 * 3
    assert caught.value.details["free_bytes"] >= 0
    assert str(folder) in caught.value.details["path"]
    assert sorted(path.name for path in folder.iterdir()) == kept
    assert len(store.missing(hash_range(100, 400))) == 300
    np.testing.assert_array_equal(RowStore(folder, (64, 64, 3), "uint8").view(hash_range(0, 40))[:], rows)


def fill_with_merging(folder: Path) -> None:
    """Body of the test of a disk too full to merge."""
    store = RowStore(folder, (64, 64, 3), "uint8")
    for start in range(0, 100, 25):
        store.append(hash_range(start, start + 25), pixels_of(100, px=64)[start : start + 25])
    with pytest.raises(ArtifactStorageError, match="no room for"):
        store.compact(everything=True)
    assert len(list(folder.glob("*.rows"))) == 4
    np.testing.assert_array_equal(store.view(hash_range(0, 100))[:], pixels_of(100, px=64))


@pytest.mark.parametrize("body", [fill_the_disk, fill_with_merging])
def test_a_full_disk_is_an_error_with_figures_and_leaves_no_partial_shard(
    tmp_path: Path, body: object, request: pytest.FixtureRequest
) -> None:
    if may_mount(tmp_path):
        body(request.getfixturevalue("small_disk"))  # type: ignore[operator]
        return
    # Not allowed to mount: a file size limit makes the system refuse, in a child because it cannot be undone.
    code = (
        "import resource, signal, sys; from pathlib import Path; signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (900_000, 900_000));"
        f"from tests.unit.storage.test_row_damage import {body.__name__} as body; body(Path(sys.argv[1]))"  # type: ignore[attr-defined]
    )
    (tmp_path / "limited").mkdir()
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "limited")], cwd=ROOT, check=True)

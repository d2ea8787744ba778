"""Several hosts with one shared store: what one computes, the others fetch. On a shared folder and over HTTP to S3."""

import logging
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from al_service.loop.ports import Artifacts
from al_service.storage.artifacts import FileArtifacts
from al_service.storage.pixel_rows import JpegRows
from al_service.storage.remote_artifacts import RemoteArtifacts
from al_service.storage.row_store import RowStore
from tests.contract.s3_server import empty_bucket, running_s3
from tests.unit.storage.row_samples import hash_range, pixels_of, smooth_pixels

Host = Callable[[str], RowStore]


@pytest.fixture(scope="module")
def s3_server() -> Iterator[str]:
    """The address of an S3 server on this machine."""
    with running_s3() as address:
        yield address


@pytest.fixture(params=["folder", "s3"])
def shared(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Artifacts]:
    """Artifacts that all hosts see."""
    if request.param == "folder":
        yield FileArtifacts(tmp_path / "shared")
        return
    with empty_bucket(request.getfixturevalue("s3_server"), monkeypatch) as bucket:
        yield RemoteArtifacts(f"s3://{bucket}")


@pytest.fixture
def host(shared: Artifacts, tmp_path: Path) -> Host:
    """Opens the store of a host by its name."""
    return lambda name: RowStore(tmp_path / name, (4, 4, 3), "uint8", mirror=shared, mirror_prefix="caches/p")


def local_shards(store: RowStore) -> list[str]:
    return sorted(path.name for path in store.folder.glob("*.rows"))


def test_a_host_fetches_what_others_made_and_only_that(host: Host, shared: Artifacts) -> None:
    ours, theirs = host("a"), host("b")
    rows = pixels_of(40)
    for start in (0, 20):
        ours.append(hash_range(start, start + 20), rows[start : start + 20])
    assert len(shared.names("caches/p/")) == 4
    assert theirs.missing(hash_range(0, 10)).tolist() == []
    assert local_shards(theirs) == local_shards(ours)[:1]
    assert theirs.missing(hash_range(0, 50)).tolist() == list(range(40, 50))
    np.testing.assert_array_equal(theirs.view(hash_range(0, 40))[:], rows)
    assert sorted(path.suffix for path in theirs.folder.iterdir()) == [".rows", ".rows"]


def test_a_host_that_lost_its_disk_gets_everything_back(host: Host) -> None:
    ours = host("a")
    ours.append(hash_range(0, 10), pixels_of(10))
    ours.clear()
    assert host("a").missing(hash_range(0, 10)).tolist() == []
    np.testing.assert_array_equal(host("a").view(hash_range(0, 10))[:], pixels_of(10))


def test_merged_shards_replace_the_small_ones_for_everybody(host: Host, shared: Artifacts) -> None:
    ours, theirs = host("a"), host("b")
    rows = pixels_of(40)
    for start in range(0, 40, 5):
        ours.append(hash_range(start, start + 5), rows[start : start + 5])
    assert theirs.missing(hash_range(0, 12)).tolist() == []
    ours.compact(everything=True)
    assert len(shared.names("caches/p/")) == 2
    assert theirs.missing(hash_range(0, 40)).tolist() == []
    np.testing.assert_array_equal(theirs.view(hash_range(0, 40))[:], rows)
    theirs.compact(everything=True)
    assert len(local_shards(theirs)) == 1
    # What a host has merged is not fetched again, neither by it nor by the first one.
    before = local_shards(ours)
    assert ours.missing(hash_range(0, 40)).tolist() == []
    assert local_shards(ours) == before


def test_a_damaged_shard_in_the_mirror_is_removed_and_made_anew(host: Host, shared: Artifacts) -> None:
    ours, theirs = host("a"), host("b")
    ours.append(hash_range(0, 10), pixels_of(10))
    head, data = shared.names("caches/p/")
    for garbled in (shared.get(data)[:-1], shared.get(data)[:-1] + b"\x00\x01", b"", shared.get(head)):
        if garbled == shared.get(data):
            continue
        shared.put(data, garbled)
        assert theirs.missing(hash_range(0, 10)).tolist() == list(range(10))
        assert local_shards(theirs) == []
        assert shared.names("caches/p/") == []
        shared.put(data, (ours.folder / data.rpartition("/")[2]).read_bytes())
        shared.put(head, shared.get(data)[: -10 * 48])
    shared.put(head, b"garbled")
    assert host("c").missing(hash_range(0, 10)).tolist() == list(range(10))
    theirs.append(hash_range(0, 10), pixels_of(10))
    assert host("c").missing(hash_range(0, 10)).tolist() == []


def test_a_damaged_local_shard_is_fetched_again(host: Host) -> None:
    ours = host("a")
    ours.append(hash_range(0, 10), pixels_of(10))
    (ours.folder / local_shards(ours)[0]).write_bytes(b"garbled")
    again = host("a")
    assert again.missing(hash_range(0, 10)).tolist() == []
    np.testing.assert_array_equal(again.view(hash_range(0, 10))[:], pixels_of(10))


def test_shards_of_another_shape_are_not_fetched(host: Host, shared: Artifacts, tmp_path: Path) -> None:
    other = RowStore(tmp_path / "o", (5,), "float32", mirror=shared, mirror_prefix="caches/p/")
    other.append(hash_range(0, 3), np.ones((3, 5), np.float32))
    assert host("a").missing(hash_range(0, 3)).tolist() == [0, 1, 2]


def test_jpeg_rows_travel_too(shared: Artifacts, tmp_path: Path) -> None:
    ours = JpegRows(tmp_path / "a", 16, mirror=shared, mirror_prefix="caches/j/")
    theirs = JpegRows(tmp_path / "b", 16, mirror=shared, mirror_prefix="caches/j/")
    ours.append(hash_range(0, 6), smooth_pixels(6, 16))
    assert theirs.missing(hash_range(0, 6)).tolist() == []
    np.testing.assert_array_equal(theirs.view(hash_range(0, 6))[:], ours.view(hash_range(0, 6))[:])


def test_a_mirror_that_does_not_answer_stops_nobody(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Stands in for a lost server: a file where the shared folder should be. It comes back, and gets what it missed."""
    shared = FileArtifacts(tmp_path / "shared" / "store")
    (tmp_path / "shared").write_text("in the way")
    ours = RowStore(tmp_path / "a", (4, 4, 3), "uint8", mirror=shared, mirror_prefix="p/")
    with caplog.at_level(logging.WARNING):
        assert ours.missing(hash_range(0, 3)).tolist() == [0, 1, 2]
        ours.append(hash_range(0, 3), pixels_of(3))
    assert "was not uploaded" in caplog.text
    np.testing.assert_array_equal(ours.view(hash_range(0, 3))[:], pixels_of(3))
    (tmp_path / "shared").unlink()
    ours.append(hash_range(3, 4), pixels_of(1))
    theirs = RowStore(tmp_path / "b", (4, 4, 3), "uint8", mirror=shared, mirror_prefix="p/")
    assert theirs.missing(hash_range(0, 4)).tolist() == []

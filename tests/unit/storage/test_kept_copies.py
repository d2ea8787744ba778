"""Local copies of remote files: sound, bounded, and never in the way."""

import os
from pathlib import Path

import pytest

from al_service.storage.kept_copies import KeptCopies
from al_service.storage.remote_artifacts import RemoteArtifacts


def held_bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def test_a_copy_comes_back_until_it_is_dropped(tmp_path: Path) -> None:
    copies = KeptCopies(tmp_path / "copies", 10_000)
    assert copies.find("images/a") is None
    for data in (b"", b"pixels"):
        copies.keep("images/a", data)
        assert copies.find("images/a") == data
    copies.drop("images/a")
    copies.drop("images/a")
    assert copies.find("images/a") is None


@pytest.mark.parametrize("damage", [b"", b"abc", b"pixelz\x00\x00\x00\x00"])
def test_a_damaged_copy_is_dropped(tmp_path: Path, damage: bytes) -> None:
    copies = KeptCopies(tmp_path, 10_000)
    copies.keep("a", b"pixels")
    (tmp_path / "a").write_bytes(damage)
    assert copies.find("a") is None
    assert not (tmp_path / "a").exists()


def test_the_least_recently_used_copies_go_when_there_are_too_many(tmp_path: Path) -> None:
    copies = KeptCopies(tmp_path, 10_000)
    for number in range(9):
        copies.keep(f"images/{number}", bytes(1000))
        os.utime(tmp_path / "images" / str(number), (1000 + number, 1000 + number))
    assert copies.find("images/0") == bytes(1000)  # renews its time
    copies.keep("images/9", bytes(1000))
    assert copies.find("images/0") == copies.find("images/9") == bytes(1000)
    assert copies.find("images/1") is None
    for number in range(100):
        copies.keep(f"models/{number}", bytes(1000))
        assert held_bytes(tmp_path) <= 10_000
    copies.keep("models/huge", bytes(20_000))
    assert copies.find("models/huge") is None


def test_copies_of_another_process_count(tmp_path: Path) -> None:
    KeptCopies(tmp_path, 10_000).keep("a", bytes(7900))
    KeptCopies(tmp_path, 10_000).keep("b", bytes(7900))
    assert held_bytes(tmp_path) < 10_000


def test_a_folder_that_cannot_be_written_is_only_slower(tmp_path: Path) -> None:
    (tmp_path / "copies").write_text("a file where a folder should be")
    artifacts = RemoteArtifacts(f"memory://{tmp_path.name}", tmp_path / "copies")
    artifacts.put("images/a", b"pixels")
    assert artifacts.get("images/a") == artifacts.get("images/a") == b"pixels"


def test_only_files_that_never_change_are_kept(tmp_path: Path) -> None:
    artifacts = RemoteArtifacts(f"memory://{tmp_path.name}", tmp_path / "copies")
    for name in ("images/a", "models/b", "rounds/c"):
        artifacts.put(name, name.encode())
        assert artifacts.get(name) == name.encode()
    found = {path.name for path in (tmp_path / "copies").rglob("*") if path.is_file()}
    assert found == {"a", "b"}
    # Reading again asks the copy alone.
    RemoteArtifacts(f"memory://{tmp_path.name}").delete("images/a")
    assert artifacts.get("images/a") == b"images/a"
    assert not artifacts.has("images/a")

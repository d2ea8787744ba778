"""Files by name: whole or not at all, inside the root or refused."""

import os
import threading
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from al_service.errors import InvalidInputError, NotFoundError, UnavailableError
from al_service.loop.ports import Artifacts
from al_service.storage.artifacts import FileArtifacts, image_name

BAD_NAMES = [
    "", ".", "..", "/", "/etc/passwd", "a/../b", "../a", "a/..", "a//b", "a/", "./a", "a\x00b", "a\\b", "a/\ud800",
    "x" * 201, "a/" * 600 + "b",
]  # fmt: skip


@pytest.fixture
def artifacts(tmp_path: Path) -> FileArtifacts:
    return FileArtifacts(tmp_path / "artifacts")


def files_below(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_what_is_stored_comes_back(artifacts: FileArtifacts) -> None:
    as_port: Artifacts = artifacts
    name = image_name("ab" * 32)
    assert not as_port.has(name)
    as_port.put(name, b"pixels")
    assert as_port.has(name)
    assert as_port.get(name) == artifacts.path(name).read_bytes() == b"pixels"


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.binary(max_size=10_000))
def test_any_bytes_come_back(artifacts: FileArtifacts, data: bytes) -> None:
    artifacts.put("models/round 1/é.bin", data)
    assert artifacts.get("models/round 1/é.bin") == data


def test_a_second_put_replaces_the_first(artifacts: FileArtifacts, tmp_path: Path) -> None:
    artifacts.put("a/b", b"one" * 1000)
    artifacts.put("a/b", b"two")
    assert artifacts.get("a/b") == b"two"
    assert files_below(tmp_path / "artifacts") == ["a/b"]


@pytest.mark.parametrize("name", BAD_NAMES)
def test_names_outside_the_root_or_unusable_are_refused(artifacts: FileArtifacts, name: str) -> None:
    for act in (artifacts.path, artifacts.has, artifacts.get, lambda bad: artifacts.put(bad, b"")):
        with pytest.raises(InvalidInputError, match="artifact name"):
            act(name)


def test_what_is_not_there_is_not_found(artifacts: FileArtifacts) -> None:
    artifacts.put("a/b", b"")
    for name in ("c", "a", "a/b/c", "a/c"):
        assert not artifacts.has(name)
        with pytest.raises(NotFoundError, match=name):
            artifacts.get(name)


def test_a_put_that_fails_leaves_the_old_file_and_no_rest(artifacts: FileArtifacts, tmp_path: Path) -> None:
    artifacts.put("a/b/c", b"kept")
    with pytest.raises(UnavailableError, match="cannot be written"):
        artifacts.put("a/b", b"a folder has that name")
    assert artifacts.get("a/b/c") == b"kept"
    assert files_below(tmp_path / "artifacts") == ["a/b/c"]


def test_a_full_disk_is_unavailable_and_names_the_free_bytes(artifacts: FileArtifacts, tmp_path: Path) -> None:
    """A file size limit makes the operating system refuse, as a full disk does (in a child: it cannot be undone)."""
    artifacts.put("a", b"")
    pid = os.fork()
    if pid == 0:
        os._exit(_write_beyond_the_limit(artifacts))
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert files_below(tmp_path / "artifacts") == ["a"]


def _write_beyond_the_limit(artifacts: FileArtifacts) -> int:
    import resource
    import signal

    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
    try:
        artifacts.put("b", b"x" * 100_000)
    except UnavailableError as error:
        return 0 if error.details["free_bytes"] > 0 and "no room for 100000 bytes" in str(error) else 3
    return 2


def test_readers_never_see_half_a_file(artifacts: FileArtifacts) -> None:
    wholes = [bytes([n]) * 200_000 for n in range(3)]
    artifacts.put("a", wholes[0])
    over = threading.Event()
    seen: list[bytes] = []

    def read() -> None:
        while not over.is_set():
            seen.append(artifacts.get("a"))

    reader = threading.Thread(target=read)
    reader.start()
    for n in range(12):
        artifacts.put("a", wholes[n % 3])
    over.set()
    reader.join()
    assert all(data in wholes for data in seen)


def test_many_files_are_stored_together_whole_and_replace_older_ones(tmp_path: Path) -> None:
    artifacts = FileArtifacts(tmp_path / "files")
    items = {f"images/{n % 3:02d}/{n}": bytes([n]) * n for n in range(40)}
    artifacts.put("images/00/0", b"older")
    artifacts.put_many(items)
    assert {name: artifacts.get(name) for name in items} == items
    artifacts.put_many({})
    artifacts.put_many({"one": b"1"})
    assert artifacts.get("one") == b"1"
    assert not list((tmp_path / "files").rglob("*.part"))


def test_a_bad_name_among_many_stores_none_of_them(tmp_path: Path) -> None:
    artifacts = FileArtifacts(tmp_path)
    with pytest.raises(InvalidInputError):
        artifacts.put_many({**{f"fine-{n}": b"" for n in range(20)}, "../outside": b""})
    assert list(tmp_path.iterdir()) == []

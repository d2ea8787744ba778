"""What every kind of artifact storage promises, on a local folder, in memory, and over real HTTP to an S3 server."""

import os
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from al_service.bootstrap import open_artifacts
from al_service.errors import InvalidInputError, NotFoundError, UnavailableError
from al_service.loop.ports import Artifacts, image_name
from al_service.settings import Settings
from al_service.storage.artifacts import FileArtifacts
from al_service.storage.remote_artifacts import RemoteArtifacts, StorageUrlError
from tests.contract.s3_server import empty_bucket, running_s3

BAD_NAMES = ["", ".", "..", "/", "/etc/passwd", "a/../b", "a//b", "a/", "a\x00b", "a\\b", "x" * 201]
KINDS = ["folder", "memory", "file", "s3"]


@pytest.fixture(scope="module")
def s3_server() -> Iterator[str]:
    """The address of an S3 server on this machine."""
    with running_s3() as address:
        yield address


@pytest.fixture
def bucket(s3_server: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The name of an empty bucket."""
    with empty_bucket(s3_server, monkeypatch) as name:
        yield name


@pytest.fixture(params=KINDS)
def open_again(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], Artifacts]:
    """Opens the same empty storage, as another process or host would."""
    if request.param == "folder":
        return lambda: FileArtifacts(tmp_path / "artifacts")
    url = {
        "memory": lambda: f"memory://{tmp_path.name}",
        "file": lambda: f"file://{tmp_path}/artifacts",
        "s3": lambda: f"s3://{request.getfixturevalue('bucket')}/some/folder",
    }[request.param]()
    numbers = iter(range(100))
    return lambda: RemoteArtifacts(url, tmp_path / f"copies-{next(numbers)}")


@pytest.fixture
def artifacts(open_again: Callable[[], Artifacts]) -> Artifacts:
    """One opened storage."""
    return open_again()


class TestArtifacts:
    """One class for every kind."""

    def test_what_is_stored_comes_back(self, open_again: Callable[[], Artifacts]) -> None:
        writer, reader = open_again(), open_again()
        names = [image_name("ab" * 32), "models/round 1/é+%20#?.bin", "rounds/1/scores.npz", "a"]
        for name, data in zip(names, [b"", b"x", bytes(range(256)) * 1000, b"\n"], strict=True):
            assert not reader.has(name)
            writer.put(name, data)
            assert (reader.has(name), reader.size(name)) == (True, len(data))
            assert reader.get(name) == reader.get(name) == data
        assert reader.names("") == sorted(names)

    def test_a_second_put_replaces_the_first(self, open_again: Callable[[], Artifacts]) -> None:
        writer, reader = open_again(), open_again()
        writer.put("rounds/a", b"one" * 1000)
        assert reader.get("rounds/a") == b"one" * 1000
        writer.put("rounds/a", b"two")
        assert (reader.get("rounds/a"), reader.size("rounds/a")) == (b"two", 3)

    def test_what_is_not_there_is_not_found(self, artifacts: Artifacts) -> None:
        artifacts.put("a/b", b"")
        for name in ("c", "a/c", "images/x", "models/x"):
            assert not artifacts.has(name)
            for ask in (artifacts.get, artifacts.size):
                with pytest.raises(NotFoundError, match=name):
                    ask(name)
        assert not artifacts.has("a")

    def test_unusable_names_are_refused(self, artifacts: Artifacts) -> None:
        def put(name: str) -> None:
            artifacts.put(name, b"")

        def put_many(name: str) -> None:
            artifacts.put_many({"fine": b"", name: b""})

        for name in BAD_NAMES:
            for act in (artifacts.has, artifacts.get, artifacts.size, artifacts.delete, put, put_many):
                with pytest.raises(InvalidInputError, match="artifact name"):
                    act(name)
        assert artifacts.names("") == []

    def test_many_are_stored_together(self, open_again: Callable[[], Artifacts]) -> None:
        items = {image_name(f"{n:064x}"): bytes([n]) * n for n in range(40)} | {"rounds/1": b"r"}
        writer, reader = open_again(), open_again()
        writer.put_many(items)
        writer.put_many({})
        writer.put_many({"one": b"1"})
        assert {name: reader.get(name) for name in items} == items
        assert reader.names("") == sorted([*items, "one"])

    def test_names_begin_as_asked(self, artifacts: Artifacts) -> None:
        for name in ("rounds/1/a", "rounds/1/b", "rounds/10/a", "rounds-old", "models/a"):
            artifacts.put(name, b"")
        assert artifacts.names("rounds/1/") == ["rounds/1/a", "rounds/1/b"]
        assert artifacts.names("rounds/1") == ["rounds/1/a", "rounds/1/b", "rounds/10/a"]
        assert artifacts.names("rounds") == ["rounds-old", "rounds/1/a", "rounds/1/b", "rounds/10/a"]
        assert artifacts.names("rounds/1/a") == ["rounds/1/a"]
        assert artifacts.names("nothing/") == artifacts.names("nothing") == []
        for prefix in ("../", "/", "a//", "a/../b"):
            with pytest.raises(InvalidInputError):
                artifacts.names(prefix)

    def test_an_empty_storage_has_no_names(self, artifacts: Artifacts) -> None:
        assert artifacts.names("") == artifacts.names("rounds/") == []

    def test_deleting_removes_one_and_may_be_done_twice(self, open_again: Callable[[], Artifacts]) -> None:
        artifacts = open_again()
        for name in ("models/a", "models/b"):
            artifacts.put(name, b"x")
            assert artifacts.get(name) == b"x"
        artifacts.delete("models/a")
        artifacts.delete("models/a")
        artifacts.delete("models")
        for one in (artifacts, open_again()):
            assert one.names("") == ["models/b"]
            assert not one.has("models/a")
            with pytest.raises(NotFoundError):
                one.get("models/a")

    def test_a_storage_that_holds_something_is_there(self, artifacts: Artifacts) -> None:
        artifacts.put("images/a", b"")
        assert artifacts.check()
        assert artifacts.check() == artifacts.check()

    def test_a_storage_without_anything_is_not_taken_for_one_that_lost_a_file(self, artifacts: Artifacts) -> None:
        with pytest.raises(UnavailableError):
            artifacts.check()

    def test_room_is_a_number_of_bytes_or_not_known(self, artifacts: Artifacts) -> None:
        room = artifacts.room()
        assert room is None or room > 0

    def test_threads_share_one(self, artifacts: Artifacts) -> None:
        def there_and_back(number: int) -> bytes:
            artifacts.put(f"images/{number}", bytes([number]) * 1000)
            return artifacts.get(f"images/{number}")

        with ThreadPoolExecutor(8) as pool:
            assert list(pool.map(there_and_back, range(40))) == [bytes([number]) * 1000 for number in range(40)]


def test_a_bucket_that_does_not_exist_is_unavailable(bucket: str) -> None:
    artifacts = RemoteArtifacts(f"s3://{bucket}-not")
    with pytest.raises(UnavailableError, match=f"{bucket}-not"):
        artifacts.put("a", b"")
    with pytest.raises(UnavailableError, match=f"{bucket}-not"):
        artifacts.check()


def test_an_unmounted_folder_is_unavailable(tmp_path: Path) -> None:
    artifacts = FileArtifacts(tmp_path / "mount")
    artifacts.put("images/a", b"")
    assert str(tmp_path / "mount") in artifacts.check()
    (tmp_path / "mount").rename(tmp_path / "elsewhere")
    with pytest.raises(UnavailableError, match="is it mounted"):
        artifacts.check()
    (tmp_path / "mount").mkdir()
    with pytest.raises(UnavailableError, match="is empty"):
        artifacts.check()


def test_a_driver_gets_the_host_of_its_address_and_no_message_its_password() -> None:
    artifacts = RemoteArtifacts("ftp://al:s3cret@127.0.0.1:9/folder")
    for act in (lambda: artifacts.get("images/a"), artifacts.check):
        with pytest.raises(UnavailableError, match=r"127\.0\.0\.1:9/folder") as caught:
            act()
        assert "s3cret" not in str(caught.value)


def test_an_at_sign_in_a_folder_is_no_login(bucket: str) -> None:
    artifacts = RemoteArtifacts(f"s3://{bucket}/team@home")
    artifacts.put("a", b"x")
    assert artifacts.get("a") == b"x"


def test_a_server_that_does_not_answer_is_unavailable(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    artifacts = RemoteArtifacts(f"s3://{bucket}")
    for act in (artifacts.get, artifacts.has, artifacts.size, artifacts.delete, artifacts.names):
        with pytest.raises(UnavailableError, match=bucket):
            act("images/a")
    with pytest.raises(UnavailableError, match=bucket):
        artifacts.put_many({"images/a": b""})


def test_a_forked_child_opens_its_own_connections(bucket: str) -> None:
    artifacts = RemoteArtifacts(f"s3://{bucket}")
    artifacts.put("a", b"parent")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12 and later: forking beside threads
        pid = os.fork()
    if pid == 0:
        artifacts.put("b", artifacts.get("a") + b" and child")
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert artifacts.get("b") == b"parent and child"


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("nosuch://bucket", "unknown kind 'nosuch'"),
        ("s3://", "names no bucket"),
        ("s3://KEY:ab/cd+password@ef@bucket", "AWS_ACCESS_KEY_ID"),
        ("s3://KEY:password@bucket/folder", "AWS_ACCESS_KEY_ID"),
        ("ftp://al:password@host:port/folder", "not an address of the kind 'ftp'"),
        ("adl://user:password@bucket/x", "driver is not installed"),
    ],
)
def test_addresses_that_cannot_be_used_are_refused(url: str, words: str) -> None:
    with pytest.raises(StorageUrlError, match=words) as caught:
        RemoteArtifacts(url)
    assert "password" not in str(caught.value)


def test_the_settings_choose_the_kind(bucket: str, tmp_path: Path) -> None:
    for url in ("", str(tmp_path / "here"), f"file://{tmp_path}/there"):
        assert isinstance(open_artifacts(Settings(data_dir=tmp_path, storage_url=url)), FileArtifacts)
    remote = open_artifacts(Settings(data_dir=tmp_path, storage_url=f"s3://{bucket}/al"))
    remote.put(image_name("ab" * 32), b"pixels")
    assert remote.get(image_name("ab" * 32)) == b"pixels"
    copies = [path for path in (tmp_path / "artifact-copies").rglob("*") if path.is_file()]
    assert [path.name for path in copies] == ["ab" * 32]
    with pytest.raises(StorageUrlError):
        open_artifacts(Settings(data_dir=tmp_path, storage_url="nosuch://x"))

"""Files by name in a folder: images by content hash, checkpoints, arrays. A file is there as a whole or not at all."""

import ctypes
import errno
import os
import shutil
import uuid
from collections.abc import Mapping
from pathlib import Path

from al_service.errors import InvalidInputError, NotFoundError, UnavailableError
from al_service.loop.ports import image_name as image_name

NAME_BYTES_MAX = 1000
PART_BYTES_MAX = 200
#: From so many files on, flushing the whole disk twice is cheaper than flushing each file and folder.
FLUSH_TOGETHER_FROM = 8
TEMPORARY_SUFFIX = ".part"
DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class ArtifactStorageError(UnavailableError):
    """The disk refused: full, read-only or broken; names the path and the free bytes."""

    code = "artifact_storage"


class FileArtifacts:
    """As in `loop.ports.Artifacts`, in a local folder.

    Args:
        root: the folder; made by the first `put`.
    """

    def __init__(self, root: Path) -> None:
        self._root = root

    def path(self, name: str) -> Path:
        """Where the file of that name lies or would lie, for readers that want a file.

        Raises:
            InvalidInputError: not a relative name of plain parts divided by '/'.
        """
        return self._root.joinpath(*checked_parts(name))

    def put(self, name: str, data: bytes) -> None:
        """Store durably and atomically; an existing one is replaced. On disk (file and folders) when it returns.

        Raises:
            InvalidInputError: as in `path`.
            ArtifactStorageError: the disk is full or refuses.
        """
        target = self.path(name)
        temporary = target.with_name(f".{uuid.uuid4().hex}{TEMPORARY_SUFFIX}")
        try:
            make_folders(target.parent)
            try:
                _write_durably(temporary, data)
                temporary.replace(target)
            except BaseException:
                temporary.unlink(missing_ok=True)
                raise
            sync_folder(target.parent)
        except OSError as error:
            raise storage_refusal(target, len(data), error) from error

    def put_many(self, items: Mapping[str, bytes]) -> None:
        """As `put` for each, and durable together: the disk is flushed twice for all of them instead of twice for each.

        The first flush comes before any file gets its name, so that a name never stands for a file cut short by a power
        cut; the second makes the names last.

        Raises:
            InvalidInputError, ArtifactStorageError: as in `put`; some of the files may be there, each of them whole.
        """
        targets = {self.path(name): data for name, data in items.items()}
        if len(items) < FLUSH_TOGETHER_FROM:
            for name, data in items.items():
                self.put(name, data)
            return
        temporaries = {target: target.with_name(f".{uuid.uuid4().hex}{TEMPORARY_SUFFIX}") for target in targets}
        try:
            for target, temporary in temporaries.items():
                target.parent.mkdir(parents=True, exist_ok=True)
                temporary.write_bytes(targets[target])
            _flush_disk(self._root)
            for target, temporary in temporaries.items():
                temporary.replace(target)
            _flush_disk(self._root)
        except OSError as error:
            raise storage_refusal(self._root, sum(map(len, items.values())), error) from error
        finally:
            for temporary in temporaries.values():
                temporary.unlink(missing_ok=True)

    def get(self, name: str) -> bytes:
        """The bytes, or NotFoundError."""
        target = self.path(name)
        try:
            return target.read_bytes()
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as error:
            raise NotFoundError(f"no artifact {name!r}", artifact=name) from error
        except OSError as error:
            raise ArtifactStorageError(f"{target}: cannot be read: {error.strerror}") from error

    def has(self, name: str) -> bool:
        """True when there."""
        return self.path(name).is_file()

    def names(self, prefix: str) -> list[str]:
        """As in `Artifacts`. Files that are being written are no artifacts yet.

        Raises:
            InvalidInputError: a prefix that no name can begin with.
        """
        folder, begin = check_prefix(prefix)
        return sorted(
            name
            for path in (self._root / folder).rglob("*")
            if (name := path.relative_to(self._root).as_posix()).startswith(begin)
            and not is_unfinished(name)
            and path.is_file()
        )

    def size(self, name: str) -> int:
        """As in `Artifacts`."""
        path = self.path(name)
        if not path.is_file():
            raise NotFoundError(f"no artifact {name!r}", artifact=name)
        return path.stat().st_size

    def check(self) -> str:
        """A word about the folder. To be asked when files should be there: before the first `put` there is none.

        Raises:
            ArtifactStorageError: it is not there, empty or unreadable: not mounted, perhaps.
        """
        try:
            with os.scandir(self._root) as entries:
                empty = next(entries, None) is None
        except OSError as error:
            raise ArtifactStorageError(
                f"{self._root}: the folder of the artifacts cannot be listed: {error.strerror}; is it mounted?",
                path=str(self._root),
            ) from error
        if empty:
            raise ArtifactStorageError(
                f"{self._root} is empty, expected the artifacts stored so far; is it mounted?", path=str(self._root)
            )
        return f"folder {self._root}"

    def delete(self, name: str) -> None:
        """As in `Artifacts`; gone for good when it returns."""
        target = self.path(name)
        try:
            target.unlink()
            sync_folder(target.parent)
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            return
        except OSError as error:
            raise ArtifactStorageError(f"{target}: cannot be removed: {error.strerror}", path=str(target)) from error

    def room(self) -> int | None:
        """As in `Artifacts`: free bytes of the disk."""
        return free_bytes(self._root)


def storage_refusal(target: Path, size: int, error: OSError) -> ArtifactStorageError:
    """The own error for a write of so many bytes that the operating system refused."""
    if error.errno in DISK_FULL:
        free = free_bytes(target)
        return ArtifactStorageError(
            f"{target}: no room for {size} bytes, {free} are free; make room or move the data folder",
            path=str(target),
            needed_bytes=size,
            free_bytes=free,
        )
    return ArtifactStorageError(f"{target}: cannot be written: {error.strerror}", path=str(target))


def free_bytes(path: Path) -> int:
    """Free bytes on the disk that holds (or would hold) that path."""
    existing = next(folder for folder in (path, *path.resolve().parents) if folder.exists())
    return shutil.disk_usage(existing).free


def check_prefix(prefix: str) -> tuple[str, str]:
    """The folder in which to look for names that begin so, and the prefix itself.

    >>> check_prefix("rounds/1/sc")
    ('rounds/1', 'rounds/1/sc')
    """
    if prefix:
        checked_parts(prefix.removesuffix("/"))
    return prefix.rpartition("/")[0], prefix


def is_unfinished(name: str) -> bool:
    """True for a file that is still being written, or was when its writer died."""
    last = name.rpartition("/")[2]
    return last.startswith(".") and last.endswith(TEMPORARY_SUFFIX)


def checked_parts(name: str) -> list[str]:
    """The parts of an artifact's name; raises InvalidInputError as `FileArtifacts.path`."""
    parts = name.split("/")
    try:
        size = len(name.encode("utf-8"))
    except UnicodeEncodeError:
        size = 0
    plain = all(
        part not in ("", ".", "..") and len(part.encode("utf-8", "replace")) <= PART_BYTES_MAX for part in parts
    )
    if not 1 <= size <= NAME_BYTES_MAX or "\x00" in name or "\\" in name or not plain:
        raise InvalidInputError(
            f"artifact name {name[:80]!r}: use a relative name like 'images/ab/abcd', without '.' or '..' parts"
        )
    return parts


def make_folders(folder: Path) -> None:
    """Make the folder and those above it, each on disk when it returns."""
    missing = [folder, *folder.parents]
    missing = missing[: next(i for i, candidate in enumerate(missing) if candidate.is_dir())]
    folder.mkdir(parents=True, exist_ok=True)
    for made in missing:
        sync_folder(made.parent)


def _write_durably(path: Path, data: bytes) -> None:
    with path.open("xb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _flush_disk(folder: Path) -> None:
    """Write out the file system that holds the folder; all file systems where only that can be asked for."""
    syncfs = getattr(ctypes.CDLL(None, use_errno=True), "syncfs", None)
    if syncfs is None:
        os.sync()
        return
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        if syncfs(descriptor) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
    finally:
        os.close(descriptor)


def sync_folder(folder: Path) -> None:
    """Make the names in the folder last through a power cut."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

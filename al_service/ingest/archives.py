"""Zip and tar archives as containers, read in place: no member is ever written to disk under its own name.

A zip and a plain tar are read where they lie. A compressed tar has no way to jump, so it is unpacked once, as one
nameless temporary file in the scratch folder (the system deletes it even when the process is killed); after that every
member can be read at any time, and again. Order: that of the archive, which does not change between two imports.
"""

import bz2
import contextlib
import gzip
import io
import lzma
import posixpath
import shutil
import stat
import tarfile
import tempfile
import threading
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

from al_service.errors import UnavailableError
from al_service.ingest.containers import Entry, cut_at_limit
from al_service.ingest.names import is_hidden, relative_path, unsafe_reason
from al_service.ingest.rows import InvalidSourceError, Limits, RowUnreadableError

_CHUNK_BYTES = 2**20
_COMPRESSED = {b"\x1f\x8b": "tar.gz", b"BZh": "tar.bz2", b"\xfd7zXZ": "tar.xz"}
_FOREIGN = {b"7z\xbc\xaf": "a 7z archive", b"Rar!": "a RAR archive", b"\x28\xb5\x2f\xfd": "zstandard-compressed"}
_ZIP_ERRORS = (OSError, EOFError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, NotImplementedError, RuntimeError)


def open_archive(file: IO[bytes], name: str, scratch: Path, limits: Limits) -> "ZipContainer | TarContainer":
    """Return the archive in this file, known by its first bytes and not by its name.

    Args:
        file: seekable; belongs to the container from now on, and is closed here when there is none.
        name: for messages.

    Raises:
        InvalidSourceError: no zip and no tar, cut short, or above archive_max_bytes when unpacked.
        UnavailableError: the scratch folder is full.
    """
    try:
        return _open(file, name, scratch, limits)
    except BaseException:
        file.close()
        raise


def _open(file: IO[bytes], name: str, scratch: Path, limits: Limits) -> "ZipContainer | TarContainer":
    try:
        head = file.read(512)
        file.seek(0)
    except OSError as error:
        raise InvalidSourceError(f"{name} cannot be read ({error.strerror}): check the disk") from error
    if head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return ZipContainer(file, name, limits)
    for magic, kind in _COMPRESSED.items():
        if head.startswith(magic):
            with file:
                plain = _unpack(file, name, kind, scratch, limits)
            return TarContainer(plain, kind, name, limits)
    if head[257:262] == b"ustar" or name.endswith(".tar"):  # tar had no mark before 1988
        return TarContainer(file, "tar", name, limits)
    found = next((kind for magic, kind in _FOREIGN.items() if head.startswith(magic)), "no archive that we know")
    raise InvalidSourceError(
        f"{name} is {found}; expected a folder, a .zip, .tar, .tar.gz, .tar.bz2 or .tar.xz archive, "
        "or a .csv, .tsv or .jsonl table"
    )


#: Signatures of a zip's last records, the size of the very last one, and how far from the end it may begin.
_END_RECORD, _LARGE_END_RECORD, _END_SIZE, _END_SEARCHED = b"PK\x05\x06", b"PK\x06\x06", 22, 65_557 + 76
#: What a file may take in the list of files, and what any list may take.
_BYTES_PER_NAME, _DIRECTORY_ALWAYS = 160, 2**20


def _check_directory(file: IO[bytes], name: str, limits: Limits) -> None:
    """Refuse a list of files that is far longer than the files that are read: opening an archive reads all of it, and
    takes ten times its size in memory.

    The size stands in the record at the end, or, above 4 GiB or 65,535 files, in the one before it. What is damaged or
    lies about it is left to `zipfile`, which reads no more than the size that is said.
    """
    file.seek(0, io.SEEK_END)
    end = file.tell()
    file.seek(max(0, end - _END_SEARCHED))
    tail = file.read(_END_SEARCHED)
    at = tail.rfind(_END_RECORD)
    if at < 0 or len(tail) - at < _END_SIZE:
        return
    size = int.from_bytes(tail[at + 12 : at + 16], "little")
    large = tail.rfind(_LARGE_END_RECORD, 0, at)
    if size == 0xFFFFFFFF and large >= 0:
        size = int.from_bytes(tail[large + 40 : large + 48], "little")
    most = limits.rows_max * _BYTES_PER_NAME + _DIRECTORY_ALWAYS
    if size > most:
        found = f"{size:,} bytes, more than {limits.rows_max:,} files need"
        raise InvalidSourceError(f"{name} lists its files in {found}; pack fewer files into each archive")


class ZipContainer:
    """Members of a zip file, in the order of its directory; `file` belongs to the container from now on."""

    kind = "zip"

    def __init__(self, file: IO[bytes], name: str, limits: Limits) -> None:
        self._file = file
        self._limits = limits
        _check_directory(file, name, limits)
        try:
            self._zip = zipfile.ZipFile(file)
        except (*_ZIP_ERRORS, ValueError) as error:
            raise InvalidSourceError(f"{name} is a damaged zip archive ({error}): download or pack it again") from error
        self._members = self._zip.infolist()
        self._listing = list(cut_at_limit(self._list(), limits))
        self._by_path = _index(self._listing)

    def entries(self) -> Iterator[Entry]:
        """As in Container."""
        return iter(self._listing)

    def find(self, path: str) -> Entry | None:
        """As in Container."""
        return _find(self._by_path, path)

    def local_path(self, path: str) -> str:
        """As in Container."""
        return path

    def read(self, entry: Entry, byte_count: int) -> bytes:
        """As in Container; never unpacks more than asked, whatever sizes the archive declares."""
        try:
            with self._zip.open(self._members[entry.position]) as member:
                return member.read(byte_count)
        except (*_ZIP_ERRORS, ValueError) as error:
            raise RowUnreadableError(f"damaged in the archive: {error}") from error

    def close(self) -> None:
        """As in Container."""
        self._zip.close()
        self._file.close()

    def _list(self) -> Iterator[Entry]:
        for position, info in enumerate(self._members):
            name = _zip_name(info)
            problem = unsafe_reason(name)
            path = name if problem else relative_path(name)
            if name.endswith("/") or (problem is None and is_hidden(path)):
                continue
            if stat.S_ISLNK(info.external_attr >> 16):
                problem = problem or "it is a link: only files are taken from archives"
            elif info.flag_bits & 1:
                problem = problem or "it is encrypted: pack it without a password"
            yield Entry(path, info.file_size, position, problem)


class TarContainer:
    """Members of a tar file, in its order; `file` is the plain tar and belongs to the container from now on."""

    def __init__(self, file: IO[bytes], kind: str, name: str, limits: Limits) -> None:
        self.kind = kind
        self._file = file
        self._limits = limits
        self._lock = threading.Lock()
        try:
            self._listing = list(cut_at_limit(self._list(), limits))
        except (tarfile.TarError, EOFError, OSError, ValueError) as error:
            file.close()
            message = f"{name} holds no sound tar archive ({error}): download or pack it again"
            raise InvalidSourceError(message) from error
        self._by_path = _index(self._listing)

    def entries(self) -> Iterator[Entry]:
        """As in Container."""
        return iter(self._listing)

    def find(self, path: str) -> Entry | None:
        """As in Container."""
        return _find(self._by_path, path)

    def local_path(self, path: str) -> str:
        """As in Container."""
        return path

    def read(self, entry: Entry, byte_count: int) -> bytes:
        """As in Container."""
        try:
            with self._lock:
                self._file.seek(entry.position)
                return self._file.read(min(byte_count, entry.byte_count))
        except (OSError, ValueError) as error:
            raise RowUnreadableError(f"the archive cannot be read: {error}") from error

    def close(self) -> None:
        """As in Container; the unpacked copy is gone with it."""
        self._file.close()

    def _list(self) -> Iterator[Entry]:
        with tarfile.TarFile(fileobj=_Bounded(self._file), mode="r") as tar:
            seen: list[tarfile.TarInfo] = vars(tar)[
                "members"
            ]  # tarfile keeps every member; our own entries are smaller
            while (info := tar.next()) is not None:
                seen.clear()
                problem = unsafe_reason(info.name)
                path = info.name if problem else relative_path(info.name)
                if info.isdir() or (problem is None and is_hidden(path)):
                    continue
                if not info.isreg() or info.issparse():
                    problem = problem or "it is a link, device or sparse file: only plain files are taken from archives"
                yield Entry(path, info.size, info.offset_data, problem)


class _Bounded(io.BufferedIOBase):
    """The tar file for tarfile's eyes: no header may ask for more than 1 MiB at once (a forged one can ask for all)."""

    def __init__(self, file: IO[bytes]) -> None:
        self._under = file

    def read(self, size: int | None = -1, /) -> bytes:
        if size is None or size < 0 or size > _CHUNK_BYTES:
            raise tarfile.ReadError("a header is larger than 1 MiB")
        return self._under.read(size)

    def seek(self, offset: int, whence: int = 0, /) -> int:
        return self._under.seek(offset, whence)

    def tell(self) -> int:
        return self._under.tell()


def _unpack(file: IO[bytes], name: str, kind: str, scratch: Path, limits: Limits) -> IO[bytes]:
    """Return a nameless temporary file with the plain tar."""
    openers: dict[str, Callable[[IO[bytes]], Any]] = {
        "tar.gz": lambda packed: gzip.GzipFile(fileobj=packed),
        "tar.bz2": bz2.BZ2File,
        "tar.xz": lzma.LZMAFile,
    }
    scratch.mkdir(parents=True, exist_ok=True)
    out = tempfile.TemporaryFile(dir=scratch)  # noqa: SIM115 (the container closes it)
    try:
        with openers[kind](file) as packed:
            while chunk := _next_chunk(packed, name):
                _keep_room(out.tell() + len(chunk), name, scratch, limits)
                out.write(chunk)
        out.seek(0)
    except OSError as error:
        out.close()
        raise UnavailableError(f"{scratch} cannot take the unpacked {name} ({error.strerror}): free space") from error
    except BaseException:
        out.close()
        raise
    return out


def _next_chunk(packed: IO[bytes], name: str) -> bytes:
    try:
        return packed.read(_CHUNK_BYTES)
    except EOFError as error:
        raise InvalidSourceError(f"{name} is cut short ({error}): download it again") from error
    except (OSError, lzma.LZMAError, zlib.error) as error:
        raise InvalidSourceError(f"{name} is damaged ({error}): download or pack it again") from error


def _keep_room(byte_count: int, name: str, scratch: Path, limits: Limits) -> None:
    if byte_count > limits.archive_max_bytes:
        most = f"{limits.archive_max_bytes:,}"
        raise InvalidSourceError(f"{name} has more than {most} bytes when unpacked: import it in parts, or as a folder")
    free = shutil.disk_usage(scratch).free
    if free < limits.disk_free_min_bytes:
        raise UnavailableError(
            f"{scratch} has {free:,} bytes free, {limits.disk_free_min_bytes:,} must stay: free space"
        )


def _index(listing: list[Entry]) -> dict[str, Entry]:
    return {entry.path: entry for entry in reversed(listing)}  # of two members with one name the first counts


def _find(by_path: dict[str, Entry], path: str) -> Entry | None:
    normal = posixpath.normpath(path) if path else path
    if reason := unsafe_reason(normal):
        return Entry(path, problem=reason)
    return by_path.get(normal)


def _zip_name(info: zipfile.ZipInfo) -> str:
    """Undo what old packers do to names: UTF-8 without saying so, and Windows separators."""
    name = info.filename
    if not info.flag_bits & 0x800:
        with contextlib.suppress(ValueError):  # not UTF-8: truly an old code page
            name = name.encode("cp437").decode("utf-8")
    return name.replace("\\", "/") if "/" not in name else name

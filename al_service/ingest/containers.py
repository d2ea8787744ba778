"""A container is a set of files with paths: a folder, a zip, a tar. This module says what the readers need of one.

Unsafe, linked or over-large files are entries with a `problem`; their bytes are never read. Nothing is ever written
under a name that a source chose.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Protocol

from al_service.images import looks_like_image
from al_service.ingest.names import FOREIGN_ENDINGS, IMAGE_ENDINGS, TABLE_ENDINGS, ending, printable_name
from al_service.ingest.rows import Limits, RowUnreadableError


@dataclass(frozen=True, slots=True)
class Entry:
    """One file: posix path inside the container (undecodable bytes as surrogates), length, and why not to read it.

    position is the container's own key: an offset in a tar, a number in a zip, 0 in a folder.
    """

    path: str
    byte_count: int = 0
    position: int = 0
    problem: str | None = None


class Container(Protocol):
    """Implemented by FolderContainer, ZipContainer and TarContainer."""

    kind: str

    def entries(self) -> Iterator[Entry]:
        """Yield all files that are not hidden, in an order that only the content decides."""

    def find(self, path: str) -> Entry | None:
        """Return the entry at this path (with a problem if it is unsafe), or None."""

    def local_path(self, path: str) -> str:
        """Return an absolute path inside the container as `entries` gives it; any other path as it is."""

    def read(self, entry: Entry, byte_count: int) -> bytes:
        """Return at most byte_count first bytes, or raise RowUnreadableError."""

    def close(self) -> None:
        """Release files."""


@dataclass(frozen=True, slots=True)
class Listing:
    """A container's files, sorted into images (refused ones included) and tables; the others are only counted."""

    container: Container
    images: list[Entry]
    tables: list[Entry]
    skipped_count: int

    def sound_paths(self) -> Iterator[str]:
        """Yield the paths of the images that are not refused."""
        return (entry.path for entry in self.images if entry.problem is None)


def too_large(byte_count: int, limits: Limits) -> str | None:
    """Return the reason for a file above file_max_bytes, else None."""
    if byte_count <= limits.file_max_bytes:
        return None
    return f"the file has {byte_count:,} bytes, at most {limits.file_max_bytes:,} are read"


def cut_at_limit(entries: Iterable[Entry], limits: Limits) -> Iterator[Entry]:
    """Yield the first rows_max entries; if there are more, one last entry that says so."""
    for number, entry in enumerate(entries):
        if number == limits.rows_max:
            yield Entry(
                "(more files)", problem=f"more than {limits.rows_max:,} files: the rest is left out; import in parts"
            )
            return
        yield entry


def take_listing(container: Container, limits: Limits) -> Listing:
    """Return what the container holds: images and tables.

    Images are known by the name's ending or else by their first bytes, as names found on the web end in anything.
    Refused files and pictures in formats that are not read are among the images, with their problem; what is left out
    silently, and only counted, is no picture.
    """
    images, tables, skipped_count = [], [], 0
    for entry in container.entries():
        kind = ending(entry.path)
        if entry.problem is not None:
            images.append(entry)
        elif kind in TABLE_ENDINGS:
            tables.append(entry)
        elif kind in FOREIGN_ENDINGS:
            images.append(replace(entry, problem=f"{kind[1:].upper()} files are not read: convert to JPEG or PNG"))
        elif kind in IMAGE_ENDINGS or _sniff(container, entry):
            images.append(replace(entry, problem=too_large(entry.byte_count, limits)))
        else:
            skipped_count += 1
    return Listing(container, images, tables, skipped_count)


def reader(container: Container, entry: Entry, limits: Limits) -> Callable[[], bytes]:
    """Return the `read` of a SourceRow."""
    return partial(_read_all, container, entry, limits)


def shown_id(entry: Entry) -> str:
    """Return the entry's external id."""
    return printable_name(entry.path) or "(no name)"


def _read_all(container: Container, entry: Entry, limits: Limits) -> bytes:
    data = container.read(entry, limits.file_max_bytes + 1)
    if reason := too_large(len(data), limits):
        raise RowUnreadableError(reason)  # the size that was declared was not true
    return data


def _sniff(container: Container, entry: Entry) -> bool:
    try:
        return looks_like_image(container.read(entry, 16))
    except RowUnreadableError:
        return False

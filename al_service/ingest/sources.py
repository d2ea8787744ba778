"""The door: one location, whatever it is, becomes a Source of rows. Called by the import job and the command line."""

import os
from pathlib import Path
from typing import IO
from urllib.parse import unquote, urlsplit

from al_service.ingest.archives import open_archive
from al_service.ingest.containers import Container, take_listing
from al_service.ingest.folders import FolderContainer
from al_service.ingest.listing import list_images
from al_service.ingest.names import TABLE_ENDINGS, ending
from al_service.ingest.rows import Content, InvalidSourceError, Labels, Limits, Source
from al_service.ingest.table_rows import find_tables, read_one_table, read_tables
from al_service.ingest.torchvision_sets import read_torchvision

_TORCHVISION = "torchvision:"
_EXPECTED = (
    "a folder, an archive (.zip, .tar, .tar.gz, .tar.bz2, .tar.xz), a table (.csv, .tsv, .jsonl) or torchvision:NAME"
)


def open_source(location: str, *, scratch: Path, labels: Labels = "auto", limits: Limits | None = None) -> Source:
    """Return the rows behind a location; close it, or use it in a `with`.

    Looks at names and tables only: images are read when `SourceRow.read` is called. (A compressed tar is unpacked here,
    into one nameless file in scratch.) Rows that cannot be located come as RejectedRow in their place.

    Args:
        location: a path, a file:// address, or torchvision:NAME.
        scratch: a folder for temporary data; data sets of torchvision stay below it for the next time.
        labels: see `rows.Labels`. "folder" takes the class folders even if there is a table.

    Raises:
        InvalidSourceError: wrong as a whole: nothing there, no archive, no image column, no images.
        UnavailableError: no room in scratch, or a data set cannot be downloaded now.
    """
    limits = limits or Limits()
    if location.startswith(_TORCHVISION):
        content = read_torchvision(location.removeprefix(_TORCHVISION), labels, scratch)
        return Source(location, content, _nothing)
    path = _local_path(location)
    if path.is_file() and ending(path.name) in TABLE_ENDINGS:
        return _source(location, FolderContainer(path.parent, limits), path.name, labels, limits)
    if path.is_dir():
        return _source(location, FolderContainer(path, limits), None, labels, limits)
    return open_archive_file(_opened(path), location, scratch=scratch, labels=labels, limits=limits)


def open_archive_file(
    file: IO[bytes], name: str, *, scratch: Path, labels: Labels = "auto", limits: Limits | None = None
) -> Source:
    """Return the rows of an archive in an open, seekable file, which belongs to the source from now on.

    Args:
        name: what messages call it.
        scratch, labels, limits: as in `open_source`.

    Raises:
        InvalidSourceError, UnavailableError: as `open_source`.
    """
    limits = limits or Limits()
    return _source(name, open_archive(file, name, scratch, limits), None, labels, limits)


def _opened(path: Path) -> IO[bytes]:
    try:
        return path.open("rb")
    except OSError as error:
        raise InvalidSourceError(f"{path} cannot be read ({error.strerror}): check its permissions") from error


def _source(location: str, container: Container, table: str | None, labels: Labels, limits: Limits) -> Source:
    try:
        content = _content(location, container, table, labels, limits)
        if content.count == 0:
            raise InvalidSourceError(
                f"{location} holds no images ({content.skipped_count} other files): expected {_EXPECTED}"
            )
    except BaseException:
        container.close()
        raise
    return Source(location, content, container.close)


def _content(location: str, container: Container, table: str | None, labels: Labels, limits: Limits) -> Content:
    if table is not None:
        if labels == "folder":
            raise InvalidSourceError(f'{location} is a table: choose labels="column" or "none", or import its folder')
        return read_one_table(container, table, labels, limits)
    listing = take_listing(container, limits)
    if labels != "folder" and (placed := find_tables(listing, labels, limits)):
        return read_tables(listing, placed, labels, limits)
    return list_images(listing, labels, limits)


def _local_path(location: str) -> Path:
    if "://" in location:
        try:
            parts = urlsplit(location)
        except ValueError as error:
            raise InvalidSourceError(f"{location} is no address ({error}): expected {_EXPECTED}") from error
        if parts.scheme != "file" or parts.netloc not in ("", "localhost"):
            raise InvalidSourceError(f"{location} is not on this machine: download it first; expected {_EXPECTED}")
        location = unquote(parts.path, errors="surrogateescape")
    if not location or "\0" in location:
        raise InvalidSourceError(f"no location given: expected {_EXPECTED}")
    path = Path(location)
    if not os.path.lexists(path):
        raise InvalidSourceError(f"{location} is not there (seen from {Path.cwd()}): expected {_EXPECTED}")
    if not path.is_dir() and not path.is_file():
        raise InvalidSourceError(f"{location} is a device, pipe or broken link: expected {_EXPECTED}")
    return path


def _nothing() -> None:
    """A data set of torchvision holds no file open."""

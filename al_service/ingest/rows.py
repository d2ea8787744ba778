"""What a source gives: rows to import and rows refused with a reason. Plain data, no reading of formats here.

Called by every reader in this package and by the import job. The job's part: iterate, call `read`, then
`al_service.images.verify`; both raise an InvalidInputError whose text is the reason to report for that one row.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from types import TracebackType
from typing import Literal, Self

from al_service.errors import InvalidInputError

Labels = Literal["auto", "column", "folder", "none"]
"""Where labels come from. auto: a table's label column, else class folders where these are plain, else nothing."""


class InvalidSourceError(InvalidInputError):
    """The source as a whole cannot be imported: no such path, no archive, no image column, nothing in it."""

    code = "invalid_source"


class RowUnreadableError(InvalidInputError):
    """The bytes of one row cannot be had (gone, too large, damaged in the archive, not fetched); others can."""

    code = "row_unreadable"


@dataclass(frozen=True, slots=True)
class Limits:
    """What one import may take. `rows_max` holds for files in a folder or archive and for rows in a table.

    allow_absolute_paths: a table on this machine may name, and links in a folder may lead to, files outside its folder.
    allow_private_hosts: URLs may lead to this machine and to private networks. Both only for who runs the server.
    """

    file_max_bytes: int = 64 * 2**20
    table_max_bytes: int = 256 * 2**20
    archive_max_bytes: int = 200 * 2**30
    disk_free_min_bytes: int = 2**30
    rows_max: int = 5_000_000
    url_timeout_s: float = 15.0
    allow_absolute_paths: bool = False
    allow_private_hosts: bool = False


@dataclass(frozen=True, slots=True)
class SourceRow:
    """One image. `read` returns its bytes, may be called again while the source is open, or raises RowUnreadableError.

    split is "train", "test" or None; where the source said it otherwise ("val"), metadata["split"] keeps that word.
    """

    external_id: str
    read: Callable[[], bytes]
    label: str | None = None
    split: str | None = None
    metadata: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RejectedRow:
    """One row that will not be imported, and why, in words for the person who imports."""

    external_id: str
    reason: str


Row = SourceRow | RejectedRow


@dataclass(frozen=True, slots=True)
class Content:
    """What a reader knows before iterating: how many rows, which classes, how to start over."""

    kind: str
    rows: Callable[[], Iterator[Row]]
    count: int
    classes: tuple[str, ...] = ()
    skipped_count: int = 0


class Source:
    """An open source: iterate it (again and again: same rows, same order, same ids), then close it.

    count is the number of rows, refused ones included; skipped_count the files that are no images by their name.
    The order is fixed by the source's content, so a job that was killed may skip ids it has already stored.
    """

    def __init__(self, location: str, content: Content, close: Callable[[], None]) -> None:
        self.location = location
        self.kind = content.kind
        self.count = content.count
        self.classes = content.classes
        self.skipped_count = content.skipped_count
        self._rows = content.rows
        self._close = close

    def __iter__(self) -> Iterator[Row]:
        """Yield every row; of rows with the same external id the first counts, the others are refused."""
        seen: set[str] = set()
        for row in self._rows():
            if isinstance(row, SourceRow):
                if row.external_id in seen:
                    yield RejectedRow(row.external_id, "this id or path came before in the same source: kept the first")
                    continue
                seen.add(row.external_id)
            yield row

    def close(self) -> None:
        """Release files; `read` of its rows fails from now on."""
        self._close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

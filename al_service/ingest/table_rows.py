"""Rows of tables: every line finds its image in the table's folder, its archive, or on the web.

Two cases. A table given by itself brings its lines and no more. Tables found in a folder or archive (at its top, or one
in each split folder, as Hugging Face's imagefolder has them) bring their lines first, then the images that no line
names follow without a label from a table: an unlabelled rest is what active learning is for, so it is not dropped.
"""

import posixpath
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from urllib.parse import unquote, urlsplit

from al_service.ingest.containers import Container, Entry, Listing, reader, shown_id, too_large
from al_service.ingest.fetching import fetch
from al_service.ingest.layout import Layout, detect_layout, wrapping_depth
from al_service.ingest.listing import image_row, layout_classes
from al_service.ingest.names import printable_name, split_name
from al_service.ingest.rows import (
    Content,
    InvalidSourceError,
    Labels,
    Limits,
    RejectedRow,
    Row,
    RowUnreadableError,
    SourceRow,
)
from al_service.ingest.tables import BadLine, Record, Table

_SCHEME = re.compile(r"(?i)^(?:([a-z][a-z0-9+.-]+)://|(data|file):)")


@dataclass(frozen=True, slots=True)
class PlacedTable:
    """A table, the folder its paths start from ("" for the container's top), and the split that its place says."""

    table: Table
    folder: str = ""
    split_word: str | None = None


def read_one_table(container: Container, path: str, labels: Labels, limits: Limits) -> Content:
    """Return the rows of the one table at `path` in its folder.

    Raises:
        InvalidSourceError: too large, no image column, no lines, or no label column though labels is "column".
    """
    entry = container.find(path)
    if entry is None or entry.problem is not None:
        raise InvalidSourceError(f"{path} cannot be read: {entry.problem if entry else 'it is gone'}")
    return read_tables(
        Listing(container, [], [entry], 0), [PlacedTable(_load(container, entry, limits))], labels, limits
    )


def find_tables(listing: Listing, labels: Labels, limits: Limits) -> list[PlacedTable]:
    """Return the tables that describe the container's images: those with an image column, at the top or per split.

    A file called metadata.csv or metadata.jsonl speaks alone for its folder.

    Raises:
        InvalidSourceError: there is no such table, and labels is "column" or there is nothing else to import.
    """
    folders = {tuple(path.split("/")[:-1]) for path in (*listing.sound_paths(), *(one.path for one in listing.tables))}
    top = wrapping_depth(folders)
    by_folder: dict[tuple[str, ...], list[Entry]] = {}
    for entry in listing.tables:
        parts = tuple(entry.path.split("/")[:-1])
        if len(parts) == top or (len(parts) == top + 1 and split_name(parts[-1])):
            by_folder.setdefault(parts, []).append(entry)
    placed: list[PlacedTable] = []
    refused: list[InvalidSourceError] = []
    for group in by_folder.values():
        for entry in [one for one in group if _is_metadata(one)] or group:
            try:
                placed.append(_place(listing.container, entry, limits))
            except InvalidSourceError as error:
                refused.append(error)  # any other table may lie beside images; it matters only if we need one
    if not placed and refused and (labels == "column" or not listing.images):
        raise refused[0]
    if not placed and labels == "column":
        raise InvalidSourceError('labels="column" expects a .csv or .jsonl table at the top, and there is none')
    return placed


def read_tables(listing: Listing, placed: list[PlacedTable], labels: Labels, limits: Limits) -> Content:
    """Return the rows of these tables, then those of the images that they do not name; raises as `read_one_table`.

    All lines are read once for count and classes; images are looked up when rows are iterated, not now.
    """
    has_labels = any(one.table.has_labels for one in placed)
    if labels == "column" and not has_labels:
        raise InvalidSourceError(
            f'labels="column" expects a column label, class or class_name; {placed[0].table.name} has none: '
            'rename it, or choose labels="none"'
        )
    layout = detect_layout(listing.sound_paths(), labels)
    if has_labels:
        layout = replace(layout, class_level=None)  # one word for labels: the column's, also where its cell is empty
    reading = _Reading(listing, placed, layout, labels, limits)
    count, classes, named = 0, layout_classes(listing, layout), set()
    for one, record in reading.lines():
        count += 1
        if isinstance(record, Record):
            named.add(reading.path_of(record, one))
            classes.update([record.label] if record.label and labels != "none" else ())
    if count > limits.rows_max:
        count = limits.rows_max + 1  # the last of them says that there are more
    else:
        count += sum(entry.path not in named for entry in listing.images)
    skipped_count = listing.skipped_count + len(listing.tables) - len(placed)
    return Content("table", reading.rows, count, tuple(sorted(classes)), skipped_count)


@dataclass(frozen=True, slots=True)
class _Reading:
    listing: Listing
    placed: list[PlacedTable]
    layout: Layout
    labels: Labels
    limits: Limits

    def lines(self) -> Iterator[tuple[PlacedTable, Record | BadLine]]:
        return ((one, record) for one in self.placed for record in one.table.records())

    def rows(self) -> Iterator[Row]:
        named: set[str] = set()
        for number, (one, record) in enumerate(self.lines()):
            at = f"{one.table.name} line {record.line}"
            if number == self.limits.rows_max:
                yield RejectedRow(at, f"more than {number:,} rows: the rest is left out; import in parts")
                return
            if isinstance(record, BadLine):
                yield RejectedRow(at, record.reason)
                continue
            path = self.path_of(record, one)
            named.add(path)
            row = self._row(one, record, path)
            yield row if isinstance(row, SourceRow) else replace(row, reason=f"{at}: {row.reason}")
        for entry in self.listing.images:
            if entry.path not in named:
                yield image_row(self.listing.container, entry, self.layout, self.limits)

    def path_of(self, record: Record, one: PlacedTable) -> str:
        """Return where the image is looked for inside the container; a web address stays as it is."""
        image = record.image
        if _is_web(image) or _scheme_problem(image):
            return image
        if image.lower().startswith("file:"):
            image = unquote(urlsplit(image).path, errors="surrogateescape")
        elif "/" not in image:
            image = image.replace("\\", "/")  # a table written on Windows
        return self.listing.container.local_path(posixpath.normpath(posixpath.join(one.folder, image)))

    def _row(self, one: PlacedTable, record: Record, path: str) -> Row:
        external_id = printable_name(record.id or path)
        place = self.layout.place(path)
        word = record.split or one.split_word or place.split_word
        split = split_name(word) if word else None
        if word and split is None:
            return RejectedRow(external_id, f"the split {word!r} is unknown, expected train, test or val")
        metadata = (
            record.metadata if word in (None, split) else {**record.metadata, "split": printable_name(word or "")}
        )
        label = record.label if one.table.has_labels else place.label
        label = None if self.labels == "none" else label
        if _is_web(record.image):
            return SourceRow(external_id, partial(fetch, record.image, self.limits), label, split, metadata)
        entry = self._find(record, path)
        if entry.problem is not None:
            return RejectedRow(external_id, entry.problem)
        return SourceRow(external_id, reader(self.listing.container, entry, self.limits), label, split, metadata)

    def _find(self, record: Record, path: str) -> Entry:
        """Return the entry at the path, with a problem if it cannot be used."""
        if problem := _scheme_problem(record.image):
            return Entry(path, problem=problem)
        entry = self.listing.container.find(path)
        if entry is None:
            return Entry(path, problem=f"there is no file {printable_name(path)}")
        return replace(entry, problem=entry.problem or too_large(entry.byte_count, self.limits))


def _place(container: Container, entry: Entry, limits: Limits) -> PlacedTable:
    folder, name = posixpath.split(entry.path)
    words = (posixpath.splitext(name)[0], posixpath.basename(folder))
    split_word = next((word for word in words if split_name(word)), None)
    return PlacedTable(_load(container, entry, limits), folder, split_word)


def _is_metadata(entry: Entry) -> bool:
    return posixpath.basename(entry.path).lower().startswith("metadata.")


def _load(container: Container, entry: Entry, limits: Limits) -> Table:
    try:
        data = container.read(entry, limits.table_max_bytes + 1)
    except RowUnreadableError as error:
        raise InvalidSourceError(f"the table {shown_id(entry)}: {error}") from error
    if len(data) > limits.table_max_bytes:
        most = f"{limits.table_max_bytes:,}"
        raise InvalidSourceError(f"the table {shown_id(entry)} has more than {most} bytes: import it in parts")
    return Table(data, shown_id(entry))


def _is_web(image: str) -> bool:
    return image.lower().startswith(("http://", "https://"))


def _scheme_problem(image: str) -> str | None:
    found = _SCHEME.match(image)
    if found is None or _is_web(image):
        return None
    scheme = (found[1] or found[2]).lower()
    try:
        is_here = scheme == "file" and urlsplit(image).netloc in ("", "localhost")
    except ValueError:  # brackets that are no IPv6 address
        is_here = False
    if is_here:
        return None
    return f"addresses of the kind {scheme}: are not read here, expected a path, http, https or file:///"

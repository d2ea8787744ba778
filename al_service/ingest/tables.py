"""CSV, TSV and JSONL: from bytes to records with known columns. Resolves no paths and reads no images.

A line that cannot be read becomes a BadLine with its number; the lines after it are still read.
"""

import codecs
import csv
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from al_service.ingest.names import ending, printable_name, storable_text
from al_service.ingest.rows import InvalidSourceError

IMAGE_COLUMNS = ("image", "file_name", "filename", "path", "image_path", "url", "image_url")
_COLUMNS = {
    "image": IMAGE_COLUMNS,
    "id": ("id", "external_id"),
    "label": ("label", "class", "class_name"),
    "split": ("split",),
}


@dataclass(frozen=True, slots=True)
class Record:
    """One line: image is a path or URL as written, the others None where the cell is empty or the column absent."""

    line: int
    image: str
    id: str | None
    label: str | None
    split: str | None
    metadata: dict[str, str]


@dataclass(frozen=True, slots=True)
class BadLine:
    """One line that cannot be read, and why."""

    line: int
    reason: str


class Table:
    """A table whose columns are known. Column names match in any case; of several for one use the first named counts.

    Args:
        name: shown in messages, and its ending tells CSV from JSONL.

    Raises:
        InvalidSourceError: no image column, or nothing in it.
    """

    def __init__(self, data: bytes, name: str) -> None:
        self.name = name
        self._text = _text(data)
        self._is_json = ending(name) in (".jsonl", ".ndjson")
        self._delimiter = "," if self._is_json else _delimiter(self._text, name)
        found = self._json_keys() if self._is_json else self._header()
        self._chosen = {use: _choose(found, names) for use, names in _COLUMNS.items()}
        self.has_labels = self._chosen["label"] is not None
        if self._chosen["image"] is None:
            shown = ", ".join(printable_name(column) for column in found[:20]) or "nothing"
            raise InvalidSourceError(
                f"{name} has no image column: found {shown}; "
                f"expected one of {', '.join(IMAGE_COLUMNS)}: rename the column"
            )

    def records(self) -> Iterator[Record | BadLine]:
        """Yield every line of the table in order, but not the header and not blank lines."""
        for line, values in self._json_lines() if self._is_json else self._csv_lines():
            yield values if isinstance(values, BadLine) else self._record(line, values)

    def _record(self, line: int, values: dict[str, str]) -> Record | BadLine:
        used = {use: values.pop(column, "").strip() for use, column in self._chosen.items() if column is not None}
        if not used["image"]:
            return BadLine(line, f"the column {self._chosen['image']} is empty: expected a path or URL")
        label = used.get("label")
        metadata = {printable_name(key): storable_text(value) for key, value in values.items() if key and value}
        return Record(
            line=line,
            image=used["image"],
            id=used.get("id") or None,
            label=printable_name(label) if label else None,
            split=used.get("split") or None,
            metadata=metadata,
        )

    def _header(self) -> list[str]:
        try:
            header: list[str] = next(self._reader(), [])
        except csv.Error as error:
            raise InvalidSourceError(f"{self.name} has no readable header ({error}): expected column names") from error
        return [column.strip() for column in header]

    def _reader(self) -> Any:
        return csv.reader(io.StringIO(self._text, newline=""), delimiter=self._delimiter)

    def _csv_lines(self) -> Iterator[tuple[int, dict[str, str] | BadLine]]:
        reader, columns = self._reader(), self._header()
        next(reader)
        while True:
            try:
                cells = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                yield reader.line_num, BadLine(reader.line_num, f"not readable as CSV: {error}")
                continue
            line = reader.line_num
            if len(cells) > len(columns):
                yield (
                    line,
                    BadLine(line, f"{len(cells)} cells under {len(columns)} column names: is a comma not in quotes?"),
                )
            elif any(cell.strip() for cell in cells):
                yield line, dict(zip(columns, cells, strict=False))

    def _json_lines(self) -> Iterator[tuple[int, dict[str, str] | BadLine]]:
        for line, text in enumerate(self._text.split("\n"), start=1):
            if not text.strip():
                continue
            yield line, self._json_line(line, text)

    def _json_line(self, line: int, text: str) -> dict[str, str] | BadLine:
        try:
            found = json.loads(text)
            if not isinstance(found, dict):
                return BadLine(line, f'a JSON {type(found).__name__}, expected an object such as {{"image": ...}}')
            # Here too: what can be read may be nested too deep to be written again as metadata.
            return self._flat(line, found)
        except (ValueError, RecursionError) as error:
            return BadLine(line, f"not readable as JSON: {error}")

    def _flat(self, line: int, found: dict[str, Any]) -> dict[str, str] | BadLine:
        for use in ("image", "id", "label", "split"):
            for key, value in found.items():
                if key.strip().lower() in _COLUMNS[use] and isinstance(value, (dict, list)):
                    return BadLine(line, f"{key!r} holds a {type(value).__name__}, expected a text or a number")
        return {key.strip(): _cell(value) for key, value in found.items()}

    def _json_keys(self) -> list[str]:
        """All keys, in order of first sight: lines may differ, and the first one may be broken."""
        self._chosen = dict.fromkeys(_COLUMNS)
        keys: dict[str, None] = {}
        for _, values in self._json_lines():
            if isinstance(values, dict):
                keys.update(dict.fromkeys(values))
        return list(keys)


def _text(data: bytes) -> str:
    """UTF-8 with or without mark, UTF-16 with mark (spreadsheets); other bytes stay as surrogates, as in file names."""
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return data.decode("utf-16", "replace")
    return data.removeprefix(codecs.BOM_UTF8).decode("utf-8", "surrogateescape")


def _delimiter(text: str, name: str) -> str:
    """Return the mark that makes a known image column appear in the first line; a comma if none does."""
    if ending(name) == ".tsv":
        return "\t"
    first = text.split("\n", 1)[0]
    for mark in (",", ";", "\t"):
        if _choose([cell.strip().strip('"') for cell in first.split(mark)], IMAGE_COLUMNS) is not None:
            return mark
    return ","


def _choose(found: list[str], names: tuple[str, ...]) -> str | None:
    by_lower = {column.lower(): column for column in reversed(found)}
    return next((by_lower[name] for name in names if name in by_lower), None)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)

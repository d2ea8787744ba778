"""Small real files for the import tests, made on the spot."""

import io
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from al_service.ingest.rows import RejectedRow, Source, SourceRow
from al_service.ingest.sources import open_source


def _png(number: int) -> bytes:
    """A 2 x 2 image that differs for every number below 65,536."""
    out = io.BytesIO()
    Image.new("RGB", (2, 2), (number % 256, number // 256, 7)).save(out, "PNG")
    return out.getvalue()


@pytest.fixture
def png() -> Callable[[int], bytes]:
    return _png


@pytest.fixture
def write(tmp_path: Path) -> Callable[[dict[str, bytes | str]], Path]:
    """Write files into a fresh folder and return it."""

    def _write(files: dict[str, bytes | str]) -> Path:
        root = tmp_path / "given"
        for name, data in files.items():
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data if isinstance(data, bytes) else data.encode("utf-8", "surrogateescape"))
        return root

    return _write


@pytest.fixture(params=["zip", "tar", "tar.gz", "tar.bz2", "tar.xz"])
def archive_kind(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def pack(tmp_path: Path) -> Callable[[str, list[tuple[str, bytes]]], Path]:
    """Write members, in this order and under these very names, into an archive and return its path."""

    def _pack(kind: str, members: list[tuple[str, bytes]]) -> Path:
        path = tmp_path / f"given.{kind}"
        if kind == "zip":
            with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
                for name, data in members:
                    archive.writestr(zipfile.ZipInfo(name), data)
            return path
        with tarfile.open(path, f"w:{kind.partition('.')[2]}") as archive:
            for name, data in members:
                info = tarfile.TarInfo(name)
                info.size = len(data)
                archive.addfile(info, io.BytesIO(data))
        return path

    return _pack


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    return tmp_path / "scratch"


@pytest.fixture
def opened(scratch: Path) -> Any:
    """open_source whose sources are closed at the end, into a scratch that must be left empty."""
    sources: list[Source] = []

    def _open(location: Path | str, **options: Any) -> Source:
        source = open_source(str(location), scratch=scratch, **options)
        sources.append(source)
        return source

    yield _open
    for source in sources:
        source.close()
    assert not scratch.exists() or list(scratch.iterdir()) == []


@pytest.fixture
def taken() -> Callable[[Source], list[tuple[str, str | None, str | None]]]:
    """(external id, label, split) of every row that is not refused; checks the count on the way."""

    def _taken(source: Source) -> list[tuple[str, str | None, str | None]]:
        rows = list(source)
        assert len(rows) == source.count
        assert {row.label for row in rows if isinstance(row, SourceRow)} - {None} <= set(source.classes)
        return [(row.external_id, row.label, row.split) for row in rows if isinstance(row, SourceRow)]

    return _taken


@pytest.fixture
def refused() -> Callable[[Source], dict[str, str]]:
    return lambda source: {row.external_id: row.reason for row in source if isinstance(row, RejectedRow)}

"""What the page decides before it sends anything is what the import decides afterwards: names, folders, archives."""

import base64
import io
import itertools
import random
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Page

from al_service.domain.states import Role
from al_service.images import looks_like_image
from al_service.ingest import names
from al_service.ingest.layout import detect_layout
from tests.web.browser import Site, Visit, chromium, migrated_database, site, visit

__all__ = ["chromium", "migrated_database", "site", "visit"]

WORDS = ("cat", "dog", "train", "val", "Test", "set", "é")


@pytest.fixture
def page(site: Site, visit: Callable[..., Visit]) -> Iterator[Page]:
    """A page that can import the modules."""
    site.person("eve", Role.ENGINEER)
    yield visit().sign_in("eve", "/new")


def run(page: Page, module: str, code: str, argument: Any) -> Any:
    """The value of `code`, which sees the module as `m` and the argument as `given`."""
    return page.evaluate(
        f"async (given) => {{ const m = await import('/static/{module}'); return await (async () => {code})(); }}",
        argument,
    )


def path_sets() -> list[list[str]]:
    """Made folders of all kinds: wrapped, with splits above and below classes, ragged, flat."""
    rng = random.Random(7)
    made = []
    for _ in range(400):
        depth = rng.randint(0, 4)
        levels = [rng.sample(WORDS, rng.randint(1, 3)) for _ in range(depth)]
        paths = ["/".join((*folders, f"{at}.png")) for folders in itertools.product(*levels) for at in range(2)]
        extra = ["/".join((*rng.choices(WORDS, k=rng.randint(0, 3)), "more.png")) for _ in range(rng.choice((0, 0, 1)))]
        made.append(paths + extra)
    return made


def test_class_folders_are_found_as_the_import_finds_them(page: Page) -> None:
    sets = path_sets()
    found = run(
        page,
        "class_folders.js",
        """{
            const places = (paths) => {
                const layout = m.detectLayout(paths);
                return paths.map((path) => [m.classOf(layout, path), m.splitOf(layout, path)]);
            };
            return given.map(places);
        }""",
        sets,
    )
    kinds = set()
    for paths, places in zip(sets, found, strict=True):
        layout = detect_layout(paths, "auto")
        kinds.add((layout.class_level is None, layout.split_level is None, layout.top > 0))
        expected = [[place.label, place.split] for place in map(layout.place, paths)]
        assert places == expected, paths
    assert len(kinds) == 8


def test_kinds_of_files_are_told_apart_as_the_import_does(page: Page) -> None:
    sets = run(page, "image_names.js", "[m.IMAGE_ENDINGS, m.FOREIGN_ENDINGS, m.TABLE_ENDINGS].map((s) => [...s])", None)
    expected = (names.IMAGE_ENDINGS, names.FOREIGN_ENDINGS, names.TABLE_ENDINGS)
    assert [set(found) for found in sets] == [set(endings) for endings in expected]
    paths = ["a.JPG", "a/b.tar.gz", ".hidden.png", "a/.b/c.png", "__MACOSX/a.png", "a/Thumbs.db", "noending", "a.b/c"]
    paths += ["..png", "a/.png", "a.", "...", "x/desktop.ini", "é.Jpeg"]
    found = run(page, "image_names.js", "given.map((path) => [m.ending(path), m.isHidden(path)])", paths)
    assert found == [[names.ending(path), names.is_hidden(path)] for path in paths]


def test_first_bytes_say_image_as_they_do_for_the_import(page: Page) -> None:
    heads = [
        b"\xff\xd8\xff\xe0", b"\xff\xd8\xfe", b"\x89PNG\r\n\x1a\n", b"\x89PNG\r\n\x1a", b"GIF87a", b"GIF7", b"BM12",
        b"II*\0", b"MM\0*", b"II+\0", b"MM\0+", b"RIFF\0\0\0\0WEBPVP8 ", b"RIFF\0\0\0\0WAVEfmt ", b"P6\n3 3", b"P7\n",
        b"P6x", b"\0\0\0\x0cjP  \r\n\x87\n", b"\xff\x4f\xff\x51", b"\0\0\0 ftypavif", b"\0\0\0 ftypavis",
        b"\0\0\0 ftypheic", b"", b"<svg", b"PK\3\4",
    ]  # fmt: skip
    given = [list(head) for head in heads]
    found = run(page, "image_names.js", "given.map((head) => m.looksLikeImage(new Uint8Array(head)))", given)
    assert found == [looks_like_image(head) for head in heads]


FILES = {
    "birds/cat/1.png": b"x" * 700,
    "birds/empty.png": b"",
    "birds/block.png": bytes(range(256)) * 2,
    "birds/é ü/日本.png": b"names",
    f"birds/{'long name ' * 20}.png": b"y" * 1500,
    "birds/100.png".rjust(100, "z"): b"just fits",
    "birds/101.png".rjust(101, "z"): b"just does not",
}


def test_a_folder_is_sent_as_a_tar_that_any_reader_takes_whatever_the_parts(page: Page) -> None:
    given = [[path, base64.b64encode(data).decode()] for path, data in FILES.items()]
    parts = run(
        page,
        "tar_pack.js",
        """{
            const bytes = (text) => Uint8Array.from(atob(text), (sign) => sign.charCodeAt(0));
            const file = (text) => new File([bytes(text)], "x", { lastModified: 7 });
            const files = given.map(([path, text]) => ({ path, file: file(text) }));
            const thing = m.sendableFolder("birds", files);
            const cut = async (size) => {
                const pieces = [];
                for (let at = 0; at < thing.size; at += size) {
                    pieces.push(...new Uint8Array(await thing.bytes(at, Math.min(thing.size, at + size))));
                }
                return btoa(String.fromCharCode(...pieces));
            };
            return Promise.all([1, 511, 512, 513, 4096, thing.size].map(cut));
        }""",
        given,
    )
    assert len(set(parts)) == 1
    with tarfile.open(fileobj=io.BytesIO(base64.b64decode(parts[0])), mode="r:") as archive:
        read = {info.name: archive.extractfile(info).read() for info in archive}
    assert read == FILES


def test_a_fingerprint_changes_with_any_name_size_or_time(page: Page) -> None:
    marks = run(
        page,
        "tar_pack.js",
        """{
            const file = (size, at) => new File([new Uint8Array(size)], "x", { lastModified: at });
            const mark = (...files) =>
                m.sendableFolder("x", files.map(([path, size, at]) => ({ path, file: file(size, at) }))).fingerprint;
            const [a, b] = [["a", 1, 7], ["b", 1, 7]];
            return [mark(a), mark(a), mark(b), mark(["a", 2, 7]), mark(["a", 1, 8]), mark(a, b), mark(b, a)];
        }""",
        None,
    )
    assert marks[0] == marks[1]
    assert len(set(marks[1:])) == 6


def archives() -> dict[str, bytes]:
    """The same members in every kind of archive, with what packers add."""
    made: dict[str, bytes] = {}
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("birds/", b"")
        for name, data in FILES.items():
            archive.writestr(name, data)
        archive.comment = b"a comment " * 50
    made["zip"] = out.getvalue()
    for kind, mode, form in (
        ("tar pax", "w", tarfile.PAX_FORMAT),
        ("tar gnu", "w", tarfile.GNU_FORMAT),
        ("tar.gz", "w:gz", tarfile.PAX_FORMAT),
    ):
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode=mode, format=form) as tar:
            folder = tarfile.TarInfo("birds")
            folder.type = tarfile.DIRTYPE
            tar.addfile(folder)
            for name, data in FILES.items():
                info = tarfile.TarInfo(name)
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
            link = tarfile.TarInfo("birds/link.png")
            link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
            tar.addfile(link)
        made[kind] = out.getvalue()
    return made


LIST = """{
    const file = new File([Uint8Array.from(atob(given), (sign) => sign.charCodeAt(0))], "x");
    try { return await m.listArchive(file); } catch (error) { return error.message; }
}"""


@pytest.mark.parametrize("kind", list(archives()))
def test_names_in_an_archive_are_listed_before_it_is_sent(page: Page, kind: str) -> None:
    assert run(page, "archive_listing.js", LIST, base64.b64encode(archives()[kind]).decode()) == list(FILES)


@pytest.mark.parametrize("kind", ["zip", "tar pax", "tar.gz"])
@pytest.mark.parametrize("part", [0.3, 0.6, 0.95])
def test_an_archive_cut_short_is_no_error_of_the_page(page: Page, kind: str, part: float) -> None:
    data = archives()[kind]
    listed = run(page, "archive_listing.js", LIST, base64.b64encode(data[: int(len(data) * part)]).decode())
    if isinstance(listed, str):
        assert "damaged" in listed
    else:
        assert listed == list(FILES)[: len(listed)]

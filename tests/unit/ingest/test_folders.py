"""Folders on this machine: order, links, odd names, what is left out."""

import os
import sys

import pytest

from al_service.ingest.rows import InvalidSourceError, Limits, RowUnreadableError, SourceRow
from al_service.ingest.sources import open_source


def test_image_folder_with_splits(write, png, opened, taken):
    root = write({"train/cat/1.png": png(1), "train/dog/2.png": png(2), "valid/cat/3.png": png(3)})
    source = opened(root)
    assert (source.kind, source.count, source.classes, source.skipped_count) == ("folder", 3, ("cat", "dog"), 0)
    assert taken(source) == [
        ("train/cat/1.png", "cat", "train"),
        ("train/dog/2.png", "dog", "train"),
        ("valid/cat/3.png", "cat", "test"),
    ]
    rows = [row for row in source if isinstance(row, SourceRow)]
    assert [row.read() for row in rows] == [png(1), png(2), png(3)]
    assert [row.metadata for row in rows] == [{}, {}, {"split": "valid"}]


def test_labels_none_and_nested_folders(write, png, opened, taken):
    root = write({"cat/1.png": png(1), "dog/2.png": png(2)})
    assert taken(opened(root, labels="none")) == [("cat/1.png", None, None), ("dog/2.png", None, None)]
    assert opened(root, labels="none").classes == ()


def test_order_does_not_depend_on_the_file_system(write, png, opened, taken):
    names = ["b/2.png", "b/10.png", "a/z.png", "c.png", "B.png", "a/sub/1.png"]
    expected = ["B.png", "c.png", "a/z.png", "a/sub/1.png", "b/10.png", "b/2.png"]
    root = write({name: png(at) for at, name in enumerate(names)})
    source = opened(root)
    assert [row[0] for row in taken(source)] == expected
    assert taken(source) == taken(source)


def test_hidden_files_are_not_seen_and_others_only_counted(write, png, opened, taken):
    root = write(
        {
            "1.png": png(1),
            ".hidden.png": png(2),
            ".git/3.png": png(3),
            "__MACOSX/4.png": png(4),
            "README.txt": "hello",
            "inner.zip": b"PK\x03\x04",
            "Makefile": "all:",
        }
    )
    source = opened(root)
    assert taken(source) == [("1.png", None, None)]
    assert source.skipped_count == 3


def test_names_found_on_the_web_are_known_by_their_first_bytes(write, png, opened, taken):
    root = write({"a.jpg_1088Wx1632H": png(1), "9f86d081": png(2), "notes.md": "x"})
    assert [row[0] for row in taken(opened(root))] == ["9f86d081", "a.jpg_1088Wx1632H"]


def test_pictures_in_formats_we_cannot_read_are_refused_by_name(write, png, opened, refused):
    root = write({"1.png": png(1), "2.HEIC": b"x", "3.svg": b"<svg/>"})
    assert refused(opened(root)) == {
        "2.HEIC": "HEIC files are not read: convert to JPEG or PNG",
        "3.svg": "SVG files are not read: convert to JPEG or PNG",
    }


def test_bad_bytes_in_an_image_are_not_our_matter(write, png, opened, taken):
    root = write({"1.png": b"", "2.jpg": b"text"})
    assert [row[0] for row in taken(opened(root))] == ["1.png", "2.jpg"]


def test_too_large_files(write, png, opened, refused):
    root = write({"1.png": png(1), "big.png": bytes(1001)})
    source = opened(root, limits=Limits(file_max_bytes=1000))
    assert refused(source) == {"big.png": "the file has 1,001 bytes, at most 1,000 are read"}
    row = next(iter(source))
    (root / "1.png").write_bytes(bytes(2000))  # grows between listing and reading
    with pytest.raises(RowUnreadableError, match="bytes, at most 1,000 are read"):
        row.read()


def test_a_file_that_goes_away_is_one_unreadable_row(write, png, opened):
    root = write({"1.png": png(1), "2.png": png(2)})
    first, second = opened(root)
    (root / "1.png").unlink()
    with pytest.raises(RowUnreadableError, match="No such file"):
        first.read()
    assert second.read() == png(2)


def test_too_many_files(write, png, opened, taken, refused):
    root = write({f"{at}.png": png(at) for at in range(5)})
    source = opened(root, limits=Limits(rows_max=3))
    assert [row[0] for row in taken(source)] == ["0.png", "1.png", "2.png"]
    assert list(refused(source)) == ["(more files)"]


def test_links(write, png, opened, taken, refused, tmp_path):
    root = write({"real/1.png": png(1)})
    (tmp_path / "secret.png").write_bytes(png(2))
    (root / "in.png").symlink_to("real/1.png")
    (root / "out.png").symlink_to(tmp_path / "secret.png")
    (root / "gone.png").symlink_to("nothing.png")
    (root / "loop").symlink_to(root)
    source = opened(root)
    assert [row[0] for row in taken(source)] == ["in.png", "real/1.png"]
    assert set(refused(source)) == {"out.png", "gone.png", "loop"}
    assert "outside" in refused(source)["out.png"]
    allowed = opened(root, limits=Limits(allow_absolute_paths=True))
    assert [row[0] for row in taken(allowed)] == ["in.png", "out.png", "real/1.png"]


def test_a_pipe_is_refused_and_not_waited_for(write, png, opened, refused):
    root = write({"1.png": png(1)})
    os.mkfifo(root / "pipe.png")
    assert "pipe" in refused(opened(root))["pipe.png"]


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse such names themselves")
def test_odd_names(write, png, opened, taken):
    root = write({"caf\udce9/1\n.png": png(1), "caf\udce8/1.png": png(2), "日本/3.png": png(3)})
    source = opened(root)
    ids = [row[0] for row in taken(source)]
    assert len(set(ids)) == 3
    assert sorted(row.read() for row in source) == sorted([png(1), png(2), png(3)])
    assert {label.partition("~")[0] for label in source.classes} == {"caf\\xe9", "caf\\xe8", "日本"}
    for text in (*ids, *source.classes):
        text.encode("utf-8")


@pytest.mark.parametrize(
    ("location", "message"),
    [
        ("nowhere", "is not there .*expected a folder"),
        ("", "no location given"),
        ("a\0b", "no location given"),
        ("https://example.org/a.zip", "not on this machine: download it first"),
        ("s3://bucket/a", "not on this machine"),
        ("file://server/a", "not on this machine"),
        ("/dev/null", "device"),
    ],
)
def test_wrong_locations(location, message, scratch):
    with pytest.raises(InvalidSourceError, match=message):
        open_source(location, scratch=scratch)


def test_empty_folders(write, scratch, tmp_path):
    (tmp_path / "empty").mkdir()
    for root in (tmp_path / "empty", write({"only.txt": "x"})):
        with pytest.raises(InvalidSourceError, match="holds no images"):
            open_source(str(root), scratch=scratch)


def test_a_file_address_is_a_path(write, png, opened, taken):
    root = write({"with space/1.png": png(1)})
    assert [row[0] for row in taken(opened(f"file://{root}/with%20space"))] == ["1.png"]

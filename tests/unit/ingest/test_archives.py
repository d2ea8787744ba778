"""Archives: the same rows from each kind, and nothing outside scratch whatever the members are called."""

import io
import os
import tarfile
import zipfile
from contextlib import nullcontext, suppress

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from al_service.errors import UnavailableError
from al_service.ingest.rows import InvalidSourceError, Limits, RowUnreadableError, SourceRow
from al_service.ingest.sources import open_source


def test_image_folder_below_a_wrapping_folder(archive_kind, pack, png, opened, taken):
    members = [
        ("cifar/train/dog/2.png", png(2)),
        ("cifar/train/cat/1.png", png(1)),
        ("__MACOSX/cifar/train/cat/._1.png", b"x"),
        ("cifar/.DS_Store", b"x"),
        ("cifar/readme.txt", b"x"),
        ("./cifar/val/cat/3.png", png(3)),
    ]
    source = opened(pack(archive_kind, members))
    assert (source.kind, source.classes, source.skipped_count) == (archive_kind, ("cat", "dog"), 1)
    assert taken(source) == [
        ("cifar/train/dog/2.png", "dog", "train"),
        ("cifar/train/cat/1.png", "cat", "train"),
        ("cifar/val/cat/3.png", "cat", "test"),
    ]
    rows = list(source)
    assert [row.read() for row in reversed(rows)] == [png(3), png(1), png(2)]  # any order, after the iteration
    assert rows[0].read() == png(2)  # and again


def test_unsafe_members_are_refused_and_written_nowhere(archive_kind, pack, png, opened, taken, refused, tmp_path):
    names = ["../climbed.png", "a/../../climbed.png", f"{tmp_path}/absolute.png", "..\\other.png", "C:\\absolute.png"]
    before = set(tmp_path.rglob("*"))
    path = pack(archive_kind, [("ok.png", png(1)), *((name, png(2)) for name in names)])
    source = opened(path)
    assert [row[0] for row in taken(source)] == ["ok.png"]
    reasons = refused(source)
    assert len(reasons) == 5
    assert all("only paths inside the archive" in reason for reason in reasons.values())
    assert set(tmp_path.rglob("*")) - before <= {path, tmp_path / "scratch"}


def test_links_and_devices_in_tar(tmp_path, png, opened, taken, refused):
    path = tmp_path / "links.tar"
    with tarfile.open(path, "w") as archive:
        for name, kind, target in [
            ("soft.png", tarfile.SYMTYPE, "/etc/passwd"),
            ("hard.png", tarfile.LNKTYPE, "../../etc/passwd"),
            ("device.png", tarfile.CHRTYPE, ""),
            ("pipe.png", tarfile.FIFOTYPE, ""),
        ]:
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, target
            archive.addfile(info)
        info = tarfile.TarInfo("ok.png")
        info.size = len(png(1))
        archive.addfile(info, io.BytesIO(png(1)))
    source = opened(path)
    assert [row[0] for row in taken(source)] == ["ok.png"]
    assert set(refused(source)) == {"soft.png", "hard.png", "device.png", "pipe.png"}


def test_links_and_passwords_in_zip(tmp_path, png, opened, taken, refused):
    path = tmp_path / "links.zip"
    with zipfile.ZipFile(path, "w") as archive:
        link = zipfile.ZipInfo("soft.png")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, "/etc/passwd")
        archive.writestr("locked.png", png(1))
        archive.writestr("ok.png", png(2))
    data = bytearray(path.read_bytes())
    at = data.index(b"PK\x01\x02", data.index(b"PK\x01\x02") + 1)
    assert data[at + 46 :].startswith(b"locked.png")
    data[at + 8] |= 1  # the directory's "encrypted" flag
    path.write_bytes(data)
    source = opened(path)
    assert [row[0] for row in taken(source)] == ["ok.png"]
    assert "link" in refused(source)["soft.png"]
    assert "encrypted" in refused(source)["locked.png"]


def test_of_two_members_with_one_name_the_first_counts(archive_kind, pack, png, opened, taken, refused):
    with pytest.warns(UserWarning, match="Duplicate") if archive_kind == "zip" else nullcontext():
        path = pack(archive_kind, [("a.png", png(1)), ("b.png", png(2)), ("./a.png", png(3)), ("b.png", png(4))])
    source = opened(path)
    assert [row[0] for row in taken(source)] == ["a.png", "b.png"]
    assert [row.read() for row in source if isinstance(row, SourceRow)] == [png(1), png(2)]
    assert set(refused(source)) == {"a.png", "b.png"}


def test_archives_within_archives_are_only_counted(archive_kind, pack, png, opened, taken):
    inner = pack("zip", [("x.png", png(9))]).read_bytes()
    source = opened(pack(archive_kind, [("inner.zip", inner), ("a.png", png(1))]))
    assert ([row[0] for row in taken(source)], source.skipped_count) == (["a.png"], 1)


def test_limits(archive_kind, pack, png, opened, taken, refused, scratch):
    path = pack(archive_kind, [("a.png", png(1)), ("big.png", bytes(5000)), ("b.png", png(2)), ("c.png", png(3))])
    limits = Limits(file_max_bytes=1000, rows_max=3)
    source = opened(path, limits=limits)
    assert [row[0] for row in taken(source)] == ["a.png", "b.png"]
    assert set(refused(source)) == {"big.png", "(more files)"}
    if archive_kind in ("tar.gz", "tar.bz2", "tar.xz"):
        with pytest.raises(InvalidSourceError, match="more than 3,000 bytes when unpacked"):
            open_source(str(path), scratch=scratch, limits=Limits(archive_max_bytes=3000))
        with pytest.raises(UnavailableError, match="must stay: free space"):
            open_source(str(path), scratch=scratch, limits=Limits(disk_free_min_bytes=2**62))


def test_a_zip_that_lies_about_sizes_is_not_unpacked_beyond_the_limit(pack, png, opened):
    path = pack("zip", [("a.png", bytes(50_000))])
    data = path.read_bytes()
    path.write_bytes(data.replace((50_000).to_bytes(4, "little"), (10).to_bytes(4, "little")))
    (row,) = opened(path, limits=Limits(file_max_bytes=1000))
    with pytest.raises(RowUnreadableError):
        row.read()


def test_a_damaged_zip_member_is_one_unreadable_row(pack, png, opened):
    path = pack("zip", [("a.png", png(1)), ("b.png", png(2))])
    data = bytearray(path.read_bytes())
    data[35 + len("a.png")] ^= 0xFF
    path.write_bytes(data)
    first, second = opened(path)
    with pytest.raises(RowUnreadableError, match="damaged in the archive"):
        first.read()
    assert second.read() == png(2)


def test_cut_short_archives_are_refused_as_a_whole(archive_kind, pack, png, scratch):
    path = pack(archive_kind, [(f"{at}.png", os.urandom(3000)) for at in range(20)])
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(InvalidSourceError, match="again"):
        open_source(str(path), scratch=scratch)
    assert not scratch.exists() or list(scratch.iterdir()) == []


def test_compressed_but_no_tar_inside(tmp_path, scratch):
    import gzip

    path = tmp_path / "table.csv.gz"
    path.write_bytes(gzip.compress(b"image,label\n" * 100))
    with pytest.raises(InvalidSourceError, match="no sound tar archive"):
        open_source(str(path), scratch=scratch)


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (b"7z\xbc\xaf\x27\x1c", "a 7z"),
        (b"Rar!\x1a", "a RAR"),
        (b"", "no archive"),
        (b"\x89PNG\r\n\x1a\n", "no archive"),
    ],
)
def test_other_files_are_no_archives(tmp_path, data, found, scratch):
    path = tmp_path / "given.zip"
    path.write_bytes(data)
    with pytest.raises(InvalidSourceError, match=f"is {found}.*expected a folder"):
        open_source(str(path), scratch=scratch)


def test_an_empty_archive(archive_kind, pack, scratch):
    with pytest.raises(InvalidSourceError, match="holds no images"):
        open_source(str(pack(archive_kind, [])), scratch=scratch)


def test_a_forged_tar_header_cannot_ask_for_all_memory(tmp_path, scratch):
    path = tmp_path / "forged.tar"
    info = tarfile.TarInfo("x")
    info.type, info.size = tarfile.XHDTYPE, 2**30
    path.write_bytes(info.tobuf(tarfile.USTAR_FORMAT) + bytes(10_240))
    with pytest.raises(InvalidSourceError, match="larger than 1 MiB"):
        open_source(str(path), scratch=scratch)


def test_names_as_old_packers_write_them(tmp_path, png, opened, taken):
    path = tmp_path / "old.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("QQQ/1.png", png(1))
        archive.writestr("dog\\1.png", png(2))
    path.write_bytes(path.read_bytes().replace(b"QQQ/1.png", "é1".encode() + b"/1.png"))  # UTF-8 without saying so
    assert taken(opened(path)) == [("é1/1.png", "é1", None), ("dog/1.png", "dog", None)]


def test_names_that_are_not_utf_8_in_tar(pack, png, opened, taken):
    source = opened(pack("tar", [("caf\udce9.png", png(1)), ("caf\udce8.png", png(2))]))
    ids = [row[0] for row in taken(source)]
    assert [one.partition("~")[0] for one in ids] == ["caf\\xe9.png", "caf\\xe8.png"]
    assert [row.read() for row in source] == [png(1), png(2)]


def test_reading_after_close_fails_as_a_row_and_closing_twice_is_fine(archive_kind, pack, png, scratch):
    with open_source(str(pack(archive_kind, [("a.png", png(1))])), scratch=scratch) as source:
        (row,) = source
    source.close()
    with pytest.raises(RowUnreadableError):
        row.read()


def test_tables_in_archives(archive_kind, pack, png, opened, taken, refused):
    table = b"file_name,label,note\nimages/1.png,cat,x\nimages/9.png,dog,y\n../1.png,dog,z\n/etc/passwd,dog,z\n"
    members = [("w/labels.csv", table), ("w/images/1.png", png(1)), ("w/images/2.png", png(2))]
    source = opened(pack(archive_kind, members))
    assert (source.kind, source.classes) == ("table", ("cat", "dog"))
    assert taken(source) == [("w/images/1.png", "cat", None), ("w/images/2.png", None, None)]
    assert next(iter(source)).read() == png(1)
    reasons = refused(source)
    assert reasons["w/images/9.png"] == "w/labels.csv line 3: there is no file w/images/9.png"
    assert set(reasons) == {"w/images/9.png", "1.png", "/etc/passwd"}


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_any_archive_gives_rows_or_is_refused(archive_kind, pack, png, tmp_path, data):
    intact = pack(
        archive_kind, [("cat/1.png", png(1)), ("dog/2.png", png(2)), ("t.csv", b"image,label\ncat/1.png,x\n")]
    )
    raw = bytearray(intact.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path / f"mutated.{archive_kind}"
    path.write_bytes(raw)
    try:
        source = open_source(str(path), scratch=tmp_path / "scratch")
    except InvalidSourceError:
        return
    with source:
        rows = list(source)
        assert len(rows) == source.count
        for row in rows:
            if isinstance(row, SourceRow):
                with suppress(RowUnreadableError):
                    row.read()


def test_a_zip_member_without_a_name_is_refused(pack, png, opened, taken, refused):
    path = pack("zip", [("a.png", png(1)), ("QQQ.png", png(2))])
    path.write_bytes(path.read_bytes().replace(b"QQQ.png", b"\0QQ.png"))
    source = opened(path)
    assert [row[0] for row in taken(source)] == ["a.png"]
    assert refused(source) == {"(no name)": "it has no name"}


@pytest.mark.parametrize("is_large", [False, True])
def test_a_list_of_far_more_names_than_are_read_is_not_even_opened(tmp_path, is_large):
    """Reading it would take ten times its size in memory. Above 65,535 files another record says how long it is."""
    path = tmp_path / "names.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for number in range(70_000 if is_large else 20_000):
            archive.writestr(f"{number:06}.png", b"")
    with pytest.raises(InvalidSourceError, match="more than 10 files need; pack fewer files into each archive"):
        open_source(str(path), scratch=tmp_path / "scratch", limits=Limits(rows_max=10))

"""From sent parts to samples: the import job reads an upload as the archive it is, and clears it away."""

import io
import tarfile
import zipfile
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from PIL import Image

from al_service.domain.records import Job
from al_service.domain.states import JobState
from al_service.ingest.rows import InvalidSourceError
from al_service.loop.uploads import FOLDER, Upload, UploadLimits, Uploads
from tests.integration.conftest import Loop

pytestmark = pytest.mark.parametrize("database_kind", ["sqlite"])

PART_BYTES = 1000
Pack = Callable[[Mapping[str, bytes]], bytes]


def png(shade: int) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (9, 7), (shade, 90, 200 - shade)).save(out, "PNG")
    return out.getvalue()


def pack_zip(files: Mapping[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return out.getvalue()


def pack_tar(files: Mapping[str, bytes], mode: str = "w") -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=mode) as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return out.getvalue()


def pack_tar_gz(files: Mapping[str, bytes]) -> bytes:
    return pack_tar(files, "w:gz")


def send(loop: Loop, data: bytes, name: str = "birds.zip") -> tuple[Uploads, Upload]:
    """The whole file in small parts, to a project without classes."""
    services = loop.services
    uploads = Uploads(services.store, services.artifacts, services.clock, UploadLimits(part_bytes=PART_BYTES))
    services.projects.create("birds", [], {"auto_start": False})
    upload, _ = uploads.begin("birds", name, len(data), file_count=None, fingerprint="f", by="eve")
    for number in range(upload.part_count):
        uploads.put_part("birds", upload.id, number, data[number * PART_BYTES : (number + 1) * PART_BYTES])
    return uploads, upload


def imported(loop: Loop, upload: Upload, **more: Any) -> Job:
    loop.services.uploads.check_whole("birds", upload.location)
    job = loop.services.projects.import_images("birds", upload.location, **more)
    loop.work()
    return loop.services.jobs.get(job.id)


def external_ids(loop: Loop, names: list[str]) -> set[str]:
    project = loop.services.projects.get("birds")
    with loop.services.store.read() as tx:
        return set(tx.samples.find_by_external_ids(project.id, names))


@pytest.mark.parametrize("pack", [pack_zip, pack_tar, pack_tar_gz])
def test_an_uploaded_archive_becomes_labelled_samples_and_its_parts_are_gone(loop: Loop, pack: Pack) -> None:
    files = {f"birds/{kind}/{shade}.png": png(shade + at) for at, kind in enumerate(("robin", "wren")) for shade in
             range(0, 200, 10)}  # fmt: skip
    _, upload = send(loop, pack({**files, "birds/readme.txt": b"no image"}))
    assert upload.part_count > 1
    job = imported(loop, upload)
    assert (job.state, job.error) == (JobState.DONE, None)
    assert (job.result["added"], job.result["labels_added"], job.result["rejected"]) == (40, 40, 0)
    assert loop.services.projects.get("birds").class_names == ("robin", "wren")
    assert external_ids(loop, list(files)) == set(files)
    assert loop.services.artifacts.names(FOLDER) == []


def test_hostile_names_are_refused_one_by_one_and_reach_no_file(loop: Loop) -> None:
    secret = loop.settings.data_dir / "secret.png"
    secret.write_bytes(png(250))
    before = {path for path in loop.settings.data_dir.rglob("*") if path.is_file()}
    hostile = {
        "../escape.png": png(1),
        "/absolute.png": png(2),
        "a/../../b.png": png(3),
        "C:\\windows.png": png(4),
        f"{'long/' * 900}x.png": png(5),
        f"{'n' * 3000}.png": png(6),
        "good/1.png": png(7),
        "good/evil\u202egnp.png": png(8),
    }
    out = io.BytesIO(pack_tar(hostile))
    with tarfile.open(fileobj=out, mode="a") as archive:
        for name, kind, target in (
            ("link.png", tarfile.SYMTYPE, str(secret)),
            ("hard.png", tarfile.LNKTYPE, "good/1.png"),
            ("pipe.png", tarfile.FIFOTYPE, ""),
        ):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, target
            archive.addfile(info)
    _, upload = send(loop, out.getvalue(), "hostile.tar")
    with loop.services.store.write() as tx:
        tx.projects.add_classes(loop.services.projects.get("birds").id, ["robin"])
    job = imported(loop, upload, labels="none")
    assert (job.state, job.error) == (JobState.DONE, None)
    with loop.services.store.read() as tx:
        reasons = {row.external_id: row.reason for row in tx.samples.rejections(job.id, 100)}
    assert job.result["rejected"] == len(reasons) == 7
    assert job.result["added"] == 4
    for name in ("../escape.png", "/absolute.png", "a/../../b.png", "C:\\windows.png"):
        assert "only paths inside the archive are taken" in reasons[name]
    for name in ("link.png", "hard.png", "pipe.png"):
        assert "only plain files are taken" in reasons[name]
    made = {path for path in loop.settings.data_dir.rglob("*") if path.is_file()} - before
    assert {path.relative_to(loop.settings.data_dir).parts[0] for path in made} <= {"artifacts", "al.db", "scratch"}
    assert not any("escape" in str(path) or "absolute" in str(path) for path in made)


def test_a_table_in_an_upload_reads_no_file_of_the_server(loop: Loop) -> None:
    secret = loop.settings.data_dir / "secret.png"
    secret.write_bytes(png(250))
    table = f"image,label\n1.png,robin\n{secret},wren\nfile://{secret},wren\n../secret.png,wren\n"
    _, upload = send(loop, pack_zip({"t.csv": table.encode(), "1.png": png(1)}))
    job = imported(loop, upload)
    assert job.state is JobState.DONE, job.error
    assert (job.result["added"], job.result["rejected"]) == (1, 3)


def test_bytes_that_are_no_archive_fail_with_words_and_stay_for_another_try(loop: Loop) -> None:
    uploads, upload = send(loop, b"certainly no archive " * 100, "birds.zip")
    job = loop.services.projects.import_images("birds", upload.location)
    with pytest.raises(InvalidSourceError, match=r"birds\.zip is no archive that we know"):
        loop.work()
    assert loop.services.jobs.get(job.id).state is JobState.FAILED
    assert uploads.missing_parts(upload) == []
    loop.clock.advance(24 * 3600 + 1)
    loop.scheduler.tick()
    assert loop.services.artifacts.names(FOLDER) == []


def test_a_damaged_archive_loses_only_what_is_damaged(loop: Loop) -> None:
    files = {f"robin/{shade}.png": png(shade) for shade in range(0, 200, 10)}
    data = bytearray(pack_zip({**files, "wren/1.png": png(201)}))
    at = data.index(b"robin/50.png") + 40
    data[at : at + 20] = bytes(20)
    _, upload = send(loop, bytes(data))
    job = imported(loop, upload)
    assert job.state is JobState.DONE, job.error
    with loop.services.store.read() as tx:
        rejected = tx.samples.rejections(job.id, 100)
    assert [row.external_id for row in rejected] == ["robin/50.png"]
    assert job.result["added"] == 20


def test_two_imports_of_one_upload_both_end_well(loop: Loop) -> None:
    _, upload = send(loop, pack_zip({"robin/1.png": png(1), "wren/1.png": png(2)}))
    first = loop.services.projects.import_images("birds", upload.location)
    second = loop.services.projects.import_images("birds", upload.location)
    loop.work()
    results = [loop.services.jobs.get(job.id).result for job in (first, second)]
    assert [result["added"] for result in results] == [2, 0]
    assert results[1]["already_there"] == 2
    assert loop.services.artifacts.names(FOLDER) == []

"""Uploads over HTTP: parts in any order, again, half-sent, too large, hostile; what is there is the truth."""

import errno
import io
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from threading import Thread

import pytest
from flask import Flask

from al_service.api.install import install
from al_service.domain.states import Role
from al_service.loop.uploads import FOLDER, KEPT_FOR, SWEPT_EVERY, TOUCHED_EVERY, UploadLimits, Uploads
from al_service.storage.artifacts import FileArtifacts, storage_refusal
from tests.web.conftest import Api, World

CONTENT = bytes(range(256)) * 10  # 2560 bytes: 25 parts of 100 and one of 60
LIMITS = UploadLimits(bytes_max=10_000, files_max=50, part_bytes=100)
BEGIN = {"name": "birds.zip", "byte_count": len(CONTENT), "fingerprint": "f1"}
PATH = "/projects/birds/uploads"


@pytest.fixture
def uploads(world: World) -> Uploads:
    """A service whose parts are small, and a project to send to."""
    world.project()
    made = Uploads(world.store, world.artifacts, world.clock, LIMITS)
    world.services = replace(world.services, uploads=made)
    world.app = Flask("uploads")
    install(world.app, world.services, world.settings)
    return made


def part(number: int) -> bytes:
    return CONTENT[number * 100 : (number + 1) * 100]


def put(api: Api, upload_id: str, number: int, data: bytes | None = None) -> int:
    answer = api("PUT", f"{PATH}/{upload_id}/parts/{number}", data=part(number) if data is None else data)
    return answer.status_code


def begun(api: Api, **more: object) -> str:
    answer = api.post(PATH, {**BEGIN, **more})
    assert answer.status_code == 201, answer.text
    return str(answer.json["upload"]["id"])


def test_parts_in_any_order_twice_and_from_many_threads_become_the_file(world, uploads):
    api = world.api("engineer")
    upload_id = begun(api)
    threads = [
        Thread(target=lambda share=share: [put(api, upload_id, number) for number in range(share, 26, 3)])
        for share in (2, 1, 0, 2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = api.get(f"{PATH}/{upload_id}").json["upload"]
    assert (found["missing"], found["part_count"], found["location"]) == ([], 26, f"upload:{upload_id}")
    upload = uploads.get("birds", upload_id)
    assert b"".join(uploads.read_part(upload, number) for number in range(26)) == CONTENT


def test_beginning_again_goes_on_where_it_stopped(world, uploads):
    api = world.api("engineer")
    upload_id = begun(api)
    for number in (0, 3, 25):
        assert put(api, upload_id, number) == 204
    again = world.api("engineer", "another").post(PATH, BEGIN)
    assert again.status_code == 200
    assert again.json["upload"]["id"] == upload_id
    assert again.json["upload"]["missing"] == [number for number in range(26) if number not in (0, 3, 25)]
    assert begun(api, fingerprint="f2") != upload_id
    assert begun(api, byte_count=77) != upload_id
    assert len(api.get(PATH).json["uploads"]) == 3


def test_an_import_waits_for_the_last_part(world, uploads):
    api = world.api("engineer")
    upload_id = begun(api)
    for number in range(25):
        put(api, upload_id, number)
    body = {"location": f"upload:{upload_id}"}
    refused = api.post("/projects/birds/imports", body)
    assert (refused.status_code, refused.json["error"]["code"]) == (409, "upload_incomplete")
    assert "1 of 26 parts are missing" in refused.json["error"]["message"]
    assert api.get("/projects/birds/imports").json["jobs"] == []
    put(api, upload_id, 25)
    job = api.post("/projects/birds/imports", body)
    assert job.status_code == 202
    listed = api.get("/projects/birds/imports").json["jobs"]
    assert [item["id"] for item in listed] == [job.json["job"]["id"]]
    in_use = api.delete(f"{PATH}/{upload_id}")
    assert (in_use.status_code, in_use.json["error"]["code"]) == (409, "conflict")
    assert uploads.missing_parts(uploads.get("birds", upload_id)) == []


def test_an_upload_belongs_to_its_project(world, uploads):
    api = world.api("engineer")
    world.project("trees")
    upload_id = begun(api)
    for number in range(26):
        put(api, upload_id, number)
    for method, path, more in (
        ("GET", f"/projects/trees/uploads/{upload_id}", {}),
        ("DELETE", f"/projects/trees/uploads/{upload_id}", {}),
        ("PUT", f"/projects/trees/uploads/{upload_id}/parts/0", {"data": part(0)}),
        ("POST", "/projects/trees/imports", {"json": {"location": f"upload:{upload_id}"}}),
        ("GET", "/projects/nothing/uploads", {}),
    ):
        assert api(method, path, **more).status_code == 404, path
    assert uploads.missing_parts(uploads.get("birds", upload_id)) == []


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"byte_count": 10_001}, "upload_too_large"),
        ({"file_count": 51}, "upload_too_large"),
        ({"byte_count": 0}, "invalid_body"),
        ({"byte_count": -1}, "invalid_body"),
        ({"byte_count": 2**63}, "invalid_body"),
        ({"name": ""}, "invalid_input"),
        ({"name": "x" * 256}, "invalid_input"),
        ({"name": "a\nb"}, "invalid_input"),
        ({"name": "a\0b"}, "invalid_body"),
        ({"fingerprint": ""}, "invalid_input"),
        ({"fingerprint": "x" * 201}, "invalid_input"),
    ],
)
def test_what_cannot_be_taken_is_refused_before_a_byte_is_sent(world, uploads, change, code):
    answer = world.api("engineer").post(PATH, {**BEGIN, **change})
    assert (answer.status_code, answer.json["error"]["code"]) == (400, code)
    assert world.artifacts.names(FOLDER) == []


@pytest.mark.parametrize("name", ["../../etc/passwd", "/etc/passwd", "..", "C:\\x.zip", "ü/…zip"])
def test_a_name_is_for_people_and_never_a_path(world, uploads, name):
    before = set(world.settings.data_dir.rglob("*"))
    upload_id = begun(world.api("engineer"), name=name)
    made = {path for path in world.settings.data_dir.rglob("*") if path.is_file()} - before
    assert {path.parent for path in made if "al.db" not in path.name} == {world.settings.data_dir / "artifacts/uploads"}
    assert uploads.get("birds", upload_id).name == name


@pytest.mark.parametrize("upload_id", ["..", "nothing", "A" * 32, "0" * 31, "0" * 32, "%2e%2e%2f" + "0" * 32])
def test_ids_that_are_none_are_404(world, uploads, upload_id):
    api = world.api("engineer")
    assert api.get(f"{PATH}/{upload_id}").status_code == 404
    assert put(api, upload_id, 0) == 404
    assert api.post("/projects/birds/imports", {"location": f"upload:{upload_id}"}).status_code == 404
    assert world.artifacts.names(FOLDER) == []


@pytest.mark.parametrize(
    ("number", "data", "status"),
    [
        (0, b"", 400),
        (0, bytes(99), 400),
        (0, bytes(101), 400),
        (25, bytes(100), 400),
        (26, bytes(100), 404),
        (10**30, b"x", 404),
        (0, bytes(16 * 2**20 + 1), 413),
    ],
)
def test_a_part_of_the_wrong_length_or_number_is_refused_and_nothing_is_kept(world, uploads, number, data, status):
    api = world.api("engineer")
    upload_id = begun(api)
    assert put(api, upload_id, number, data) == status
    assert len(uploads.missing_parts(uploads.get("birds", upload_id))) == 26


class SmallDisk(FileArtifacts):
    """A disk that says how little is free, and refuses to take more once it is full."""

    free = 2**40
    is_full = False

    def room(self) -> int:
        return self.free

    def put(self, name: str, data: bytes) -> None:
        if self.is_full:
            raise storage_refusal(self.path(name), len(data), OSError(errno.ENOSPC, "No space left on device"))
        super().put(name, data)


@pytest.fixture
def small_disk(world: World, uploads: Uploads, tmp_path: Path) -> SmallDisk:
    """The service on such a disk."""
    disk = SmallDisk(tmp_path / "disk")
    made = Uploads(world.store, disk, world.clock, LIMITS)
    world.app = Flask("small disk")
    install(world.app, replace(world.services, uploads=made, artifacts=disk), world.settings)
    return disk


def test_no_room_is_said_before_anything_is_sent_but_never_stops_what_was_begun(world, small_disk):
    api = world.api("engineer")
    put(api, begun(api), 0)
    small_disk.free = 2**28
    answer = api.post(PATH, {**BEGIN, "fingerprint": "f2"})
    assert (answer.status_code, answer.json["error"]["code"]) == (503, "no_room")
    assert "256 MiB free" in answer.json["error"]["message"]
    again = api.post(PATH, BEGIN)
    assert (again.status_code, again.json["upload"]["missing"]) == (200, list(range(1, 26)))


def test_a_disk_that_is_full_says_so_and_keeps_what_was_sent(world, small_disk):
    api = world.api("engineer")
    upload_id = begun(api)
    put(api, upload_id, 0)
    small_disk.is_full = True
    refused = api("PUT", f"{PATH}/{upload_id}/parts/1", data=part(1))
    assert (refused.status_code, refused.json["error"]["code"]) == (503, "artifact_storage")
    assert "no room for 100 bytes" in refused.json["error"]["message"]
    small_disk.is_full = False
    assert put(api, upload_id, 1) == 204
    assert api.get(f"{PATH}/{upload_id}").json["upload"]["missing"] == list(range(2, 26))


def test_removing_leaves_nothing_behind(world, uploads):
    api = world.api("engineer")
    kept = begun(api, fingerprint="other")
    upload_id = begun(api)
    for number in range(5):
        put(api, upload_id, number)
    assert api.delete(f"{PATH}/{upload_id}").status_code == 204
    assert api.delete(f"{PATH}/{upload_id}").status_code == 404
    assert put(api, upload_id, 7) == 404
    assert [item["id"] for item in api.get(PATH).json["uploads"]] == [kept]
    assert all(kept in name for name in world.artifacts.names(FOLDER))


def test_the_sweep_removes_what_nobody_touched_for_a_day_and_keeps_the_rest(world, uploads):
    api = world.api("engineer")
    project_id = world.services.projects.get("birds").id
    old, wanted, sent = begun(api, fingerprint="old"), begun(api, fingerprint="wanted"), begun(api, fingerprint="sent")
    put(api, old, 0)
    for number in range(26):
        put(api, wanted, number)
    api.post("/projects/birds/imports", {"location": f"upload:{wanted}"})
    stray = f"{FOLDER}{project_id}-{'0' * 32}-000004"
    world.artifacts.put(stray, b"came after its upload was removed")
    assert uploads.sweep() == 1
    assert not world.artifacts.has(stray)
    for _ in range(int(KEPT_FOR / TOUCHED_EVERY)):
        world.clock.advance(TOUCHED_EVERY / timedelta(seconds=1))
        assert put(api, sent, 0) == 204
    assert uploads.sweep() == 1
    assert {item["id"] for item in api.get(PATH).json["uploads"]} == {wanted, sent}
    begun(api, fingerprint="old")
    world.clock.advance(KEPT_FOR.total_seconds() + 1)
    uploads.sweep()
    assert {item["id"] for item in api.get(PATH).json["uploads"]} == {wanted}


def test_the_storage_is_listed_every_ten_minutes_only(world, uploads):
    api = world.api("engineer")
    uploads.sweep()
    begun(api)
    upload_id = begun(api, fingerprint="f2")
    world.artifacts.delete(f"{FOLDER}{uploads.get('birds', upload_id).project_id}-{upload_id}-about.json")
    world.artifacts.put(f"{FOLDER}1-{upload_id}-000000", b"x")
    assert uploads.sweep() == 0
    world.clock.advance(SWEPT_EVERY.total_seconds())
    assert uploads.sweep() == 1


@pytest.mark.parametrize("role", [Role.REVIEWER, Role.LABELER, Role.VIEWER])
def test_only_engineers_send(world, uploads, role):
    upload_id = begun(world.api("engineer"))
    api = world.api(role)
    assert api.post(PATH, BEGIN).status_code == 403
    assert put(api, upload_id, 0) == 403
    assert api.get(PATH).status_code == 403


def test_a_part_is_read_only_after_the_sender_is_known(world, uploads):
    upload_id = begun(world.api("engineer"))
    body = io.BytesIO(bytes(100))
    path = f"/api/v1{PATH}/{upload_id}/parts/0"
    answer = world.app.test_client().put(path, input_stream=body, content_length=100)
    assert answer.status_code == 401
    assert body.tell() == 0

"""Uploads: an archive, or a folder packed as one by the browser, comes in parts and is imported as `upload:ID`."""

from al_service.api.loop_answers import UploadAnswer, UploadFields, UploadsAnswer
from al_service.api.requests import UploadBody
from al_service.api.routing import Call, Reply, Routes
from al_service.domain.states import Role
from al_service.loop.uploads import Upload

#: No service cuts into larger parts; a thread holds one in memory.
PART_BYTES_MAX = 16 * 2**20

ROUTES = Routes()


@ROUTES.add("GET", "/projects/<project>/uploads", role=Role.ENGINEER, answers={200: UploadsAnswer})
def list_uploads(call: Call, project: str) -> Reply:
    """Uploads of a project that are not imported yet, newest first; a day without a part removes them."""
    uploads = call.services.uploads.all(project)
    return Reply(UploadsAnswer(uploads=[_fields(call, upload) for upload in uploads]))


@ROUTES.add(
    "POST",
    "/projects/<project>/uploads",
    role=Role.ENGINEER,
    body=UploadBody,
    answers={200: UploadAnswer, 201: UploadAnswer},
)
def begin_upload(call: Call, project: str, body: UploadBody) -> Reply:
    """Begin an upload, or go on with one (200): name, length and fingerprint say whether it is the same.

    400 upload_too_large, 503 no_room: before a single byte is sent.
    """
    upload, is_new = call.services.uploads.begin(
        project,
        body.name,
        body.byte_count,
        file_count=body.file_count,
        fingerprint=body.fingerprint,
        by=call.user.name,
    )
    return Reply(UploadAnswer(upload=_fields(call, upload)), 201 if is_new else 200)


@ROUTES.add("GET", "/projects/<project>/uploads/<upload>", role=Role.ENGINEER, answers={200: UploadAnswer})
def show_upload(call: Call, project: str, upload: str) -> Reply:
    """One upload and which parts are missing."""
    return Reply(UploadAnswer(upload=_fields(call, call.services.uploads.get(project, upload))))


@ROUTES.add(
    "PUT",
    "/projects/<project>/uploads/<upload>/parts/<int:number>",
    role=Role.ENGINEER,
    bytes_max=PART_BYTES_MAX,
    answers={204: None},
)
def put_part(call: Call, project: str, upload: str, number: int, data: bytes) -> Reply:
    """Store one part (the first is 0), in any order, several at once; on disk when it answers, safe to repeat."""
    call.services.uploads.put_part(project, upload, number, data)
    return Reply(None, 204)


@ROUTES.add("DELETE", "/projects/<project>/uploads/<upload>", role=Role.ENGINEER, answers={204: None})
def remove_upload(call: Call, project: str, upload: str) -> Reply:
    """Remove an upload with its parts; 409 while it is being imported."""
    call.services.uploads.remove(project, upload)
    return Reply(None, 204)


def _fields(call: Call, upload: Upload) -> UploadFields:
    return UploadFields(
        id=upload.id,
        name=upload.name,
        location=upload.location,
        byte_count=upload.byte_count,
        file_count=upload.file_count,
        part_bytes=upload.part_bytes,
        part_count=upload.part_count,
        missing=call.services.uploads.missing_parts(upload),
        begun_by=upload.begun_by,
        begun_at=upload.begun_at,
    )

"""Uploads: one file that a browser sends in parts, kept until an import has read it.

In words: a file of known length is cut into parts of one size; each part is one artifact, stored whole or not at all,
under the upload's id and its number. There is no row in the database and no counter: what is there is the truth. So
parts may come in any order, several at once, twice, and through different web processes; who lost the connection, the
tab or the server asks which parts are missing and sends those. The id is made of what is sent (project, name, length,
and a fingerprint that the sender makes of it), so that beginning again finds what is there already.

What the bytes mean is not looked at here: the import job reads them as an archive (`ingest.archives`).
"""

import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from al_service.domain.records import Project
from al_service.domain.states import JobKind, JobState
from al_service.errors import ConflictError, InvalidInputError, NotFoundError, UnavailableError
from al_service.loop.assignments import active_project
from al_service.loop.ports import Artifacts, Store

FOLDER = "uploads/"
#: How an import's location names an upload.
SCHEME = "upload:"
ID_PATTERN = re.compile(r"[0-9a-f]{32}")
NAME_LENGTH_MAX = 255
FINGERPRINT_LENGTH_MAX = 200
KEPT_FOR = timedelta(days=1)
TOUCHED_EVERY = timedelta(hours=1)
SWEPT_EVERY = timedelta(minutes=10)
#: Stays free after an upload and its import, for the database and everything else.
FREE_BYTES_MIN = 2**28
_NAMES = re.compile(rf"{FOLDER}(?P<project>\d+)-(?P<upload>[0-9a-f]{{32}})-(?P<part>\d{{6}}|about\.json)")


class UploadTooLargeError(InvalidInputError):
    """More bytes or files than one upload may have; nothing was stored."""

    code = "upload_too_large"


class NoRoomError(UnavailableError):
    """The storage has no room for the whole upload and its import; nothing was stored."""

    code = "no_room"


class UploadIncompleteError(ConflictError):
    """Parts are missing, so it cannot be imported yet."""

    code = "upload_incomplete"


@dataclass(frozen=True)
class UploadLimits:
    """What one upload may take; part_bytes is the size of every part but the last."""

    bytes_max: int = 20 * 2**30
    files_max: int = 1_000_000
    part_bytes: int = 4 * 2**20


@dataclass(frozen=True)
class Upload:
    """One upload. file_count: as the sender says, None where it does not know (an archive)."""

    id: str
    project_id: int
    name: str
    byte_count: int
    file_count: int | None
    part_bytes: int
    begun_by: str
    begun_at: datetime
    touched_at: datetime

    @property
    def location(self) -> str:
        """What an import calls it."""
        return f"{SCHEME}{self.id}"

    @property
    def part_count(self) -> int:
        """How many parts make it whole."""
        return -(-self.byte_count // self.part_bytes)

    def part_size(self, number: int) -> int:
        """Bytes of that part, from 0; NotFoundError when there is no such part."""
        if not 0 <= number < self.part_count:
            raise NotFoundError(f"upload {self.id} has the parts 0 to {self.part_count - 1}, not {number}")
        return min(self.part_bytes, self.byte_count - number * self.part_bytes)


class Uploads:
    """Begin, send parts, look, remove."""

    def __init__(
        self, store: Store, artifacts: Artifacts, clock: Callable[[], datetime], limits: UploadLimits | None = None
    ) -> None:
        self._store = store
        self._artifacts = artifacts
        self._clock = clock
        self._limits = limits or UploadLimits()
        self._swept_at: datetime | None = None

    def begin(
        self, project_name: str, name: str, byte_count: int, *, file_count: int | None, fingerprint: str, by: str
    ) -> tuple[Upload, bool]:
        """(upload, True), or (the one that was begun before with the same content, False).

        Args:
            name: the file or folder, for people; never used as a path.
            fingerprint: equal for equal content only, made by the sender.

        Raises:
            NotFoundError: no such project.
            UploadTooLargeError: more bytes or files than allowed.
            NoRoomError: the storage cannot hold it.
        """
        self._check(name, byte_count, file_count, fingerprint)
        project = self._project(project_name)
        upload_id = _make_id(project.id, name, byte_count, fingerprint)
        now = self._clock()
        known = self._find(project.id, upload_id)
        if known is not None and known.part_bytes == self._limits.part_bytes:
            return self._touch(known, now), False
        self._check_room(name, byte_count)
        made = Upload(upload_id, project.id, name, byte_count, file_count, self._limits.part_bytes, by, now, now)
        self._artifacts.put(_name(made.project_id, made.id, "about.json"), _to_json(made))
        return made, True

    def get(self, project_name: str, upload_id: str) -> Upload:
        """The upload, or NotFoundError."""
        project = self._project(project_name)
        found = self._find(project.id, upload_id)
        if found is None:
            raise NotFoundError(f"no upload {upload_id!r} of {project_name}; it may be imported or removed already")
        return found

    def all(self, project_name: str) -> list[Upload]:
        """Uploads of a project that are still there, newest first."""
        project = self._project(project_name)
        ids = {upload_id for at, upload_id in self._listing() if at == project.id}
        found = [upload for upload_id in ids if (upload := self._find(project.id, upload_id)) is not None]
        return sorted(found, key=lambda upload: (upload.begun_at, upload.id), reverse=True)

    def put_part(self, project_name: str, upload_id: str, number: int, data: bytes) -> None:
        """Store one part; the same again changes nothing. On disk when it returns.

        Raises:
            NotFoundError: no such upload or part.
            InvalidInputError: not as long as that part must be (cut short on its way, perhaps).
            UnavailableError: the storage refuses, or is full; all other parts are kept.
        """
        upload = self.get(project_name, upload_id)
        expected = upload.part_size(number)
        if len(data) != expected:
            raise InvalidInputError(f"part {number} has {len(data)} bytes, expected {expected}: send it again")
        self._artifacts.put(_part_name(upload, number), data)
        now = self._clock()
        if now - upload.touched_at >= TOUCHED_EVERY:
            self._touch(upload, now)

    def missing_parts(self, upload: Upload) -> list[int]:
        """Numbers of the parts that are not there yet, in order."""
        there = set(self._artifacts.names(_name(upload.project_id, upload.id, "")))
        return [number for number in range(upload.part_count) if _part_name(upload, number) not in there]

    def read_part(self, upload: Upload, number: int) -> bytes:
        """The bytes of one part, or NotFoundError."""
        return self._artifacts.get(_part_name(upload, number))

    def check_whole(self, project_name: str, location: str) -> None:
        """Refuse an import's location that names an upload which is not all there; other locations pass.

        Raises:
            NotFoundError, UploadIncompleteError
        """
        if not location.startswith(SCHEME):
            return
        upload = self.get(project_name, location.removeprefix(SCHEME))
        if missing := self.missing_parts(upload):
            raise UploadIncompleteError(
                f"{upload.name}: {len(missing)} of {upload.part_count} parts are missing, the first is {missing[0]}",
                missing=len(missing),
            )

    def remove(self, project_name: str, upload_id: str) -> None:
        """Remove an upload with all its parts.

        Raises:
            NotFoundError: no such upload.
            ConflictError: an import is reading it.
        """
        upload = self.get(project_name, upload_id)
        if upload.location in self._locations_in_use():
            raise ConflictError(f"{upload.name} is being imported; cancel that job first")
        self._delete(upload.project_id, upload.id)

    def imported(self, location: str, project_id: int) -> None:
        """An import has read all of it: remove it, unless another import wants it too."""
        if location.startswith(SCHEME) and location not in self._locations_in_use():
            self._delete(project_id, location.removeprefix(SCHEME))

    def sweep(self) -> int:
        """Remove uploads that nobody has touched for a day and that no import wants; how many.

        Safe to call as often as one likes: the storage is listed every ten minutes only.
        """
        now = self._clock()
        if self._swept_at is not None and now - self._swept_at < SWEPT_EVERY:
            return 0
        self._swept_at = now
        used = self._locations_in_use()
        removed = 0
        for project_id, upload_id in self._listing():
            upload = self._find(project_id, upload_id)
            if upload is not None and (now - upload.touched_at < KEPT_FOR or upload.location in used):
                continue
            # Without `about` it is the rest of one that was removed while a part was on its way.
            self._delete(project_id, upload_id)
            removed += 1
        return removed

    def _check(self, name: str, byte_count: int, file_count: int | None, fingerprint: str) -> None:
        if not 1 <= len(name) <= NAME_LENGTH_MAX or not name.isprintable():
            raise InvalidInputError(f"upload name {name[:80]!r}: use 1 to {NAME_LENGTH_MAX} printable characters")
        if not 1 <= len(fingerprint) <= FINGERPRINT_LENGTH_MAX:
            raise InvalidInputError(f"fingerprint has {len(fingerprint)} characters, 1 to {FINGERPRINT_LENGTH_MAX}")
        if byte_count < 1:
            raise InvalidInputError(f"{name} is empty (0 bytes)")
        if byte_count > self._limits.bytes_max:
            raise UploadTooLargeError(
                f"{name} has {byte_count / 2**30:.1f} GiB, at most {self._limits.bytes_max / 2**30:.1f} GiB are taken "
                "at once. Send it in several pieces, or put it on the server and import it from there.",
                bytes_max=self._limits.bytes_max,
            )
        if file_count is not None and file_count > self._limits.files_max:
            raise UploadTooLargeError(
                f"{name} has {file_count:,} files, at most {self._limits.files_max:,} are taken at once. "
                "Send it in several pieces.",
                files_max=self._limits.files_max,
            )

    def _check_room(self, name: str, byte_count: int) -> None:
        """Twice the length: while it is imported, its images lie beside it."""
        free = self._artifacts.room()
        if free is not None and free < 2 * byte_count + FREE_BYTES_MIN:
            raise NoRoomError(
                f"{name} has {byte_count / 2**20:,.0f} MiB and needs twice that while it is imported; the server has "
                f"{free / 2**20:,.0f} MiB free. Make room there, then try again.",
                free_bytes=free,
            )

    def _project(self, name: str) -> Project:
        with self._store.read() as tx:
            return active_project(tx, name)

    def _find(self, project_id: int, upload_id: str) -> Upload | None:
        if not ID_PATTERN.fullmatch(upload_id):
            return None
        try:
            return _from_json(self._artifacts.get(_name(project_id, upload_id, "about.json")))
        except NotFoundError:
            return None

    def _touch(self, upload: Upload, now: datetime) -> Upload:
        touched = replace(upload, touched_at=now)
        self._artifacts.put(_name(upload.project_id, upload.id, "about.json"), _to_json(touched))
        return touched

    def _listing(self) -> set[tuple[int, str]]:
        """(project id, upload id) of whatever lies there."""
        found = (_NAMES.fullmatch(name) for name in self._artifacts.names(FOLDER))
        return {(int(match["project"]), match["upload"]) for match in found if match}

    def _locations_in_use(self) -> set[str]:
        """Uploads that an import still wants; one that failed may be tried again, until its day is over."""
        alive = [JobState.QUEUED, JobState.RUNNING]
        with self._store.read() as tx:
            jobs = tx.jobs.all(states=alive, kind=JobKind.INGEST, limit=100_000)
        return {str(job.payload.get("location")) for job in jobs}

    def _delete(self, project_id: int, upload_id: str) -> None:
        """What says that it is there goes first: killed in between, the sweep finds the rest."""
        about = _name(project_id, upload_id, "about.json")
        self._artifacts.delete(about)
        for name in self._artifacts.names(_name(project_id, upload_id, "")):
            self._artifacts.delete(name)


def _make_id(project_id: int, name: str, byte_count: int, fingerprint: str) -> str:
    facts = json.dumps([project_id, name, byte_count, fingerprint])
    return hashlib.sha256(facts.encode("utf-8", "surrogatepass")).hexdigest()[:32]


def _name(project_id: int, upload_id: str, rest: str) -> str:
    return f"{FOLDER}{project_id}-{upload_id}-{rest}"


def _part_name(upload: Upload, number: int) -> str:
    return _name(upload.project_id, upload.id, f"{number:06d}")


def _to_json(upload: Upload) -> bytes:
    values = {**asdict(upload), "begun_at": upload.begun_at.isoformat(), "touched_at": upload.touched_at.isoformat()}
    return json.dumps(values).encode()


def _from_json(data: bytes) -> Upload:
    values: dict[str, Any] = json.loads(data)
    times = {key: datetime.fromisoformat(values[key]) for key in ("begun_at", "touched_at")}
    return Upload(**{**values, **times})

"""Files that are whole or not there: written beside their place, then moved into it. A full disk becomes words."""

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from al_service.errors import ConflictError, UnavailableError


class NoRoomError(UnavailableError):
    """A file of the study cannot be written: the disk is full, or the folder does not let us."""

    code = "no_room"


class StudyBusyError(ConflictError):
    """Another process works in the same folder."""

    code = "study_busy"


def write_whole(path: Path, data: bytes) -> None:
    """Put the bytes at the path at once; what stood there before stays until they are all on the disk.

    Raises:
        NoRoomError: they cannot be written.
    """
    part = path.with_name(f".{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with part.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            part.unlink()
        raise no_room(path, error) from error


def write_json(path: Path, value: Any) -> None:
    """`write_whole` of a JSON document; it refuses NaN, which is no JSON."""
    write_whole(path, json.dumps(value, ensure_ascii=False, allow_nan=False, indent=1).encode())


def find_json(path: Path) -> Any:
    """What the file holds, or None where there is none or it is no JSON (a disk that failed us, an editor)."""
    try:
        return json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None


def no_room(path: Path, error: OSError) -> NoRoomError:
    """The error to raise when a file cannot be written."""
    return NoRoomError(
        f"cannot write {path}: {error.strerror or error}. Finished runs are kept: make room, and the same command "
        "goes on with what is missing"
    )


@contextlib.contextmanager
def held_alone(folder: Path) -> Iterator[None]:
    """Hold the folder (made where it is missing) for this process; the system lets go of it however we end.

    Raises:
        StudyBusyError: another process has it.
        NoRoomError: it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / ".lock").open("wb")
    except OSError as error:
        raise no_room(folder, error) from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise StudyBusyError(
                f"another `al simulate` works in {folder}: wait for it, or choose another folder"
            ) from error
        yield

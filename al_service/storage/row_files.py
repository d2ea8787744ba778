"""Files of a row store that are being written: a name of one's own, durable when finished, cleared away when the
writer died.

A writer holds a lock (flock) on its temporary file. The operating system drops the lock when the process ends, however
it ends and in whatever container, so a temporary file that can be locked has lost its writer.
"""

import fcntl
import os
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from al_service.storage.artifacts import TEMPORARY_SUFFIX, make_folders, storage_refusal, sync_folder

ORPHAN_AGE_S = 86_400
WRITE_BUFFER_BYTES = 1 << 20


@contextmanager
def writing(target: Path, needed_bytes: int) -> Iterator[BinaryIO]:
    """A file that takes the target's name, whole and on disk, when the block ends without an exception; else nothing.

    Raises:
        ArtifactStorageError: the disk is full or refuses; details: path, needed_bytes, free_bytes.
    """
    temporary = target.with_name(f".{uuid.uuid4().hex}{TEMPORARY_SUFFIX}")
    try:
        make_folders(target.parent)
        file = _claim(temporary)
        try:
            with file:
                yield file
                file.flush()
                os.fsync(file.fileno())
                # Still locked here, so that nobody clears it away between the flush and the new name.
                temporary.replace(target)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        sync_folder(target.parent)
    except OSError as error:
        raise storage_refusal(target, needed_bytes, error) from error


@contextmanager
def only_one(path: Path) -> Iterator[bool]:
    """True when this process alone holds that lock file until the block ends; False when another one does."""
    make_folders(path.parent)
    with path.open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True


def clear_orphans(folder: Path) -> int:
    """Remove temporary files whose writer is gone; how many. Files of live writers stay."""
    return sum(_clear_orphan(path) for path in folder.glob(f".*{TEMPORARY_SUFFIX}"))


def _clear_orphan(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
            except OSError:
                # A file system without locks (some network folders): only age tells.
                if time.time() - path.stat().st_mtime < ORPHAN_AGE_S:
                    return False
            path.unlink()
    except FileNotFoundError:
        return False
    return True


def _claim(path: Path) -> BinaryIO:
    while True:
        file = path.open("x+b", buffering=WRITE_BUFFER_BYTES)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            # Somebody who clears up was faster than our lock: the file is as good as gone, begin again.
            file.close()
            path.unlink(missing_ok=True)
            continue
        except OSError:
            return file
        if path.exists():
            return file
        file.close()

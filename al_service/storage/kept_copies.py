"""Local copies of remote files that never change, bounded in size; those not used for longest go first.

Each copy ends with a checksum, so one that a power cut or a bad disk garbled is dropped and fetched again: copies need
no slow flush to disk. Several processes may share the folder.
"""

import contextlib
import logging
import os
import threading
import time
import uuid
import zlib
from pathlib import Path

from al_service.storage.artifacts import TEMPORARY_SUFFIX

logger = logging.getLogger(__name__)

_CHECK_BYTES = 4
#: After clearing so much is left, so that clearing (which looks at every copy) is rare.
_KEPT_SHARE = 0.8
#: A copy's time is renewed when it is older than this: reading should not write each time.
_RENEW_AFTER_S = 3600
_ABANDONED_AFTER_S = 86_400


class KeptCopies:
    """Copies below a folder.

    Args:
        max_bytes: of all copies. Several processes together may pass it by what each adds before it looks again.
    """

    def __init__(self, folder: Path, max_bytes: int) -> None:
        self._folder = folder
        self._max_bytes = max_bytes
        self._bytes: int | None = None
        self._lock = threading.Lock()

    def find(self, name: str) -> bytes | None:
        """The bytes, or None when there is no sound copy."""
        path = self._folder / name
        try:
            data = path.read_bytes()
            if time.time() - path.stat().st_mtime > _RENEW_AFTER_S:
                os.utime(path)
        except OSError:
            return None
        body, check = data[:-_CHECK_BYTES], data[-_CHECK_BYTES:]
        if len(data) < _CHECK_BYTES or zlib.crc32(body).to_bytes(_CHECK_BYTES, "little") != check:
            self.drop(name)
            return None
        return body

    def keep(self, name: str, data: bytes) -> None:
        """Keep a copy, unless it alone is more than may be kept or the disk refuses."""
        if len(data) > self._max_bytes * _KEPT_SHARE:
            return
        path = self._folder / name
        temporary = path.with_name(f".{uuid.uuid4().hex}{TEMPORARY_SUFFIX}")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                temporary.write_bytes(data + zlib.crc32(data).to_bytes(_CHECK_BYTES, "little"))
                temporary.replace(path)
            finally:
                temporary.unlink(missing_ok=True)
        except OSError as error:
            # The caller has its bytes; only the next read is slower.
            logger.warning("no local copy of %s: %s", name, error)
            return
        self._count(len(data))

    def drop(self, name: str) -> None:
        """Forget one."""
        with contextlib.suppress(OSError):
            (self._folder / name).unlink()

    def _count(self, added: int) -> None:
        with self._lock:
            if self._bytes is not None:
                self._bytes += added
            if self._bytes is None or self._bytes > self._max_bytes:
                self._bytes = self._clear()

    def _clear(self) -> int:
        """Look at all copies, remove the oldest until they fit; how many bytes are left."""
        found = []
        now = time.time()
        for path in self._folder.rglob("*"):
            with contextlib.suppress(OSError):
                facts = path.stat()
                if path.is_file() and not path.name.endswith(TEMPORARY_SUFFIX):
                    found.append((facts.st_mtime, facts.st_size, path))
                elif path.is_file() and now - facts.st_mtime > _ABANDONED_AFTER_S:
                    path.unlink()
        total = sum(size for _, size, _ in found)
        if total <= self._max_bytes:
            return total
        for _, size, path in sorted(found):
            if total <= self._max_bytes * _KEPT_SHARE:
                break
            with contextlib.suppress(OSError):
                path.unlink()
                total -= size
        return total

"""A folder on this machine as a container. Follows links to files inside it, never links to folders."""

# ruff: noqa: PTH100, PTH114, PTH116, PTH118, PTH123
# os.path instead of Path: names stay exactly as the system gives them, and a million files take seconds less.

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from al_service.ingest.containers import Entry, cut_at_limit
from al_service.ingest.names import is_hidden
from al_service.ingest.rows import InvalidSourceError, Limits, RowUnreadableError

_OUTSIDE = "it lies outside the folder: move it inside, or let the server allow other paths"


class FolderContainer:
    """Files below `root`, sorted by name within each folder, a folder's own files before its subfolders.

    Raises:
        InvalidSourceError: the folder itself may not be listed.
    """

    kind = "folder"

    def __init__(self, root: Path, limits: Limits) -> None:
        self._root = os.path.abspath(root)
        self._real_root = os.path.realpath(root)
        self._limits = limits
        self._outside: dict[str, bool] = {}
        try:
            os.scandir(self._root).close()
        except OSError as error:
            raise InvalidSourceError(f"{root} cannot be read ({error.strerror}): check its permissions") from error

    def entries(self) -> Iterator[Entry]:
        """As in Container."""
        return cut_at_limit(self._walk(), self._limits)

    def find(self, path: str) -> Entry | None:
        """As in Container; an absolute path is taken if it lies inside the folder or allow_absolute_paths is set."""
        try:
            if b"\0" in os.fsencode(path):
                return None
        except UnicodeEncodeError:  # from JSON's \ud800, which no file system can hold
            return None
        if self._leads_outside(path):  # before looking whether it is there: strangers learn nothing about this machine
            return Entry(path, problem=_OUTSIDE)
        try:
            found = os.stat(os.path.join(self._root, path))
        except OSError:
            return None
        return self._entry(path, found)

    def local_path(self, path: str) -> str:
        """As in Container."""
        return path.removeprefix(f"{self._root}/")

    def read(self, entry: Entry, byte_count: int) -> bytes:
        """As in Container."""
        try:
            with open(os.path.join(self._root, entry.path), "rb") as file:
                return file.read(byte_count)
        except OSError as error:
            raise RowUnreadableError(f"the file cannot be read: {error.strerror}") from error

    def close(self) -> None:
        """As in Container; nothing is held open."""

    def _walk(self) -> Iterator[Entry]:
        waiting = [""]
        while waiting:
            folder = waiting.pop()
            try:
                with os.scandir(os.path.join(self._root, folder)) as listing:
                    found = sorted(listing, key=lambda item: item.name)
            except OSError as error:
                yield Entry(folder, problem=f"the folder cannot be read: {error.strerror}")
                continue
            subfolders = []
            for item in found:
                path = f"{folder}/{item.name}" if folder else item.name
                if is_hidden(item.name):
                    continue
                if item.is_dir(follow_symlinks=False):
                    subfolders.append(path)
                else:
                    yield self._listed(path)
            waiting.extend(reversed(subfolders))

    def _listed(self, path: str) -> Entry:
        try:
            return self._entry(path, os.stat(os.path.join(self._root, path)))
        except OSError as error:
            return Entry(path, problem=f"the file cannot be read: {error.strerror}")

    def _entry(self, path: str, found: os.stat_result) -> Entry:
        if self._leads_outside(path):
            return Entry(path, problem=_OUTSIDE)
        if stat.S_ISDIR(found.st_mode):
            return Entry(path, problem="it is a folder or a link to one, expected a file: import that folder itself")
        if not stat.S_ISREG(found.st_mode):
            return Entry(path, problem="it is a device or pipe, expected a file")
        return Entry(path, found.st_size)

    def _leads_outside(self, path: str) -> bool:
        if self._limits.allow_absolute_paths:
            return False
        full = os.path.join(self._root, path)
        folder, name = os.path.split(full)
        if name in ("", ".", "..") or os.path.islink(full):
            return self._is_outside(os.path.realpath(full))
        if folder not in self._outside:  # every folder once: this costs more than all else about a file
            self._outside[folder] = self._is_outside(os.path.realpath(folder))
        return self._outside[folder]

    def _is_outside(self, real: str) -> bool:
        return os.path.commonpath((self._real_root, real)) != self._real_root

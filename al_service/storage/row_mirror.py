"""Shards shared between hosts through artifacts (S3): each host uploads what it makes and fetches what it lacks.

A shard is two objects: `NAME.rows`, the whole file, and `NAME.head`, its header and index, uploaded last. A host reads
the small heads of all shards, keeps them beside its own, and fetches only shards that hold rows it was asked for.

The mirror saves work and nothing depends on it: when it does not answer, a warning is logged and rows are made here.
"""

import logging
import threading
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from al_service.errors import NotFoundError, UnavailableError
from al_service.loop.ports import Artifacts
from al_service.storage.row_files import writing
from al_service.storage.row_hashes import KeyTable, match
from al_service.storage.row_shards import SUFFIX, DamagedShardError, Head, RowFormat, Shard

logger = logging.getLogger(__name__)

HEAD_SUFFIX = ".head"
_FETCH_THREADS = 8


class RowMirror:
    """The shared side of one row store.

    Args:
        artifacts: shared by the hosts.
        prefix: begins all names; a "/" is added where it ends without one.
        folder: the store's own.
    """

    def __init__(self, artifacts: Artifacts, prefix: str, folder: Path) -> None:
        self._artifacts = artifacts
        self._prefix = prefix if not prefix or prefix.endswith("/") else f"{prefix}/"
        self._folder = folder
        self._unsent: list[Path] = []
        self._replaced: list[str] = []
        self._lock = threading.Lock()

    def publish(self, path: Path | None = None) -> bool:
        """Upload a shard, and those that could not be uploaded before. True when nothing is left to upload."""
        with self._lock:
            return self._publish([] if path is None else [path])

    def _publish(self, paths: list[Path]) -> bool:
        waiting, self._unsent = [*self._unsent, *paths], []
        for position, one in enumerate(waiting):
            try:
                self._upload(one)
            except FileNotFoundError:
                continue  # merged into another one meanwhile, which was published itself
            except DamagedShardError as error:
                logger.warning("%s is not uploaded: %s", one, error)
            except UnavailableError as error:
                logger.warning("%s was not uploaded and will be with the next shard: %s", one.name, error)
                self._unsent = waiting[position:]
                return False
        if self.forget(self._replaced):
            self._replaced = []
        return True

    def replace(self, names: Iterable[str], merged: Path | None) -> None:
        """Upload what small shards were merged into (None: others hold all their rows), then remove them there.

        As long as anything could not be uploaded they stay, because other hosts would lose their rows.
        """
        with self._lock:
            self._replaced += names
            self._publish([] if merged is None else [merged])

    def forget(self, names: Iterable[str]) -> bool:
        """Remove shards, heads first, so that none promises absent data. True when all are gone."""
        try:
            for name in names:
                self._artifacts.delete(self._prefix + _head_name(name))
                self._artifacts.delete(self._prefix + name)
        except UnavailableError as error:
            logger.warning("shards stay in the mirror: %s", error)
            return False
        return True

    def fetch(self, wanted: KeyTable, row_format: RowFormat) -> int:
        """Bring shards here that hold some of the wanted rows; how many came."""
        try:
            heads = self._heads()
        except UnavailableError as error:
            logger.warning("the mirror of %s is not used: %s", self._folder, error)
            return 0
        absent = np.ones(len(wanted), bool)
        came = 0
        # The largest first: a shard made by merging stands for the small ones that it replaced.
        for head in sorted(heads, key=lambda one: -one.count):
            ours = match(wanted, head.table)[0] if head.format == row_format else np.empty(0, np.int64)
            if absent[ours].any() and self._download(head):
                absent[ours] = False
                came += 1
        return came

    def _upload(self, path: Path) -> None:
        data = path.read_bytes()
        self._artifacts.put(self._prefix + path.name, data)
        self._artifacts.put(self._prefix + _head_name(path.name), data[: Head(path).data_at])

    def _heads(self) -> list[Head]:
        """Heads of shards in the mirror that are not here; read once, then kept in the folder."""
        listed = {name.removeprefix(self._prefix) for name in self._artifacts.names(self._prefix)}
        names = {name for name in listed if name.endswith(HEAD_SUFFIX)}
        for path in self._folder.glob(f"*{HEAD_SUFFIX}"):
            if path.name not in names:
                path.unlink(missing_ok=True)
        absent = sorted(name for name in names if not (self._folder / name).with_suffix(SUFFIX).exists())
        with ThreadPoolExecutor(_FETCH_THREADS) as pool:
            return [head for head in pool.map(self._head, absent) if head is not None]

    def _head(self, name: str) -> Head | None:
        path = self._folder / name
        try:
            if not path.exists():
                self._save(name, path)
            return Head(path)
        except NotFoundError:
            return None  # removed between the listing and now
        except DamagedShardError as error:
            logger.warning("%s%s: %s; left out", self._prefix, name, error)
            path.unlink(missing_ok=True)
            return None

    def _download(self, head: Head) -> bool:
        path = head.path.with_suffix(SUFFIX)
        try:
            self._save(path.name, path)
            shard = Shard(path)
            shard.check(np.arange(shard.count))
            shard.release()
        except NotFoundError:
            return False
        except DamagedShardError as error:
            logger.warning("%s%s is damaged and was removed from the mirror: %s", self._prefix, path.name, error)
            path.unlink(missing_ok=True)
            self.forget([path.name])
            return False
        except UnavailableError as error:
            logger.warning("%s%s was not fetched: %s", self._prefix, path.name, error)
            return False
        head.path.unlink(missing_ok=True)
        return True

    def _save(self, name: str, path: Path) -> None:
        data = self._artifacts.get(self._prefix + name)
        with writing(path, len(data)) as file:
            file.write(data)


def _head_name(shard_name: str) -> str:
    return shard_name.removesuffix(SUFFIX) + HEAD_SUFFIX

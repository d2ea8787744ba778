"""What a worker process keeps warm between jobs: services, device, the last network, and its caches on disk.

RQ calls a job by name with (job_id, attempt) only, so the process holds one context, put in place once at its start.
"""

import shutil
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from al_service import images
from al_service.bootstrap import open_services
from al_service.errors import UnavailableError
from al_service.learning.minibatch_size import MinibatchSizes
from al_service.loop.ports import Artifacts
from al_service.loop.services import Services
from al_service.settings import Settings
from al_service.storage.pixel_rows import open_pixel_rows
from al_service.storage.row_store import RowStore

#: Rounds of a project whose embeddings are kept: the newest, and the one before, which a late job may still read.
KEPT_ROUNDS = 2


@dataclass
class WorkerContext:
    """One process's belongings. `network` is the last one trained or loaded, with its file's name."""

    settings: Settings
    services: Services
    worker_name: str
    network_name: str | None = None
    network: Any = None
    interrupts: Any = None
    _stores: dict[str, RowStore] = field(default_factory=dict)
    _sizes: MinibatchSizes | None = None

    @property
    def cache_folder(self) -> Path:
        """What may be deleted at any time and is made again."""
        return self.settings.data_dir.resolve() / "cache"

    @property
    def minibatch_sizes(self) -> MinibatchSizes:
        """Minibatch sizes found on this machine."""
        if self._sizes is None:
            self._sizes = MinibatchSizes(self.cache_folder / "minibatch-sizes.json")
        return self._sizes

    def pixel_rows(self, image_px: int, expected_count: int) -> RowStore:
        """Decoded images of that side: raw where so many fit the budget, small JPEG files otherwise."""
        key = f"pixels/{images.SQUARE_VERSION}"

        def opened() -> RowStore:
            return open_pixel_rows(
                self.cache_folder / key,
                image_px,
                expected_count,
                self.settings.pixel_cache_max_bytes,
                self._mirror,
                mirror_prefix=f"cache/{key}",
            )

        # A store notices what other processes append, so it is opened once; a pool that grew may need the other kind.
        return self._opened(f"{key}/{image_px}/{self._pixel_kind(image_px, expected_count)}", opened)

    def embedding_rows(self, backbone_hash: str, width: int, image_px: int, expected_count: int) -> RowStore:
        """(width,) float16 embeddings by the frozen backbone of that hash, of pixels as `pixel_rows` keeps them."""
        key = f"embeddings/{self._embeddings_key(backbone_hash, image_px, expected_count)}"

        def opened() -> RowStore:
            prefix = f"cache/{key}/"
            return RowStore(self.cache_folder / key, (width,), "float16", mirror=self._mirror, mirror_prefix=prefix)

        return self._opened(key, opened)

    def round_embedding_rows(
        self, project_id: int, backbone_hash: str, width: int, image_px: int, expected_count: int
    ) -> RowStore:
        """As `embedding_rows` for a backbone that a round of this project trained.

        Rows of the newest rounds are kept, so a retried job goes on where it stopped; older ones are removed.
        """
        folder = f"round-embeddings/{project_id}"
        key = f"{folder}/{self._embeddings_key(backbone_hash, image_px, expected_count)}"
        if key not in self._stores:
            self._remove_old_rounds(folder, key)
        return self._opened(key, lambda: RowStore(self.cache_folder / key, (width,), "float16"))

    def _embeddings_key(self, backbone_hash: str, image_px: int, expected_count: int) -> str:
        return f"{backbone_hash[:32]}-{images.SQUARE_VERSION}-{self._pixel_kind(image_px, expected_count)}"

    def _remove_old_rounds(self, folder: str, key: str) -> None:
        """Make room for one more round's embeddings. Whoever still reads the old ones keeps what he has open."""
        there = sorted((self.cache_folder / folder).glob("*"), key=_modified_at, reverse=True)
        for path in [path for path in there if path != self.cache_folder / key][KEPT_ROUNDS - 1 :]:
            self._stores.pop(f"{folder}/{path.name}", None)
            shutil.rmtree(path, ignore_errors=True)  # what stays is removed next time

    def _pixel_kind(self, image_px: int, expected_count: int) -> str:
        """As `open_pixel_rows` chooses: what JPEG loses, embeddings see."""
        is_raw = expected_count * image_px * image_px * 3 <= self.settings.pixel_cache_max_bytes
        return "raw" if is_raw else "jpeg"

    def drop_damaged_rows(self) -> None:
        """Read every cache that this process has open; what is damaged is removed and made again when it is needed."""
        for store in self._stores.values():
            store.verify()

    @property
    def _mirror(self) -> Artifacts | None:
        """Hosts that share remote artifacts share their caches through them; one with a local folder needs no copy."""
        return self.services.artifacts if self.settings.remote_storage_url else None

    def _opened(self, key: str, opener: Callable[[], RowStore]) -> RowStore:
        if key not in self._stores:
            self._stores[key] = opener()
        return self._stores[key]


def _modified_at(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:  # another process has removed it just now
        return 0.0


_current: list[WorkerContext] = []
_lock = threading.Lock()


def install(context: WorkerContext) -> None:
    """Make this the process's context (tests install one after the other)."""
    with _lock:
        _current[:] = [context]


def current() -> WorkerContext:
    """The process's context.

    Raises:
        UnavailableError: a job function was called outside a worker process.
    """
    if not _current:
        raise UnavailableError("no worker context in this process; start workers with `al worker`")
    return _current[0]


def open_context(settings: Settings, worker_name: str) -> WorkerContext:
    """A context over real services."""
    return WorkerContext(settings, open_services(settings), worker_name)

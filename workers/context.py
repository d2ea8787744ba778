"""What a worker process keeps warm between jobs: services, device, the last network, decoded pixels.

RQ calls a job by name with (job_id, attempt) only, so the process holds one context, put in place once at its start.
"""

import threading
from dataclasses import dataclass, field
from typing import Any

from al_service.bootstrap import open_services
from al_service.errors import UnavailableError
from al_service.learning.pixels import PixelCache
from al_service.loop.services import Services
from al_service.settings import Settings

#: Decoded pixels kept in memory: 50,000 CIFAR images are 150 MB, 10,000 images at 224 px 1.5 GB.
PIXEL_CACHE_BYTES = 2 * 2**30


@dataclass
class WorkerContext:
    """One process's belongings. `network` is the last one trained or loaded, with its hash."""

    settings: Settings
    services: Services
    worker_name: str
    pixels: PixelCache = field(default_factory=lambda: PixelCache(PIXEL_CACHE_BYTES))
    network_hash: str | None = None
    network: Any = None
    interrupts: Any = None


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

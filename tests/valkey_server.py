"""Real brokers and honest waiting for tests: a Valkey on a Unix socket, and polling with a generous deadline."""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import redis

from al_service.job_queue.broker import EmbeddedBroker
from al_service.supervisor import tied_to_parent

T = TypeVar("T")


@contextmanager
def running_broker(folder: Path) -> Iterator[EmbeddedBroker]:
    """A Valkey of its own for the block; it also ends when the test process is killed."""
    broker = EmbeddedBroker(folder)
    broker.start(tied_to_parent)
    try:
        yield broker
    finally:
        broker.stop()


@contextmanager
def client_of(url: str) -> Iterator[redis.Redis]:
    client = redis.Redis.from_url(url)
    try:
        yield client
    finally:
        client.close()


def wait_for(look: Callable[[], T], what: str, timeout_s: float = 30.0) -> T:
    """The first true result of `look`; fails the test when there is none in time."""
    deadline = time.monotonic() + timeout_s
    while True:
        if found := look():
            return found
        assert time.monotonic() < deadline, f"waited {timeout_s:.0f} s in vain until {what}"
        time.sleep(0.02)


def is_alive(pid: int) -> bool:
    """True while the process runs; a zombie that nobody collected counts as dead."""
    try:
        os.kill(pid, 0)
        return Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[0] != "Z"
    except (ProcessLookupError, FileNotFoundError):
        return False

"""How much memory a server takes: its process and all that it started, read from /proc while it works."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

PAUSE_S = 0.5


@dataclass(frozen=True)
class Memory:
    """Megabytes of a server's processes together.

    Args:
        rss_mb: resident; memory that several of its processes share counts once for each.
        pss_mb: proportional; what n processes share counts as an n-th for each.
    """

    rss_mb: float
    pss_mb: float


def memory_of(process_id: int) -> Memory | None:
    """The memory of a process and those it started, now; None where /proc does not tell."""
    found = [_own(one) for one in (process_id, *_descendants(process_id))]
    known = [memory for memory in found if memory is not None]
    if not known:
        return None
    return Memory(sum(memory.rss_mb for memory in known), sum(memory.pss_mb for memory in known))


def highest(samples: list[Memory]) -> Memory | None:
    """The most of each that was seen; None when nothing was.

    >>> highest([Memory(3.0, 1.0), Memory(2.0, 2.0)])
    Memory(rss_mb=3.0, pss_mb=2.0)
    """
    if not samples:
        return None
    return Memory(max(one.rss_mb for one in samples), max(one.pss_mb for one in samples))


@contextmanager
def watched(process_id: int) -> Iterator[list[Memory]]:
    """Looks at a server's memory twice a second during the block; the list grows meanwhile."""
    samples: list[Memory] = []
    is_over = threading.Event()

    def look() -> None:
        while True:
            if (memory := memory_of(process_id)) is not None:
                samples.append(memory)
            if is_over.wait(PAUSE_S):
                return

    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        yield samples
    finally:
        is_over.set()
        watcher.join()


def _own(process_id: int) -> Memory | None:
    try:
        text = (Path("/proc") / str(process_id) / "smaps_rollup").read_text()
    except OSError:
        return None
    fields = {words[0]: words[1] for words in map(str.split, text.splitlines()[1:])}
    return Memory(int(fields["Rss:"]) / 1024, int(fields["Pss:"]) / 1024)


def _descendants(process_id: int) -> list[int]:
    try:
        text = (Path("/proc") / str(process_id) / "task" / str(process_id) / "children").read_text()
    except OSError:
        return []
    children = [int(word) for word in text.split()]
    return [*children, *(one for child in children for one in _descendants(child))]

"""Holding a process still (SIGSTOP), so that a test acts at a known moment instead of a lucky one.

A frozen process can commit nothing, so what the database says of its job stays true until it is thawed or killed.
"""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

STOPPED = ("T", "t", "Z", "X")


@contextmanager
def frozen(pid: int) -> Iterator[None]:
    """The process stands still for the block; afterwards it goes on, unless the block has killed it."""
    os.kill(pid, signal.SIGSTOP)
    try:
        while not all(state in STOPPED for state in _thread_states(pid)):
            time.sleep(0.001)
        yield
    finally:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


def has_pending(pid: int, signum: int) -> bool:
    """True when that signal was sent to the frozen process and waits for its thaw."""
    lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
    masks = [int(line.split()[1], 16) for line in lines if line.startswith(("SigPnd:", "ShdPnd:"))]
    return any(mask >> (signum - 1) & 1 for mask in masks)


def _thread_states(pid: int) -> list[str]:
    states = []
    for path in Path(f"/proc/{pid}/task").glob("*/stat"):
        with suppress(OSError):
            states.append(path.read_text(encoding="ascii").rpartition(")")[2].split()[0])
    return states

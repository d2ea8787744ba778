"""How much memory this process may still take: on the machine, in a container, on a GPU.

Called by minibatch_size.py.
"""

import contextlib
import os
from pathlib import Path

import torch

#: Of this process, as containers show it (control groups, version 2).
CONTROL_GROUP = Path("/sys/fs/cgroup")


def cpu_free_bytes(group: Path = CONTROL_GROUP) -> int:
    """The machine's available memory, or what a container's limit leaves of it.

    Args:
        group: folder of the control group that limits this process.
    """
    free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    with contextlib.suppress(OSError, ValueError, StopIteration):
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        free = 1024 * next(int(line.split()[1]) for line in lines if line.startswith("MemAvailable:"))
    with contextlib.suppress(OSError, ValueError):  # no limit reads "max"
        limit = int((group / "memory.max").read_text(encoding="ascii"))
        used = int((group / "memory.current").read_text(encoding="ascii")) - _file_cache_bytes(group)
        free = min(free, limit - max(0, used))
    return max(0, free)


def _file_cache_bytes(group: Path) -> int:
    """Bytes of files in memory that count as the group's; the kernel gives them up when memory is asked for."""
    found = 0
    with contextlib.suppress(OSError, ValueError):
        for line in (group / "memory.stat").read_text(encoding="ascii").splitlines():
            name, _, number = line.partition(" ")
            if name in ("inactive_file", "active_file"):
                found += int(number)
    return found


def gpu_free_bytes(device: torch.device) -> int:
    """The GPU's free memory; what torch has reserved and nobody uses is free for us."""
    free, _ = torch.cuda.mem_get_info(device)
    return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)

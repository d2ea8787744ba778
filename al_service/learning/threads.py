"""How many CPU threads a piece of work is worth.

torch splits every operation over all cores and waits for the slowest at each. On images of a few hundred pixels an
operation takes microseconds, so waiting costs more than sharing saves: on two busy cores, training small_cnn on 8 x 8
digits took 3 to 12 times as long with two threads as with one.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

#: Up to this many pixels a side, one thread is at least as fast.
ONE_THREAD_PX = 16


@contextmanager
def threads_for(image_px: int, device: torch.device) -> Iterator[int]:
    """Run the block with as many CPU threads as images of that side are worth; yields how many."""
    before = torch.get_num_threads()
    wanted = 1 if device.type == "cpu" and image_px <= ONE_THREAD_PX else before
    torch.set_num_threads(wanted)
    try:
        yield wanted
    finally:
        torch.set_num_threads(before)

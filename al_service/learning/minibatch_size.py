"""How many images at a time: found once per network, size, device, precision and passes, then remembered.

Memory sets the most, speed chooses below it. On a GPU the most images that fit are nearly always quickest, so memory
alone decides. On a CPU sizes from 32 to 512 are tried for about a second where the pool is large enough to pay it back.
Whoever runs out of memory all the same halves the size and goes on; the smaller size is remembered.

Called by inference.py. The caller may name a file that keeps sizes between processes.
"""

import contextlib
import json
import logging
import os
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import astuple, dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from al_service.errors import UnavailableError

log = logging.getLogger(__name__)

#: Tried on a CPU in this order, each twice as long as the one before.
CPU_SIZES = (32, 64, 128, 256, 512)
#: On a CPU where the pool is too small to try.
CPU_UNTRIED = 128
GPU_MOST = 2048
#: Fewer images are scored in less time than it takes to try sizes.
WORTH_TRYING = 4096
_TRYING_SECONDS = 1.0
#: A larger size must be quicker by this much: rounding apart sizes are equal, and memory is worth something.
_QUICKER_BY = 1.05
#: Of the memory that is free. Other processes want some too, and convolutions borrow work space.
_CPU_SHARE, _GPU_SHARE = 0.25, 0.6
_FIRST_GPU_IMAGES = 8

RunImages = Callable[[Tensor], object]


class OutOfDeviceMemoryError(UnavailableError):
    """Not even one image fits into the memory that is free on the device now."""

    code = "out_of_device_memory"


@dataclass(frozen=True)
class SizeKey:
    """What the best size depends on.

    Args:
        network: name.
        image_px: side of the images.
        device: name of the processor, e.g. "cpu" or "NVIDIA H100".
        precision: "float32" or "float16".
        mc_passes: M.
    """

    network: str
    image_px: int
    device: str
    precision: str
    mc_passes: int

    def __str__(self) -> str:
        return "|".join(map(str, astuple(self)))


class MinibatchSizes:
    """Remembered sizes. Safe to share between threads; the file also between processes (the last to write wins).

    Args:
        path: a JSON file to read at first use and to write after every change, or None for this process alone. A
            damaged file is logged and begun anew; a file that cannot be written is logged, and memory serves.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self._sizes: dict[str, int] | None = None
        self._lock = threading.Lock()

    def find(self, key: SizeKey) -> int | None:
        """The size remembered for the key, or None."""
        with self._lock:
            return self._known().get(str(key))

    def remember(self, key: SizeKey, size: int) -> None:
        """Keep this size for the key."""
        with self._lock:
            self._known()[str(key)] = size
            self._write()

    def lower(self, key: SizeKey, size: int) -> None:
        """Keep this size for the key, unless a smaller one is known."""
        with self._lock:
            if size < self._known().get(str(key), size + 1):
                self._known()[str(key)] = size
                self._write()

    def _known(self) -> dict[str, int]:
        if self._sizes is None:
            self._sizes = {} if self._path is None else _read(self._path)
        return self._sizes

    def _write(self) -> None:
        if self._path is None:
            return
        partial = self._path.with_name(f"{self._path.name}.{uuid.uuid4().hex}.partial")
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            partial.write_text(json.dumps(self._sizes, indent=1, sort_keys=True), encoding="utf-8")
            partial.replace(self._path)
        except OSError as error:
            log.warning("minibatch sizes cannot be written to %s: %s", self._path, error)
            with contextlib.suppress(OSError):
                partial.unlink(missing_ok=True)


def _read(path: Path) -> dict[str, int]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        log.warning("minibatch sizes in %s cannot be read and are found anew: %s", path, error)
        return {}
    if not isinstance(found, dict) or not all(type(size) is int and size >= 1 for size in found.values()):
        log.warning("minibatch sizes in %s are not a map of whole numbers and are found anew", path)
        return {}
    return found


# -- finding -------------------------------------------------------------------------------------------------------


def choose_size(network: nn.Module, run: RunImages, images: Tensor, device: torch.device, *, count: int) -> int:
    """The size to score with, by memory and, on a CPU for a large pool, by speed.

    Args:
        network: its layers' outputs are measured on a CPU.
        run: scores images (n, 3, H, W) on the device, passes included.
        images: a few real ones on the device; repeated where more are needed.
        device: where.
        count: N, images that wait.
    """
    if device.type == "cuda":
        return most_that_fit(_gpu_bytes_per_image(run, images, device), _gpu_free_bytes(device) * _GPU_SHARE, GPU_MOST)
    per_image = _cpu_bytes_per_image(network, run, images)
    most = most_that_fit(per_image, cpu_free_bytes() * _CPU_SHARE, CPU_SIZES[-1])
    if count < WORTH_TRYING or most <= CPU_SIZES[0]:
        return min(most, CPU_UNTRIED)
    return quickest_size(lambda size: _seconds(run, images, size), most)


def most_that_fit(bytes_per_image: int, free_bytes: float, most: int) -> int:
    """The largest power of two up to `most` whose images take no more than that; at least 1.

    >>> most_that_fit(1000, 70_500, 512)
    64
    """
    fit = int(min(most, max(1, free_bytes // max(1, bytes_per_image))))
    return 1 << (fit.bit_length() - 1)


def quickest_size(seconds_of: Callable[[int], float], most: int) -> int:
    """The smallest of the CPU sizes up to `most` that none larger beats by 5 %; larger ones are tried while time lasts.

    Args:
        seconds_of: time for one minibatch of a size.
        most: from memory; at least the smallest CPU size.

    >>> quickest_size(lambda size: 0.001 + size * 0.0001, 512)
    256
    """
    rates: dict[int, float] = {}
    spent = 0.0
    for size in (size for size in CPU_SIZES if size <= most):
        seconds = max(seconds_of(size), 1e-9)
        rates[size] = size / seconds
        spent += seconds
        if spent + 2 * seconds > _TRYING_SECONDS:
            break
    return next(size for size, rate in rates.items() if max(rates.values()) <= rate * _QUICKER_BY)


def _seconds(run: RunImages, images: Tensor, size: int) -> float:
    repeated = images[torch.arange(size, device=images.device) % len(images)]
    started = time.perf_counter()
    run(repeated)
    return time.perf_counter() - started


def _gpu_free_bytes(device: torch.device) -> int:
    free, _ = torch.cuda.mem_get_info(device)
    # What torch has reserved and nobody uses is free for us.
    return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)


def _gpu_bytes_per_image(run: RunImages, images: Tensor, device: torch.device) -> int:
    images = images[:_FIRST_GPU_IMAGES]
    torch.cuda.synchronize(device)
    before = torch.cuda.memory_allocated(device)
    torch.cuda.reset_peak_memory_stats(device)
    run(images)
    torch.cuda.synchronize(device)
    return max(1, (torch.cuda.max_memory_allocated(device) - before) // len(images))


def _cpu_bytes_per_image(network: nn.Module, run: RunImages, images: Tensor) -> int:
    """Bytes that an image takes on its way: what all layers give out together, of which a part lives at a time.

    Passes that replay outputs hold all of them; a plain pass holds about three of the largest.
    """
    largest, outputs = 0, 0
    images = images[:2]

    def note(module: nn.Module, given: tuple[object, ...], output: object) -> None:
        nonlocal largest, outputs
        size = _bytes(output)
        outputs += size
        largest = max(largest, size + sum(map(_bytes, given)))

    hooks = [module.register_forward_hook(note) for module in network.modules() if not any(module.children())]
    try:
        run(images)
    finally:
        for hook in hooks:
            hook.remove()
    return max(1, min(outputs, 3 * largest) // len(images))


def _bytes(value: object) -> int:
    return value.nbytes if isinstance(value, Tensor) else 0


def cpu_free_bytes() -> int:
    """Memory that this process may still take: the machine's, or what a container's limit leaves of it."""
    free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    with contextlib.suppress(OSError, ValueError, StopIteration):
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        free = 1024 * next(int(line.split()[1]) for line in lines if line.startswith("MemAvailable:"))
    with contextlib.suppress(OSError, ValueError):  # no limit reads "max"
        group = Path("/sys/fs/cgroup")
        limit = int((group / "memory.max").read_text(encoding="ascii"))
        free = min(free, limit - int((group / "memory.current").read_text(encoding="ascii")))
    return max(0, free)


# -- too large all the same ----------------------------------------------------------------------------------------


def is_out_of_memory(error: BaseException) -> bool:
    """Whether the error says that memory ran out, on a GPU or on the CPU."""
    if isinstance(error, torch.cuda.OutOfMemoryError | MemoryError):
        return True
    text = str(error)
    return isinstance(error, RuntimeError) and ("out of memory" in text or "DefaultCPUAllocator" in text)


def halved(size: int, *, image_px: int, device: torch.device, network: str) -> int:
    """Half the size.

    Raises:
        OutOfDeviceMemoryError: the size is 1.
    """
    if device.type == "cuda":
        torch.cuda.empty_cache()
    if size <= 1:
        raise OutOfDeviceMemoryError(
            f"one image of {image_px} px does not fit into the free memory of {device} with {network}. "
            "End other programs on that device, choose a smaller image_px or network, or set device to cpu."
        )
    log.warning("%s ran out of memory with %d images at a time; going on with %d", device, size, size // 2)
    return size // 2

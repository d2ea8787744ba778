"""How many images at a time: found once per network, size, device, precision and passes, then remembered.

Memory sets the most, speed chooses below it. On a GPU the most images that fit are nearly always quickest, so memory
alone decides. On a CPU sizes from 32 to 512 are tried for about a second where the pool is large enough to pay it back.

Free memory comes and goes, so what is remembered is which size is quick and what an image takes; every run takes less
where so much does not fit now. Whoever runs out of memory all the same halves the size and goes on; this process stays
with the smaller size, the next one begins anew.

Called by inference.py. The caller may name a file that keeps sizes between processes.
"""

import contextlib
import json
import logging
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import asdict, astuple, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from al_service.errors import UnavailableError
from al_service.learning.free_memory import cpu_free_bytes, gpu_free_bytes

log = logging.getLogger(__name__)

#: Tried on a CPU in this order, each twice as long as the one before.
CPU_SIZES = (32, 64, 128, 256, 512)
#: On a CPU where the pool is too small to try.
CPU_UNTRIED = 128
GPU_MOST = 2048
#: Fewer images are scored in less time than it takes to try sizes.
WORTH_TRYING = 4096
_TRYING_SECONDS = 1.0
_TURNS_MOST = 8
#: A larger size must be quicker by this much: rounding apart sizes are equal, and memory is worth something.
_QUICKER_BY = 1.02
#: Of the memory that is free. Other processes want some too, and convolutions borrow work space.
_CPU_SHARE, _GPU_SHARE = 0.25, 0.6
_FIRST_GPU_IMAGES = 8
#: No size and no number of bytes is larger; whatever a file says beyond is damage.
_REMEMBERED_MAX = 1 << 62

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
        mc_passes: M where the backbone has dropout of its own, else 0.
    """

    network: str
    image_px: int
    device: str
    precision: str
    mc_passes: int

    def __str__(self) -> str:
        return "|".join(map(str, astuple(self)))


@dataclass(frozen=True)
class FoundSize:
    """What is known of one kind of run, whatever memory is free.

    Args:
        size: the quickest number of images at a time.
        bytes_per_image: that one image takes on the device.
    """

    size: int
    bytes_per_image: int


class MinibatchSizes:
    """Remembered sizes. Safe to share between threads; the file also between processes (the last to write wins).

    Args:
        path: a JSON file to read at first use and to write after every change, or None for this process alone. A
            file that is damaged or of an earlier format is logged and begun anew; one that cannot be written is
            logged, and memory serves.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self._sizes: dict[str, FoundSize] | None = None
        self._lowered: dict[str, int] = {}
        self._lock = threading.Lock()

    def find(self, key: SizeKey) -> FoundSize | None:
        """What is remembered for the key, or None."""
        with self._lock:
            return self._known().get(str(key))

    def remember(self, key: SizeKey, found: FoundSize) -> None:
        """Keep this for the key."""
        with self._lock:
            self._known()[str(key)] = found
            self._write()

    def lower(self, key: SizeKey, size: int) -> None:
        """Stay at or below this size in this process: memory ran out with more. Other processes may have more of it."""
        with self._lock:
            self._lowered[str(key)] = min(size, self._lowered.get(str(key), size))

    def capped(self, key: SizeKey, size: int) -> int:
        """The size, or the smaller one that `lower` set."""
        with self._lock:
            return min(size, self._lowered.get(str(key), size))

    def _known(self) -> dict[str, FoundSize]:
        if self._sizes is None:
            self._sizes = {} if self._path is None else _read(self._path)
        return self._sizes

    def _write(self) -> None:
        if self._path is None:
            return
        partial = self._path.with_name(f"{self._path.name}.{uuid.uuid4().hex}.partial")
        content = {key: asdict(found) for key, found in self._known().items()}
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            partial.write_text(json.dumps(content, indent=1, sort_keys=True), encoding="utf-8")
            partial.replace(self._path)
        except OSError as error:
            log.warning("minibatch sizes cannot be written to %s: %s", self._path, error)
            with contextlib.suppress(OSError):
                partial.unlink(missing_ok=True)


def _read(path: Path) -> dict[str, FoundSize]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError) as error:
        log.warning("minibatch sizes in %s cannot be read and are found anew: %s", path, error)
        return {}
    if not isinstance(content, dict) or not all(map(_is_found_size, content.values())):
        log.warning("minibatch sizes in %s are damaged or of an earlier version and are found anew", path)
        return {}
    return {key: FoundSize(**value) for key, value in content.items()}


def _is_found_size(value: Any) -> bool:
    if not isinstance(value, dict) or value.keys() != {"size", "bytes_per_image"}:
        return False
    return all(type(number) is int and 1 <= number <= _REMEMBERED_MAX for number in value.values())


# -- finding -------------------------------------------------------------------------------------------------------


def choose_size(
    network: nn.Module, run: RunImages, images: Tensor, device: torch.device, *, count: int
) -> tuple[FoundSize, bool]:
    """What to score with, by memory and, on a CPU for a large pool, by speed; and whether it is worth remembering.

    Args:
        network: its layers' outputs are measured on a CPU.
        run: scores images (n, 3, H, W) on the device, passes included.
        images: a few real ones on the device; repeated where more are needed.
        device: where.
        count: N, images that wait.

    Returns:
        A size that was not tried, or that only scarce memory kept from being larger, is not worth remembering.
    """
    if device.type == "cuda":
        return FoundSize(GPU_MOST, _gpu_bytes_per_image(run, images, device)), True
    per_image = _cpu_bytes_per_image(network, run, images)
    most = fitting(FoundSize(CPU_SIZES[-1], per_image), device)
    if count < WORTH_TRYING or most <= CPU_SIZES[0]:
        return FoundSize(min(most, CPU_UNTRIED), per_image), False
    size = quickest_size(lambda size: _seconds(run, images, size), most)
    return FoundSize(size, per_image), size < most or most == CPU_SIZES[-1]


def fitting(found: FoundSize, device: torch.device) -> int:
    """The size for a run that begins now: as found, or less where memory is scarce."""
    on_gpu = device.type == "cuda"
    free = gpu_free_bytes(device) * _GPU_SHARE if on_gpu else cpu_free_bytes() * _CPU_SHARE
    return most_that_fit(found.bytes_per_image, free, found.size)


def most_that_fit(bytes_per_image: int, free_bytes: float, most: int) -> int:
    """The largest power of two up to `most` whose images take no more than that; at least 1.

    >>> most_that_fit(1000, 70_500, 512)
    64
    """
    fit = int(min(most, max(1, free_bytes // max(1, bytes_per_image))))
    return 1 << (fit.bit_length() - 1)


def quickest_size(seconds_of: Callable[[int], float], most: int) -> int:
    """The smallest of the CPU sizes up to `most` that none larger beats by 2 %; larger ones are tried while time lasts.

    Sizes are tried in turns and the quickest of a size's tries counts: the first call of a size also prepares the
    layers for it, and other processes disturb a single one.

    Args:
        seconds_of: time for one minibatch of a size.
        most: from memory; at least the smallest CPU size.

    >>> quickest_size(lambda size: 0.001 + size * 0.0001, 512)
    256
    """
    best = _quickest_tries(seconds_of, [size for size in CPU_SIZES if size <= most])
    rates = {size: size / seconds for size, seconds in best.items()}
    return next(size for size, rate in rates.items() if max(rates.values()) <= rate * _QUICKER_BY)


def _quickest_tries(seconds_of: Callable[[int], float], sizes: list[int]) -> dict[int, float]:
    """Seconds of the quickest try of each size, while time lasts; at least one try of the first."""
    best: dict[int, float] = {}
    spent, expected = 0.0, 0.0
    for turn in range(_TURNS_MOST):
        for size in sizes if turn == 0 else list(best):
            if spent + (expected if turn == 0 else best[size]) > _TRYING_SECONDS:
                return best
            seconds = max(seconds_of(size), 1e-9)
            spent, expected = spent + seconds, 2 * seconds
            best[size] = min(seconds, best.get(size, seconds))
    return best


def _seconds(run: RunImages, images: Tensor, size: int) -> float:
    repeated = images[torch.arange(size, device=images.device) % len(images)]
    started = time.perf_counter()
    run(repeated)
    return time.perf_counter() - started


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

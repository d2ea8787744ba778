"""Minibatches on the device, the next one made ready by a thread while the network works on this one."""

from collections import deque
from collections.abc import Generator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from al_service.learning.augmentation import Moves, draw_moves, moved, moved_on_device
from al_service.learning.ranks import Ranks

# How far ahead: one in the making and one ready.
_AHEAD = 2
# Below, handing a minibatch from thread to thread costs as much as making it.
_THREAD_FROM_BYTES = 100_000


@dataclass(frozen=True, eq=False)
class Minibatch:
    """What one step of one rank trains on.

    Args:
        images: (n, 3, px, px) uint8 on the device.
        targets: (n,) int64 on the device.
        rows: (n,) int64 on the device, of the training set.
        counted: (n,) bool on the device, or None where all count: others are there to fill up.
        size: rows of the whole minibatch, over all ranks.
    """

    images: Tensor
    targets: Tensor
    rows: Tensor
    counted: Tensor | None
    size: int


class MinibatchLoader:
    """Loads, augments and hands over minibatches.

    Equal generators give equal minibatches, with or without the thread: everything is drawn by one thread, in order.

    Args:
        pixels: (N, px, px, 3) uint8 array-like.
        labels: (N,) int64.
        device: where minibatches go. A GPU augments itself; for a CPU the thread does.
        ranks: see there.
    """

    def __init__(self, pixels: Any, labels: np.ndarray, device: torch.device, ranks: Ranks) -> None:
        self.pixels, self.labels = pixels, labels
        self.device, self.ranks = device, ranks

    def load(
        self, parts: list[np.ndarray], augment: str, generator: torch.Generator
    ) -> Generator[Minibatch, None, None]:
        """Each part's minibatch, in order.

        Random: as augmentation.draw_moves, once per part.
        """
        image_bytes = int(np.prod(self.pixels.shape[1:]))
        if not parts or len(parts[0]) * image_bytes < _THREAD_FROM_BYTES:
            for rows in parts:
                yield self._on_device(self._made(rows, augment, generator))
            return
        with ThreadPoolExecutor(1, "minibatches") as thread:
            ahead: deque[Future[_Made]] = deque()
            try:
                for rows in parts:
                    ahead.append(thread.submit(self._made, rows, augment, generator))
                    if len(ahead) == _AHEAD:
                        yield self._on_device(ahead.popleft().result())
                while ahead:
                    yield self._on_device(ahead.popleft().result())
            finally:
                for future in ahead:
                    future.cancel()

    def _made(self, rows: np.ndarray, augment: str, generator: torch.Generator) -> "_Made":
        moves = draw_moves(len(rows), self.pixels.shape[1], augment, generator)
        positions, counted = self.ranks.share(len(rows))
        mine = rows[positions]
        images = np.ascontiguousarray(self.pixels[mine])
        moves = None if moves is None else moves.of(positions)
        if moves is not None and self.device.type == "cpu":
            images, moves = moved(images, moves), None
        tensor = torch.from_numpy(images)
        if self.device.type == "cuda":
            tensor = tensor.pin_memory()
        return _Made(tensor, moves, mine, None if counted.all() else counted, len(rows))

    def _on_device(self, made: "_Made") -> Minibatch:
        images = made.images.to(self.device, non_blocking=True)
        if made.moves is not None:
            images = moved_on_device(images, made.moves)
        rows = torch.from_numpy(made.rows).to(self.device, non_blocking=True)
        targets = torch.from_numpy(self.labels[made.rows]).to(self.device, non_blocking=True)
        counted = None if made.counted is None else torch.from_numpy(made.counted).to(self.device)
        # (n, px, px, 3) -> (n, 3, px, px), still channels last in memory.
        return Minibatch(images.permute(0, 3, 1, 2), targets, rows, counted, made.size)


@dataclass(frozen=True, eq=False)
class _Made:
    images: Tensor
    moves: Moves | None
    rows: np.ndarray
    counted: np.ndarray | None
    size: int

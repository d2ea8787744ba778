"""Half precision where a GPU is quicker with it: bfloat16 where the GPU has it, else float16 with scaled gradients."""

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor

# From 65,536 gradients were halved about thirty times in a row without once being finite.
_LEAST_SCALE = 2.0**-14


class Precision:
    """How forward and backward passes are computed.

    Args:
        device: where the network is.
        half: torch.bfloat16, torch.float16, or None for full precision. See `chosen`.
    """

    def __init__(self, device: torch.device, half: torch.dtype | None = None) -> None:
        self.device, self.half = device, half
        self.scaler = torch.amp.GradScaler(device.type, enabled=half is torch.float16)

    @classmethod
    def chosen(cls, device: torch.device, mode: str) -> "Precision":
        """The precision for a device: on the CPU, or with mode "off", full precision."""
        if device.type != "cuda" or mode == "off":
            return cls(device)
        native = torch.cuda.is_bf16_supported(including_emulation=False)
        return cls(device, torch.bfloat16 if native else torch.float16)

    def autocast(self) -> AbstractContextManager[Any]:
        """Run the block's matrix products and convolutions in half precision."""
        return nullcontext() if self.half is None else torch.autocast(self.device.type, self.half)

    def backward(self, loss: Tensor) -> None:
        """Compute gradients, scaled up where float16 would lose the small ones."""
        self.scaler.scale(loss).backward()

    def step(self, optimiser: torch.optim.Optimizer) -> None:
        """One step; float16 leaves out steps whose scaled gradients overflowed."""
        self.scaler.step(optimiser)
        self.scaler.update()

    @property
    def skips_overflow(self) -> bool:
        """Whether infinite gradients are part of the method."""
        return self.scaler.is_enabled()

    def exhausted(self) -> bool:
        """Whether no scale gives finite gradients any more."""
        return self.scaler.is_enabled() and self.scaler.get_scale() < _LEAST_SCALE

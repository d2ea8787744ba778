"""A pretraining under way as bytes, to go on from after a kill: safetensors with JSON metadata, never pickle.

Called by pretraining.py. A state is good only for the very run it came from: its fingerprint covers the settings, the
network and the images.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from al_service.learning import tensor_files
from al_service.learning.pretrained import load_exactly
from al_service.learning.tensor_files import InvalidCheckpointError
from al_service.learning.training_state import laid_out_as

STATE_VERSION = 2
# Enough to tell two pools of equal size apart without reading either.
_FINGERPRINT_ROWS = 64


@dataclass
class Progress:
    """How far a run is; everything here survives a kill.

    Args:
        step: steps done.
        losses: mean loss of each finished epoch.
        open_loss, open_count: sum of losses and count of images of the epoch under way.
        seconds: of wall time spent so far.
        knn_accuracy_before: of the probe before the first step.
    """

    step: int = 0
    losses: list[float] = field(default_factory=list)
    open_loss: float = 0.0
    open_count: int = 0
    seconds: float = 0.0
    knn_accuracy_before: float | None = None


def fingerprint(pixels: Any, settings: Mapping[str, Any]) -> str:
    """sha256, in hex, over JSON-able settings, the count of images and the pixels of up to 64 of them."""
    count = len(pixels)
    digest = hashlib.sha256(json.dumps({**settings, "images": count}, sort_keys=True).encode())
    rows = np.unique(np.linspace(0, count - 1, min(count, _FINGERPRINT_ROWS)).astype(np.int64))
    digest.update(np.ascontiguousarray(pixels[rows]).tobytes())
    return digest.hexdigest()


def to_bytes(
    modules: Mapping[str, nn.Module],
    optimiser: torch.optim.Optimizer,
    scaler: torch.amp.GradScaler,
    progress: Progress,
    of: str,
) -> bytes:
    """The whole run as bytes; `of` is its fingerprint."""
    tensors = {f"{name}.{key}": tensor for name, one in modules.items() for key, tensor in one.state_dict().items()}
    for number, slots in optimiser.state_dict()["state"].items():
        tensors |= {f"optimiser.{number}.{slot}": tensor for slot, tensor in slots.items()}
    numbers = {"progress": vars(progress), "scaler": scaler.state_dict()}
    metadata = {
        "state_version": STATE_VERSION,
        "fingerprint": of,
        "content_hash": _content_hash(tensors, numbers),
        **numbers,
    }
    return tensor_files.to_bytes(tensors, metadata)


def from_bytes(
    data: bytes,
    modules: Mapping[str, nn.Module],
    optimiser: torch.optim.Optimizer,
    scaler: torch.amp.GradScaler,
    of: str,
) -> Progress:
    """Put modules, optimiser and scaler where the run was, in place, and say how far that is.

    Raises:
        InvalidCheckpointError: damaged, of another version, or of another run; nothing has been changed then.
    """
    tensors, metadata = tensor_files.from_bytes(data, "the state")
    if metadata.get("state_version") != STATE_VERSION:
        raise InvalidCheckpointError(
            f"the state has version {metadata.get('state_version')!r}, expected {STATE_VERSION}"
        )
    if metadata.get("fingerprint") != of:
        raise InvalidCheckpointError("the state is of a run with other settings, another network or other images")
    numbers = {name: metadata.get(name) for name in ("progress", "scaler")}
    if metadata.get("content_hash") != _content_hash(tensors, numbers):
        raise InvalidCheckpointError("the state is damaged: its content does not have the hash it was written with")
    progress = Progress(**metadata["progress"])
    for name, module in modules.items():
        load_exactly(module, _under(f"{name}.", tensors), "the state")
    _restore_optimiser(optimiser, _under("optimiser.", tensors))
    if metadata["scaler"]:
        scaler.load_state_dict(metadata["scaler"])
    return progress


def _content_hash(tensors: Mapping[str, Tensor], numbers: Mapping[str, Any]) -> str:
    text = tensor_files.tensor_hash(tensors) + json.dumps(numbers, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _restore_optimiser(optimiser: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    slots: dict[int, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        number, _, slot = key.partition(".")
        slots.setdefault(int(number), {})[slot] = tensor
    parameters = [one for group in optimiser.param_groups for one in group["params"]]
    optimiser.load_state_dict({**optimiser.state_dict(), "state": laid_out_as(parameters, slots)})


def _under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {key.removeprefix(prefix): tensor for key, tensor in tensors.items() if key.startswith(prefix)}

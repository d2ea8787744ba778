"""A training under way as bytes, so that a killed one goes on from its last epoch; safetensors and JSON, no pickle.

Generators are not in it: every epoch draws from its own, made from the seed and the epoch's number.
"""

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from al_service.errors import InvalidInputError
from al_service.learning import tensor_files
from al_service.learning.minibatches import ordered_rows
from al_service.learning.networks import Network
from al_service.learning.tensor_files import InvalidCheckpointError
from al_service.learning.train_config import EpochOrder, ExtraLoss, KeptLoss, TrainConfig, whole_from_epoch

FORMAT_VERSION = 2
# Of the pixels: reading all of a memory map again would cost as much as an epoch's loading.
_PIXEL_ROWS_LOOKED_AT = 64


class StateRefusedError(InvalidInputError):
    """A training state that is damaged, or of another training."""

    code = "training_state_refused"


@dataclass
class Progress:
    """How far a training is, and what decides when it stops."""

    epoch: int = 0
    train_losses: list[float] = field(default_factory=list)
    validation_losses: list[float] = field(default_factory=list)
    best_epoch: int = 0
    best_loss: float = math.inf
    plateau_epoch: int = 0
    plateau_loss: float = math.inf


@dataclass(frozen=True, eq=False)
class TrainingState:
    """Everything that the next epoch depends on.

    Args:
        fingerprint: of the training; see below.
        progress: see there.
        tensors: by part ("network", "best", "average", "samples") and name.
        optimiser: its state_dict's "state": parameter number -> name -> tensor.
        scaler: of float16 gradients; empty where there is none.
        counts: of the extra loss (train_config.KeptLoss); empty where there is none.
    """

    fingerprint: str
    progress: Progress
    tensors: Mapping[str, Mapping[str, Tensor]]
    optimiser: Mapping[int, Mapping[str, Tensor]]
    scaler: Mapping[str, Any]
    counts: Mapping[str, int] = field(default_factory=dict)

    def to_bytes(self) -> bytes:
        """The state as a file's content."""
        flat = {f"{part}/{name}": tensor for part, named in self.tensors.items() for name, tensor in named.items()}
        for number, named in self.optimiser.items():
            flat |= {f"optimiser/{number}/{name}": tensor for name, tensor in named.items()}
        metadata = {
            "format_version": FORMAT_VERSION,
            "fingerprint": self.fingerprint,
            "progress": asdict(self.progress),
            "scaler": dict(self.scaler),
            "counts": dict(self.counts),
            "hash": tensor_files.tensor_hash(flat),
        }
        return tensor_files.to_bytes(flat, metadata)

    @classmethod
    def from_bytes(cls, data: bytes, fingerprint: str) -> "TrainingState":
        """Read a state back.

        Raises:
            StateRefusedError: damaged, of another format, or of a training with another fingerprint.
        """
        try:
            flat, metadata = tensor_files.from_bytes(data, "the training state")
        except InvalidCheckpointError as error:
            raise StateRefusedError(f"the training state is damaged: {error}") from error
        if metadata.get("format_version") != FORMAT_VERSION:
            raise StateRefusedError(
                f"the training state has format version {metadata.get('format_version')!r}, expected {FORMAT_VERSION}"
            )
        if metadata.get("fingerprint") != fingerprint:
            raise StateRefusedError(
                "the training state is of another training: its labels, images, settings, order of images, unlabelled "
                "images or initial weights differ"
            )
        if metadata.get("hash") != tensor_files.tensor_hash(flat):
            raise StateRefusedError("the training state is damaged: its tensors do not have their hash")
        tensors: dict[str, dict[str, Tensor]] = {}
        optimiser: dict[int, dict[str, Tensor]] = {}
        for key, tensor in flat.items():
            part, _, name = key.partition("/")
            if part == "optimiser":
                number, _, name = name.partition("/")
                optimiser.setdefault(int(number), {})[name] = tensor
            else:
                tensors.setdefault(part, {})[name] = tensor
        progress = Progress(**metadata["progress"])
        return cls(fingerprint, progress, tensors, optimiser, metadata["scaler"], metadata["counts"])


def fingerprint(network: Network, pixels: Any, labels: np.ndarray, config: TrainConfig, options: Any) -> str:
    """sha256, in hex, of what a training depends on: settings, labels, initial weights, up to 64 of the images.

    Args:
        network: before training.
        pixels: (N, px, px, 3) uint8 array-like.
        labels: (N,) int64.
        config: see there.
        options: further JSON-able facts.
    """
    facts = {
        "config": asdict(config),
        "options": options,
        "network": [
            network.name,
            network.class_count,
            network.image_px,
            tensor_files.tensor_hash(network.state_dict()),
        ],
        "labels": hashlib.sha256(np.ascontiguousarray(labels).data).hexdigest(),
        "pixels": pixels_fingerprint(pixels),
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def pixels_fingerprint(pixels: Any) -> str:
    """sha256, in hex, of up to 64 images of an array-like, spread evenly, and of how many there are; at least one."""
    rows = np.unique(np.linspace(0, len(pixels) - 1, _PIXEL_ROWS_LOOKED_AT).astype(np.int64))
    digest = hashlib.sha256(str(tuple(pixels.shape)).encode())
    digest.update(np.ascontiguousarray(pixels[rows]).data)
    return digest.hexdigest()


def order_fingerprint(order: EpochOrder | None, config: TrainConfig) -> str:
    """sha256, in hex, of the rows that an order gives for every epoch, and of when they are whole; "" for none.

    From what it does and not from what it is called, so that it is the same for an order and its rows in another
    process, and so that rows which an earlier model sorted otherwise are not gone on with.

    Cost: asks for every epoch's rows; 0.1 s at 60 epochs of 50,000.
    """
    if order is None:
        return ""
    digest = hashlib.sha256(str(whole_from_epoch(order)).encode())
    for epoch in range(1, config.epochs_max + 1):
        rows = ordered_rows(order, config.seed, epoch)
        digest.update(f"{rows.dtype} {rows.shape}".encode())
        digest.update(rows.tobytes())
    return digest.hexdigest()


def loss_fingerprint(extra_loss: ExtraLoss | None) -> str:
    """What an extra loss says it depends on; a plain function says nothing, only that it is there."""
    if isinstance(extra_loss, KeptLoss):
        return extra_loss.fingerprint()
    return "" if extra_loss is None else "a function"


def laid_out_as(
    parameters: Sequence[Tensor], slots: Mapping[int, Mapping[str, Tensor]]
) -> dict[int, dict[str, Tensor]]:
    """An optimiser's tensors, each in memory as its parameter is (channels last, on a GPU); bytes keep no such order.

    A fused step walks through a parameter and its tensors side by side: a GPU refuses others, a CPU mixes them up.
    """
    return {
        number: {
            name: torch.empty_like(parameters[number], dtype=tensor.dtype).copy_(tensor)
            if tensor.shape == parameters[number].shape
            else tensor
            for name, tensor in named.items()
        }
        for number, named in slots.items()
    }


def copied(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Copies that later steps do not change."""
    return {name: tensor.detach().clone(memory_format=torch.preserve_format) for name, tensor in tensors.items()}

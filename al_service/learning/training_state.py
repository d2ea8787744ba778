"""A training under way as bytes, so that a killed one goes on from its last epoch; safetensors and JSON, no pickle.

Generators are not in it: every epoch draws from its own, made from the seed and the epoch's number.
"""

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from al_service.errors import InvalidInputError
from al_service.learning import tensor_files
from al_service.learning.networks import Network
from al_service.learning.tensor_files import InvalidCheckpointError
from al_service.learning.train_config import TrainConfig

FORMAT_VERSION = 1
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
    """

    fingerprint: str
    progress: Progress
    tensors: Mapping[str, Mapping[str, Tensor]]
    optimiser: Mapping[int, Mapping[str, Tensor]]
    scaler: Mapping[str, Any]

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
                "the training state is of another training: its labels, images, settings or initial weights differ"
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
        return cls(fingerprint, Progress(**metadata["progress"]), tensors, optimiser, metadata["scaler"])


def fingerprint(network: Network, pixels: Any, labels: np.ndarray, config: TrainConfig, options: Any) -> str:
    """sha256, in hex, of what a training depends on: settings, labels, initial weights, up to 64 of the images.

    Args:
        network: before training.
        pixels: (N, px, px, 3) uint8 array-like.
        labels: (N,) int64.
        config: see there.
        options: further JSON-able facts.
    """
    looked_at = np.unique(np.linspace(0, len(labels) - 1, _PIXEL_ROWS_LOOKED_AT).astype(np.int64))
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
        "pixels": hashlib.sha256(np.ascontiguousarray(pixels[looked_at]).data).hexdigest(),
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def copied(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Copies that later steps do not change."""
    return {name: tensor.detach().clone(memory_format=torch.preserve_format) for name, tensor in tensors.items()}

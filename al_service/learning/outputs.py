"""What a network says of images: of one minibatch on the device, and of all of them in memory.

Filled by inference.py.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from al_service.learning.dropout_replay import PassOutputs
from al_service.learning.networks import Network

_FLOAT16_MAX = float(np.finfo(np.float16).max)


@dataclass(frozen=True, eq=False)
class MinibatchOutputs:
    """Outputs of n images on the device, in the types that they are kept in: fetching them needs no memory there.

    Args:
        logits, probabilities: (n, C) float32.
        embeddings: (n, D) float16.
        sampled_probabilities: (n, M, C) float32, or None.
    """

    logits: Tensor
    probabilities: Tensor
    embeddings: Tensor
    sampled_probabilities: Tensor | None

    @classmethod
    def of(cls, outputs: PassOutputs) -> "MinibatchOutputs":
        """Of what the passes gave."""
        return cls(
            logits=outputs.logits,
            probabilities=outputs.logits.softmax(1),
            embeddings=outputs.embeddings.clamp(-_FLOAT16_MAX, _FLOAT16_MAX).half(),
            sampled_probabilities=outputs.sampled_probabilities,
        )


@dataclass(frozen=True, eq=False)
class Inference:
    """Outputs, row by row as the pixels came.

    Args:
        logits: (N, C) float32, before softmax.
        probabilities: (N, C) float32.
        embeddings: (N, D) float16; what is beyond its range (65,504) is cut to it.
        sampled_probabilities: (N, M, C) float32, or None where no passes were asked for.
    """

    logits: np.ndarray
    probabilities: np.ndarray
    embeddings: np.ndarray
    sampled_probabilities: np.ndarray | None

    @classmethod
    def empty(cls, count: int, network: Network, mc_passes: int) -> "Inference":
        """Room for that many images."""
        classes = network.class_count
        return cls(
            logits=np.empty((count, classes), np.float32),
            probabilities=np.empty((count, classes), np.float32),
            embeddings=np.empty((count, network.embedding_width), np.float16),
            sampled_probabilities=np.empty((count, mc_passes, classes), np.float32) if mc_passes else None,
        )

    def put(self, start: int, outputs: MinibatchOutputs) -> None:
        """Write a minibatch's outputs from that row on."""
        rows = slice(start, start + len(outputs.logits))
        _put(self.logits[rows], outputs.logits)
        _put(self.probabilities[rows], outputs.probabilities)
        _put(self.embeddings[rows], outputs.embeddings)
        if self.sampled_probabilities is not None and outputs.sampled_probabilities is not None:
            _put(self.sampled_probabilities[rows], outputs.sampled_probabilities)

    def is_finite(self, start: int, count: int) -> bool:
        """Whether all logits and sampled probabilities of these rows are numbers."""
        rows = slice(start, start + count)
        sampled = self.sampled_probabilities
        return bool(np.isfinite(self.logits[rows]).all() and (sampled is None or np.isfinite(sampled[rows]).all()))


def _put(into: np.ndarray, values: Tensor) -> None:
    torch.from_numpy(into).copy_(values)

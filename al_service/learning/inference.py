"""What a network says of images: logits, probabilities, embeddings, and probabilities under dropout masks.

The backbone runs once per image. MC dropout happens in the head alone: M masks over the embedding are drawn once,
shared by all images (so that passes are consistent functions, which joint scores need), folded into the head's weights,
and all passes are one matrix product. Cost of the passes: N M C D multiplications, next to nothing beside a backbone.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from al_service.errors import InvalidInputError
from al_service.learning.networks import Head, Network
from al_service.learning.pixels import check_pixels

OnProgress = Callable[[int, int], None]


@dataclass(frozen=True, eq=False)
class Inference:
    """Outputs, row by row as the pixels came.

    Args:
        logits: (N, C) float32, before softmax.
        probabilities: (N, C) float32.
        embeddings: (N, D) float16.
        sampled_probabilities: (N, M, C) float32, or None where no passes were asked for.
    """

    logits: np.ndarray
    probabilities: np.ndarray
    embeddings: np.ndarray
    sampled_probabilities: np.ndarray | None


def predict(
    network: Network,
    pixels: Any,
    *,
    device: str | torch.device = "cpu",
    minibatch_size: int = 256,
    mc_passes: int = 0,
    seed: int = 0,
    on_progress: OnProgress | None = None,
) -> Inference:
    """Run the network over all images. It is put on `device` and in evaluation mode; dropout masks live beside it.

    Args:
        network: trained or loaded.
        pixels: (N, px, px, 3) uint8 array-like, sliced minibatch by minibatch, so a memory map is never read as a
            whole.
        device: see device.choose.
        minibatch_size: images at a time; changes speed and memory, not the result beyond float32 rounding.
        mc_passes: M, 0 for none.
        seed: of the masks.
        on_progress: called with (images done, N) after every minibatch; what it raises stops the work and passes
            through.

    Raises:
        InvalidPixelsError: pixels of another shape or type.
        InvalidInputError: minibatch_size < 1 or mc_passes < 0.
    """
    check_pixels(pixels, network.image_px)
    if minibatch_size < 1 or mc_passes < 0:
        raise InvalidInputError(f"minibatch_size is {minibatch_size} and mc_passes {mc_passes}; expected >= 1 and >= 0")
    network.to(device).eval()
    count, classes, width = len(pixels), network.class_count, network.embedding_width
    logits = np.empty((count, classes), np.float32)
    embeddings = np.empty((count, width), np.float16)
    sampled = np.empty((count, mc_passes, classes), np.float32) if mc_passes else None
    with torch.inference_mode():
        passes = _FoldedPasses(network.head, dropout_masks(network.head, mc_passes, seed)) if mc_passes else None
        for start in range(0, count, minibatch_size):
            rows = slice(start, min(count, start + minibatch_size))
            # A copy, since torch cannot wrap read-only memory.
            images = torch.from_numpy(np.array(pixels[rows])).to(device).permute(0, 3, 1, 2)
            embedded = network.embed(images).float()
            logits[rows] = network.head(embedded).cpu().numpy()
            embeddings[rows] = embedded.half().cpu().numpy()
            if passes is not None and sampled is not None:
                sampled[rows] = passes.logits(embedded).softmax(2).cpu().numpy()
            if on_progress is not None:
                on_progress(rows.stop, count)
    return Inference(logits, _softmax(logits), embeddings, sampled)


def dropout_masks(head: Head, passes: int, seed: int) -> Tensor:
    """(M, D) float32 masks of the head's dropout, 1 on average; drawn on the CPU, so the same for every device."""
    rate = head.dropout.p
    shape = (passes, head.linear.in_features)
    if rate >= 1:
        return torch.zeros(shape)
    generator = torch.Generator().manual_seed(seed)
    return (torch.rand(shape, generator=generator) >= rate).float() / (1 - rate)


class _FoldedPasses:
    """M masked copies of the head's weights, stacked into one (M C, D) matrix."""

    def __init__(self, head: Head, masks: Tensor) -> None:
        weight = head.linear.weight.float()
        masks = masks.to(weight.device)
        self._shape = (len(masks), len(weight))
        self._weights = (weight[None] * masks[:, None]).flatten(0, 1)  # (M, C, D) -> (M C, D)
        self._bias = head.linear.bias.float()

    def logits(self, embeddings: Tensor) -> Tensor:
        """(n, D) -> (n, M, C)."""
        return (embeddings @ self._weights.T).unflatten(1, self._shape) + self._bias


def _softmax(logits: np.ndarray) -> np.ndarray:
    return torch.from_numpy(logits).softmax(1).numpy()

"""A loss on unlabelled images for training all layers: what the network is sure of in a mild view, it should also see
in a strongly changed one.

training.train takes a ConsistencyLoss as `extra_loss` and adds it to the loss on labels at every step (FixMatch). In a
mild view, changed as labelled images are, the network says what it sees. Where that is sure enough, it is the label
of the same image in a strong view: turned, moved, scaled, sheared, darker or paler, a patch of it hidden.

Against the vicious circle in which an early favourite class is favoured ever more, probabilities are aligned first:
each class is divided by how often this minibatch says it and multiplied by how often it is labelled. (Distribution
alignment of ReMixMatch, but from the minibatch alone and held towards the labels where that is small, so that the loss
depends on the network and the step only, and a training that is taken up again goes on as if it had never stopped.)

Guesses never evaluate anything, and a gain is not certain: train and measure the plain network beside it.

Source: Sohn et al. 2020 (FixMatch); Berthelot et al. 2020 (ReMixMatch: alignment).
"""

import hashlib
import json
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import affine_grid, cross_entropy, grid_sample

from al_service.errors import InvalidInputError
from al_service.learning.augmentation import augment, check_augmentation
from al_service.learning.networks import Network
from al_service.learning.pixels import check_pixels
from al_service.learning.training_state import pixels_fingerprint

THRESHOLD = 0.95
_TURN_MAX = math.radians(25)
_SHEAR_MAX = 0.25
_SCALE_MAX = 0.25
_MOVE_MAX = 0.3  # of half a side
_LIGHT_MAX = 0.4
_PATCH_MAX = 0.5  # of a side


class ConsistencyLoss:
    """Callable (network, step) -> scalar; see the module.

    Args:
        pixels: (U, px, px, 3) uint8 array-like of unlabelled images, U >= 1; read minibatch by minibatch.
        class_indices: (L,) labels of the labelled images: how often each class is expected.
        class_count: C.
        augment: of the mild view, and whether strong views may be mirrored, as in TrainConfig.
        minibatch_size: unlabelled images at a step; each is seen twice, once with gradients.
        threshold: least aligned probability that counts as sure, in (0, 1].
        weight: of this loss beside that on labels, above 0.
        seed: of which images, and of both views.

    Raises:
        InvalidInputError: no unlabelled images, or a value out of range.

    Attributes:
        seen, used: unlabelled images so far, and how many were sure; for reports. Of a training that is gone on with,
            those of its earlier attempts too, as far as their steps count.
    """

    def __init__(
        self,
        pixels: Any,
        class_indices: Any,
        class_count: int,
        *,
        augment: str = "shift",
        minibatch_size: int = 128,
        threshold: float = THRESHOLD,
        weight: float = 1.0,
        seed: int = 0,
    ) -> None:
        check_augmentation(augment)
        labels = np.asarray(class_indices)
        if len(pixels) == 0:
            raise InvalidInputError("there are no unlabelled images; train without them")
        if minibatch_size < 2 or not 0 < threshold <= 1 or not 0 < weight < math.inf or seed < 0:
            raise InvalidInputError(
                f"minibatch_size is {minibatch_size}, threshold {threshold}, weight {weight}, seed {seed}; "
                "expected >= 2, in (0, 1], > 0, >= 0"
            )
        if labels.ndim != 1 or labels.dtype.kind not in "iu" or not ((labels >= 0) & (labels < class_count)).all():
            raise InvalidInputError(f"class_indices must be (L,) whole numbers from 0 to {class_count - 1}")
        self._pixels, self._augment, self._size = pixels, augment, minibatch_size
        self._threshold, self._weight, self._seed = threshold, weight, seed
        counts = np.bincount(labels, minlength=class_count) + 1.0
        self._prior = torch.from_numpy((counts / counts.sum()).astype(np.float32))
        self._seen = 0
        self._used: Tensor = torch.zeros((), dtype=torch.int64)

    @property
    def seen(self) -> int:
        return self._seen

    @property
    def used(self) -> int:
        return int(self._used)

    def fingerprint(self) -> str:
        """sha256, in hex, of the settings, the expected classes, how many images there are and up to 64 of them."""
        facts = [self._augment, self._size, self._threshold, self._weight, self._seed, self._prior.tolist()]
        text = json.dumps([*facts, pixels_fingerprint(self._pixels)])
        return hashlib.sha256(text.encode()).hexdigest()

    def counts(self) -> dict[str, int]:
        """`seen` and `used`, for the state of a training."""
        return {"seen": self.seen, "used": self.used}

    def take_up(self, counts: Mapping[str, int]) -> None:
        """Go on counting from what `counts` gave."""
        self._seen, self._used = counts["seen"], torch.tensor(counts["used"])

    def __call__(self, network: Network, step: int) -> Tensor:
        """The weighted loss of one step: its mean over all unlabelled images of it, sure or not.

        Args:
            network: in training mode; running statistics of its batch normalisation stay as they are.
            step: with the seed, it alone decides which images and which views.

        Raises:
            InvalidPixelsError: pixels that do not fit the network.
        """
        check_pixels(self._pixels, network.image_px)
        device = next(network.parameters()).device
        rng = np.random.default_rng([self._seed, step])
        generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
        # Sorted, so that a memory map is read in one direction.
        rows = np.sort(rng.integers(0, len(self._pixels), self._size))
        images = torch.from_numpy(np.array(self._pixels[rows])).to(device)
        mild = augment(images, self._augment, generator).permute(0, 3, 1, 2)
        strong = strong_view(mild.float() / 255, generator)
        targets, sure = self._guesses(network, mild)
        with _running_statistics_kept(network):
            logits = network(strong).float()
        self._seen += len(rows)
        self._used = self._used.to(device) + sure.sum()
        return self._weight * (cross_entropy(logits, targets, reduction="none") * sure).mean()

    def _guesses(self, network: Network, mild: Tensor) -> tuple[Tensor, Tensor]:
        """(n,) classes and whether each is sure, as the network predicts: no dropout, no batch statistics."""
        was_training = network.training
        network.eval()
        with torch.no_grad():
            probabilities = network(mild).float().softmax(1)
        network.train(was_training)
        aligned = align(probabilities, self._prior.to(probabilities.device))
        sureness, classes = aligned.max(1)
        return classes, sureness >= self._threshold


def align(probabilities: Tensor, prior: Tensor) -> Tensor:
    """(n, C) probabilities with each class weighed by prior / how often they say it; rows sum to 1.

    How often is their mean together with C imagined images that follow the prior: with few images, little changes.
    """
    count, classes = probabilities.shape
    said = (probabilities.sum(0) + classes * prior) / (count + classes)
    aligned = probabilities * (prior / said)
    return aligned / aligned.sum(1, keepdim=True)


def strong_view(images: Tensor, generator: torch.Generator) -> Tensor:
    """Each image turned, sheared, scaled, moved, relit, and with a patch hidden, all by its own random amounts.

    Args:
        images: (n, 3, H, W) float in 0..1, any device.
        generator: on the CPU.

    Returns:
        (n, 3, H, W) float in 0..1. Never mirrored: digits must not be.

    Random: 12 n numbers from the generator.
    """
    draws = torch.rand(12, len(images), generator=generator).to(images.device) * 2 - 1
    turn, shear, grow = draws[0] * _TURN_MAX, draws[1] * _SHEAR_MAX, 1 + draws[2] * _SCALE_MAX
    cos, sin = turn.cos() * grow, turn.sin() * grow
    rows = [torch.stack([cos, -sin + shear, draws[3] * _MOVE_MAX], 1), torch.stack([sin, cos, draws[4] * _MOVE_MAX], 1)]
    grid = affine_grid(torch.stack(rows, 1), list(images.shape), align_corners=False)
    moved = grid_sample(images, grid, padding_mode="border", align_corners=False)
    return _patch_hidden(_relit(moved, draws[5:8]), draws[8:12])


def _relit(images: Tensor, draws: Tensor) -> Tensor:
    """Other brightness, contrast and saturation."""
    light, contrast, colour = (1 + draws * _LIGHT_MAX)[:, :, None, None, None]
    grey = images.mean(1, keepdim=True)
    images = grey + (images - grey) * colour
    middle = images.mean((1, 2, 3), keepdim=True)
    return ((images - middle) * contrast + middle * light).clamp(0, 1)


def _patch_hidden(images: Tensor, draws: Tensor) -> Tensor:
    """A rectangle of up to half a side, anywhere, in the image's mean."""
    height, width = images.shape[2:]
    inside = []
    for side, centre, size in ((height, draws[0], draws[1]), (width, draws[2], draws[3])):
        places = (torch.arange(side, device=images.device) + 0.5) / side * 2 - 1
        inside.append((places - centre[:, None]).abs() < (size[:, None] + 1) / 2 * _PATCH_MAX)
    hidden = (inside[0][:, :, None] & inside[1][:, None, :])[:, None]
    return torch.where(hidden, images.mean((2, 3), keepdim=True), images)


@contextmanager
def _running_statistics_kept(network: nn.Module) -> Iterator[None]:
    """Strong views are normalised by their own statistics, which must not be taken for those of images."""
    layers = [module for module in network.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    before = [layer.momentum for layer in layers]
    for layer in layers:
        layer.momentum = 0.0
    try:
        yield
    finally:
        for layer, momentum in zip(layers, before, strict=True):
            layer.momentum = momentum

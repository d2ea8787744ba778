"""Networks by name: a backbone that embeds images, and a linear head with dropout that classifies embeddings.

Everything that needs many passes (MC dropout, committees, influence) needs only the head, so the two are apart.
Backbones are in backbones.py and own_networks.py, training in training.py, files in checkpoints.py.
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from al_service.errors import InvalidInputError
from al_service.learning.backbones import Backbone, build_builtin, builtin_names, usual_px
from al_service.learning.own_networks import build_own, find_own, own_names
from al_service.learning.pretrained import load_file
from al_service.learning.small_cnn import SMALL_CNN, SMALL_CNN_PX

__all__ = [
    "SMALL_CNN",
    "SMALL_CNN_PX",
    "Head",
    "Network",
    "UnknownNetworkError",
    "build",
    "names",
    "outline",
    "usual_px",
]

HEAD_DROPOUT = 0.25
#: Beyond, one image takes gigabytes on its way through any network.
IMAGE_PX_MAX = 4096


class UnknownNetworkError(InvalidInputError):
    """No network has this name."""

    code = "unknown_network"


class Head(nn.Module):
    """Dropout, then a linear layer: (N, D) embeddings -> (N, C) logits."""

    def __init__(self, width: int, class_count: int, dropout: float) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.linear = nn.Linear(width, class_count)

    def forward(self, embeddings: Tensor) -> Tensor:
        return self.linear(self.dropout(embeddings))


class Network(nn.Module):
    """forward = head(embed(images)); normalisation and scaling happen inside.

    Images are (N, 3, H, W), uint8 or float in 0..1.

    Attributes:
        name, class_count, image_px: as given to `build`.
        embedding_width: D.
        input_px: side that the backbone takes; images of another side are scaled.
        classifier_name: of the network's last layer in files of others, e.g. "fc".
    """

    mean: Tensor
    std: Tensor

    def __init__(self, name: str, backbone: Backbone, class_count: int, image_px: int) -> None:
        super().__init__()
        self.name = name
        self.class_count = class_count
        self.image_px = image_px
        self.embedding_width = backbone.width
        self.input_px = backbone.input_px
        self.classifier_name = backbone.classifier_name
        self.backbone = backbone.module
        self.head = Head(backbone.width, class_count, HEAD_DROPOUT)
        self.register_buffer("mean", torch.tensor(backbone.mean).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(backbone.std).view(1, 3, 1, 1))

    def prepare(self, images: Tensor) -> Tensor:
        """Images as the backbone takes them: float, normalised, of its size."""
        values = images.float() / 255 if images.dtype == torch.uint8 else images
        if values.shape[-1] != self.input_px or values.shape[-2] != self.input_px:
            size = (self.input_px, self.input_px)
            values = nn.functional.interpolate(values, size=size, mode="bilinear", antialias=True)
        return (values - self.mean) / self.std

    def embed(self, images: Tensor) -> Tensor:
        """(N, 3, H, W) images -> (N, D) embeddings."""
        return self.backbone(self.prepare(images))

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.embed(images))


def names() -> tuple[str, ...]:
    """Every network that `build` knows: ours, torchvision's classification networks, those of installed packages."""
    return (*builtin_names(), *own_names())


def build(name: str, class_count: int, image_px: int, weights: str = "none", seed: int = 0) -> Network:
    """A network on the CPU, in training mode, ready to train or to load.

    Args:
        name: "small_cnn" (8 to 64 px), "cifar_resnet20" (or 32, 44, 56), a torchvision classification network, or one
            of an installed package (see own_networks.py).
        class_count: C >= 1.
        image_px: side of the square images it will see. Where a network needs another side, it scales inside.
        weights: "none", "default" (torchvision's) or the path of a .safetensors, .pt or .pth file. The head is always
            fresh.
        seed: of the initial weights; equal seeds give equal weights. The global generator is left as it was.

    Raises:
        UnknownNetworkError: no such name.
        InvalidInputError: class_count < 1, image_px out of range, or default weights for a network that has none.
        InvalidCheckpointError: the file is not there, damaged, holds pickled code, or is of another network.
        InvalidNetworkPackageError: the installed package that brings the network does not work.
        WeightsUnavailableError: torchvision's weights cannot be fetched.
    """
    own = find_own(name)
    if own is None and name not in builtin_names():
        raise UnknownNetworkError(
            f"unknown network {name!r}; known: {SMALL_CNN}, cifar_resnet20, torchvision's, e.g. resnet18, and those of "
            f"installed packages ({', '.join(own_names()) or 'none here'})",
            name=name,
        )
    if class_count < 1:
        raise InvalidInputError(f"class_count is {class_count}, expected at least 1")
    if not 1 <= image_px <= IMAGE_PX_MAX:
        raise InvalidInputError(f"image_px is {image_px}, expected 1 to {IMAGE_PX_MAX}")
    if own is not None and weights == "default":
        raise InvalidInputError(f"{name} has no default weights of torchvision's; it may load its own when it is made")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        backbone = build_builtin(name, image_px, weights) if own is None else build_own(own, class_count, image_px)
        network = Network(name, backbone, class_count, image_px)
    if weights not in ("none", "default"):
        load_file(network.backbone, Path(weights), network.classifier_name)
    return network


def outline(name: str, class_count: int, image_px: int) -> dict[str, Tensor] | None:
    """Names, shapes and types of what `build` would give, made in no time and without memory for weights.

    Returns:
        Tensors on the device "meta", as the network's state_dict names them; None for a network of an installed
        package, which may need real tensors to be made.

    Raises:
        UnknownNetworkError, InvalidInputError, InvalidNetworkPackageError: as `build`.
    """
    if find_own(name) is not None:
        return None
    return _outline(name, class_count, image_px)


# Large networks have thousands of layers, and a worker loads the same few again and again.
@functools.lru_cache(maxsize=8)
def _outline(name: str, class_count: int, image_px: int) -> dict[str, Tensor]:
    with _WeightsTakeNoMemory():
        network = build(name, class_count, image_px)
    return {key: tensor.to("meta") for key, tensor in network.state_dict().items()}


class _WeightsTakeNoMemory(TorchFunctionMode):
    """Layers take their weights from torch.empty; what else a constructor computes with (regnet) stays real."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        options = dict(kwargs or {})
        if func is torch.empty:
            options["device"] = "meta"
        return func(*args, **options)

"""Networks by name: a backbone that embeds images, and a linear head with dropout that classifies embeddings.

Everything that needs many passes (MC dropout, committees, influence) needs only the head, so the two are apart.
Training is in training.py, files in checkpoints.py.
"""

from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn
from torchvision import models

from al_service.errors import InvalidInputError
from al_service.learning.pretrained import load_default, load_file

SMALL_CNN = "small_cnn"
SMALL_CNN_PX = (8, 64)
HEAD_DROPOUT = 0.25
_IMAGENET_MEAN = (0.485, 0.456, 0.406)
_IMAGENET_STD = (0.229, 0.224, 0.225)
# Sides that a network needs: these take exactly one size, all others at least one. Images are scaled to it inside.
_EXACT_PX = {"vit_h_14": 518, "vit_b_16": 224, "vit_b_32": 224, "vit_l_16": 224, "vit_l_32": 224, "maxvit_t": 224}
_LEAST_PX = {"alexnet": 64, "inception_v3": 75}
_LEAST_PX_OTHERS = 32
# Without these two take minutes to draw their initial weights, and return auxiliary outputs.
_INCEPTION_OPTIONS = {"aux_logits": False, "init_weights": False, "transform_input": True}
_BUILD_OPTIONS = {"googlenet": _INCEPTION_OPTIONS, "inception_v3": _INCEPTION_OPTIONS}


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
    """

    mean: Tensor
    std: Tensor

    def __init__(self, name: str, backbone: nn.Module, width: int, class_count: int, image_px: int) -> None:
        super().__init__()
        self.name = name
        self.class_count = class_count
        self.image_px = image_px
        self.embedding_width = width
        self.backbone = backbone
        self.head = Head(width, class_count, HEAD_DROPOUT)
        self.register_buffer("mean", torch.tensor(_IMAGENET_MEAN).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(_IMAGENET_STD).view(1, 3, 1, 1))
        self._input_px = _input_px(name, image_px)

    def prepare(self, images: Tensor) -> Tensor:
        """Images as the backbone takes them: float, normalised, of its size."""
        values = images.float() / 255 if images.dtype == torch.uint8 else images
        if values.shape[-1] != self._input_px or values.shape[-2] != self._input_px:
            size = (self._input_px, self._input_px)
            values = nn.functional.interpolate(values, size=size, mode="bilinear", antialias=True)
        return (values - self.mean) / self.std

    def embed(self, images: Tensor) -> Tensor:
        """(N, 3, H, W) images -> (N, D) embeddings."""
        return self.backbone(self.prepare(images))

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.embed(images))


class SmallCnn(nn.Module):
    """Four convolutions with group normalisation for images up to 64 px; the embedding is the mean of the last maps.

    Group normalisation, because a first round may train on two images. 130 000 parameters, 13 million multiplications
    at 32 px.
    """

    width = 128

    def __init__(self, image_px: int) -> None:
        super().__init__()
        self.features = nn.Sequential(
            *_convolution(3, 32, stride=2 if image_px >= 48 else 1),
            nn.MaxPool2d(2),
            *_convolution(32, 64),
            nn.MaxPool2d(2) if image_px >= 16 else nn.Identity(),
            *_convolution(64, 64),
            *_convolution(64, self.width),
        )

    def forward(self, images: Tensor) -> Tensor:
        return self.features(images).mean((2, 3))  # (N, D, h, w) -> (N, D)


def names() -> tuple[str, ...]:
    """Every network that `build` knows: ours, then torchvision's classification networks."""
    return (SMALL_CNN, *models.list_models(module=models))


def build(name: str, class_count: int, image_px: int, weights: str = "none", seed: int = 0) -> Network:
    """A network on the CPU, in training mode, ready to train or to load.

    Args:
        name: "small_cnn" (8 to 64 px) or a torchvision classification network.
        class_count: C >= 1.
        image_px: side of the square images it will see. Where a torchvision network needs another side, it scales
            inside.
        weights: "none", "default" (torchvision's) or the path of a .safetensors file. The head is always fresh.
        seed: of the initial weights; equal seeds give equal weights. The global generator is left as it was.

    Raises:
        UnknownNetworkError: no such name.
        InvalidInputError: class_count < 1, image_px out of range, or default weights for small_cnn.
        InvalidCheckpointError: the file is not there, damaged, or of another network.
        WeightsUnavailableError: torchvision's weights cannot be fetched.
    """
    if name not in names():
        raise UnknownNetworkError(
            f"unknown network {name!r}; known: {SMALL_CNN} and torchvision's, e.g. resnet18", name=name
        )
    if class_count < 1:
        raise InvalidInputError(f"class_count is {class_count}, expected at least 1")
    if image_px < 1:
        raise InvalidInputError(f"image_px is {image_px}, expected at least 1")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        backbone, width = _small_cnn(image_px, weights) if name == SMALL_CNN else _torchvision(name, weights)
        network = Network(name, backbone, width, class_count, image_px)
    if weights not in ("none", "default"):
        load_file(backbone, Path(weights))
    return network


def _small_cnn(image_px: int, weights: str) -> tuple[nn.Module, int]:
    low, high = SMALL_CNN_PX
    if not low <= image_px <= high:
        raise InvalidInputError(
            f"image_px is {image_px}, and small_cnn sees {low} to {high} px; take a torchvision network, e.g. resnet18"
        )
    if weights == "default":
        raise InvalidInputError("small_cnn has no default weights; use weights none or the path of a .safetensors file")
    return SmallCnn(image_px), SmallCnn.width


def _torchvision(name: str, weights: str) -> tuple[nn.Module, int]:
    options: dict[str, int] = dict(_BUILD_OPTIONS.get(name, {}))
    if name in _EXACT_PX and name.startswith("vit_"):
        options["image_size"] = _EXACT_PX[name]
    model = models.get_model(name, weights=None, **options)
    if weights == "default":
        load_default(model, name)
    return model, _cut_classifier(model)


def _cut_classifier(model: nn.Module) -> int:
    """Take the last linear layer, and a dropout right before it, out of the model; the width that went into it."""
    if isinstance(model, models.SqueezeNet):
        # Its classifier is a convolution before the pooling; what remains is the pooling.
        width = cast(nn.Conv2d, model.classifier[1]).in_channels
        model.classifier = nn.Sequential(nn.AdaptiveAvgPool2d(1))
        return width
    leaves = [(path, module) for path, module in model.named_modules() if not any(module.children())]
    path, last = leaves[-1]
    model.set_submodule(path, nn.Identity())
    before, module = leaves[-2]
    if isinstance(module, nn.Dropout):
        model.set_submodule(before, nn.Identity())
    return cast(nn.Linear, last).in_features


def _convolution(channels_in: int, channels_out: int, stride: int = 1) -> tuple[nn.Module, ...]:
    return (
        nn.Conv2d(channels_in, channels_out, 3, stride=stride, padding=1, bias=False),
        nn.GroupNorm(8, channels_out),
        nn.ReLU(inplace=True),
    )


def _input_px(name: str, image_px: int) -> int:
    if name == SMALL_CNN:
        return image_px
    return _EXACT_PX.get(name) or max(image_px, _LEAST_PX.get(name, _LEAST_PX_OTHERS))

"""What turns images into embeddings: the built-in backbones, and how a classifier is cut down to one.

Called by networks.py, which puts our head on top; networks of others come through own_networks.py.
"""

from dataclasses import dataclass

from torch import nn
from torchvision import models

from al_service.errors import InvalidInputError
from al_service.learning.pretrained import load_default
from al_service.learning.residual import CIFAR_RESNETS, CLASSIFIER_NAME, CifarResNet
from al_service.learning.small_cnn import SMALL_CNN, SMALL_CNN_PX, SmallCnn

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
#: What our own head is called in our own files; for backbones that never had a classifier.
OWN_CLASSIFIER_NAME = "head.linear"
CIFAR_PX_MAX = 64
# Sides that a network needs: these take exactly one size, all others at least one. Images are scaled to it inside.
_EXACT_PX = {"vit_h_14": 518, "vit_b_16": 224, "vit_b_32": 224, "vit_l_16": 224, "vit_l_32": 224, "maxvit_t": 224}
_LEAST_PX = {"alexnet": 64, "inception_v3": 75}
_LEAST_PX_OTHERS = 32
# Sides that a network was made for, where images of others are to be classified by its published weights.
_USUAL_PX = {SMALL_CNN: 32, **dict.fromkeys(CIFAR_RESNETS, 32), "inception_v3": 299}
_USUAL_PX_OTHERS = 224
# Without these two take minutes to draw their initial weights, and return auxiliary outputs.
_INCEPTION_OPTIONS = {"aux_logits": False, "init_weights": False, "transform_input": True}
_BUILD_OPTIONS = {"googlenet": _INCEPTION_OPTIONS, "inception_v3": _INCEPTION_OPTIONS}


@dataclass(frozen=True, eq=False)
class Backbone:
    """A module that embeds, and what has to be known about it.

    Args:
        module: (N, 3, input_px, input_px) normalised images -> (N, width).
        width: D.
        input_px: side of the images that the module takes.
        classifier_name: of its last layer in files of others, e.g. "fc".
        mean, std: of the normalisation, per channel, for values in 0..1.
    """

    module: nn.Module
    width: int
    input_px: int
    classifier_name: str
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD


def builtin_names() -> tuple[str, ...]:
    """Ours, then torchvision's classification networks."""
    return (SMALL_CNN, *CIFAR_RESNETS, *models.list_models(module=models))


def usual_px(name: str) -> int:
    """Side of the images that a built-in network was made for, e.g. 224 for resnet18."""
    return _EXACT_PX.get(name) or _USUAL_PX.get(name, _USUAL_PX_OTHERS)


def build_builtin(name: str, image_px: int, weights: str) -> Backbone:
    """The backbone of that name, with fresh weights, or torchvision's for "default".

    Raises:
        InvalidInputError: image_px out of range, or default weights for a network that has none.
        WeightsUnavailableError: torchvision's weights cannot be fetched.
    """
    if name != SMALL_CNN and name not in CIFAR_RESNETS:
        return _torchvision(name, image_px, weights)
    if weights == "default":
        raise InvalidInputError(
            f"{name} has no default weights; use weights none or the path of a .safetensors or .pt file"
        )
    if name in CIFAR_RESNETS:
        network = CifarResNet(CIFAR_RESNETS[name])
        return Backbone(network, network.width, min(image_px, CIFAR_PX_MAX), CLASSIFIER_NAME)
    low, high = SMALL_CNN_PX
    if not low <= image_px <= high:
        raise InvalidInputError(
            f"image_px is {image_px}, and small_cnn sees {low} to {high} px; take a torchvision network, e.g. resnet18"
        )
    return Backbone(SmallCnn(image_px), SmallCnn.width, image_px, OWN_CLASSIFIER_NAME)


def _torchvision(name: str, image_px: int, weights: str) -> Backbone:
    options: dict[str, int] = dict(_BUILD_OPTIONS.get(name, {}))
    if name in _EXACT_PX and name.startswith("vit_"):
        options["image_size"] = _EXACT_PX[name]
    model = models.get_model(name, weights=None, **options)
    if weights == "default":
        load_default(model, name)
    input_px = _EXACT_PX.get(name) or max(image_px, _LEAST_PX.get(name, _LEAST_PX_OTHERS))
    if isinstance(model, models.SqueezeNet):
        # Its classifier is a convolution before the pooling; what remains is the pooling.
        width = model.classifier[1].in_channels
        model.classifier = nn.Sequential(nn.AdaptiveAvgPool2d(1))
        return Backbone(model, width, input_px, "classifier.1")
    path, last = cut_classifier(model)
    return Backbone(model, last.in_features, input_px, path)


def cut_classifier(model: nn.Module) -> tuple[str, nn.Linear]:
    """Take the last layer, and a dropout right before it, out of the model; its name and the layer.

    Raises:
        InvalidInputError: the last layer is not linear.
    """
    leaves = [(path, module) for path, module in model.named_modules() if path and not any(module.children())]
    path, last = leaves[-1] if leaves else ("", model)
    if not isinstance(last, nn.Linear):
        raise InvalidInputError(f"its last layer {path!r} is a {type(last).__name__}, expected nn.Linear")
    model.set_submodule(path, nn.Identity())
    if len(leaves) > 1 and isinstance(leaves[-2][1], nn.Dropout):
        model.set_submodule(leaves[-2][0], nn.Identity())
    return path, last

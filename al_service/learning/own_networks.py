"""Networks of other packages, by the entry point group `al_service.networks`. Called by networks.py.

An entry point's name is the network's name; what it points to is called with (class_count, image_px) and gives an
nn.Module of one of two kinds:

- a backbone: it has an int attribute `width` and maps (N, 3, px, px) images to (N, width) embeddings;
- a whole classifier: its last layer is an nn.Linear that gives the logits; that layer is replaced by our head.

Images arrive normalised, with ImageNet's mean and std; attributes `image_mean` and `image_std` (three numbers each)
change that, and an int attribute `input_px` asks for another side than image_px.

Only the wanted network is imported, so a package that is broken breaks nothing but its own names.
"""

from collections.abc import Sequence
from importlib.metadata import EntryPoint, entry_points
from typing import Any

import torch
from torch import Tensor, nn

from al_service.errors import InvalidInputError
from al_service.learning.backbones import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    OWN_CLASSIFIER_NAME,
    Backbone,
    builtin_names,
    cut_classifier,
)

GROUP = "al_service.networks"
_TOLERANCE = 1e-3


class InvalidNetworkPackageError(InvalidInputError):
    """A network that an installed package brings cannot be used; names the distribution and its entry point."""

    code = "invalid_network_package"


def own_names() -> tuple[str, ...]:
    """Names of all networks that installed packages bring, each once, whether they work or not."""
    return tuple(sorted({point.name for point in entry_points(group=GROUP)}))


def find_own(name: str) -> EntryPoint | None:
    """The entry point of that name, or None.

    Raises:
        InvalidNetworkPackageError: two packages bring the name, or it is the name of a built-in network.
    """
    # The same distribution may be on the path twice; that is one registration.
    found = list({_words(point): point for point in entry_points(group=GROUP, name=name)}.values())
    if not found:
        return None
    if name in builtin_names():
        raise InvalidNetworkPackageError(
            f"network {name!r} is built in, and {_words(found[0])} brings it again; uninstall it or rename its network"
        )
    if len(found) > 1:
        raise InvalidNetworkPackageError(
            f"network {name!r} is there twice: {' and '.join(sorted(map(_words, found)))}; uninstall one of them"
        )
    return found[0]


def build_own(point: EntryPoint, class_count: int, image_px: int) -> Backbone:
    """The backbone of a package's network, tried out on two images.

    Raises:
        InvalidNetworkPackageError: it cannot be imported or called, or does not give what the module's text says.
    """
    try:
        module = point.load()(class_count, image_px)
    except Exception as error:
        raise InvalidNetworkPackageError(
            f"{_words(point)} does not give a network: {type(error).__name__}: {error}"
        ) from error
    if not isinstance(module, nn.Module):
        raise InvalidNetworkPackageError(
            f"{_words(point)} gives a {type(module).__name__} for ({class_count}, {image_px}), expected nn.Module"
        )
    input_px = getattr(module, "input_px", image_px)
    if type(input_px) is not int or input_px < 1:
        raise InvalidNetworkPackageError(f"{_words(point)} has input_px {input_px!r}, expected an int of at least 1")
    mean = _three(point, module, "image_mean", IMAGENET_MEAN)
    std = _three(point, module, "image_std", IMAGENET_STD)
    if min(std) <= 0:
        raise InvalidNetworkPackageError(f"{_words(point)} has image_std {std}, expected numbers above 0")
    classifier_name, width = OWN_CLASSIFIER_NAME, getattr(module, "width", None)
    if type(width) is int:
        _check_shape(point, _answer(point, module, input_px), width, "embeddings: its attribute width says so")
    else:
        classifier_name, width = _cut(point, module, class_count, input_px)
    return Backbone(module, width, input_px, classifier_name, mean, std)


def _cut(point: EntryPoint, module: nn.Module, class_count: int, input_px: int) -> tuple[str, int]:
    logits = _answer(point, module, input_px)
    _check_shape(point, logits, class_count, "logits; a backbone needs an int attribute width")
    try:
        name, last = cut_classifier(module)
    except InvalidInputError as error:
        raise InvalidNetworkPackageError(
            f"{_words(point)} is no backbone (it has no int attribute width), and {error.message}"
        ) from error
    if not _gives(last, point, module, input_px, logits):
        raise InvalidNetworkPackageError(
            f"{_words(point)}: {name!r}, its last layer by name, is not what gives the logits; define that layer last "
            "and put nothing after it, or give a backbone with an int attribute width"
        )
    return name, last.in_features


def _gives(last: nn.Linear, point: EntryPoint, cut: nn.Module, input_px: int, logits: Tensor) -> bool:
    """True when the layer turns what the cut network says of the same images into the logits."""
    try:
        with torch.no_grad():
            again = last(_answer(point, cut, input_px))
    except (InvalidNetworkPackageError, RuntimeError, TypeError):
        return False
    return again.shape == logits.shape and bool(((again - logits).abs() <= _TOLERANCE).all())


def _answer(point: EntryPoint, module: nn.Module, input_px: int) -> Any:
    was_training = module.training
    module.eval()
    try:
        with torch.no_grad():
            return module(torch.linspace(-2, 2, 6 * input_px * input_px).view(2, 3, input_px, input_px))
    except Exception as error:
        raise InvalidNetworkPackageError(
            f"{_words(point)} fails on images of shape (2, 3, {input_px}, {input_px}): {type(error).__name__}: {error}"
        ) from error
    finally:
        module.train(was_training)


def _check_shape(point: EntryPoint, answer: Any, width: int, words: str) -> None:
    shape = tuple(answer.shape) if isinstance(answer, Tensor) else type(answer).__name__
    if shape != (2, width):
        raise InvalidNetworkPackageError(f"{_words(point)} gives {shape} for 2 images, expected (2, {width}) {words}")


def _three(point: EntryPoint, module: nn.Module, name: str, default: tuple[float, ...]) -> tuple[float, ...]:
    found = getattr(module, name, default)
    is_good = isinstance(found, Sequence) and len(found) == 3 and all(isinstance(one, int | float) for one in found)
    if not is_good:
        raise InvalidNetworkPackageError(f"{_words(point)} has {name} {found!r}, expected three numbers")
    return tuple(float(one) for one in found)


def _words(point: EntryPoint) -> str:
    package = point.dist.metadata["Name"] if point.dist is not None else "an unknown package"
    return f"{package} (entry point {point.name} = {point.value})"

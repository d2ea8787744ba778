"""Whole classifiers from files that others wrote, head included, ready for `inference.predict`."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from al_service.errors import InvalidInputError
from al_service.learning.backbones import OWN_CLASSIFIER_NAME
from al_service.learning.checkpoints import Checkpoint
from al_service.learning.networks import Network, build, usual_px
from al_service.learning.pretrained import backbone_tensors, check_fits, load_exactly, load_finite
from al_service.learning.tensor_files import InvalidCheckpointError, check_finite, read_state


def load_foreign(
    path: str | Path, network_name: str, class_names: Sequence[str], *, image_px: int | None = None
) -> Checkpoint:
    """The classifier in a plain file of weights, in evaluation mode on the CPU.

    Args:
        path: .safetensors, or .pt / .pth without pickled code, as tensor_files.read_state takes it.
        network_name: as networks.build takes it; its tensors must have the names and shapes of that network's
            usual files.
        class_names: in the order of the file's outputs.
        image_px: side of the images that it will see; None: the usual one of the network, e.g. 224 for resnet18.

    Raises:
        InvalidCheckpointError: as read_state, a tensor is missing, too many, of another shape or not finite (names it),
            or the file is a checkpoint of ours: read without what it says itself, it would lose its temperature and
            could have its classes mixed up.
        UnknownNetworkError: no such network.
        InvalidInputError: no or repeated class_names.
    """
    if not class_names or len(set(class_names)) < len(class_names):
        raise InvalidInputError(f"class_names are {list(class_names)}, expected at least one and each once")
    tensors, metadata = read_state(Path(path))
    if metadata:
        raise InvalidCheckpointError(
            f"{str(path)!r} is a checkpoint of this service, which says itself which network, classes and temperature "
            "it has. `al model import`: leave --network out; in Python: checkpoints.load"
        )
    network = build(network_name, len(class_names), image_px or usual_px(network_name))
    backbone = backbone_tensors(network.backbone, tensors, network.classifier_name)
    load_finite(network.backbone, backbone, str(path))
    _load_head(network, tensors, str(path))
    network.eval()
    return Checkpoint(network, tuple(class_names))


def _load_head(network: Network, tensors: dict[str, Tensor], source: str) -> None:
    names = (network.classifier_name, f"backbone.{network.classifier_name}", OWN_CLASSIFIER_NAME)
    name = next((one for one in names if f"{one}.weight" in tensors), None)
    if name is None:
        raise InvalidCheckpointError(
            f"{source} holds nothing for '{names[0]}.weight', the classifier of {network.name}; without it the file is "
            "a backbone to start from, not a model"
        )
    weight = tensors[f"{name}.weight"]
    expected = tuple(network.head.linear.weight.shape)
    if weight.dim() != 2:
        raise InvalidCheckpointError(
            f"{source} holds {tuple(weight.shape)} for '{name}.weight': the classifier of {network.name} is no linear "
            "layer, so only its backbone can be used"
        )
    if tuple(weight.shape) != expected:
        raise InvalidCheckpointError(
            f"{source} holds {tuple(weight.shape)} for '{name}.weight', expected {expected}: it tells "
            f"{weight.shape[0]} classes apart, and {expected[0]} class names were given"
        )
    # A classifier without bias is one whose bias is 0.
    bias = tensors.get(f"{name}.bias", torch.zeros(len(weight)))
    # Under the names that the file has, for the errors.
    found = {f"{name}.weight": weight, f"{name}.bias": bias}
    own = {f"{name}.{key}": tensor for key, tensor in network.head.linear.state_dict().items()}
    check_fits(own, found, source)
    check_finite(found, own, source)
    load_exactly(network.head.linear, {"weight": weight, "bias": bias}, source)

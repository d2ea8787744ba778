"""Weights to start from: torchvision's own, fetched once into torch's cache, or a file of ours or of others.

Called by networks.py.

torch.hub has no timeout, so the fetch is ours; file name, folder and the check of the hash prefix are torch.hub's.
"""

import hashlib
import http.client
import re
import time
import urllib.request
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import urlparse

import torch
from torch import Tensor, nn
from torchvision import models

from al_service.errors import UnavailableError
from al_service.learning.tensor_files import InvalidCheckpointError, check_finite, read_state

CONNECT_TIMEOUT_S = 10.0
DOWNLOAD_LIMIT_S = 1800.0
#: Auxiliary classifiers (googlenet, inception) that only training needs; they are never built.
AUXILIARY_NAMES = ("AuxLogits", "aux1", "aux2")
#: Of layers that files bring beside the backbone: our head, and the auxiliary ones.
HEAD_NAMES = ("head", *AUXILIARY_NAMES)
#: Names of before -> names of today: module names may hold no dots any more (densenet), ViT's MLP has become a list.
_LEGACY_NAMES = (
    (re.compile(r"\b(denselayer\d+\.(?:norm|relu|conv))\.([12])\."), r"\1\2."),
    (re.compile(r"\bmlp\.linear_1\."), "mlp.0."),
    (re.compile(r"\bmlp\.linear_2\."), "mlp.3."),
)
#: What tensors of a file may hold; whole numbers and truth values only where the network has them too.
_FLOATS = frozenset(
    {torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.float8_e4m3fn, torch.float8_e5m2}
)
_WHOLE = frozenset({torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64})
_READ_BYTES = 1 << 20
_HASH_IN_NAME = re.compile(r"-([0-9a-f]{8,})\.")


class WeightsUnavailableError(UnavailableError):
    """torchvision's weights cannot be fetched now, and no earlier fetch left them here."""

    code = "weights_unavailable"


def load_default(model: nn.Module, name: str) -> None:
    """Load torchvision's default weights into its network `name`, in place.

    Raises:
        WeightsUnavailableError: not in the cache and not to be had from the network within the time limits, or damaged.
        InvalidCheckpointError: a tensor is missing, too many, or of another shape: this torchvision builds the network
            otherwise than the file has it.
    """
    weights = models.get_model_weights(name).DEFAULT
    path = Path(torch.hub.get_dir()) / "checkpoints" / Path(urlparse(weights.url).path).name
    if not path.exists():
        fetch(weights.url, path)
    try:
        state, _ = read_state(path)
    except InvalidCheckpointError as error:
        raise WeightsUnavailableError(
            f"weights at {path} are damaged ({error.message}); delete it to fetch them again"
        ) from error
    left_out = tuple(f"{name}." for name in AUXILIARY_NAMES)
    used = {key: tensor for key, tensor in state.items() if not key.startswith(left_out)}
    load_exactly(model, _counters(model) | renamed_legacy(used, model), str(path))


def load_file(backbone: nn.Module, path: Path, classifier_name: str) -> None:
    """Load a backbone's weights from a .safetensors, .pt or .pth file, ours or of others, in place.

    Args:
        classifier_name: of the layer that was cut off, e.g. "fc"; what the file has for it, and for heads of ours, is
            left out.

    Raises:
        InvalidCheckpointError: as tensor_files.read_state, a tensor is missing, too many, of another shape or type, or
            holds NaN or infinite values.
    """
    tensors, _ = read_state(path)
    used = backbone_tensors(backbone, tensors, classifier_name)
    load_finite(backbone, used, str(path))


def backbone_tensors(backbone: nn.Module, tensors: Mapping[str, Tensor], classifier_name: str) -> dict[str, Tensor]:
    """Those of a file's tensors that are meant for the backbone, by its names of today.

    Where names begin with `backbone.`, only those count. Counters of batch normalisation that a file lacks are 0: they
    change nothing in a network that predicts.
    """
    prefix = "backbone."
    if any(key.startswith(prefix) for key in tensors):
        found = {key.removeprefix(prefix): tensor for key, tensor in tensors.items() if key.startswith(prefix)}
    else:
        found = dict(tensors)
    expected = backbone.state_dict()
    left_out = tuple(f"{name}." for name in (classifier_name, *HEAD_NAMES))
    used = {key: tensor for key, tensor in found.items() if key in expected or not key.startswith(left_out)}
    return _counters(backbone) | renamed_legacy(used, backbone)


def renamed_legacy(state: Mapping[str, Tensor], network: nn.Module) -> dict[str, Tensor]:
    """The tensors under the network's names, where older torchvision files call densenet's and ViT's layers otherwise.

    Only names that the network does not have are changed, and only to names that it has and the state has not.
    """
    expected = network.state_dict().keys()
    renamed = {}
    for key, tensor in state.items():
        new = key
        for pattern, replacement in _LEGACY_NAMES if key not in expected else ():
            new = pattern.sub(replacement, new)
        renamed[new if new in expected and new not in state else key] = tensor
    return renamed


def _counters(network: nn.Module) -> dict[str, Tensor]:
    """Counters of batch normalisation at 0."""
    state = network.state_dict().items()
    return {key: torch.zeros_like(value) for key, value in state if key.endswith(".num_batches_tracked")}


def load_exactly(module: nn.Module, tensors: dict[str, Tensor], source: str) -> None:
    """Load tensors whose names and shapes are exactly the module's.

    Raises:
        InvalidCheckpointError: as check_fits.
    """
    expected = module.state_dict()
    check_fits(expected, tensors, source)
    # Some networks (mnasnet, ViT) ask which version of them wrote the state; names and shapes say that it is this one.
    expected.update(tensors)
    module.load_state_dict(expected)


def load_finite(module: nn.Module, tensors: dict[str, Tensor], source: str) -> None:
    """As load_exactly, and only numbers: NaN and infinite values are refused too.

    Raises:
        InvalidCheckpointError: as check_fits, and as tensor_files.check_finite.
    """
    expected = module.state_dict()
    # Names and shapes first: a tensor may say that it has more values than any memory holds.
    check_fits(expected, tensors, source)
    check_finite(tensors, expected, source)
    load_exactly(module, tensors, source)


def check_fits(expected: Mapping[str, Tensor], tensors: Mapping[str, Tensor], source: str) -> None:
    """Look at names, shapes and types of tensors from a file, and at none of their values.

    Args:
        expected: the state of the network that they are for; it may lie on the device "meta".

    Raises:
        InvalidCheckpointError: a name is missing or too many, a shape differs, or a tensor holds complex, quantized or
            whole numbers where the network has others; names the first.
    """
    for key in sorted(expected.keys() | tensors.keys()):
        want = tuple(expected[key].shape) if key in expected else "nothing"
        have = tuple(tensors[key].shape) if key in tensors else "nothing"
        if want != have:
            raise InvalidCheckpointError(f"{source} holds {have} for {key!r}, and this network expects {want}")
    for key, tensor in tensors.items():
        is_float = expected[key].is_floating_point()
        if tensor.dtype not in (_FLOATS if is_float else _FLOATS | _WHOLE):
            raise InvalidCheckpointError(
                f"{source} holds {_type(tensor)} for {key!r}, and this network expects {_type(expected[key])}: "
                "save plain floating point weights, not quantized or converted ones"
            )


def _type(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def fetch(url: str, path: Path) -> None:
    """Fetch a file of weights; `path` appears only once it is complete and its hash fits the name.

    Raises:
        WeightsUnavailableError: no answer, an error, too slow, or the wrong content. Never retries.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256()
    partial = path.with_name(f"{path.name}.{uuid.uuid4().hex}.partial")
    try:
        with partial.open("wb") as file:
            _copy(url, file, digest)
        expected = _HASH_IN_NAME.search(path.name)
        if expected and not digest.hexdigest().startswith(expected.group(1)):
            raise OSError(f"content has sha256 {digest.hexdigest()[:8]}, expected {expected.group(1)}")
        partial.replace(path)
    except (OSError, http.client.HTTPException) as error:
        raise WeightsUnavailableError(
            f"weights {url} cannot be fetched: {error}. Put the file at {path} by hand, "
            "or use weights none or a .safetensors file."
        ) from error
    finally:
        partial.unlink(missing_ok=True)


def _copy(url: str, file: BinaryIO, digest: Any) -> None:
    deadline = time.monotonic() + DOWNLOAD_LIMIT_S
    # The address is torchvision's, never a user's.
    request = urllib.request.Request(url, headers={"User-Agent": "al-service"})  # noqa: S310
    with urllib.request.urlopen(request, timeout=CONNECT_TIMEOUT_S) as answer:  # noqa: S310
        while block := answer.read(_READ_BYTES):
            if time.monotonic() > deadline:
                raise TimeoutError(f"not complete after {DOWNLOAD_LIMIT_S:.0f} s")
            file.write(block)
            digest.update(block)
        # Python reports a connection that closes early as the end of the file.
        promised = answer.headers.get("Content-Length")
        if promised is not None and int(promised) != file.tell():
            raise OSError(f"the answer ended after {file.tell()} of {promised} bytes")

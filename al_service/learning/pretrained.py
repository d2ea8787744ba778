"""Weights to start from: torchvision's own, fetched once into torch's cache, or a file of ours or of others.

Called by networks.py.

torch.hub has no timeout, so the fetch is ours; file name, folder and the check of the hash prefix are torch.hub's.
"""

import hashlib
import http.client
import pickle
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
from al_service.learning.tensor_files import InvalidCheckpointError, read_state

CONNECT_TIMEOUT_S = 10.0
DOWNLOAD_LIMIT_S = 1800.0
#: Of layers that files bring beside the backbone: our head, and auxiliary classifiers that only training needs.
HEAD_NAMES = ("head", "AuxLogits", "aux1", "aux2")
_READ_BYTES = 1 << 20
_HASH_IN_NAME = re.compile(r"-([0-9a-f]{8,})\.")


class WeightsUnavailableError(UnavailableError):
    """torchvision's weights cannot be fetched now, and no earlier fetch left them here."""

    code = "weights_unavailable"


def load_default(model: nn.Module, name: str) -> None:
    """Load torchvision's default weights into its network `name`, in place.

    Raises:
        WeightsUnavailableError: not in the cache and not to be had from the network within the time limits.
    """
    weights = models.get_model_weights(name).DEFAULT
    path = Path(torch.hub.get_dir()) / "checkpoints" / Path(urlparse(weights.url).path).name
    if not path.exists():
        fetch(weights.url, path)
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, pickle.UnpicklingError) as error:
        raise WeightsUnavailableError(
            f"weights at {path} are damaged ({error}); delete it to fetch them again"
        ) from error
    # googlenet and inception carry auxiliary classifiers that are built for training from scratch only.
    model.load_state_dict({key: state[key] for key in model.state_dict() if key in state}, strict=False)


def load_file(backbone: nn.Module, path: Path, classifier_name: str) -> None:
    """Load a backbone's weights from a .safetensors, .pt or .pth file, ours or of others, in place.

    Args:
        classifier_name: of the layer that was cut off, e.g. "fc"; what the file has for it, and for heads of ours, is
            left out.

    Raises:
        InvalidCheckpointError: as tensor_files.read_state, or a tensor is missing, too many, or of another shape.
    """
    tensors, _ = read_state(path)
    load_exactly(backbone, backbone_tensors(backbone, tensors, classifier_name), str(path))


def backbone_tensors(backbone: nn.Module, tensors: Mapping[str, Tensor], classifier_name: str) -> dict[str, Tensor]:
    """Those of a file's tensors that are meant for the backbone, by its names.

    Counters of batch normalisation that a file lacks are 0: they change nothing in a network that predicts.
    """
    prefix = "backbone."
    if any(key.startswith(prefix) for key in tensors):
        found = {key.removeprefix(prefix): tensor for key, tensor in tensors.items() if key.startswith(prefix)}
    else:
        found = dict(tensors)
    expected = backbone.state_dict()
    left_out = tuple(f"{name}." for name in (classifier_name, *HEAD_NAMES))
    counters = {key: torch.zeros_like(value) for key, value in expected.items() if key.endswith(".num_batches_tracked")}
    used = {key: tensor for key, tensor in found.items() if key in expected or not key.startswith(left_out)}
    return counters | used


def load_exactly(module: nn.Module, tensors: dict[str, Tensor], source: str) -> None:
    """Load tensors whose names and shapes are exactly the module's.

    Raises:
        InvalidCheckpointError: a name is missing or too many, or a shape differs; names the first.
    """
    expected = module.state_dict()
    for key in sorted(expected.keys() | tensors.keys()):
        want = tuple(expected[key].shape) if key in expected else "nothing"
        have = tuple(tensors[key].shape) if key in tensors else "nothing"
        if want != have:
            raise InvalidCheckpointError(f"{source} holds {have} for {key!r}, and this network expects {want}")
    module.load_state_dict(tensors)


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

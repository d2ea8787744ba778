"""Named tensors as safetensors bytes, and back. Nothing here ever unpickles.

What the tensors mean is the business of checkpoints.py and pretrained.py.
"""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from al_service.errors import InvalidInputError

_METADATA_KEY = "al_service"


class InvalidCheckpointError(InvalidInputError):
    """A file of weights is damaged, of another format, or does not fit the network."""

    code = "invalid_checkpoint"


def to_bytes(tensors: Mapping[str, Tensor], metadata: Mapping[str, Any]) -> bytes:
    """The tensors and JSON-able metadata as safetensors; equal input gives equal bytes."""
    on_cpu = {name: tensor.detach().to("cpu").contiguous() for name, tensor in tensors.items()}
    # One entry only: safetensors does not keep several in a fixed order.
    return safetensors.torch.save(on_cpu, {_METADATA_KEY: json.dumps(metadata, sort_keys=True)})


def from_bytes(data: bytes, source: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors and our metadata; the metadata is empty in a file that we did not write.

    Raises:
        InvalidCheckpointError: not safetensors, cut short, or metadata that is not JSON; names `source`.
    """
    try:
        tensors = safetensors.torch.load(data)
        header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
        metadata = json.loads(header.get("__metadata__", {}).get(_METADATA_KEY, "{}"))
    except (safetensors.SafetensorError, ValueError, KeyError) as error:
        raise InvalidCheckpointError(
            f"{source} is not a complete safetensors file ({error}). "
            "Pickled .pt and .pth files are never read; convert them first."
        ) from error
    if not isinstance(metadata, dict):
        raise InvalidCheckpointError(f"{source} has metadata of type {type(metadata).__name__}, expected an object")
    return tensors, metadata


def tensor_hash(tensors: Mapping[str, Tensor]) -> str:
    """sha256, in hex, over the bytes of the tensors in order of their names."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        flat = tensors[name].detach().to("cpu").contiguous().reshape(-1)
        digest.update(flat.view(torch.uint8).numpy().data)
    return digest.hexdigest()

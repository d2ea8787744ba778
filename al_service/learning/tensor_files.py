"""Named tensors as safetensors bytes, and back; and state dicts of others from files. No pickled code is ever run.

What the tensors mean is the business of checkpoints.py and pretrained.py.
"""

import hashlib
import json
import pickle
import stat
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from al_service.errors import InvalidInputError

#: Files that torch.save wrote. They are read with weights_only, which runs no code.
TORCH_SUFFIXES = (".pt", ".pth")
#: Where training scripts put the weights in the dictionary that they save.
STATE_KEYS = ("state_dict", "model_state_dict", "model")
#: What wrappers (data parallel, torch.compile, lightning modules) put before every name.
WRAPPER_PREFIXES = ("module.", "_orig_mod.", "model.")
#: No network known here needs half of that; a file is read into memory whole.
FILE_BYTES_MAX = 8 << 30
_METADATA_KEY = "al_service"


class InvalidCheckpointError(InvalidInputError):
    """A file of weights is damaged, of another format, or does not fit the network."""

    code = "invalid_checkpoint"


def to_bytes(tensors: Mapping[str, Tensor], metadata: Mapping[str, Any]) -> bytes:
    """The tensors and JSON-able metadata as safetensors; equal input gives equal bytes.

    Tensors that share memory (tied weights) are written one by one.
    """
    on_cpu: dict[str, Tensor] = {}
    written: set[int] = set()
    for name, tensor in tensors.items():
        one = tensor.detach().to("cpu").contiguous()
        memory = one.untyped_storage().data_ptr()
        on_cpu[name] = one.clone() if memory in written else one  # safetensors refuses memory that two names share
        written.add(memory)
    # One entry only: safetensors does not keep several in a fixed order.
    return safetensors.torch.save(on_cpu, {_METADATA_KEY: json.dumps(metadata, sort_keys=True)})


def from_bytes(data: bytes, source: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors and our metadata; the metadata is empty in a file that we did not write.

    Raises:
        InvalidCheckpointError: not safetensors, cut short, or metadata that is no JSON or too deep; names `source`.
    """
    try:
        tensors = safetensors.torch.load(data)
        header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
        metadata = json.loads((header.get("__metadata__") or {}).get(_METADATA_KEY, "{}"))
    # Brackets within brackets by the thousand are valid JSON, and more than the parser can stand.
    except (safetensors.SafetensorError, ValueError, KeyError, RecursionError) as error:
        raise InvalidCheckpointError(
            f"{source} is not a complete safetensors file ({error}). "
            "Pickled files are never read here; convert them first."
        ) from error
    if not isinstance(metadata, dict):
        raise InvalidCheckpointError(f"{source} has metadata of type {type(metadata).__name__}, expected an object")
    return tensors, metadata


def read_state(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The state dict in a file of ours or of others, without the wrappers' prefixes, and our metadata if any.

    Args:
        path: .safetensors, or .pt / .pth with nothing but tensors and plain values; the state dict may be the file's
            whole content or stand under "state_dict", "model_state_dict" or "model".

    Raises:
        InvalidCheckpointError: it cannot be read, is damaged, holds pickled code (which is not run), or no state dict.
    """
    if path.suffix.lower() in TORCH_SUFFIXES:
        _check_not_packed(path, _checked_size(path, "weights"))
        return _unwrapped(_torch_state(path)), {}
    tensors, metadata = from_bytes(read_file(path, "weights"), str(path))
    return _unwrapped(tensors), metadata


def read_file(path: Path, what: str) -> bytes:
    """The content of a regular file; devices and pipes, which may never end, are refused before they are opened.

    Args:
        what: the file is, for errors, e.g. "weights".

    Raises:
        InvalidCheckpointError: it cannot be read, is no regular file, is empty, or larger than FILE_BYTES_MAX.
    """
    size = _checked_size(path, what)
    try:
        with path.open("rb") as file:
            # No more than it had a moment ago: it may grow meanwhile.
            return file.read(size)
    except OSError as error:
        raise InvalidCheckpointError(f"{what} {str(path)!r} cannot be read: {error.strerror}") from error


def _checked_size(path: Path, what: str) -> int:
    name = f"{what} {str(path)!r}"
    try:
        found = path.stat()
    except OSError as error:
        raise InvalidCheckpointError(f"{name} cannot be read: {error.strerror}") from error
    except ValueError as error:
        # A NUL character, or one that no file name can hold.
        raise InvalidCheckpointError(f"{name} cannot be read: that is no path of a file ({error})") from error
    if not stat.S_ISREG(found.st_mode):
        raise InvalidCheckpointError(
            f"{name} cannot be read: a folder, device or pipe, expected a regular .safetensors, .pt or .pth file"
        )
    if found.st_size == 0:
        raise InvalidCheckpointError(f"{name} is not complete: the file is empty")
    if found.st_size > FILE_BYTES_MAX:
        raise InvalidCheckpointError(
            f"{name} has {found.st_size} bytes, expected at most {FILE_BYTES_MAX} (8 GiB): it is read into memory "
            "whole. Keep only the network's weights in it, without the optimiser's state"
        )
    return found.st_size


def check_finite(tensors: Mapping[str, Tensor], network_state: Mapping[str, Tensor], source: str) -> None:
    """Raise InvalidCheckpointError for NaN or infinite values; names the first tensor.

    Args:
        tensors: from a file of others.
        network_state: of the network that they are for. Where it is infinite itself (attention masks), so may they be.
        source: what to call the file.
    """
    for name, tensor in tensors.items():
        odd = ~tensor.float().isfinite()
        own = network_state.get(name)
        if own is not None and own.shape == tensor.shape:
            odd &= own.to(tensor.device).isfinite()
        if odd.any():
            raise InvalidCheckpointError(
                f"{source} holds {int(odd.sum())} NaN or infinite values in {name!r} of {tensor.numel()}, expected "
                "numbers: its training went wrong, or its precision is too low. Take an earlier file, or one in float32"
            )


def _check_not_packed(path: Path, size: int) -> None:
    """torch.save packs nothing; a small archive made otherwise may unpack to more than memory holds."""
    try:
        with zipfile.ZipFile(path) as archive:
            unpacked = sum(entry.file_size for entry in archive.infolist())
    except OSError as error:
        raise InvalidCheckpointError(f"weights {str(path)!r} cannot be read: {error.strerror or error}") from error
    except (zipfile.BadZipFile, ValueError, NotImplementedError):
        return  # of an earlier torch, or damaged: torch.load says which
    if unpacked > size:
        raise InvalidCheckpointError(
            f"weights {str(path)!r} have {size} bytes and unpack to {unpacked}, expected one as torch.save makes it, "
            "not compressed; save them again with torch.save(model.state_dict(), path) or as .safetensors"
        )


def _torch_state(path: Path) -> dict[str, Tensor]:
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise InvalidCheckpointError(f"weights {str(path)!r} cannot be read: {error.strerror or error}") from error
    except pickle.UnpicklingError as error:
        raise InvalidCheckpointError(
            f"weights {str(path)!r} hold more than tensors and plain values, or are no file of torch.save. Pickled "
            "code is never run: save them again with torch.save(model.state_dict(), path) or as .safetensors"
        ) from error
    except (RuntimeError, MemoryError, EOFError, ValueError, KeyError, IndexError, AttributeError, TypeError) as error:
        reason = str(error).partition("\n")[0]
        raise InvalidCheckpointError(
            f"weights {str(path)!r} are no complete file of torch.save ({reason}); save them again with "
            "torch.save(model.state_dict(), path) or as .safetensors"
        ) from error
    state = content
    for key in STATE_KEYS:
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            state = content[key]
            break
    if not isinstance(state, dict) or not state:
        raise InvalidCheckpointError(
            f"weights {str(path)!r} hold a {type(state).__name__}, expected a state dict, alone or under one of "
            f"{', '.join(STATE_KEYS)}"
        )
    for name, value in state.items():
        is_dense = isinstance(value, Tensor) and value.layout == torch.strided and value.device.type == "cpu"
        if not isinstance(name, str) or not is_dense or value.is_quantized:
            kind = f"{type(value).__name__} ({_kind(value)})" if isinstance(value, Tensor) else type(value).__name__
            raise InvalidCheckpointError(
                f"weights {str(path)!r} hold a {kind} for {name!r}, expected a dense tensor of plain numbers"
            )
    return state


def _kind(tensor: Tensor) -> str:
    return f"{tensor.dtype}, {tensor.layout}, device {tensor.device.type}".replace("torch.", "")


def _unwrapped(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Without prefixes that every name has; several wrappers may lie around one another."""
    found = tensors
    prefix = next((one for one in WRAPPER_PREFIXES if found and all(key.startswith(one) for key in found)), None)
    while prefix is not None:
        found = {key.removeprefix(prefix): tensor for key, tensor in found.items()}
        prefix = next((one for one in WRAPPER_PREFIXES if all(key.startswith(one) for key in found)), None)
    return found


def tensor_hash(tensors: Mapping[str, Tensor]) -> str:
    """sha256, in hex, over the bytes of the tensors in order of their names."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        flat = tensors[name].detach().to("cpu").contiguous().reshape(-1)
        digest.update(flat.view(torch.uint8).numpy().data)
    return digest.hexdigest()

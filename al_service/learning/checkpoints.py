"""Trained networks as files: safetensors with JSON metadata that says how to build the network again.

No pickle is read or written. Where the bytes are stored, and that they get there whole, is the artifact store's
business; `save` is for notebooks and the command line.
"""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from al_service.errors import InvalidInputError
from al_service.learning import tensor_files
from al_service.learning.networks import Network, build
from al_service.learning.pretrained import load_exactly
from al_service.learning.tensor_files import InvalidCheckpointError

FORMAT_VERSION = 1


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """A network and what it was trained for.

    Args:
        network: on the CPU, in evaluation mode after `from_bytes`.
        class_names: in class_index order.
        seed: of its training.
        extra: further JSON-able facts, such as the round.
    """

    network: Network
    class_names: tuple[str, ...]
    seed: int = 0
    extra: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if len(self.class_names) != self.network.class_count:
            raise InvalidCheckpointError(
                f"{len(self.class_names)} class_names for a network of {self.network.class_count} classes"
            )

    @property
    def network_name(self) -> str:
        """As given to networks.build."""
        return self.network.name

    @property
    def image_px(self) -> int:
        """Side of the images it sees."""
        return self.network.image_px


def model_hash(network: Network) -> str:
    """sha256, in hex, over the bytes of all weights in order of their names; equal models, equal hashes."""
    return tensor_files.tensor_hash(network.state_dict())


def to_bytes(
    network: Network, class_names: Sequence[str], *, seed: int = 0, extra: Mapping[str, Any] | None = None
) -> bytes:
    """The checkpoint as a file's content; equal input gives equal bytes.

    Raises:
        InvalidCheckpointError: as many class_names as classes are expected.
    """
    checkpoint = Checkpoint(network, tuple(class_names), seed, dict(extra or {}))
    metadata = {
        "format_version": FORMAT_VERSION,
        "network_name": checkpoint.network_name,
        "class_names": checkpoint.class_names,
        "image_px": checkpoint.image_px,
        "seed": seed,
        "model_hash": model_hash(network),
        "extra": checkpoint.extra,
    }
    return tensor_files.to_bytes(network.state_dict(), metadata)


def from_bytes(data: bytes, source: str = "checkpoint") -> Checkpoint:
    """The checkpoint in a file's content; its network is on the CPU and in evaluation mode.

    Args:
        data: as `to_bytes` gave it.
        source: what to call it in errors.

    Raises:
        InvalidCheckpointError: not safetensors, cut short, not written by us, of a later format, or damaged.
    """
    tensors, metadata = tensor_files.from_bytes(data, source)
    if metadata.get("format_version") != FORMAT_VERSION:
        raise InvalidCheckpointError(
            f"{source} has format version {metadata.get('format_version')!r}, expected {FORMAT_VERSION}: "
            "it was not written by this service, or by a later version of it"
        )
    try:
        class_names = tuple(metadata["class_names"])
        network = build(metadata["network_name"], len(class_names), metadata["image_px"])
        checkpoint = Checkpoint(network, class_names, int(metadata["seed"]), dict(metadata["extra"]))
    except (KeyError, TypeError, ValueError, InvalidInputError) as error:
        raise InvalidCheckpointError(f"{source} has metadata that no network fits: {error}") from error
    load_exactly(network, tensors, source)
    if model_hash(network) != metadata.get("model_hash"):
        raise InvalidCheckpointError(f"{source} is damaged: its weights do not have the hash it was written with")
    network.eval()
    return checkpoint


def save(
    path: str | Path,
    network: Network,
    class_names: Sequence[str],
    *,
    seed: int = 0,
    extra: Mapping[str, Any] | None = None,
) -> str:
    """Write a checkpoint file, whole or not at all; its model hash."""
    path = Path(path)
    partial = path.with_name(f"{path.name}.{uuid.uuid4().hex}.partial")
    try:
        partial.write_bytes(to_bytes(network, class_names, seed=seed, extra=extra))
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    return model_hash(network)


def load(source: str | Path | bytes) -> Checkpoint:
    """The checkpoint in a file, or in a file's content. Raises as from_bytes, and for a file that cannot be read."""
    if isinstance(source, bytes):
        return from_bytes(source)
    try:
        data = Path(source).read_bytes()
    except OSError as error:
        raise InvalidCheckpointError(f"checkpoint {str(source)!r} cannot be read: {error.strerror}") from error
    return from_bytes(data, str(source))

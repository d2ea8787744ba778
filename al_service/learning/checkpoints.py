"""Trained networks as files: safetensors with JSON metadata that says how to build the network again.

Three kinds: `whole` (backbone and head), `head` (a head and the name and hash of the backbone it stands on, for rounds
that train nothing else), `backbone` (no head: pretrained weights to start from). No pickle is written, and none of
ours is read. Where the bytes are stored, and that they get there whole, is the artifact store's business; `save` is for
notebooks and the command line.
"""

import hashlib
import json
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from al_service.errors import InvalidInputError
from al_service.learning import tensor_files
from al_service.learning.checkpoint_facts import (
    BACKBONE,
    FORMAT_VERSION,
    HEAD,
    WHOLE,
    CheckpointFacts,
    check_class_names,
    check_temperature,
    read_facts,
)
from al_service.learning.networks import Network, build, outline
from al_service.learning.pretrained import check_fits, load_finite
from al_service.learning.tensor_files import InvalidCheckpointError

_HEAD_PREFIX = "head."

ReadBackbone = Callable[[str], bytes]


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """A network and what it was trained for.

    Args:
        network: on the CPU, in evaluation mode after `from_bytes`.
        class_names: in class_index order; distinct, printable.
        seed: of its training.
        extra: further JSON-able facts, such as the round.
        temperature: its logits are divided by it before the softmax; 1.0 where nobody calibrated.
        backbone_name: of the artifact that holds its backbone, when the checkpoint holds only the head.
    """

    network: Network
    class_names: tuple[str, ...]
    seed: int = 0
    extra: Mapping[str, Any] = field(default_factory=dict)
    temperature: float = 1.0
    backbone_name: str | None = None

    def __post_init__(self) -> None:
        if len(self.class_names) != self.network.class_count:
            raise InvalidCheckpointError(
                f"{len(self.class_names)} class_names for a network of {self.network.class_count} classes"
            )
        check_class_names(self.class_names, "the checkpoint")
        check_temperature(self.temperature, "the checkpoint")

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


def backbone_hash(network: Network) -> str:
    """sha256, in hex, over everything that decides an image's embedding; the key of stored embeddings.

    Those are the network's name, the side of its images, how it prepares them, and the backbone's weights. The head
    does not count.
    """
    preparation = {
        "network_name": network.name,
        "image_px": network.image_px,
        "input_px": network.input_px,
        "mean": network.mean.flatten().tolist(),
        "std": network.std.flatten().tolist(),
    }
    digest = hashlib.sha256(json.dumps(preparation, sort_keys=True).encode())
    digest.update(bytes.fromhex(tensor_files.tensor_hash(network.backbone.state_dict())))
    return digest.hexdigest()


def to_bytes(
    network: Network,
    class_names: Sequence[str],
    *,
    seed: int = 0,
    extra: Mapping[str, Any] | None = None,
    temperature: float = 1.0,
    backbone_name: str | None = None,
) -> bytes:
    """The checkpoint as a file's content; equal input gives equal bytes.

    Args:
        backbone_name: of an artifact that holds this very backbone (a whole or a backbone checkpoint); only the head
            is written then.

    Raises:
        InvalidCheckpointError: as many distinct class_names as classes are expected, and a temperature within 0.001 to
            1000.
    """
    checkpoint = Checkpoint(network, tuple(class_names), seed, dict(extra or {}), temperature, backbone_name)
    metadata = {
        **_metadata(network, WHOLE if backbone_name is None else HEAD, seed, checkpoint.extra),
        "class_names": checkpoint.class_names,
        "model_hash": model_hash(network),
        "temperature": temperature,
    }
    tensors = network.state_dict()
    if backbone_name is not None:
        metadata |= {"backbone_name": backbone_name, "backbone_hash": backbone_hash(network)}
        tensors = _only_head(tensors)
    return tensor_files.to_bytes(tensors, metadata)


def backbone_to_bytes(network: Network, *, seed: int = 0, extra: Mapping[str, Any] | None = None) -> bytes:
    """The network without its head as a file's content, to start others from or to put heads on."""
    metadata = _metadata(network, BACKBONE, seed, dict(extra or {})) | {"backbone_hash": backbone_hash(network)}
    return tensor_files.to_bytes(_without_head(network.state_dict()), metadata)


def _metadata(network: Network, kind: str, seed: int, extra: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "format_version": FORMAT_VERSION,
        "kind": kind,
        "network_name": network.name,
        "image_px": network.image_px,
        "seed": seed,
        "extra": extra,
    }


def from_bytes(data: bytes, source: str = "checkpoint", read_backbone: ReadBackbone | None = None) -> Checkpoint:
    """The checkpoint in a file's content; its network is on the CPU and in evaluation mode.

    Args:
        data: as `to_bytes` gave it.
        source: what to call it in errors.
        read_backbone: gives the bytes of the artifact that a checkpoint of only a head stands on; what it raises
            passes through.

    Raises:
        InvalidCheckpointError: not safetensors, cut short, not written by us, of a later format, damaged, with NaN or
            infinite weights, a backbone without head, or a head whose backbone is missing or another one.
    """
    file = _read(data, source)
    facts = file.facts
    if facts.kind == BACKBONE:
        raise InvalidCheckpointError(f"{source} is a backbone without head: it can be started from, but not classify")
    backbone = _stored_backbone(facts, source, read_backbone) if facts.kind == HEAD else None
    try:
        _check_outline(file, backbone)
        network = build(facts.network_name, len(facts.class_names), facts.image_px)
    except InvalidCheckpointError:
        raise
    except InvalidInputError as error:
        raise InvalidCheckpointError(f"{source} has metadata that no network fits: {error}") from error
    tensors = file.tensors
    if backbone is not None:
        _put_backbone(network, backbone)
        if backbone_hash(network) != file.metadata.get("backbone_hash"):
            raise InvalidCheckpointError(
                f"{source} is a head for another backbone than the one that is now in {facts.backbone_name!r}"
            )
        tensors = tensors | _without_head(network.state_dict())
    load_finite(network, tensors, source)
    if model_hash(network) != file.metadata.get("model_hash"):
        raise InvalidCheckpointError(f"{source} is damaged: its weights do not have the hash it was written with")
    network.eval()
    return Checkpoint(network, facts.class_names, facts.seed, facts.extra, facts.temperature, facts.backbone_name)


def load_backbone(network: Network, data: bytes, source: str = "checkpoint") -> None:
    """Put the backbone of a whole or backbone checkpoint into a network of the same kind, in place.

    Raises:
        InvalidCheckpointError: as from_bytes, of another network, or only a head.
    """
    file = _read(data, source)
    _check_is_of(network.name, file)
    _put_backbone(network, file)


@dataclass(frozen=True, eq=False)
class _File:
    """A checkpoint as it lies in bytes; nothing is known of its tensors yet."""

    tensors: dict[str, Tensor]
    metadata: Mapping[str, Any]
    facts: CheckpointFacts
    source: str


def _read(data: bytes, source: str) -> _File:
    tensors, metadata = tensor_files.from_bytes(data, source)
    return _File(tensors, metadata, read_facts(metadata, source), source)


def _stored_backbone(facts: CheckpointFacts, source: str, read_backbone: ReadBackbone | None) -> _File:
    """What the checkpoint of a head stands on, from the artifact that it names."""
    name = str(facts.backbone_name)
    if read_backbone is None:
        raise InvalidCheckpointError(f"{source} holds only a head, for the backbone in {name!r}; pass read_backbone")
    found = _read(read_backbone(name), name)
    _check_is_of(facts.network_name, found)
    return found


def _check_outline(file: _File, backbone: _File | None) -> None:
    """Compare names and shapes before the network is built: a small file may say that it is a huge network."""
    facts = file.facts
    expected = outline(facts.network_name, len(facts.class_names), facts.image_px)
    if expected is None:
        return
    if backbone is None:
        check_fits(expected, file.tensors, file.source)
        return
    check_fits(_without_head(expected), _without_head(backbone.tensors), backbone.source)
    check_fits(_only_head(expected), file.tensors, file.source)


def _put_backbone(network: Network, file: _File) -> None:
    # The head of a whole checkpoint may be for other classes.
    load_finite(network, _without_head(file.tensors) | _only_head(network.state_dict()), file.source)
    if "backbone_hash" in file.metadata and backbone_hash(network) != file.metadata["backbone_hash"]:
        raise InvalidCheckpointError(
            f"{file.source} is damaged or for other images: its backbone does not have its hash"
        )


def _check_is_of(network_name: str, file: _File) -> None:
    if file.facts.kind == HEAD:
        raise InvalidCheckpointError(f"{file.source} holds only a head, expected a backbone of {network_name}")
    if file.facts.network_name != network_name:
        raise InvalidCheckpointError(
            f"{file.source} is of the network {file.facts.network_name!r}, expected {network_name!r}"
        )


def _without_head(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {key: tensor for key, tensor in tensors.items() if not key.startswith(_HEAD_PREFIX)}


def _only_head(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {key: tensor for key, tensor in tensors.items() if key.startswith(_HEAD_PREFIX)}


def save(
    path: str | Path,
    network: Network,
    class_names: Sequence[str],
    *,
    seed: int = 0,
    extra: Mapping[str, Any] | None = None,
    temperature: float = 1.0,
) -> str:
    """Write a whole checkpoint as a file, or nothing at all; its model hash."""
    path = Path(path)
    partial = path.with_name(f"{path.name}.{uuid.uuid4().hex}.partial")
    try:
        partial.write_bytes(to_bytes(network, class_names, seed=seed, extra=extra, temperature=temperature))
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    return model_hash(network)


def load(source: str | Path | bytes, read_backbone: ReadBackbone | None = None) -> Checkpoint:
    """The checkpoint in a file, or in a file's content. Raises as from_bytes, and for a file that cannot be read."""
    if isinstance(source, bytes):
        return from_bytes(source, read_backbone=read_backbone)
    return from_bytes(tensor_files.read_file(Path(source), "checkpoint"), str(source), read_backbone)

"""What a checkpoint says of itself beside its tensors: read from metadata that anybody may have written.

Which tensors belong to these facts is the business of checkpoints.py, which calls this.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from al_service.learning.tensor_files import InvalidCheckpointError

FORMAT_VERSION = 2
#: 1: whole checkpoints without kind and temperature.
READABLE_VERSIONS = (1, 2)
WHOLE, HEAD, BACKBONE = "whole", "head", "backbone"
KINDS = (WHOLE, HEAD, BACKBONE)
#: Calibration stays within 0.05 to 20. Far beyond, every probability is 1 / C or exactly 0 or 1.
TEMPERATURE_LOW, TEMPERATURE_HIGH = 1e-3, 1e3
SEED_MAX = (1 << 64) - 1
EXTRA_DEPTH_MAX = 32


@dataclass(frozen=True)
class CheckpointFacts:
    """As written beside the tensors.

    Args:
        kind: "whole", "head" or "backbone".
        network_name, image_px: as given to networks.build.
        seed: of the training.
        extra: further JSON-able facts.
        class_names: in class_index order; empty for a backbone.
        temperature: that the logits are divided by.
        backbone_name: of the artifact that a head stands on, else None.
    """

    kind: str
    network_name: str
    image_px: int
    seed: int
    extra: Mapping[str, Any]
    class_names: tuple[str, ...]
    temperature: float
    backbone_name: str | None


def read_facts(metadata: Mapping[str, Any], source: str) -> CheckpointFacts:
    """The facts in a checkpoint's metadata, each of its type and in range. Whether the network exists stays open.

    Raises:
        InvalidCheckpointError: not written by us, of a later format, or damaged; names the fact.
    """
    version = metadata.get("format_version")
    if type(version) is not int or version not in READABLE_VERSIONS:
        raise InvalidCheckpointError(
            f"{source} has format version {_short(version)}, expected {' or '.join(map(str, READABLE_VERSIONS))}: "
            "it was not written by this service, or by a later version of it"
        )
    kind = metadata.get("kind", WHOLE)
    _check(isinstance(kind, str) and kind in KINDS, source, "kind", kind, f"one of {', '.join(KINDS)}")
    name, image_px, seed, extra = _values(metadata, "network_name", "image_px", "seed", "extra")
    _check(isinstance(name, str), source, "network_name", name, "the name of a network")
    _check(type(image_px) is int and image_px >= 1, source, "image_px", image_px, "a whole number of at least 1")
    _check(type(seed) is int and abs(seed) <= SEED_MAX, source, "seed", seed, "a whole number of at most 64 bits")
    _check(isinstance(extra, dict) and _is_shallow(extra), source, "extra", extra, "an object, not nested deeply")
    class_names: Sequence[str] = ()
    temperature, backbone_name = 1.0, None
    if kind != BACKBONE:
        class_names, temperature = metadata.get("class_names", ()), metadata.get("temperature", 1.0)
        _check(isinstance(class_names, list), source, "class_names", class_names, "a list of names")
        check_class_names(class_names, source)
        check_temperature(temperature, source)
    if kind == HEAD:
        backbone_name = metadata.get("backbone_name")
        _check(isinstance(backbone_name, str), source, "backbone_name", backbone_name, "the name of an artifact")
    return CheckpointFacts(
        kind, name, image_px, seed, extra, tuple(class_names), float(temperature), backbone_name
    )  # fmt: skip


def check_class_names(names: Sequence[Any], source: str) -> None:
    """Raise InvalidCheckpointError unless there is at least one, and all are distinct non-empty printable text."""
    _check(len(names) > 0, source, "class_names", names, "at least one")
    for name in names:
        is_good = isinstance(name, str) and name != "" and name.isprintable()
        _check(is_good, source, "class name", name, "non-empty printable text, as classes of projects are")
    if len(set(names)) < len(names):
        repeated = next(name for name in names if names.count(name) > 1)
        raise InvalidCheckpointError(f"{source} names the class {_short(repeated)} twice, expected distinct names")


def check_temperature(temperature: Any, source: str) -> None:
    """Raise InvalidCheckpointError unless it is a number within TEMPERATURE_LOW and TEMPERATURE_HIGH."""
    is_number = isinstance(temperature, int | float) and not isinstance(temperature, bool)
    is_good = is_number and TEMPERATURE_LOW <= temperature <= TEMPERATURE_HIGH
    _check(is_good, source, "temperature", temperature, f"a number from {TEMPERATURE_LOW:g} to {TEMPERATURE_HIGH:g}")


def _check(is_good: bool, source: str, fact: str, found: Any, expected: str) -> None:
    if not is_good:
        raise InvalidCheckpointError(f"{source} has {fact} {_short(found)}, expected {expected}")


def _values(metadata: Mapping[str, Any], *keys: str) -> tuple[Any, ...]:
    return tuple(metadata.get(key) for key in keys)


def _short(value: Any) -> str:
    """Like repr, but a line in length; surrogates, which no terminal prints, are escaped."""
    if isinstance(value, list | tuple | dict):
        return f"{type(value).__name__} of {len(value)}"
    text = ascii(value) if isinstance(value, str) else str(value)
    return text if len(text) <= 100 else f"{text[:100]}…"


def _is_shallow(value: Any, depth: int = 0) -> bool:
    if depth > EXTRA_DEPTH_MAX:
        return False
    items = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return all(_is_shallow(one, depth + 1) for one in items)

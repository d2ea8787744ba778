"""Data sets of torchvision by name: the classification ones whose items are one image and one class.

The files are looked for below scratch/torchvision first, so a data set copied there works without a network; only if
they are missing is a download tried. Each image is given as PNG bytes under the id `test/000017`.
"""

import importlib
import io
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from al_service.errors import UnavailableError
from al_service.ingest.names import printable_name, split_name
from al_service.ingest.rows import Content, InvalidSourceError, Labels, Row, RowUnreadableError, SourceRow

_TRAIN = {"train": {"train": True}, "test": {"train": False}}
_WHOLE: dict[str, dict[str, Any]] = {"all": {}}
_NETWORK_TIMEOUT_S = 20.0


def _splits(*words: str) -> dict[str, dict[str, Any]]:
    return {word: {"split": word} for word in words}


TORCHVISION_SETS: dict[str, dict[str, dict[str, Any]]] = {
    **dict.fromkeys(("MNIST", "FashionMNIST", "KMNIST", "CIFAR10", "CIFAR100", "USPS", "QMNIST"), _TRAIN),
    "EMNIST": {"train": {"split": "balanced", "train": True}, "test": {"split": "balanced", "train": False}},
    **dict.fromkeys(("SVHN", "Food101", "GTSRB"), _splits("train", "test")),
    **dict.fromkeys(("Flowers102", "DTD", "FGVCAircraft", "PCAM", "RenderedSST2"), _splits("train", "val", "test")),
    "Country211": _splits("train", "valid", "test"),
    "CLEVRClassification": _splits("train", "val"),
    "Imagenette": _splits("train", "val"),
    "OxfordIIITPet": _splits("trainval", "test"),
    "STL10": _splits("train", "test", "unlabeled"),
    **dict.fromkeys(("EuroSAT", "SUN397", "Caltech101", "Caltech256", "SEMEION"), _WHOLE),
}
"""Name -> our word for each part -> the arguments that choose it."""


def read_torchvision(name: str, labels: Labels, scratch: Path) -> Content:
    """Return all parts of a data set as rows; labels are its targets unless labels is "none".

    Cost: the first call for a data set downloads it. Small sets are held in memory by torchvision.

    Raises:
        InvalidSourceError: a name outside TORCHVISION_SETS, or a package that the data set needs is missing.
        UnavailableError: the files are not there and cannot be downloaded.
    """
    if name not in TORCHVISION_SETS:
        known = ", ".join(sorted(TORCHVISION_SETS))
        raise InvalidSourceError(f"torchvision:{name} is not among the data sets that can be imported: {known}")
    parts = {word: _load(name, kwargs, scratch / "torchvision") for word, kwargs in TORCHVISION_SETS[name].items()}
    targets = {word: _targets(data) for word, data in parts.items()}
    classes = {word: [_class_name(data, target) for target in targets[word]] for word, data in parts.items()}
    if labels == "none":
        classes = {word: [None] * len(names) for word, names in classes.items()}

    def rows() -> Iterator[Row]:
        for word, data in parts.items():
            split = split_name(word)
            note = {} if split in (word, None) else {"split": word}
            for index, label in enumerate(classes[word]):
                yield SourceRow(f"{word}/{index:06d}", partial(_png, data, index), label, split, dict(note))

    found = {label for names in classes.values() for label in names if label is not None}
    return Content("torchvision", rows, sum(len(names) for names in classes.values()), tuple(sorted(found)))


def _load(name: str, kwargs: dict[str, Any], root: Path) -> Any:
    datasets = importlib.import_module(
        "torchvision.datasets"
    )  # loads torch: only an import from torchvision pays for it
    root.mkdir(parents=True, exist_ok=True)
    try:
        return getattr(datasets, name)(root=str(root), download=False, **kwargs)
    except ImportError as error:
        raise InvalidSourceError(f"torchvision:{name} needs a package that is missing: {error}") from error
    except (RuntimeError, OSError):
        pass  # not there, or not whole: torchvision says both in this way
    try:
        with _network_timeout():
            return getattr(datasets, name)(root=str(root), download=True, **kwargs)
    except (RuntimeError, OSError) as error:
        reason = " ".join(str(error).split())
        raise UnavailableError(
            f"torchvision:{name} is not whole below {root} and could not be downloaded ({reason}): "
            "check the network, or copy its files there"
        ) from error


@contextmanager
def _network_timeout() -> Iterator[None]:
    """torchvision's downloads have no time limit of their own; the import job is alone in its process."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(_NETWORK_TIMEOUT_S)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


def _targets(data: Any) -> list[int]:
    """Return all class numbers, from the data set's own list where it has one (no decoding), else item by item."""
    for attribute in ("targets", "labels", "_labels", "y"):
        found = getattr(data, attribute, None)
        if found is not None and len(found) == len(data):
            numbers = found.tolist() if hasattr(found, "tolist") else list(found)
            if all(isinstance(number, int) for number in numbers):
                return numbers
    return [int(data[index][1]) for index in range(len(data))]


def _class_name(data: Any, target: int) -> str | None:
    if target < 0:
        return None  # STL10's unlabelled part
    names = getattr(data, "classes", None) or getattr(data, "categories", None)
    if names is None or target >= len(names):
        return str(target)
    name = names[target]
    return printable_name(name if isinstance(name, str) else ", ".join(name))


def _png(data: Any, index: int) -> bytes:
    try:
        image = data[index][0]
        out = io.BytesIO()
        image.convert("L" if image.mode == "L" else "RGB").save(out, "PNG")
    except (OSError, RuntimeError, ValueError) as error:
        raise RowUnreadableError(f"torchvision cannot read number {index}: {error}") from error
    return out.getvalue()

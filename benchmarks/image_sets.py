"""The images that benchmarks run on: digits that ship with scikit-learn, CIFAR-10 where the caller has it."""

import hashlib
import os
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from al_service import images
from al_service.errors import InvalidInputError
from al_service.ingest.digits import write_digits
from al_service.ingest.split import in_evaluation

#: Path of a tar archive with CIFAR-10's training images as `.../CLASS/NAME`; without it those benchmarks are left out.
CIFAR10_VARIABLE = "BENCH_CIFAR10"
CIFAR10_PX = 32
#: Path of a folder with class folders of images, for benchmarks that take any; without it those parts are left out.
IMAGES_VARIABLE = "BENCH_IMAGES"
IMAGES_PX = 32
DIGITS_PX = 8
HOLDOUT_FRACTION = 0.2


@dataclass(frozen=True, eq=False)
class ImageSet:
    """Images in memory with their classes.

    Args:
        pixels: (N, px, px, 3) uint8.
        class_indices: (N,) int64.
        hashes: (N,) SHA-256 of each file, which decides about the protected split.
    """

    name: str
    pixels: np.ndarray
    class_indices: np.ndarray
    hashes: tuple[str, ...]
    class_count: int

    @property
    def image_px(self) -> int:
        """Side of the images."""
        return int(self.pixels.shape[1])

    def protected(self, seed: int) -> np.ndarray:
        """(N,) bool: the images that are kept aside to measure accuracy, as an import would keep them."""
        return np.array([in_evaluation(sha256, fraction=HOLDOUT_FRACTION, seed=seed) for sha256 in self.hashes])


def read_digits(folder: Path) -> ImageSet:
    """The 1,797 digits, written to the folder first."""
    write_digits(folder)
    files = ((path.parent.name, path.read_bytes()) for path in sorted(folder.glob("*/*.png")))
    return _image_set("digits", files, DIGITS_PX)


def cifar10_archive() -> Path | None:
    """The archive that the caller named, or None."""
    named = os.environ.get(CIFAR10_VARIABLE)
    return Path(named) if named else None


def read_cifar10(archive: Path, count: int, seed: int = 0) -> ImageSet:
    """`count` images drawn from the archive (all, where it has fewer)."""
    with tarfile.open(archive) as tar:
        names = sorted(member.name for member in tar if member.isfile())
    drawn = set(np.random.default_rng(seed).permutation(names)[:count].tolist())
    return _image_set("cifar10", _members(archive, drawn), CIFAR10_PX)


def read_folder(folder: Path) -> ImageSet:
    """The images in class folders that can be read, at 32 px."""
    files = ((path.parent.name, path.read_bytes()) for path in sorted(folder.glob("*/*")) if path.is_file())
    return _image_set(folder.name, ((name, data) for name, data in files if _is_readable(data)), IMAGES_PX)


def _is_readable(data: bytes) -> bool:
    try:
        images.square_pixels(data, IMAGES_PX)
    except InvalidInputError:
        return False
    return True


def _members(archive: Path, names: set[str]) -> Iterator[tuple[str, bytes]]:
    with tarfile.open(archive) as tar:
        for member in tar:
            if member.name in names and (file := tar.extractfile(member)) is not None:
                yield Path(member.name).parent.name, file.read()


def _image_set(name: str, files: Iterator[tuple[str, bytes]], image_px: int) -> ImageSet:
    """The distinct images among the files, each (class name, bytes)."""
    found: dict[str, tuple[str, np.ndarray]] = {}
    for class_name, data in files:
        found.setdefault(hashlib.sha256(data).hexdigest(), (class_name, images.square_pixels(data, image_px)))
    class_names = sorted({class_name for class_name, _ in found.values()})
    return ImageSet(
        name=name,
        pixels=np.stack([pixels for _, pixels in found.values()]),
        class_indices=np.array([class_names.index(class_name) for class_name, _ in found.values()], np.int64),
        hashes=tuple(found),
        class_count=len(class_names),
    )

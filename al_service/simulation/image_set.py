"""Labelled images of a study: pixels in one file that every process maps, the rest as plain JSON beside it.

What is measured on is decided here, by content alone: the test images that the source brings, else a share drawn by
each image's hash and the seed, as an import draws it (ingest/split.py).
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from al_service.errors import InvalidInputError
from al_service.ingest.split import in_evaluation
from al_service.simulation.files import find_json, no_room, write_json, write_whole

PIXELS, FACTS = "pixels.bin", "images.json"


class InvalidImageSetError(InvalidInputError):
    """Images that nothing can be learned from or measured on."""

    code = "invalid_image_set"


@dataclass(frozen=True, eq=False)
class ImageSet:
    """Images with their classes, each content once.

    Args:
        name: for people.
        pixels: (N, px, px, 3) uint8, in memory or mapped.
        class_indices: (N,) int64; -1 for test images of a class that no other image has, which nothing is done with.
        class_names: in class_index order.
        hashes: N SHA-256 of the files.
        sample_ids: N names of the files, for people.
        is_test: (N,) bool: brought as test images; all False where the source has none.
        left_out: how many rows were not taken, by reason.
    """

    name: str
    pixels: np.ndarray
    class_indices: np.ndarray
    class_names: tuple[str, ...]
    hashes: tuple[str, ...]
    sample_ids: tuple[str, ...]
    is_test: np.ndarray
    left_out: dict[str, int] = field(default_factory=dict)

    @property
    def image_px(self) -> int:
        """Side of the images."""
        return int(self.pixels.shape[1])

    @property
    def class_count(self) -> int:
        """C."""
        return len(self.class_names)

    @property
    def brings_test(self) -> bool:
        """Whether the source says what is measured on."""
        return bool(self.is_test.any())

    def split(self, seed: int, fraction: float) -> tuple[np.ndarray, np.ndarray]:
        """Rows of the pool and rows that are measured on, both rising; seed and fraction count only where the source
        brings no test images.

        Raises:
            InvalidImageSetError: one of the two is empty.
        """
        test = self.is_test
        if not self.brings_test:
            test = np.array([in_evaluation(sha256, fraction=fraction, seed=seed) for sha256 in self.hashes])
        pool, measured_on = np.flatnonzero(~test), np.flatnonzero(test & (self.class_indices >= 0))
        if not len(pool) or not len(measured_on):
            raise InvalidImageSetError(
                f"{len(pool)} images would be in the pool and {len(measured_on)} measured on "
                f"(holdout_fraction={fraction}), and both parts need some: give more images, another "
                "--set holdout_fraction=0.2, or --test"
            )
        return pool, measured_on

    def fingerprint(self) -> str:
        """SHA-256 of contents, classes and what is measured on; the order of the rows does not count."""
        rows = sorted(
            f"{sha256}:{index}:{int(test)}"
            for sha256, index, test in zip(self.hashes, self.class_indices.tolist(), self.is_test.tolist(), strict=True)
        )
        return hashlib.sha256("\n".join([str(self.image_px), *self.class_names, *rows]).encode()).hexdigest()

    def per_class(self, rows: Sequence[int] | np.ndarray) -> dict[str, int]:
        """How many of these rows each class has."""
        counts = np.bincount(self.class_indices[np.asarray(rows, np.int64)], minlength=self.class_count)
        return dict(zip(self.class_names, counts.tolist(), strict=True))

    def write(self, folder: Path) -> None:
        """Put the set into a folder, for `open_set`.

        Raises:
            NoRoomError: it cannot be written.
        """
        write_whole(folder / PIXELS, np.ascontiguousarray(self.pixels).tobytes())
        self.write_facts(folder)

    def write_facts(self, folder: Path) -> None:
        """All but the pixels, which lie there already."""
        write_json(folder / FACTS, self._facts())

    def _facts(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "image_px": self.image_px,
            "class_indices": self.class_indices.tolist(),
            "class_names": list(self.class_names),
            "hashes": list(self.hashes),
            "sample_ids": list(self.sample_ids),
            "is_test": self.is_test.tolist(),
            "left_out": self.left_out,
        }


def write_pixels(folder: Path, parts: Iterable[np.ndarray]) -> None:
    """Put pixels into a folder piece by piece; facts that describe others are removed first, so a set whose writing was
    interrupted is none.

    Raises:
        NoRoomError: they cannot be written.
    """
    path = folder / PIXELS
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / FACTS).unlink(missing_ok=True)
        with path.open("wb") as file:
            for part in parts:
                file.write(np.ascontiguousarray(part).tobytes())
    except OSError as error:
        raise no_room(path, error) from error


def mapped_pixels(folder: Path, count: int, image_px: int) -> np.ndarray:
    """(count, px, px, 3) uint8, mapped and read-only."""
    return np.memmap(folder / PIXELS, np.uint8, "r", shape=(count, image_px, image_px, 3))


def find_set(folder: Path) -> ImageSet | None:
    """The set in the folder, its pixels mapped; None where there is none, or not all of it."""
    facts, path = find_json(folder / FACTS), folder / PIXELS
    if not isinstance(facts, dict) or not path.is_file():
        return None
    count, px = len(facts["hashes"]), facts["image_px"]
    if path.stat().st_size != count * px * px * 3 or count == 0:
        return None
    return ImageSet(
        name=facts["name"],
        pixels=mapped_pixels(folder, count, px),
        class_indices=np.array(facts["class_indices"], np.int64),
        class_names=tuple(facts["class_names"]),
        hashes=tuple(facts["hashes"]),
        sample_ids=tuple(facts["sample_ids"]),
        is_test=np.array(facts["is_test"], bool),
        left_out=dict(facts["left_out"]),
    )

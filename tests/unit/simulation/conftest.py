"""Small labelled images: squares of grey, brighter in one class than in the other, every one different."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from al_service.simulation.image_set import ImageSet


def grey_png(level: int, number: int, side: int = 8) -> bytes:
    """A square that no other number has."""
    rng = np.random.default_rng([level, number])
    pixels = (level + rng.integers(0, 60, (side, side, 3))).astype(np.uint8)
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG")
    return out.getvalue()


def write_greys(folder: Path, per_class: int = 30) -> Path:
    """Class folders `dark` and `light`."""
    for name, level in (("dark", 0), ("light", 150)):
        (folder / name).mkdir(parents=True)
        for number in range(per_class):
            (folder / name / f"{number:03}.png").write_bytes(grey_png(level, number))
    return folder


@pytest.fixture
def greys(tmp_path: Path) -> Path:
    """60 images on disk."""
    return write_greys(tmp_path / "greys")


@pytest.fixture
def grey_set() -> ImageSet:
    """The like in memory."""
    rng = np.random.default_rng(0)
    classes = np.arange(60) % 2
    pixels = (classes[:, None, None, None] * 150 + rng.integers(0, 80, (60, 8, 8, 3))).astype(np.uint8)
    hashes = tuple(f"{number:064x}" for number in range(60))
    return ImageSet("greys", pixels, classes, ("dark", "light"), hashes, hashes, np.zeros(60, bool))

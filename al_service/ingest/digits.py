"""The handwritten digits that ship with scikit-learn, as class folders of PNG files: the demo that needs no network."""

import io
from collections import Counter
from pathlib import Path

from PIL import Image

from al_service.errors import InvalidInputError


def write_digits(folder: Path, *, scale: int = 1) -> int:
    """Write 1,797 grey PNG files as `0/0000.png` to `9/0179.png`, numbered within each class; return how many.

    The bytes do not change between calls or releases of the compression library (they are stored, not compressed), so
    a second write and a second import find the same content hashes. A file that is already right is not touched.

    Args:
        scale: how many pixels wide each of the 8 x 8 is; 1 is right for the model, and the page enlarges by itself.

    Raises:
        InvalidInputError: scale is below 1.

    Source: UCI Optical Recognition of Handwritten Digits (Alpaydin, Kaynak 1998), test part, by sklearn.datasets.
    """
    from sklearn.datasets import load_digits  # seconds to import, and nothing else here needs it

    if scale < 1:
        raise InvalidInputError(f"scale is {scale}, expected 1 or more")
    digits = load_digits()
    written: Counter[int] = Counter()
    for values, target in zip(digits.images, digits.target.tolist(), strict=True):  # (8, 8) float in 0..16
        grey = bytes(round(value * 255 / 16) for value in values.ravel().tolist())
        path = folder / str(target) / f"{written[target]:04d}.png"
        written[target] += 1
        _write(path, _png(grey, scale))
    return written.total()


def _png(grey: bytes, scale: int) -> bytes:
    image = Image.frombytes("L", (8, 8), grey).resize((8 * scale, 8 * scale), Image.Resampling.NEAREST)
    out = io.BytesIO()
    image.save(out, "PNG", compress_level=0)
    return out.getvalue()


def _write(path: Path, data: bytes) -> None:
    if path.is_file() and path.read_bytes() == data:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")  # hidden from an import that runs at the same moment
    part.write_bytes(data)
    part.replace(path)

"""A heat map as a picture to lay over its image: colours by strength, see-through where there is nothing.

Holds no storage, no numpy and no torch, so that the web process can draw. Called by the routes of explanations.
"""

import io
from collections.abc import Sequence

from PIL import Image

from al_service.errors import InvalidInputError

#: Every sixteenth colour of matplotlib's "inferno", in between they run straight. Equal steps of strength look like
#: equal steps, lightness alone tells them apart, and so can colour-blind people and grey printers.
_INFERNO = (
    "000004 0b0724 210c4a 3d0965 57106e 71196e 8a226a a32c61 bc3754 d04545 e35933 f1711f f98c0a fcaa0f f9c932 f2e865 "
    "fcffa4"
)
#: Opacity of the strongest places: the image stays visible below them.
_OPACITY_MAX = 190


def heat_overlay(cells: bytes, cells_size: tuple[int, int], image_size: tuple[int, int], longest_px: int) -> bytes:
    """Return a PNG in the shape of the image, its longest side longest_px.

    The map lies on the square in the middle of the image, because that is what networks are given (`square_pixels`);
    what is outside is see-through. Between the middles of places, strength runs straight.

    Args:
        cells: width * height bytes, row by row, 0 to 255; higher = stronger.
        cells_size: (width, height) of the map.
        image_size: (width, height) of the image that it lies on, upright.

    Raises:
        InvalidInputError: a size below 1, or another number of cells.
    """
    sizes = (*cells_size, *image_size, longest_px)
    if min(sizes) < 1 or len(cells) != cells_size[0] * cells_size[1]:
        raise InvalidInputError(f"{len(cells)} cells for a map of {cells_size} over an image of {image_size} px")
    scale = longest_px / max(image_size)
    width, height = (max(1, round(side * scale)) for side in image_size)
    side = min(width, height)
    square = Image.frombytes("L", cells_size, cells).resize((side, side), Image.Resampling.BILINEAR)
    overlay = Image.new("L", (width, height), 0)
    overlay.paste(square, ((width - side) // 2, (height - side) // 2))
    overlay.putpalette(bytes(_palette()), "RGBA")
    out = io.BytesIO()
    overlay.save(out, "PNG")
    return out.getvalue()


def _palette() -> Sequence[int]:
    """256 times red, green, blue, opacity."""
    anchors = [bytes.fromhex(text) for text in _INFERNO.split()]
    palette: list[int] = []
    for strength in range(256):
        below, part = divmod(strength * (len(anchors) - 1) / 255, 1)
        low, high = anchors[int(below)], anchors[min(int(below) + 1, len(anchors) - 1)]
        palette += [round(a + (b - a) * part) for a, b in zip(low, high, strict=True)]
        palette.append(round(strength / 255 * _OPACITY_MAX))
    return palette

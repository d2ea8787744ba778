"""Pixels as the networks take them: (N, px, px, 3) uint8, an array or anything that gives such rows for a slice.

Decoding is in decoding.py; where the pixels lie is the caller's business.
"""

from typing import Any

from al_service.errors import InvalidInputError


class InvalidPixelsError(InvalidInputError):
    """Pixels that are not (N, px, px, 3) uint8 of the side that the network was built for."""

    code = "invalid_pixels"


def check_pixels(pixels: Any, image_px: int) -> None:
    """Raises InvalidPixelsError unless pixels are (N, image_px, image_px, 3) uint8."""
    shape, dtype = tuple(pixels.shape), str(pixels.dtype)
    if len(shape) != 4 or shape[1:] != (image_px, image_px, 3) or dtype != "uint8":
        raise InvalidPixelsError(
            f"pixels have shape {shape} and dtype {dtype}; expected (N, {image_px}, {image_px}, 3) uint8"
        )

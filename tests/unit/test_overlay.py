"""Heat maps as pictures: where they lie, what they hide, and colours that anybody can tell apart."""

import io

import matplotlib
import numpy as np
import pytest
from PIL import Image

from al_service.errors import InvalidInputError
from al_service.overlay import heat_overlay


def drawn(cells: list[int], cells_size: tuple[int, int], image_size: tuple[int, int], longest_px: int) -> np.ndarray:
    """(H, W, 4) uint8 as a browser sees it."""
    return np.array(
        Image.open(io.BytesIO(heat_overlay(bytes(cells), cells_size, image_size, longest_px))).convert("RGBA")
    )


def test_the_picture_has_the_shape_of_the_image_and_the_map_its_middle_square():
    wide = drawn([255] * 4, (2, 2), (300, 100), 90)
    assert wide.shape == (30, 90, 4)
    assert (wide[:, :30, 3] == 0).all() and (wide[:, 60:, 3] == 0).all()
    assert (wide[:, 30:60, 3] == 190).all()
    tall = drawn([255] * 4, (2, 2), (100, 300), 90)
    np.testing.assert_array_equal(tall, wide.transpose(1, 0, 2))


def test_places_are_where_they_are_in_the_map():
    picture = drawn([255, 0, 0, 0, 0, 128], (3, 2), (300, 300), 60)
    opacity = picture[..., 3]
    assert opacity[5, 5] == 190
    assert opacity[5, 55] == opacity[55, 5] == 0
    assert 80 <= opacity[55, 55] <= 110


def test_nothing_is_see_through_and_more_is_more_opaque_and_lighter():
    ramp = drawn(list(range(256)), (256, 1), (256, 256), 256)[128]
    assert ramp[0, 3] == 0
    assert (np.diff(ramp[:, 3].astype(int)) >= 0).all()
    lightness = ramp[:, :3] @ [0.2126, 0.7152, 0.0722]
    assert (np.diff(lightness) > -0.5).all()
    assert lightness[-1] - lightness[0] > 200


def test_colours_are_those_of_inferno():
    ramp = drawn(list(range(256)), (256, 1), (256, 256), 256)[128, :, :3]
    expected = np.array(matplotlib.colormaps["inferno"](np.arange(256)))[:, :3] * 255
    assert np.abs(ramp - expected).max() <= 8


def test_an_image_of_one_pixel_and_one_very_long_image():
    assert drawn([7], (1, 1), (1, 1), 64).shape == (64, 64, 4)
    assert drawn([7], (1, 1), (5000, 1), 64).shape == (1, 64, 4)


@pytest.mark.parametrize(
    ("cells", "cells_size", "image_size", "longest_px"),
    [([1], (2, 2), (9, 9), 64), ([], (0, 0), (9, 9), 64), ([1], (1, 1), (0, 9), 64), ([1], (1, 1), (9, 9), 0)],
)
def test_what_cannot_be_drawn_is_refused(cells, cells_size, image_size, longest_px):
    with pytest.raises(InvalidInputError, match=f"{len(cells)} cells"):
        drawn(cells, cells_size, image_size, longest_px)

"""Views by matrices against the obvious way, and what they must leave alone."""

import numpy as np
import pytest
import torch
from torch.nn.functional import interpolate
from torchvision.transforms.functional import adjust_saturation

from al_service.errors import InvalidInputError
from al_service.learning import views
from al_service.learning.views import Views, random_views, views_for


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def images(count: int = 6, side: int = 16, seed: int = 0) -> torch.Tensor:
    return torch.randint(0, 256, (count, side, side, 3), dtype=torch.uint8, generator=generator(seed))


def as_floats(pixels: torch.Tensor) -> torch.Tensor:
    return pixels.permute(0, 3, 1, 2).float() / 255


def test_without_crop_flip_and_colour_a_view_is_the_image():
    pixels = images()
    shown = random_views(pixels, Views(crop_least=1.0, colour=0.0), generator())
    assert shown.shape == (6, 3, 16, 16) and shown.dtype == torch.float32
    # The sides of a crop of the whole area still vary, so only the aspect is fixed here.
    square = views.stretched(16, torch.ones(6), torch.rand(6), torch.zeros(6, dtype=torch.bool))
    assert torch.allclose(square @ as_floats(pixels)[:, 0], as_floats(pixels)[:, 0])


def test_a_crop_is_bilinear_interpolation_of_its_window():
    image = as_floats(images(1, 16))
    rows = views.stretched(16, torch.tensor([0.5]), torch.tensor([0.5]), torch.tensor([False]))
    window = image[:, :, 4:12, 4:12]
    expected = interpolate(window, size=(16, 16), mode="bilinear", align_corners=False)
    found = rows[:, None] @ image @ rows[:, None].transpose(-1, -2)
    # At the window's border we look at the image beyond it, interpolate repeats the border.
    assert torch.allclose(found[..., 1:-1, 1:-1], expected[..., 1:-1, 1:-1], atol=1e-5)


def test_a_flip_mirrors_left_and_right_in_about_half_of_the_views_and_never_unasked():
    pixels = images(1).repeat(400, 1, 1, 1)
    plain = as_floats(pixels)
    square = Views(crop_least=1.0, colour=0.0, flip=True)
    rows, columns = views.placement(pixels, square, generator())
    mirrored = columns[:, 0].argmax(1) > 8
    assert 150 < int(mirrored.sum()) < 250
    assert not (rows[:, 0].argmax(1) > 8).any()
    both = (rows[:, None] @ plain @ columns[:, None].transpose(-1, -2))[mirrored]
    again = views.placement(pixels, Views(crop_least=1.0, colour=0.0), generator())
    assert not (again[1][:, 0].argmax(1) > 8).any()
    unmirrored = (again[0][:, None] @ plain @ again[1][:, None].transpose(-1, -2))[mirrored]
    assert torch.allclose(both, unmirrored.flip(-1), atol=1e-5)


def test_rows_of_every_matrix_sum_to_one_so_that_a_plain_image_stays_plain():
    pixels = torch.full((50, 20, 20, 3), 128, dtype=torch.uint8)
    shown = random_views(pixels, Views(colour=0.0, flip=True, blur=True), generator())
    assert torch.allclose(shown, torch.full_like(shown, 128 / 255), atol=1e-5)


def test_blur_takes_detail_away_from_about_half_of_the_views():
    pixels = images(1, 64).repeat(60, 1, 1, 1)
    setting = {"crop_least": 1.0, "colour": 0.0}
    sharp = random_views(pixels, Views(**setting), generator())
    blurred = random_views(pixels, Views(**setting, blur=True), generator())
    share = (blurred.std((1, 2, 3)) < 0.9 * sharp.std((1, 2, 3))).float().mean()
    assert 0.2 < float(share) < 0.8


def test_views_that_are_not_drawn_for_blur_keep_every_detail_at_512_pixels():
    pixels = torch.empty(20, 512, 512, 3, dtype=torch.uint8)
    plain = views.placement(pixels, Views(crop_least=0.5), generator())
    found = views.placement(pixels, Views(crop_least=0.5, blur=True), generator())
    kept = [(one == two).all(2).all(1) for one, two in zip(plain, found, strict=True)]
    assert torch.equal(*kept)
    assert 4 <= int(kept[0].sum()) <= 16
    none = views.placement(pixels[:0], Views(blur=True), generator())
    assert [tuple(one.shape) for one in none] == [(0, 512, 512)] * 2


def test_grey_images_stay_grey_and_values_stay_in_range():
    grey = images()[..., :1].repeat(1, 1, 1, 3)
    shown = random_views(grey, Views(flip=True), generator())
    assert torch.allclose(shown[:, 0], shown[:, 1], atol=1e-3) and torch.allclose(shown[:, 0], shown[:, 2], atol=1e-3)
    shown = random_views(images(64), Views(colour=2.0), generator())
    assert float(shown.min()) >= 0 and float(shown.max()) <= 1


def recoloured(colours: torch.Tensor, *, saturation: float = 1.0, turn: float = 0.0) -> torch.Tensor:
    matrix = views.colour_matrix(torch.ones(1), torch.tensor([saturation]), torch.tensor([turn]))
    return torch.einsum("nij,njhw->nihw", matrix, colours)


def test_saturation_is_as_torchvision_has_it():
    colours = as_floats(images(1)) * 0.2 + 0.4  # near grey, so that nothing is cut off
    assert torch.allclose(recoloured(colours, saturation=0.3), adjust_saturation(colours, 0.3), atol=2e-3)


def test_a_turn_of_the_hue_keeps_brightness_and_greys_and_a_whole_turn_changes_nothing():
    colours = as_floats(images(1))
    luma = torch.tensor([0.299, 0.587, 0.114])
    turned = recoloured(colours, turn=1.0)
    assert not torch.allclose(turned, colours, atol=0.05)
    assert torch.allclose(torch.einsum("c,nchw->nhw", luma, turned - colours), torch.zeros(1, 16, 16), atol=1e-5)
    assert torch.allclose(recoloured(colours, turn=2 * np.pi), colours, atol=1e-5)
    grey = torch.full((1, 3, 1, 1), 0.7)
    assert torch.allclose(recoloured(grey, turn=1.0), grey, atol=1e-3)


def test_equal_seeds_give_equal_views_and_two_draws_differ():
    pixels, source = images(), generator(3)
    first, second = (random_views(pixels, Views(), source) for _ in range(2))
    assert torch.equal(first, random_views(pixels, Views(), generator(3)))
    assert not torch.equal(first, second)


def test_views_of_one_image_differ_between_its_copies():
    shown = random_views(images(1).repeat(5, 1, 1, 1), Views(), generator())
    assert len(torch.unique(shown.flatten(1), dim=0)) == 5


def test_crops_of_tiny_images_keep_four_pixels_and_an_image_smaller_than_that_is_shown_whole():
    windows = views.stretched(8, torch.full((100,), 0.01), torch.rand(100), torch.zeros(100, dtype=torch.bool))
    assert ((windows.sum(1) > 1e-6).sum(1) >= 4).all()
    assert random_views(images(3, 2), Views(), generator()).shape == (3, 3, 2, 2)
    assert random_views(images(0, 8), Views(), generator()).shape == (0, 3, 8, 8)


def test_views_for_a_side():
    assert views_for(8).crop_least > views_for(32).crop_least
    assert not views_for(32).blur and views_for(224).blur
    assert views_for(32, flip=True).flip and not views_for(32).flip


@pytest.mark.parametrize("wrong", [{"crop_least": 0.0}, {"crop_least": 1.1}, {"colour": -0.1}, {"colour": 3.0}])
def test_a_setting_out_of_range_is_refused_by_name(wrong):
    with pytest.raises(InvalidInputError, match=next(iter(wrong))):
        Views(**wrong)

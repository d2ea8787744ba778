"""Random views of images for self-supervised pretraining: what two of them share is what an image shows.

The idea in words: a crop, a mirror image and a blur mix rows with rows and columns with columns, so each is a matrix
for the rows and another for the columns, drawn for every image; their products make the view in two batched matrix
products. Brightness, contrast, saturation, hue and grey are together one 3 x 3 matrix and an offset per image. That is
why a view costs a few per cent of a training step, on the CPU as on a GPU, and needs no loop over images.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from al_service.errors import InvalidInputError

_RATIO_MOST = 4 / 3
#: Crops are no smaller than this, however small the images: on 3 pixels there is nothing to recognise.
CROP_LEAST_PX = 4
# At strength 1: brightness, contrast and saturation by up to so much, the hue by up to a tenth of the circle.
_COLOUR_FACTOR = 0.4
_HUE_TURN = 0.2 * math.pi
_COLOUR_CHANCE = 0.8
_GREY_CHANCE = 0.2
_BLUR_CHANCE = 0.5
# Standard deviations of the blur, in shares of the side: 0.1 to 2 pixels at 224.
_BLUR_LEAST, _BLUR_MOST = 0.0005, 0.009
_BLUR_LEAST_PX = 64
_SMALL_PX = 16
_LUMA = (0.299, 0.587, 0.114)
# RGB -> YIQ; a turn in the I-Q plane changes the hue and leaves the brightness.
_TO_YIQ = ((0.299, 0.587, 0.114), (0.596, -0.274, -0.322), (0.211, -0.523, 0.312))


@dataclass(frozen=True)
class Views:
    """Which changes an image survives.

    Args:
        crop_least: smallest share of the area that a crop shows, above 0 up to 1 (no crop).
        flip: mirror every second view left to right; not for digits or letters.
        colour: strength of the colour changes; 0 = none, 1 = brightness and contrast by up to 40 per cent.
        blur: blur every second view a little; for images of 64 pixels and more.
    """

    crop_least: float = 0.2
    flip: bool = False
    colour: float = 1.0
    blur: bool = False

    def __post_init__(self) -> None:
        if not 0 < self.crop_least <= 1:
            raise InvalidInputError(f"crop_least is {self.crop_least}, expected above 0 up to 1")
        if not 0 <= self.colour <= 2:
            raise InvalidInputError(f"colour is {self.colour}, expected 0 to 2")


def views_for(image_px: int, *, flip: bool = False) -> Views:
    """What suits images of a side: gentle crops below 16 pixels, where little is left to crop; blur from 64 on."""
    return Views(crop_least=0.4 if image_px < _SMALL_PX else 0.2, flip=flip, blur=image_px >= _BLUR_LEAST_PX)


def random_views(images: Tensor, views: Views, generator: torch.Generator) -> Tensor:
    """One random view of each image.

    Args:
        images: (N, H, W, 3) uint8, any device.
        generator: on the CPU, so that a seed gives the same views on every device.

    Returns:
        (N, 3, H, W) float32 in 0..1, on the images' device.

    Random: a fixed number of draws for N.
    """
    rows, columns = (matrix.to(images.device) for matrix in placement(images, views, generator))
    values = images.permute(0, 3, 1, 2).float().div_(255)
    values = rows[:, None] @ values @ columns[:, None].transpose(-1, -2)
    if not views.colour:
        return values.clamp_(0, 1)
    return _recoloured(values, views.colour, generator)


def placement(images: Tensor, views: Views, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """(N, H, H) and (N, W, W): what mixes the rows and the columns of each image into its view."""
    count, height, width = images.shape[:3]
    area = _uniform(count, views.crop_least, 1.0, generator)
    ratio = _uniform(count, -math.log(_RATIO_MOST), math.log(_RATIO_MOST), generator).mul_(0.5).exp_()
    shares = area.sqrt() * ratio, area.sqrt() / ratio
    places = torch.rand((2, count), generator=generator)
    mirrored = torch.rand(count, generator=generator) < (0.5 if views.flip else 0.0)
    rows = stretched(height, shares[0], places[0], torch.zeros_like(mirrored))
    columns = stretched(width, shares[1], places[1], mirrored)
    if views.blur:
        sigma = _uniform(count, _BLUR_LEAST, _BLUR_MOST, generator)
        drawn = torch.rand(count, generator=generator) < _BLUR_CHANCE
        # The others are left alone: whatever small blur stands for none is one on images that are large enough.
        rows[drawn] = _blurring(height, sigma[drawn]) @ rows[drawn]
        columns[drawn] = _blurring(width, sigma[drawn]) @ columns[drawn]
    return rows, columns


def stretched(side: int, share: Tensor, place: Tensor, mirrored: Tensor) -> Tensor:
    """(N, side, side): linear interpolation of a window of each image's rows or columns, stretched to the whole side.

    Args:
        share: (N,) the window's share of the side; 4 pixels at least.
        place: (N,) where it lies, from 0 (first pixels) to 1 (last).
        mirrored: (N,) bool, backwards.
    """
    window = (share * side).clamp(min(CROP_LEAST_PX, side), side)
    start = place * (side - window)
    steps = (torch.arange(side) + 0.5) / side
    steps = torch.where(mirrored[:, None], 1 - steps, steps)
    # (N, side): where in the image each row of the view lies, in pixels.
    wanted = (start[:, None] + steps * window[:, None] - 0.5).clamp_(0, side - 1)
    return (1 - (wanted[:, :, None] - torch.arange(side)).abs()).clamp_(min=0)


def _blurring(side: int, sigma: Tensor) -> Tensor:
    """(N, side, side): Gaussian weights of neighbours, `sigma` in shares of the side; rows sum to one."""
    apart = (torch.arange(side)[:, None] - torch.arange(side)).float() / side
    weights = (-0.5 * (apart / sigma[:, None, None]) ** 2).exp()
    return weights / weights.sum(2, keepdim=True)


def _recoloured(values: Tensor, strength: float, generator: torch.Generator) -> Tensor:
    """Brightness, contrast, saturation and hue moved at random, some images grey; (N, 3, H, W) in 0..1."""
    count = len(values)
    matrix, contrast = (change.to(values.device) for change in _colour_change(count, strength, generator))
    flat = values.flatten(2)
    # Contrast moves every colour away from the image's mean brightness; through the matrix that is an offset.
    luma = torch.tensor(_LUMA, device=values.device)
    mean = torch.einsum("c,ncd,nd->n", luma, matrix, flat.mean(2))
    offset = ((1 - contrast) * mean)[:, None, None].expand(count, 3, 1)
    return torch.baddbmm(offset, contrast[:, None, None] * matrix, flat).clamp_(0, 1).view_as(values)


def _colour_change(count: int, strength: float, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """(N, 3, 3) brightness, saturation, hue and grey in one, and (N,) contrast."""
    changed = torch.rand(count, generator=generator) < _COLOUR_CHANCE

    def factor() -> Tensor:
        most = _COLOUR_FACTOR * strength
        return torch.where(changed, _uniform(count, max(0.0, 1 - most), 1 + most, generator), 1.0)

    brightness, contrast, saturation = factor(), factor(), factor()
    turn = torch.where(changed, _uniform(count, -1, 1, generator) * (_HUE_TURN * strength), 0.0)
    grey = torch.rand(count, generator=generator) < _GREY_CHANCE
    return colour_matrix(brightness, torch.where(grey, 0.0, saturation), turn), contrast


def colour_matrix(brightness: Tensor, saturation: Tensor, turn: Tensor) -> Tensor:
    """(N,) factors, and turns of the hue in radians -> (N, 3, 3) matrices for RGB columns."""
    change = torch.zeros(len(turn), 3, 3)
    change[:, 0, 0] = 1
    change[:, 1, 1] = change[:, 2, 2] = saturation * turn.cos()
    change[:, 1, 2] = -saturation * turn.sin()
    change[:, 2, 1] = saturation * turn.sin()
    to_yiq = torch.tensor(_TO_YIQ)
    return brightness[:, None, None] * (torch.linalg.inv(to_yiq) @ change @ to_yiq)


def _uniform(count: int, low: float, high: float, generator: torch.Generator) -> Tensor:
    return torch.rand(count, generator=generator) * (high - low) + low

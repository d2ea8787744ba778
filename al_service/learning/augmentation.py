"""Random changes to training images that keep their class. Digits must not be flipped, so the choice is a setting."""

import torch
from torch import Tensor

from al_service.domain.project_config import AUGMENTATIONS
from al_service.errors import InvalidInputError

_SHIFT_FRACTION = 8


def check_augmentation(mode: str) -> None:
    """Raises InvalidInputError where the mode is unknown."""
    if mode not in AUGMENTATIONS:
        raise InvalidInputError(f"augment is {mode!r}, expected one of {', '.join(AUGMENTATIONS)}")


def augment(images: Tensor, mode: str, generator: torch.Generator) -> Tensor:
    """Each image moved by up to an eighth of its side, its border repeated, and perhaps mirrored left to right.

    Args:
        images: (N, H, W, 3), any device.
        mode: one of AUGMENTATIONS; "none" gives the images back.
        generator: on the CPU.

    Random: 2 N integers from the generator, and N more for flips.
    """
    if mode == "none":
        return images
    count, height, width = images.shape[:3]
    rows = _moved(height, count, generator)
    columns = _moved(width, count, generator)
    if mode == "shift+flip":
        mirrored = torch.randint(0, 2, (count, 1), generator=generator).bool()
        columns = torch.where(mirrored, columns.flip(1), columns)
    which = torch.arange(count, device=images.device)[:, None, None]
    return images[which, rows.to(images.device)[:, :, None], columns.to(images.device)[:, None, :]]


def _moved(side: int, count: int, generator: torch.Generator) -> Tensor:
    """(count, side): for every image the source index of each row or column."""
    most = max(1, side // _SHIFT_FRACTION)
    offsets = torch.randint(-most, most + 1, (count, 1), generator=generator)
    return (torch.arange(side) + offsets).clamp_(0, side - 1)

"""Random changes to training images that keep their class. Digits must not be flipped, so the choice is a setting."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from al_service.domain.project_config import AUGMENTATIONS
from al_service.errors import InvalidInputError

_SHIFT_FRACTION = 8


def check_augmentation(mode: str) -> None:
    """Raises InvalidInputError where the mode is unknown."""
    if mode not in AUGMENTATIONS:
        raise InvalidInputError(f"augment is {mode!r}, expected one of {', '.join(AUGMENTATIONS)}")


@dataclass(frozen=True, eq=False)
class Moves:
    """What happens to each of n images: drawn apart from the images, so that several processes can share one draw.

    Args:
        rows, columns: (n,) int64, from how many pixels further down and right each pixel is taken.
        mirrored: (n,) bool, or None where nothing is mirrored.
    """

    rows: np.ndarray
    columns: np.ndarray
    mirrored: np.ndarray | None

    def of(self, which: np.ndarray) -> "Moves":
        """Those of some of the images."""
        return Moves(self.rows[which], self.columns[which], None if self.mirrored is None else self.mirrored[which])


def draw_moves(count: int, side: int, mode: str, generator: torch.Generator) -> Moves | None:
    """What to do to that many square images of that side; None where the mode is "none".

    Random: 2 N integers from the generator, and N more for flips.
    """
    if mode == "none":
        return None
    most = _most(side)
    rows, columns = (torch.randint(-most, most + 1, (count,), generator=generator).numpy() for _ in range(2))
    mirrored = torch.randint(0, 2, (count,), generator=generator).bool().numpy() if mode == "shift+flip" else None
    return Moves(rows, columns, mirrored)


def augment(images: Tensor, mode: str, generator: torch.Generator) -> Tensor:
    """Each image moved by up to an eighth of its side, its border repeated, and perhaps mirrored left to right.

    Args:
        images: (N, px, px, 3), any device.
        mode: one of AUGMENTATIONS; "none" gives the images back.
        generator: on the CPU.

    Random: as draw_moves.
    """
    moves = draw_moves(len(images), images.shape[1], mode, generator)
    if moves is None:
        return images
    if images.device.type == "cpu":
        return torch.from_numpy(moved(images.numpy(), moves))
    return moved_on_device(images, moves)


def moved(images: np.ndarray, moves: Moves) -> np.ndarray:
    """(n, px, px, 3) images, moved and mirrored; new memory.

    Every image is copied once as rows of bytes from a window of its padded self: five to ten times as quick as
    gathering pixels one by one.
    """
    count, side, _, channels = images.shape
    most = _most(side)
    padded = np.empty((count, side + 2 * most, side + 2 * most, channels), images.dtype)
    inside = slice(most, most + side)
    padded[:, inside, inside] = images
    padded[:, inside, :most] = images[:, :, :1]
    padded[:, inside, most + side :] = images[:, :, -1:]
    padded[:, :most] = padded[:, most : most + 1]
    padded[:, most + side :] = padded[:, most + side - 1 : most + side]
    image_step, row_step, pixel_step, channel_step = padded.strides
    # (n, moves down, moves right, px, px * 3): a view that holds every window of every image.
    windows = np.lib.stride_tricks.as_strided(
        padded,
        (count, 2 * most + 1, 2 * most + 1, side, side * channels),
        (image_step, row_step, pixel_step, row_step, channel_step),
        writeable=False,
    )
    found = windows[np.arange(count), moves.rows + most, moves.columns + most].reshape(images.shape)
    if moves.mirrored is not None:
        found[moves.mirrored] = found[moves.mirrored, :, ::-1]
    return found


def moved_on_device(images: Tensor, moves: Moves) -> Tensor:
    """The same on any device, pixel by pixel: what a GPU is good at."""
    side = images.shape[1]
    pixels = np.arange(side)
    rows = (pixels + moves.rows[:, None]).clip(0, side - 1)  # (n, px)
    columns = (pixels + moves.columns[:, None]).clip(0, side - 1)
    if moves.mirrored is not None:
        columns = np.where(moves.mirrored[:, None], columns[:, ::-1], columns)
    which = torch.arange(len(images), device=images.device)[:, None, None]
    rows_there, columns_there = (torch.from_numpy(part).to(images.device) for part in (rows, columns))
    return images[which, rows_there[:, :, None], columns_there[:, None, :]]


def _most(side: int) -> int:
    return max(1, side // _SHIFT_FRACTION)

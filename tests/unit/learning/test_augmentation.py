"""Changes to training images."""

import numpy as np
import pytest
import torch

from al_service.learning.augmentation import augment, draw_moves, moved, moved_on_device


def images() -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(0).integers(0, 256, (200, 8, 8, 3), dtype=np.uint8))


def moved_slowly(image: np.ndarray, rows: int, columns: int) -> np.ndarray:
    """The slow way: pad by repeating the border, cut the window."""
    padded = np.pad(image, ((1, 1), (1, 1), (0, 0)), mode="edge")
    return padded[1 + rows : 9 + rows, 1 + columns : 9 + columns]


def kinds(mode: str) -> set[tuple[int, int, bool]]:
    """Every change found, each checked to be a move by at most a pixel, mirrored or not."""
    before = images().numpy()
    after = augment(images(), mode, torch.Generator().manual_seed(0)).numpy()
    options = {(rows, columns, mirrored) for rows in (-1, 0, 1) for columns in (-1, 0, 1) for mirrored in (False, True)}
    found = set()
    for old, new in zip(before, after, strict=True):
        match = [
            (rows, columns, mirrored)
            for rows, columns, mirrored in options
            if (moved_slowly(old, rows, columns)[:, :: -1 if mirrored else 1] == new).all()
        ]
        assert len(match) == 1
        found.add(match[0])
    return found


def test_none_changes_nothing():
    assert augment(images(), "none", torch.Generator()).equal(images())


def test_shift_moves_by_up_to_an_eighth_and_never_mirrors():
    assert kinds("shift") == {(rows, columns, False) for rows in (-1, 0, 1) for columns in (-1, 0, 1)}


def test_flips_mirror_some_left_to_right():
    assert len(kinds("shift+flip")) == 18


@pytest.mark.parametrize("mode", ["shift", "shift+flip"])
def test_the_generator_decides(mode):
    first, second = (augment(images(), mode, torch.Generator().manual_seed(7)) for _ in range(2))
    assert first.equal(second)


@pytest.mark.parametrize("mode", ["shift", "shift+flip"])
@pytest.mark.parametrize("side", [1, 7, 8, 33])
def test_windows_of_bytes_and_pixels_one_by_one_are_the_same_images(mode, side):
    before = torch.from_numpy(np.random.default_rng(1).integers(0, 256, (50, side, side, 3), dtype=np.uint8))
    moves = draw_moves(50, side, mode, torch.Generator().manual_seed(3))
    assert torch.from_numpy(moved(before.numpy(), moves)).equal(moved_on_device(before, moves))


@pytest.mark.parametrize("count", [0, 1])
def test_no_image_and_one_image_are_augmented(count):
    before = images()[:count]
    assert augment(before, "shift+flip", torch.Generator().manual_seed(0)).shape == before.shape


def test_the_moves_of_some_images_are_those_of_the_whole_draw():
    moves = draw_moves(20, 8, "shift+flip", torch.Generator().manual_seed(3))
    which = np.array([3, 17, 4])
    whole = moved(images().numpy()[:20], moves)
    assert (moved(images().numpy()[:20][which], moves.of(which)) == whole[which]).all()

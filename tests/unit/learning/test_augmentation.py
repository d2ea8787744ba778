"""Changes to training images."""

import numpy as np
import pytest
import torch

from al_service.learning.augmentation import augment


def images() -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(0).integers(0, 256, (200, 8, 8, 3), dtype=np.uint8))


def moved(image: np.ndarray, rows: int, columns: int) -> np.ndarray:
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
            if (moved(old, rows, columns)[:, :: -1 if mirrored else 1] == new).all()
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

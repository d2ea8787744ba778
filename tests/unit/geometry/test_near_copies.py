"""Near-copies by pixels: the same picture changed a little is found, different pictures are told apart."""

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from al_service.errors import InvalidInputError
from al_service.geometry.near_copies import near_copies

SIDE = 32


def scenes(count: int, seed: int = 0, side: int = SIDE) -> np.ndarray:
    """(count, side, side, 3) pictures with soft shapes, as photographs have them, all different."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (count, 5, 5, 3), np.uint8)
    return np.stack([resized(Image.fromarray(picture), side) for picture in coarse])


def resized(picture: Image.Image, side: int = SIDE) -> np.ndarray:
    return np.array(picture.resize((side, side), Image.Resampling.BICUBIC))


def cropped(pixels: np.ndarray, cut: int) -> np.ndarray:
    return resized(Image.fromarray(pixels).crop((cut, cut, SIDE - cut, SIDE - cut)))


def saved_again(pixels: np.ndarray, quality: int) -> np.ndarray:
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "JPEG", quality=quality)
    return np.array(Image.open(out))


CHANGES = {
    "the very same": lambda pixels: pixels,
    "2 pixels cut off at every side": lambda pixels: cropped(pixels, 2),
    "2 pixels cut off left and above": lambda pixels: resized(Image.fromarray(pixels).crop((2, 2, SIDE, SIDE))),
    "JPEG of quality 40": lambda pixels: saved_again(pixels, 40),
    "darker": lambda pixels: (pixels * 0.7).astype(np.uint8),
    "paler": lambda pixels: (pixels * 0.6 + 60).astype(np.uint8),
    "half as large": lambda pixels: resized(Image.fromarray(resized(Image.fromarray(pixels), SIDE // 2))),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_picture_and_its_changed_copy_are_a_group_and_nothing_else_is(change):
    originals = scenes(40)
    copies = np.stack([change(pixels) for pixels in originals])
    groups = near_copies(np.concatenate([originals, copies]))
    assert groups[:40].tolist() == groups[40:].tolist() == list(range(40))


def test_different_pictures_have_no_group():
    assert near_copies(scenes(300)).tolist() == [-1] * 300


def test_the_same_shape_in_another_colour_is_another_picture():
    lamp = np.zeros((SIDE, SIDE, 3), np.uint8)
    lamp[8:24, 8:24] = 200
    red, green = lamp * np.array([1, 0, 0], np.uint8), lamp * np.array([0, 1, 0], np.uint8)
    assert near_copies(np.stack([red, green, red // 2 + 3])).tolist() == [0, -1, 0]


def test_empty_walls_are_no_copies_of_each_other():
    walls = np.full((6, SIDE, SIDE, 3), 127, np.uint8) + np.arange(6, dtype=np.uint8)[:, None, None, None]
    assert near_copies(walls).tolist() == [-1] * 6


def test_copies_of_copies_join_one_group():
    chain = [scenes(1)[0]]
    for _ in range(3):
        chain.append(cropped(chain[-1], 1))
    others = scenes(3, seed=1)
    assert near_copies(np.concatenate([chain, others])).tolist() == [0, 0, 0, 0, -1, -1, -1]


def test_small_images_need_to_be_nearly_equal():
    digits = scenes(20, side=8)
    shifted = np.roll(digits, 1, axis=2)
    groups = near_copies(np.concatenate([digits, shifted, digits // 2]))
    assert groups[:20].tolist() == groups[40:].tolist() == list(range(20))
    assert groups[20:40].tolist() == [-1] * 20


@pytest.mark.parametrize("count", [0, 1])
def test_too_few_images_have_no_copies(count):
    assert near_copies(scenes(2)[:count]).tolist() == [-1] * count


def test_images_that_are_not_in_colour_squares_are_refused():
    with pytest.raises(InvalidInputError, match=r"\(4, 8, 8\), expected \(N, H, W, 3\)"):
        near_copies(np.zeros((4, 8, 8), np.uint8))


@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=20, deadline=None)
def test_the_order_of_the_images_does_not_change_who_is_whose_copy(seed):
    originals = scenes(6)
    pixels = np.concatenate([originals, np.stack([saved_again(one, 50) for one in originals[:4]])])
    order = np.random.default_rng(seed).permutation(len(pixels))

    def together(groups: np.ndarray) -> set[tuple[int, int]]:
        return {(a, b) for a in range(len(groups)) for b in range(a) if groups[a] == groups[b] >= 0}

    found = near_copies(pixels[order])
    back = np.empty_like(found)
    back[order] = found
    assert together(back) == together(near_copies(pixels)) == {(6, 0), (7, 1), (8, 2), (9, 3)}


def test_more_images_than_are_compared_have_no_group_beyond():
    assert near_copies(np.repeat(scenes(1), 6, 0), compared_max=4).tolist() == [0, 0, 0, 0, -1, -1]


def test_of_very_many_alike_pairs_the_closest_are_looked_at():
    picture = scenes(1)[0]
    scene = [np.clip(picture + np.random.default_rng(at).normal(0, 30, picture.shape), 0, 255) for at in range(6)]
    pixels = np.stack([*scene, picture, picture, picture]).astype(np.uint8)
    assert near_copies(pixels, pairs_max=3).tolist() == [-1] * 6 + [0, 0, 0]

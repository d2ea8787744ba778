"""MaxHerding: width of the kernel, weights, what is labelled, large pools."""

import numpy as np
import pytest
import torch

from al_service.acquisition.arrays import InvalidArrayError
from al_service.acquisition.herding import herding, kernel, kernel_width, most_herding
from al_service.errors import InvalidInputError
from tests.unit.acquisition.geometry_selectors import blobs


@pytest.mark.parametrize("seed", range(5))
def test_of_a_big_and_a_small_heap_each_gives_one(seed):
    assert (herding(blobs((90, 10), seed), 2, width=10.0) // 90).tolist() == [0, 1]


def test_what_is_labelled_covers_already():
    line = np.array([[0.0], [1.0], [2.0], [9.0], [10.0]])
    assert herding(line, 1, width=1.0).tolist() == [1]
    assert herding(line, 1, labelled=np.array([[1.0]]), width=1.0).tolist() == [3]


def test_a_narrow_kernel_orders_by_weight_alone():
    rows, weights = blobs((30, 20)), np.random.default_rng(1).random(50)
    np.testing.assert_array_equal(herding(rows, 50, weights, width=1e-3), np.argsort(-weights))


def test_weights_say_which_heap_counts():
    rows = blobs((30, 30))
    assert herding(rows, 1, np.repeat([0.1, 1.0], 30), width=5.0)[0] >= 30
    assert herding(rows, 1, np.repeat([1.0, 0.1], 30), width=5.0)[0] < 30


def test_copies_of_a_chosen_sample_add_nothing():
    rows = np.repeat(np.random.default_rng(0).normal(size=(6, 5)) + 100, 3, axis=0)
    positions, gains = most_herding(torch.from_numpy(rows.astype(np.float32)), 18, None, None, None)
    assert set((positions[:6] // 3).tolist()) == set(range(6))
    assert (gains[:6] > 0).all() and not gains[6:].any()
    assert positions[6:].tolist() == sorted(positions[6:].tolist())


def test_gains_add_up_to_the_coverage():
    rows = torch.from_numpy(blobs((30, 20)))
    positions, gains = most_herding(rows, 12, None, None, 2.0)
    coverage = torch.exp(-(torch.cdist(rows, rows[positions]) ** 2) / 4).amax(1).sum()
    assert float(gains.sum()) == pytest.approx(float(coverage), rel=1e-5)
    assert gains.tolist() == sorted(gains.tolist(), reverse=True)


def test_the_width_is_the_smallest_distance_between_labels_where_there_are_weights():
    rows, labels = torch.from_numpy(blobs((40,))), torch.tensor([[0.0], [0.0], [3.0], [5.0]]).expand(4, 4)
    assert kernel_width(rows, labels, weighted=True) == pytest.approx(4.0, rel=1e-5)  # 2 in each of 4 directions
    distances = torch.cdist(rows, rows)
    median = float(distances[distances > 0].median())
    assert kernel_width(rows, labels, weighted=False) == pytest.approx(median, rel=1e-4)
    assert kernel_width(rows, labels[:2], weighted=True) == pytest.approx(median, rel=1e-4)
    assert kernel_width(torch.ones((5, 2)), labels[:0, :2], weighted=False) == 1.0


def test_the_kernel_is_exactly_one_in_the_same_place():
    assert kernel(torch.tensor([0.0, 4.0]), 2.0).tolist() == pytest.approx([1.0, np.exp(-1)])


def test_large_pools_are_looked_at_in_part_and_all_of_them_where_all_are_wanted():
    rows = torch.from_numpy(blobs((60, 40)))
    positions, _ = most_herding(rows, 10, None, None, None, samples_max=25)
    assert set(positions.tolist()) <= set(range(0, 100, 4))
    assert set(most_herding(rows, 100, None, None, None, samples_max=25)[0].tolist()) == set(range(100))


@pytest.mark.parametrize("width", [0.0, -1.0, float("nan"), float("inf")])
def test_a_width_that_is_none_is_refused(width):
    with pytest.raises(InvalidInputError, match="expected a number above 0"):
        herding(np.ones((5, 2)), 2, width=width)


def test_weights_of_another_length_are_refused():
    with pytest.raises(InvalidArrayError, match="weights have 3 rows for 5"):
        herding(np.ones((5, 2)), 2, np.ones(3))


@pytest.mark.parametrize("width", [1e-24, 1e-300, 5e-324])
def test_a_kernel_far_narrower_than_all_distances_covers_nothing_but_the_sample(width):
    line = np.array([[0.0], [1.0], [1.0], [9.0]])
    assert herding(line, 4, width=width).tolist() == [1, 0, 3, 2]


@pytest.mark.parametrize("unit", [2.0**-70, 2.0**70])
def test_a_width_is_in_units_of_the_embeddings_however_large(unit):
    rows, labelled = blobs((30, 20)), blobs((5,), 3)
    expected = herding(rows, 12, None, labelled, width=3.0)
    np.testing.assert_array_equal(herding(rows * unit, 12, None, labelled * unit, width=3.0 * unit), expected)
    torch_rows, covered = torch.from_numpy(rows), torch.from_numpy(labelled)
    width = kernel_width(torch_rows, covered, weighted=True)
    assert kernel_width(torch_rows * unit, covered * unit, weighted=True) == width * unit


def test_labels_beyond_all_proportion_cover_nothing():
    rows = blobs((30, 20))
    np.testing.assert_array_equal(herding(rows, 9, labelled=np.full((2, 4), 1e300)), herding(rows, 9))

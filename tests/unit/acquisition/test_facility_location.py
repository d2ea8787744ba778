"""Facility location: directions, weights, what is labelled, lists for large pools."""

import numpy as np
import pytest
import torch

from al_service.acquisition.facility_location import facility_location, most_representative
from tests.unit.acquisition.geometry_selectors import blobs


def test_of_two_directions_each_gives_one_the_one_that_most_point_to_first():
    rows = blobs((10, 90))
    assert (facility_location(rows, 2) // 10 > 0).tolist() == [True, False]


def test_only_directions_count():
    rows = np.random.default_rng(0).normal(size=(40, 4))
    sizes = np.random.default_rng(1).uniform(0.1, 100, (40, 1))
    np.testing.assert_array_equal(facility_location(rows, 20), facility_location(rows * sizes, 20))


def test_weights_say_whose_representation_counts_and_labelled_ones_represent_already():
    rows = blobs((50, 50))
    assert facility_location(rows, 1, np.repeat([0.1, 1.0], 50))[0] >= 50
    assert facility_location(rows, 1, labelled=rows[50:60])[0] < 50


def test_copies_of_a_chosen_sample_add_nothing():
    rows = np.repeat(np.eye(6), 3, axis=0)
    positions, gains = most_representative(torch.from_numpy(rows), 18, None, None)
    assert (positions[:6] // 3).tolist() == list(range(6))
    assert not gains[6:].any()
    assert positions[6:].tolist() == [1, 2, 4, 5, 7, 8, 10, 11, 13, 14, 16, 17]


def test_zero_vectors_are_represented_by_nothing_more_than_by_another():
    rows = np.concatenate([np.zeros((3, 2)), np.array([[1.0, 0], [1.0, 0.01], [0.9, 0]])])
    assert facility_location(rows, 1)[0] >= 3
    assert len(set(facility_location(rows, 6).tolist())) == 6


@pytest.mark.parametrize("seed", range(3))
def test_lists_choose_about_as_well_as_all_pairs(seed):
    """The sum that is maximised, over all pairs: lists of 64 for 400 samples keep 95 % of what whole rows reach."""
    rows = torch.from_numpy(blobs((200, 150, 50), seed))
    units = torch.nn.functional.normalize(rows)
    similarity = (1 + units @ units.T) / 2
    whole = most_representative(rows, 20, None, None)[0]
    lists, gains = most_representative(rows, 20, None, None, held_max=100)
    assert len(set(lists.tolist())) == 20
    assert gains.tolist() == sorted(gains.tolist(), reverse=True)
    reached = similarity[lists].amax(0).sum() / similarity[whole].amax(0).sum()
    assert float(reached) > 0.95


def test_lists_take_weights_labels_and_all_of_the_pool():
    rows = torch.from_numpy(blobs((100, 80)))
    assert set(most_representative(rows, 180, None, None, held_max=10)[0].tolist()) == set(range(180))
    heavy = torch.cat([torch.full((100,), 0.1), torch.ones(80)])
    assert int(most_representative(rows, 1, heavy, None, held_max=10)[0]) >= 100
    assert int(most_representative(rows, 1, heavy, rows[100:], held_max=10)[0]) < 100


@pytest.mark.parametrize("held_max", [16_384, 50])
@pytest.mark.parametrize("unit", [1e-13, 1e-300, 1e200])
def test_only_directions_count_however_long_the_rows_are(held_max, unit):
    rows = torch.from_numpy(np.random.default_rng(0).normal(size=(120, 6)))
    covered = torch.from_numpy(np.random.default_rng(1).normal(size=(4, 6)))
    expected, _ = most_representative(rows, 20, None, covered, held_max=held_max)
    found, _ = most_representative(rows * unit, 20, None, covered * unit, held_max=held_max)
    assert found.tolist() == expected.tolist()

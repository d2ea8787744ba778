"""What single selectors choose on small pools."""

import numpy as np
import pytest
import torch

from al_service.acquisition import selectors
from al_service.acquisition.arrays import InvalidArrayError


def test_top_k_is_sort_and_cut():
    scores = np.random.default_rng(0).random(200)
    np.testing.assert_array_equal(selectors.top_k(scores, 17), np.argsort(-scores, kind="stable")[:17])


def test_top_k_gives_ties_to_the_lower_position():
    np.testing.assert_array_equal(selectors.top_k(np.array([0.0, 1, 0, 1, 1, 0]), 4), [1, 3, 4, 0])
    np.testing.assert_array_equal(selectors.top_k(np.zeros(1000), 5), np.arange(5))


def test_top_k_refuses_nan():
    with pytest.raises(InvalidArrayError, match=r"scores\[1\]"):
        selectors.top_k(np.array([0.0, np.nan]), 1)


def test_k_center_starts_at_the_sample_closest_to_the_mean():
    line = np.array([[0.0], [10.0], [4.0], [5.0]])
    np.testing.assert_array_equal(selectors.k_center(line, 3), [3, 0, 1])


def test_k_center_goes_farthest_from_what_is_labelled():
    line = np.array([[0.0], [10.0], [4.0], [5.0]])
    np.testing.assert_array_equal(selectors.k_center(line, 2, labelled=np.array([[10.0], [9.5]])), [0, 3])


def test_k_center_treats_no_labelled_rows_as_none():
    points = np.random.default_rng(0).normal(size=(20, 3))
    expected = selectors.k_center(points, 5)
    np.testing.assert_array_equal(selectors.k_center(points, 5, labelled=np.empty((0, 3))), expected)


def test_k_center_takes_copies_of_a_chosen_sample_last():
    rng = np.random.default_rng(0)
    points = np.concatenate([np.repeat(rng.normal(size=(1, 16)) + 1000, 10, axis=0), rng.normal(size=(10, 16))])
    chosen = selectors.k_center(points.astype(np.float32), 12)
    assert sum(position < 10 for position in chosen[:11].tolist()) == 1


def test_k_center_sees_that_a_labelled_copy_is_covered_however_far_from_the_origin():
    rng = np.random.default_rng(0)
    points = (rng.normal(size=(50, 32)) + 1000).astype(np.float32)
    chosen = selectors.k_center(points, 40, labelled=points[:10])
    assert set(chosen.tolist()) == set(range(10, 50))


def test_k_center_chooses_the_same_from_float16():
    points = np.random.default_rng(3).normal(size=(300, 8)).astype(np.float16)
    np.testing.assert_array_equal(selectors.k_center(points, 30), selectors.k_center(points.astype(np.float32), 30))


def test_k_center_refuses_labelled_embeddings_of_another_width():
    with pytest.raises(InvalidArrayError, match="width 2, expected 3"):
        selectors.k_center(np.zeros((4, 3)), 1, labelled=np.zeros((4, 2)))


def test_positions_come_back_in_the_kind_of_the_input():
    points = torch.arange(6.0)[:, None]
    assert isinstance(selectors.k_center(points, 2), torch.Tensor)
    assert selectors.k_center(points, 2).dtype == torch.int64
    assert isinstance(selectors.top_k(points[:, 0], 2), torch.Tensor)
    assert selectors.top_k(points[:, 0].numpy(), 2).dtype == np.int64


def test_random_choice_draws_every_position_about_equally_often():
    rng = np.random.default_rng(0)
    counts = np.bincount(np.concatenate([selectors.random_choice(10, 3, rng) for _ in range(4000)]), minlength=10)
    # 1200 expected each, standard deviation 29.
    assert counts.min() > 1060 and counts.max() < 1340

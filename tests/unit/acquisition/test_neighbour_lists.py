"""Neighbour lists of a pool."""

import numpy as np
import pytest
import torch

from al_service.acquisition.arrays import InvalidArrayError
from al_service.acquisition.neighbour_lists import neighbour_lists
from al_service.errors import InvalidInputError


def test_fewer_others_than_k_are_refused_and_none_are_an_empty_list():
    with pytest.raises(InvalidInputError, match="expected 0 to 4"):
        neighbour_lists(np.ones((5, 2)), 5)
    assert neighbour_lists(np.ones((5, 2)), 0).positions.shape == (5, 0)
    assert neighbour_lists(np.ones((0, 2)), 0).distances.shape == (0, 0)
    assert neighbour_lists(np.ones((1, 2)), 0).positions.shape == (1, 0)


def test_an_unknown_metric_and_nan_are_refused():
    with pytest.raises(InvalidInputError, match="metric is 'hamming', expected one of cosine, euclidean"):
        neighbour_lists(np.ones((5, 2)), 2, metric="hamming")
    with pytest.raises(InvalidArrayError, match=r"embeddings\[1\]"):
        neighbour_lists(np.array([[0.0], [np.inf]]), 1)


def test_tensors_give_tensors_and_half_floats_are_read():
    rows = np.random.default_rng(0).normal(size=(40, 8)).astype(np.float16)
    lists = neighbour_lists(torch.from_numpy(rows), 3)
    assert isinstance(lists.positions, torch.Tensor)
    np.testing.assert_array_equal(lists.positions.numpy(), neighbour_lists(rows.astype(np.float64), 3).positions)

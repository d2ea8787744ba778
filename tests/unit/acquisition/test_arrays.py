"""Checks of shapes and ids, and the door between numpy and torch."""

import numpy as np
import pytest
import torch

from al_service.acquisition import arrays
from al_service.acquisition.arrays import InvalidArrayError, PoolArrays
from al_service.errors import InvalidInputError

HALVES = np.full((3, 2), 0.5)


def test_a_pool_refuses_unequal_lengths():
    with pytest.raises(InvalidArrayError, match="probabilities has 3 rows for 2"):
        PoolArrays([1, 2], HALVES)
    with pytest.raises(InvalidArrayError, match="embeddings has 4 rows for 3"):
        PoolArrays([1, 2, 3], HALVES, np.zeros((4, 5)))
    with pytest.raises(InvalidArrayError, match="sampled_probabilities has 1 rows for 3"):
        PoolArrays([1, 2, 3], sampled_probabilities=np.full((1, 4, 2), 0.5))


def test_a_pool_refuses_repeated_and_mixed_ids():
    with pytest.raises(InvalidArrayError, match="2 twice"):
        PoolArrays([1, 2, 2], HALVES)
    with pytest.raises(InvalidArrayError, match="int, str"):
        PoolArrays([1, "2", 3], HALVES)
    with pytest.raises(InvalidArrayError, match="float"):
        PoolArrays(np.array([1.0, 2.0, 3.0]), HALVES)


def test_a_pool_refuses_labelled_embeddings_of_another_model():
    with pytest.raises(InvalidArrayError, match="width 4, expected 5"):
        PoolArrays([1, 2], embeddings=np.zeros((2, 5)), labelled_embeddings=np.zeros((7, 4)))


def test_a_pool_keeps_ids_as_plain_numbers_or_text():
    assert PoolArrays(np.array([5, 3])).sample_ids == (5, 3)
    assert type(PoolArrays([np.int64(5)]).sample_ids[0]) is int
    assert PoolArrays(["a", "b"]).sample_ids == ("a", "b")
    assert len(PoolArrays([])) == 0


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_embeddings_and_scores_must_be_finite_and_the_row_is_named(bad):
    embeddings = np.zeros((5, 3))
    embeddings[3, 1] = bad
    with pytest.raises(InvalidArrayError, match=r"embeddings\[3\]"):
        arrays.check_embeddings(embeddings)
    with pytest.raises(InvalidArrayError, match=r"scores\[3\]"):
        arrays.check_scores(embeddings[:, 1])


def test_embeddings_need_two_axes_and_a_width():
    with pytest.raises(InvalidArrayError, match=r"expected \(N, D\)"):
        arrays.check_embeddings(np.zeros(3))
    with pytest.raises(InvalidArrayError, match="width 0"):
        arrays.check_embeddings(np.zeros((3, 0)))


def test_passes_need_three_axes_and_one_pass():
    with pytest.raises(InvalidArrayError, match=r"expected \(N, M, C\)"):
        arrays.check_sampled_probabilities(HALVES)
    with pytest.raises(InvalidArrayError, match="no passes"):
        arrays.check_sampled_probabilities(np.zeros((3, 0, 2)))


@pytest.mark.parametrize("count", [-1, 4, 1.0, True, None, "2"])
def test_a_count_outside_its_limit_or_not_whole_is_refused(count):
    with pytest.raises(InvalidInputError, match="k is"):
        arrays.check_count(count, 3)


def test_a_numpy_count_becomes_plain():
    assert type(arrays.check_count(np.int32(2), 3)) is int


@pytest.mark.parametrize("fraction", [-0.1, 1.1, float("nan"), None, True])
def test_a_fraction_outside_0_to_1_is_refused(fraction):
    with pytest.raises(InvalidInputError, match="random_fraction"):
        arrays.check_fraction(fraction, name="random_fraction")


def test_odd_numpy_arrays_are_read_without_a_warning():
    values = np.arange(6.0).reshape(3, 2)
    for odd in (values[::-1], values.astype(">f8"), np.broadcast_to(values[:1], (3, 2)), values[:, ::-1]):
        np.testing.assert_array_equal(arrays.to_tensor(odd, "values").numpy(), odd)


def test_a_tensor_that_needs_a_gradient_is_read_as_plain_values():
    tensor = arrays.to_tensor(torch.ones(2, requires_grad=True), "values")
    assert not tensor.requires_grad

"""Distances in blocks against distances one by one, and where they are exactly nothing."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from al_service.geometry.distances import (
    Centred,
    evenly_spaced,
    mean_row,
    row_slices,
    squared_distances,
    squared_to_nearest,
    squared_to_rows,
    units,
)


@given(count=st.integers(0, 50), columns=st.integers(0, 20), elements=st.integers(1, 100))
@settings(max_examples=50, deadline=None)
def test_slices_take_every_row_once_in_order(count, columns, elements):
    slices = list(row_slices(count, columns, elements))
    assert [row for part in slices for row in range(part.start, part.stop)] == list(range(count))
    assert all((part.stop - part.start) * max(1, columns) <= elements or part.stop - part.start == 1 for part in slices)


@pytest.mark.parametrize("kind", [torch.float16, torch.float32, torch.float64])
@pytest.mark.parametrize("far", [0.0, 30.0])
def test_squares_are_those_of_differences(kind, far):
    rows = (torch.randn(40, 9, generator=torch.Generator().manual_seed(0)) + far).to(kind)
    view = Centred.on_mean(rows)
    exact = torch.cdist(rows.double(), rows.double()).square()
    found = squared_distances(view.rows(slice(None)), view.rows(slice(None)))
    torch.testing.assert_close(found.double(), exact, rtol=1e-4, atol=1e-4)
    nearest = squared_to_nearest(view, view.rows(torch.tensor([3, 17])))
    torch.testing.assert_close(nearest.double(), exact[[3, 17]].amin(0), rtol=1e-4, atol=1e-4)


def test_copies_are_nothing_apart_and_so_are_rows_that_half_floats_cannot_tell_apart():
    rows = torch.randn(20, 64, generator=torch.Generator().manual_seed(0)) + 5
    view = Centred.on_mean(torch.cat([rows, rows, rows * (1 + 1e-5)]))
    squared = squared_distances(view.rows(slice(0, 20)), view.rows(slice(20, 60)))
    assert not squared.diagonal().any() and not squared[:, 20:].diagonal().any()
    assert int((squared == 0).sum()) == 40


def test_rows_side_by_side_keep_the_smallest_difference():
    rows = torch.full((2, 3), 1000.0)
    assert squared_to_rows(rows, rows + torch.tensor([0.001, 0, 0])).tolist() == pytest.approx([1e-6] * 2, rel=0.2)


def test_the_mean_of_equal_rows_is_that_row_and_of_no_rows_zeros():
    row = torch.tensor([[0.1, -2.7, 1e4]])
    np.testing.assert_array_equal(mean_row(row.expand(1001, 3)), row[0])
    assert mean_row(row[:0]).tolist() == [0, 0, 0]


def test_a_pool_is_read_in_blocks_no_longer_than_the_columns_allow():
    view = Centred.on_mean(torch.zeros((100, 4), dtype=torch.float16))
    parts = [part for part, rows in view.blocks(columns=1 << 20) if rows.dtype == torch.float32]
    assert {part.stop - part.start for part in parts} == {4}
    assert view.width == 4 and len(view) == 100


def test_the_nearest_of_none_is_infinitely_far():
    view = Centred.on_mean(torch.ones((3, 2)))
    assert squared_to_nearest(view, torch.empty((0, 2))).tolist() == [np.inf] * 3


@pytest.mark.parametrize("kind", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("exponent", [-100, -60, 60, 120])
def test_large_and_tiny_values_are_seen_as_ordinary_ones_are(kind, exponent):
    points = torch.randn(50, 4, generator=torch.Generator().manual_seed(0)).to(kind)
    near, far = Centred.on_mean(points), Centred.on_mean(points * 2.0**exponent)
    assert near.scale == 1 and math.frexp(far.scale)[0] == 0.5
    ratio = far.scale * 2.0**exponent
    assert torch.equal(far.rows(slice(None)), near.rows(slice(None)) * ratio)
    assert torch.equal(far.seen(points[:3] * 2.0**exponent), far.rows(slice(3)))


@pytest.mark.parametrize("largest", [5e-324, 1e-310, 1e-200, 1e200, 1.7e308])
def test_the_scale_is_a_number_and_so_are_squares_for_every_largest_value(largest):
    points = torch.tensor([[largest], [-largest], [0.0]], dtype=torch.float64)
    squared = Centred.on_mean(points).rows(slice(None)).square()
    assert bool((squared[:2] > 0).all()) and bool(squared.isfinite().all())


def test_rows_out_of_proportion_end_where_their_squares_are_numbers():
    view = Centred.on_mean(torch.randn(9, 2, generator=torch.Generator().manual_seed(0)))
    for far in (torch.tensor([[1e300, 0.0]], dtype=torch.float64), torch.tensor([[3e38, -3e38]])):
        nearest = squared_to_nearest(view, view.seen(far))
        assert bool(nearest.isfinite().all()) and float(nearest.min()) > 1e29


@pytest.mark.parametrize("length", [5e-324, 1e-200, 1.0, 1e300])
def test_units_have_the_direction_of_rows_of_any_length(length):
    rows = torch.tensor([[1.0, 0.0], [-1.0, 0.0], [0.0, 0.0]], dtype=torch.float64) * length
    assert units(rows).tolist() == [[1, 0], [-1, 0], [0, 0]]


def test_evenly_spaced_positions_are_distinct_and_all_where_there_are_few():
    assert evenly_spaced(5, 9).tolist() == [0, 1, 2, 3, 4]
    assert evenly_spaced(0, 9).tolist() == evenly_spaced(9, 0).tolist() == []
    spaced = evenly_spaced(1000, 300)
    assert len(spaced.unique()) == 300 and set(spaced.diff().tolist()) == {3, 4}

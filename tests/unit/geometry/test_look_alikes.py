"""Groups of look-alikes: their sizes, that clusters stay whole, their order."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from al_service.errors import InvalidInputError
from al_service.geometry.look_alikes import look_alike_groups


def sizes_of(groups):
    return np.bincount(groups).tolist()


@given(count=st.integers(0, 300), width=st.integers(1, 8), seed=st.integers(0, 1000), is_equal=st.booleans())
@settings(max_examples=60, deadline=None)
def test_every_group_fits_on_a_screen(count, width, seed, is_equal):
    rows = np.random.default_rng(seed).normal(size=(count, width))
    groups = look_alike_groups(np.ones_like(rows) if is_equal else rows)
    sizes = sizes_of(groups)
    assert sum(sizes) == count and (not sizes or max(sizes) <= 24)
    assert min(sizes, default=8) >= min(8, count), sizes


def test_clusters_stay_whole():
    rng = np.random.default_rng(3)
    centres = np.eye(6)
    truth = np.repeat(np.arange(6), [8, 12, 20, 9, 16, 10])
    rows = centres[truth] + rng.normal(0, 0.02, (len(truth), 6))
    order = rng.permutation(len(truth))
    groups = look_alike_groups(rows[order])
    # A group may hold two small clusters, but none is cut.
    assert all(len(set(groups[truth[order] == cluster])) == 1 for cluster in range(6))


def test_groups_side_by_side_are_alike():
    """Points on a half circle: walking through the groups walks along it."""
    angles = np.random.default_rng(0).permutation(np.linspace(0, np.pi, 400))
    groups = look_alike_groups(np.stack([np.cos(angles), np.sin(angles)], 1))
    middles = [angles[groups == group].mean() for group in range(groups.max() + 1)]
    assert len(middles) >= 400 / 24
    assert middles in (sorted(middles), sorted(middles, reverse=True))


def test_length_does_not_count_and_half_floats_do():
    rows = np.random.default_rng(1).normal(size=(60, 5)).astype(np.float16)
    lengths = np.random.default_rng(2).choice([0.5, 1, 2, 4], (60, 1)).astype(np.float16)
    assert look_alike_groups(rows).tolist() == look_alike_groups(rows * lengths).tolist()


@pytest.mark.parametrize(
    ("shape", "fill", "least"), [((3,), 0, 8), ((3, 2), np.nan, 8), ((3, 2), np.inf, 8), ((3, 2), 0, 20)]
)
def test_what_cannot_be_grouped_is_refused(shape, fill, least):
    with pytest.raises(InvalidInputError):
        look_alike_groups(np.full(shape, fill, float), least=least)

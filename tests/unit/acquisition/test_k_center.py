"""k-center looks at few samples per pick and chooses as if it had looked at all."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from al_service.acquisition import selectors
from al_service.acquisition.k_center import farthest_first, k_center


def sweep_everything(points: Tensor, k: int, covered: Tensor | None) -> tuple[list[int], list[float]]:
    """The plain algorithm: after each pick, every sample's distance by differences in float32."""
    points = points.to(torch.float32)
    nearest = torch.full((len(points),), torch.inf)
    for centre in [] if covered is None else covered.to(torch.float32):
        nearest = torch.minimum(nearest, (points - centre).square().sum(1))
    chosen = nearest.argmax()
    if covered is None or not len(covered):
        chosen = (points - points.mean(0, dtype=torch.float64).to(torch.float32)).square().sum(1).argmin()
    positions, distances = [], []
    for _ in range(k):
        positions.append(int(chosen))
        distances.append(float(nearest[chosen].sqrt()))
        nearest = torch.minimum(nearest, (points - points[chosen]).square().sum(1))
        nearest[chosen] = -1
        chosen = nearest.argmax()
    return positions, distances


def pool_of(kind: str, n: int, width: int, seed: int = 0) -> Tensor:
    rng = np.random.default_rng(seed)
    spread = {"one cloud": 0.0, "clusters": 2.0, "far clusters": 1000.0}.get(kind, 0.0)
    rows = rng.normal(size=(n, width)) + spread * rng.normal(size=(9, width))[rng.integers(9, size=n)]
    if kind == "far from the origin":
        rows = rows + 1000
    if kind == "a plane":
        rows = rng.random((n, 2)) @ rng.normal(size=(2, width))
    if kind == "many copies":
        rows = rows[rng.integers(n // 8 + 1, size=n)]
    if kind == "a grid":
        rows = rng.integers(3, size=(n, width)).astype(float)
    return torch.from_numpy(rows.astype(np.float32))


KINDS = ("one cloud", "clusters", "far clusters", "far from the origin", "a plane", "many copies", "a grid")


@pytest.mark.parametrize("places", [1, 7, 64])
@pytest.mark.parametrize("kind", KINDS)
def test_the_picks_are_those_of_sweeping_everything(kind, places):
    points = pool_of(kind, 600, 40)
    positions, distances = farthest_first(points, 150, None, places=places)
    assert (positions.tolist(), distances.tolist()) == sweep_everything(points, 150, None)


@pytest.mark.parametrize("kind", KINDS)
def test_the_picks_are_those_of_sweeping_everything_when_some_are_labelled(kind):
    points, labelled = pool_of(kind, 500, 33), pool_of(kind, 30, 33, seed=0)
    positions, distances = farthest_first(points, 120, labelled, places=20)
    assert (positions.tolist(), distances.tolist()) == sweep_everything(points, 120, labelled)


@given(
    n=st.integers(1, 60), width=st.integers(1, 6), share=st.floats(0, 1), places=st.integers(1, 70),
    seed=st.integers(0, 999), kind=st.sampled_from(KINDS),
)  # fmt: skip
@settings(max_examples=60, deadline=None)
def test_any_small_pool_gives_the_picks_of_sweeping_everything(n, width, share, places, seed, kind):
    points, k = pool_of(kind, n, width, seed), round(share * n)
    positions, distances = farthest_first(points, k, None, places=places)
    assert (positions.tolist(), distances.tolist()) == sweep_everything(points, k, None)


@pytest.mark.parametrize("width", [1, 2, 3, 7, 16, 31, 512, 700])
def test_a_distance_does_not_depend_on_the_rows_beside_it(width):
    points = pool_of("one cloud", 3000, width)
    squared = (points - points[5]).square().sum(1)
    for rows in ([17], [2, 999], list(range(40, 71)), list(range(1, 3000, 3))):
        assert torch.equal((points[rows] - points[5]).square().sum(1), squared[rows])


@pytest.mark.parametrize("elements", [1, 400, 5000])
def test_the_size_of_a_block_does_not_change_the_picks(elements):
    points, labelled = pool_of("clusters", 700, 40), pool_of("clusters", 50, 40, seed=3)
    expected = farthest_first(points, 90, labelled)
    found = farthest_first(points, 90, labelled, places=16, block_elements=elements)
    assert torch.equal(found[0], expected[0]) and torch.equal(found[1], expected[1])


def test_more_centres_than_one_product_takes():
    points, labelled = pool_of("clusters", 1500, 5), pool_of("clusters", 1100, 5, seed=3)
    for places, covered in ((50, labelled), (300, None)):
        positions, distances = farthest_first(points, 1200, covered, places=places)
        assert (positions.tolist(), distances.tolist()) == sweep_everything(points, 1200, covered)


def test_rounded_products_change_the_time_taken_not_the_picks():
    points = pool_of("clusters", 600, 40)
    expected = farthest_first(points, 90, None, places=16)[0]
    torch.set_float32_matmul_precision("medium")
    try:
        assert torch.equal(farthest_first(points, 90, None, places=16)[0], expected)
    finally:
        torch.set_float32_matmul_precision("highest")


@pytest.mark.parametrize("kind", KINDS)
def test_float16_is_read_as_float32(kind):
    points = pool_of(kind, 400, 24).to(torch.float16)
    halves = farthest_first(points, 100, points[:9], places=16)
    floats = farthest_first(points.to(torch.float32), 100, points[:9].to(torch.float32), places=16)
    assert torch.equal(halves[0], floats[0]) and torch.equal(halves[1], floats[1])


def test_no_array_of_the_caller_is_written_to():
    points, labelled = np.arange(12.0, dtype=np.float32).reshape(6, 2), np.ones((2, 2), np.float32)
    before = points.copy(), labelled.copy()
    k_center(points, 6, labelled)
    np.testing.assert_array_equal(points, before[0])
    np.testing.assert_array_equal(labelled, before[1])


def test_equal_samples_come_in_order_of_position_however_small_the_front():
    for places in (1, 4, 100):
        positions, distances = farthest_first(torch.ones((50, 3)), 50, None, places=places)
        assert positions.tolist() == list(range(50))
        assert distances[1:].tolist() == [0.0] * 49


def test_one_sample_none_and_no_pool():
    assert k_center(np.ones((1, 3)), 1).tolist() == [0]
    assert k_center(np.ones((5, 3)), 0).tolist() == []
    assert k_center(np.ones((0, 3)), 0).tolist() == []


def test_samples_too_large_for_their_squares_are_still_chosen_once_each():
    points = torch.tensor([[1e25, 0.0], [0.0, 1e25], [1.0, 1.0], [-1e25, 0.0]])
    assert sorted(farthest_first(points, 4, None, places=2)[0].tolist()) == [0, 1, 2, 3]


def test_the_names_of_selectors_are_these():
    assert selectors.k_center is k_center

"""k-means: seeds, weights, empty clusters, order of choice."""

import numpy as np
import pytest
import torch

from al_service.acquisition.arrays import InvalidArrayError
from al_service.acquisition.k_means import Centred, assign, centroids, k_means, lloyd, medoids, seeds
from tests.unit.acquisition.geometry_selectors import blobs


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_the_heaviest_cluster_comes_first():
    rows = blobs((10, 40, 20))
    assert [int(np.searchsorted([10, 50], position, side="right")) for position in k_means(rows, 3, rng=rng())] == [
        1, 2, 0,
    ]  # fmt: skip
    weights = np.concatenate([np.full(10, 9.0), np.ones(40), np.full(20, 0.1)])
    chosen, heaviness = medoids(torch.from_numpy(rows), 3, torch.from_numpy(weights), rng())
    assert [int(np.searchsorted([10, 50], position, side="right")) for position in chosen.tolist()] == [0, 1, 2]
    np.testing.assert_allclose(heaviness, [90, 40, 2])


def test_samples_without_weight_do_not_draw_centres():
    rows = np.concatenate([np.linspace(0, 1, 11)[:, None], np.linspace(100, 101, 11)[:, None]])
    weights = np.zeros(22)
    weights[[2, 8]] = 1
    assert sorted(k_means(rows, 2, weights, rng=rng())) == [2, 8]


def test_zeros_only_count_like_no_weights():
    rows = blobs((10, 20))
    np.testing.assert_array_equal(k_means(rows, 4, np.zeros(30), rng=rng()), k_means(rows, 4, rng=rng()))


@pytest.mark.parametrize(
    ("weights", "message"),
    [(np.ones(4), "weights have 4 rows for 5"), (np.array([1, 1, 1, -2.5, 1]), r"weights\[3\] is -2.5")],
)
def test_weights_that_do_not_fit_are_refused(weights, message):
    with pytest.raises(InvalidArrayError, match=message):
        k_means(np.ones((5, 2)), 1, weights, rng=rng())


def test_fewer_places_than_clusters_are_filled_with_the_lowest_positions():
    rows = np.repeat(np.array([[0.0, 1], [5, 5], [9, 0]]), 4, axis=0)
    chosen = k_means(rows, 6, rng=rng()).tolist()
    assert chosen == [0, 4, 8, 1, 2, 3]


def test_a_centroid_that_loses_its_samples_goes_to_the_one_that_is_worst_off():
    view = Centred.on_mean(torch.tensor([[0.0], [1.0], [10.0], [11.0], [40.0]]))
    start = torch.tensor([[0.0], [10.0], [500.0]]) - view.origin
    centres = lloyd(view, start, torch.ones(5, dtype=torch.float64)) + view.origin
    assert sorted(centres.flatten().tolist()) == pytest.approx([0.5, 10.5, 40.0], abs=1e-4)


def test_seeds_are_drawn_in_proportion_to_weight_times_squared_distance():
    """The law of the third seed, given the two before it, against that of k-means++ (chi square, 5 places)."""
    places = torch.tensor([[0.0], [1.0], [3.0], [4.0], [9.0]])
    weights = torch.tensor([1.0, 2.0, 1.0, 0.5, 0.2], dtype=torch.float64)
    view = Centred.on_mean(places)
    counts: dict[tuple[int, int], np.ndarray] = {}
    source = rng(5)
    for _ in range(6000):
        first, second, third = seeds(view, 3, weights, source).tolist()
        counts.setdefault((first, second), np.zeros(5))[third] += 1
    points, tested = places.numpy(), 0
    for (first, second), found in counts.items():
        nearest = np.minimum((points - points[first]) ** 2, (points - points[second]) ** 2).ravel() * weights.numpy()
        expected = found.sum() * nearest / nearest.sum()
        there = expected > 5
        if found.sum() > 300:
            assert (((found - expected) ** 2)[there] / expected[there]).sum() < 18.5  # 0.1 % for 4 degrees of freedom
            tested += 1
    assert tested >= 4


def test_large_pools_are_clustered_by_a_part_of_them():
    view = Centred.on_mean(torch.from_numpy(blobs((500, 300, 200))))
    labels = assign(view, centroids(view, 3, None, rng(), samples_max=60)).labels
    assert [len(set(labels[part].tolist())) for part in (slice(500), slice(500, 800), slice(800, 1000))] == [1, 1, 1]
    assert len(set(labels.tolist())) == 3


@pytest.mark.parametrize("places", [3, 20_000])
def test_large_pools_where_few_samples_weigh_or_differ_still_have_all_their_clusters(places):
    rows = rng().normal(size=(places, 2))[rng(1).integers(0, places, 20_000)].astype(np.float32)
    weights = np.zeros(20_000)
    weights[::500] = 1
    chosen, heaviness = medoids(torch.from_numpy(rows), 30, torch.from_numpy(weights), rng())
    assert len(set(chosen.tolist())) == 30
    assert int((heaviness > 0).sum()) == min(places, 30)
    assert float(heaviness.sum()) == 40


def test_seeds_and_first_passes_on_a_quarter_find_the_heaps():
    sizes = (9000, 6000, 3000)
    chosen = k_means(blobs(sizes), 3, rng=rng())
    assert [int(np.searchsorted(np.cumsum(sizes), one, side="right")) for one in chosen.tolist()] == [0, 1, 2]


def test_samples_find_their_centroid_whatever_stands_beside_them():
    """More rows than a block holds (8,192 of this width)."""
    rows = rng().normal(size=(8300, 512)).astype(np.float16)
    view = Centred.on_mean(torch.from_numpy(rows))
    centres = view.rows(torch.arange(0, 8300, 400))
    last = assign(Centred(view.points[8150:], view.origin), centres)
    np.testing.assert_array_equal(assign(view, centres).labels[8150:], last.labels)
    np.testing.assert_allclose(assign(view, centres).squared[8150:], last.squared, rtol=1e-6)


def test_nearly_as_many_clusters_as_samples():
    rows = rng().normal(size=(1500, 16))
    chosen = k_means(rows, 1490, rng=rng())
    assert len(set(chosen.tolist())) == 1490


@pytest.mark.parametrize("seed", range(6))
def test_values_whose_squares_are_no_float32_give_the_same_seeds(seed):
    rows = rng().normal(size=(60, 5)).astype(np.float32)
    found = k_means(rows * np.float32(2.0**63), 12, rng=rng(seed))
    np.testing.assert_array_equal(found, k_means(rows, 12, rng=rng(seed)))


def test_seeds_end_where_no_distance_is_a_number():
    view = Centred(torch.randn(60, 5, generator=torch.Generator().manual_seed(0)) * 1e19, torch.zeros(5))
    found = seeds(view, 12, torch.ones(60, dtype=torch.float64), rng(2))
    assert 1 <= len(found) <= 12 and len(set(found.tolist())) == len(found)


@pytest.mark.parametrize("unit", [2.0**1000, 2.0**-1000])
def test_the_unit_of_weights_does_not_matter(unit):
    rows, weights = blobs((20, 30)), rng().random(50)
    np.testing.assert_array_equal(k_means(rows, 9, weights * unit, rng=rng()), k_means(rows, 9, weights, rng=rng()))

"""`auto` over batches of any size."""

import numpy as np
import pytest

from al_service.acquisition import auto, strategies
from al_service.acquisition.arrays import PoolArrays


@pytest.fixture
def pool() -> PoolArrays:
    """Ten thousand samples of two classes, uncertain anywhere in the plane, and forty labels."""
    rng = np.random.default_rng(0)
    first = rng.uniform(size=10_000)
    return PoolArrays(
        np.arange(10_000),
        np.stack([first, 1 - first], 1),
        rng.normal(size=(10_000, 4)).astype(np.float16),
        labelled_embeddings=rng.normal(size=(40, 4)).astype(np.float16),
    )


def mean_margin(pool: PoolArrays, chosen: np.ndarray) -> float:
    assert pool.probabilities is not None
    return float(1 - np.abs(pool.probabilities[chosen, 0] - pool.probabilities[chosen, 1]).mean())


@pytest.mark.parametrize("budget", [50, 1024, 1025, 3000, 5000])
def test_a_batch_of_any_size_is_less_certain_than_the_pool(pool, budget):
    chosen = np.array(strategies.get("auto").select(pool, budget, rng=np.random.default_rng(0)).sample_ids)
    assert len(np.unique(chosen)) == budget
    everyone, most = np.arange(10_000), np.argsort(np.abs(pool.probabilities[:, 0] - 0.5))[:budget]
    gained = mean_margin(pool, chosen) - mean_margin(pool, everyone)
    assert gained > 0.4 * (mean_margin(pool, most) - mean_margin(pool, everyone))


def test_parts_of_a_large_batch_are_chosen_as_if_those_before_were_labelled(pool, monkeypatch):
    monkeypatch.setattr(auto, "PART_MAX", 8)
    whole = strategies.get("auto").select(pool, 20, rng=np.random.default_rng(0)).sample_ids
    parts: list[int] = []
    for size in (8, 8, 4):
        found = strategies.get("auto").select(pool, size, rng=np.random.default_rng(0), already_chosen=parts)
        parts += found.sample_ids
    assert list(whole) == parts

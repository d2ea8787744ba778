"""Minibatches that are made ready ahead."""

import threading

import numpy as np
import pytest
import torch

from al_service.learning import minibatch_loading
from al_service.learning.minibatch_loading import MinibatchLoader
from al_service.learning.ranks import Ranks

CPU = torch.device("cpu")


def loader(side: int, ranks: Ranks = Ranks()) -> MinibatchLoader:  # noqa: B008 - frozen
    rng = np.random.default_rng(0)
    return MinibatchLoader(
        rng.integers(0, 256, (50, side, side, 3), dtype=np.uint8), rng.integers(0, 4, 50), CPU, ranks
    )


def parts() -> list[np.ndarray]:
    return np.array_split(np.random.default_rng(1).permutation(50), 5)


@pytest.mark.parametrize("augment", ["none", "shift+flip"])
def test_a_thread_makes_the_same_minibatches(augment):
    ours = loader(64)
    assert len(parts()[0]) * 64 * 64 * 3 > minibatch_loading._THREAD_FROM_BYTES
    with_thread = list(ours.load(parts(), augment, torch.Generator().manual_seed(0)))
    generator = torch.Generator().manual_seed(0)
    for rows, found in zip(parts(), with_thread, strict=True):
        (alone,) = ours.load([rows], augment, generator)
        assert found.images.equal(alone.images) and found.images.shape == (10, 3, 64, 64)
        assert found.targets.tolist() == ours.labels[rows].tolist()
        assert found.rows.tolist() == rows.tolist() and found.size == 10 and found.counted is None


def test_the_thread_ends_when_the_reader_stops_early():
    reading = loader(64).load(parts(), "none", torch.Generator())
    next(reading)
    reading.close()
    assert not [one for one in threading.enumerate() if one.name.startswith("minibatches")]


def test_what_reading_raises_passes_through():
    broken = loader(64)
    broken.pixels = broken.pixels[:20]
    with pytest.raises(IndexError):
        list(broken.load(parts(), "none", torch.Generator()))


@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize("size", [2, 3, 10])
def test_ranks_share_a_minibatch_out_and_its_draw(count, size):
    rows = np.random.default_rng(1).permutation(50)[:size]
    (whole,) = loader(8).load([rows], "shift+flip", torch.Generator().manual_seed(0))
    seen = []
    for rank in range(count):
        (mine,) = loader(8, Ranks(rank, count)).load([rows], "shift+flip", torch.Generator().manual_seed(0))
        assert len(mine.images) >= 2 and mine.size == size
        counted = torch.ones(len(mine.rows), dtype=torch.bool) if mine.counted is None else mine.counted
        for row, image, counts in zip(mine.rows.tolist(), mine.images, counted.tolist(), strict=True):
            assert image.equal(whole.images[rows.tolist().index(row)])
            if counts:
                seen.append(row)
    assert sorted(seen) == sorted(rows.tolist())

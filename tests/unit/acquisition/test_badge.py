"""BADGE looks at few samples per pick and draws as if it had looked at all."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from al_service.acquisition.arrays import InvalidArrayError
from al_service.acquisition.badge import badge, diverse_gradients
from al_service.errors import InvalidInputError


def pool_of(kind: str, n: int, seed: int = 0, classes: int = 4, width: int = 12) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(6, width)) * {"far clusters": 100.0}.get(kind, 2.0)
    probabilities = rng.dirichlet(np.full(classes, 0.3), size=n)
    embeddings = centres[rng.integers(6, size=n)] + rng.normal(size=(n, width))
    if kind == "many copies":
        rows = rng.integers(n // 8 + 1, size=n)
        probabilities, embeddings = probabilities[rows], embeddings[rows]
    if kind == "certain":
        probabilities = np.where(rng.random((n, 1)) < 0.8, np.eye(classes)[probabilities.argmax(1)], probabilities)
    if kind == "one length":
        embeddings = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
        probabilities = np.full((n, classes), 1 / classes)
    return probabilities, embeddings


KINDS = ("clusters", "far clusters", "many copies", "certain", "one length")


def choose(pool: tuple[np.ndarray, np.ndarray], k: int, seed: int = 0, **sizes: int) -> list[list[float]]:
    tensors = (torch.from_numpy(array) for array in pool)
    return [found.tolist() for found in diverse_gradients(*tensors, k, np.random.default_rng(seed), **sizes)]


@pytest.mark.parametrize("places", [1, 7, 40])
@pytest.mark.parametrize("kind", KINDS)
def test_the_picks_do_not_depend_on_how_many_samples_are_held_exact(kind, places):
    pool = pool_of(kind, 500)
    everything = choose(pool, 200, places=500)
    positions, lengths, distances = choose(pool, 200, places=places)
    assert positions == everything[0]
    np.testing.assert_allclose(lengths, everything[1], rtol=1e-12)
    np.testing.assert_allclose(distances, everything[2], rtol=1e-6)


@pytest.mark.parametrize("elements", [1, 100, 3000])
def test_the_size_of_a_block_does_not_change_the_picks(elements):
    pool = pool_of("clusters", 400)
    assert choose(pool, 150, places=11, block_elements=elements)[0] == choose(pool, 150)[0]


def test_more_picks_than_one_product_takes():
    pool = pool_of("clusters", 2600)
    assert choose(pool, 2400, places=100)[0] == choose(pool, 2400)[0]


@given(
    n=st.integers(1, 40), share=st.floats(0, 1), places=st.integers(1, 50), seed=st.integers(0, 999),
    kind=st.sampled_from(KINDS),
)  # fmt: skip
@settings(max_examples=60, deadline=None)
def test_picks_are_distinct_positions_of_the_pool(n, share, places, seed, kind):
    k = round(share * n)
    positions, _, distances = choose(pool_of(kind, n, seed), k, seed, places=places)
    assert len(set(positions)) == k and set(positions) <= set(range(n))
    assert all(distance >= 0 for distance in distances)


def test_the_first_pick_has_the_longest_gradient_and_no_seed_changes_that():
    probabilities, embeddings = pool_of("clusters", 60)
    errors = probabilities - np.eye(4)[probabilities.argmax(1)]
    lengths = np.linalg.norm(errors, axis=1) * np.linalg.norm(embeddings, axis=1)
    assert {int(badge(probabilities, embeddings, 1, rng=np.random.default_rng(seed))[0]) for seed in range(9)} == {
        int(lengths.argmax())
    }


def test_lengths_fall_with_confidence():
    probabilities, _ = pool_of("clusters", 300)
    lengths = choose((probabilities, np.ones((300, 1))), 300)
    confidence = probabilities.max(1)[np.array(lengths[0], int)]
    assert np.corrcoef(lengths[1], confidence)[0, 1] < -0.95


def test_copies_of_a_pick_come_after_everything_that_differs():
    rng = np.random.default_rng(0)
    probabilities, embeddings = rng.dirichlet(np.ones(3), size=11), rng.normal(size=(11, 40)) + 100
    copies = np.concatenate([np.zeros(20, int), np.arange(1, 11)])
    for seed in range(20):
        chosen = badge(probabilities[copies], embeddings[copies], 14, rng=np.random.default_rng(seed))
        assert sum(position < 20 for position in chosen[:11].tolist()) == 1
        assert len(set(chosen.tolist())) == 14


def test_a_certain_model_leaves_nothing_to_go_by_and_every_sample_gets_its_chance():
    probabilities, embeddings = np.eye(3)[[0, 1, 2, 0, 1]], np.ones((5, 2))
    chosen = [badge(probabilities, embeddings, 5, rng=np.random.default_rng(seed)).tolist() for seed in range(200)]
    assert all(sorted(one) == [0, 1, 2, 3, 4] and one[0] == 0 for one in chosen)
    assert {one[1] for one in chosen} == {1, 2, 3, 4}


def test_float16_is_read_as_it_is():
    probabilities, embeddings = pool_of("clusters", 300)
    halves = embeddings.astype(np.float16)
    first = badge(probabilities, halves, 100, rng=np.random.default_rng(0))
    second = badge(probabilities, halves.astype(np.float32), 100, rng=np.random.default_rng(0))
    np.testing.assert_array_equal(first, second)


def test_the_same_seed_gives_the_same_picks_and_another_seed_others():
    probabilities, embeddings = pool_of("clusters", 200)
    first, again, other = (badge(probabilities, embeddings, 20, rng=np.random.default_rng(seed)) for seed in (3, 3, 4))
    np.testing.assert_array_equal(first, again)
    assert first.tolist() != other.tolist()


def test_few_picks_are_the_first_of_many_and_draw_as_many_random_numbers():
    probabilities, embeddings = pool_of("clusters", 200)
    few, many = np.random.default_rng(5), np.random.default_rng(5)
    np.testing.assert_array_equal(
        badge(probabilities, embeddings, 20, rng=few), badge(probabilities, embeddings, 90, rng=many)[:20]
    )
    assert few.random() == many.random()


def test_the_last_row_can_be_chosen():
    probabilities, embeddings = np.full((11, 2), 0.5), np.zeros((11, 3))
    embeddings[-1] = 100
    assert badge(probabilities, embeddings, 1, rng=np.random.default_rng(0)).tolist() == [10]


def test_one_sample_none_and_no_pool():
    rng = np.random.default_rng(0)
    assert badge(np.array([[0.5, 0.5]]), np.ones((1, 3)), 1, rng=rng).tolist() == [0]
    assert badge(np.full((5, 2), 0.5), np.ones((5, 3)), 0, rng=rng).tolist() == []
    assert badge(np.empty((0, 2)), np.empty((0, 3)), 0, rng=rng).tolist() == []


def test_embeddings_too_large_for_their_squares_are_still_chosen_once_each():
    embeddings = np.array([[1e200, 0], [0, 1e200], [1, 1], [-1e200, 3]])
    chosen = badge(np.full((4, 2), 0.5), embeddings, 4, rng=np.random.default_rng(0))
    assert sorted(chosen.tolist()) == [0, 1, 2, 3]


def test_tensors_come_back_as_tensors_and_no_array_is_written_to():
    pool = pool_of("clusters", 30)
    before = [array.copy() for array in pool]
    assert badge(*pool, 4, rng=np.random.default_rng(0)).dtype == np.int64
    tensors = [torch.from_numpy(array) for array in pool]
    assert badge(*tensors, 4, rng=np.random.default_rng(0)).dtype == torch.int64
    for array, copy in zip(pool, before, strict=True):
        np.testing.assert_array_equal(array, copy)


def test_what_is_wrong_is_told():
    probabilities, embeddings = pool_of("clusters", 12)
    rng = np.random.default_rng(0)
    with pytest.raises(InvalidArrayError, match="probabilities have 11 rows and embeddings 12"):
        badge(probabilities[1:], embeddings, 2, rng=rng)
    with pytest.raises(InvalidArrayError, match="sums to"):
        badge(probabilities * 2, embeddings, 2, rng=rng)
    with pytest.raises(InvalidInputError, match="k is 13, expected 0 to 12"):
        badge(probabilities, embeddings, 13, rng=rng)

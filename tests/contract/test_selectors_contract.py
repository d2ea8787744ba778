"""What every selector and every strategy keeps, whatever it prefers."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from al_service.acquisition import selectors, strategies
from al_service.acquisition.arrays import PoolArrays
from al_service.errors import InvalidInputError

Select = Callable[[np.ndarray, int, int], np.ndarray]

# Each as (features (N, D), k, seed) -> positions.
SELECTORS: dict[str, Select] = {
    "top_k": lambda features, k, seed: selectors.top_k(features[:, 0], k),
    "k_center": lambda features, k, seed: selectors.k_center(features, k),
    "k_center_labelled": lambda features, k, seed: selectors.k_center(features, k, labelled=features[:1] + 3),
    "random_choice": lambda features, k, seed: selectors.random_choice(len(features), k, np.random.default_rng(seed)),
}
every_selector = pytest.mark.parametrize("select", SELECTORS.values(), ids=SELECTORS.keys())
every_strategy = pytest.mark.parametrize("name", strategies.names())


def features(n: int, seed: int = 0, width: int = 3) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, width))


def make_pool(n: int, seed: int = 0, *, classes: int = 4, equal: bool = False, labelled: int = 5) -> PoolArrays:
    rng = np.random.default_rng(seed)
    ids = rng.permutation(10 * n + 10)[:n]
    if equal:
        return PoolArrays(ids, np.full((n, 4), 0.25), np.ones((n, 3)), np.full((n, 2, 4), 0.25), np.ones((labelled, 3)))
    return PoolArrays(
        ids,
        rng.dirichlet(np.ones(classes), size=n),
        rng.normal(size=(n, 3)),
        rng.dirichlet(np.ones(classes), size=(n, 6)),
        rng.normal(size=(labelled, 3)),
    )


def permuted(pool: PoolArrays, order: np.ndarray) -> PoolArrays:
    ids = np.array(pool.sample_ids)[order]
    return PoolArrays(
        ids, pool.probabilities[order], pool.embeddings[order], pool.sampled_probabilities[order],
        pool.labelled_embeddings,
    )  # fmt: skip


def choose(name: str, pool: PoolArrays, budget: int, seed: int = 0, **parameters) -> strategies.Selection:
    return strategies.get(name).select(pool, budget, rng=np.random.default_rng(seed), **parameters)


class TestEverySelector:
    @every_selector
    @given(n=st.integers(1, 40), share=st.floats(0, 1), seed=st.integers(0, 999))
    @settings(max_examples=25, deadline=None)
    def test_gives_k_distinct_positions_of_the_pool(self, select, n, share, seed):
        k = round(share * n)
        chosen = select(features(n, seed), k, seed)
        assert chosen.shape == (k,) and chosen.dtype == np.int64
        assert len(set(chosen.tolist())) == k
        assert set(chosen.tolist()) <= set(range(n))

    @every_selector
    def test_the_first_of_many_are_the_few(self, select):
        pool = features(30)
        np.testing.assert_array_equal(select(pool, 20, 7)[:8], select(pool, 8, 7))

    @every_selector
    def test_the_same_seed_gives_the_same_positions(self, select):
        np.testing.assert_array_equal(select(features(30), 10, 3), select(features(30), 10, 3))

    @every_selector
    @pytest.mark.parametrize("k", [0, 1, 7, 25])
    def test_equal_samples_are_chosen_once_each(self, select, k):
        chosen = select(np.ones((25, 3)), k, 0)
        assert len(set(chosen.tolist())) == k

    @every_selector
    def test_all_of_the_pool_none_of_it_and_a_pool_of_one_or_none(self, select):
        assert set(select(features(12), 12, 0).tolist()) == set(range(12))
        assert select(features(12), 0, 0).tolist() == []
        assert select(features(1), 1, 0).tolist() == [0]
        assert select(features(0), 0, 0).tolist() == []

    @every_selector
    @pytest.mark.parametrize("k", [-1, 13])
    def test_more_than_the_pool_or_fewer_than_none_is_refused(self, select, k):
        with pytest.raises(InvalidInputError, match="0 to 12"):
            select(features(12), k, 0)

    @every_selector
    def test_the_last_row_can_be_chosen(self, select):
        pool = np.zeros((11, 3))
        pool[-1] = 100
        firsts = {int(position) for seed in range(60) for position in select(pool, 2, seed)}
        assert 10 in firsts

    @pytest.mark.parametrize("select", [SELECTORS[name] for name in SELECTORS if name != "random_choice"])
    def test_a_permuted_pool_gives_the_permuted_answer(self, select):
        pool, order = features(40), np.random.default_rng(1).permutation(40)
        if select is SELECTORS["k_center_labelled"]:
            order = np.concatenate([[0], 1 + np.random.default_rng(1).permutation(39)])
        np.testing.assert_array_equal(order[select(pool[order], 12, 0)], select(pool, 12, 0))


class TestEveryStrategy:
    @every_strategy
    @given(n=st.integers(1, 30), share=st.floats(0, 1), fraction=st.floats(0, 1), seed=st.integers(0, 999))
    @settings(max_examples=20, deadline=None)
    def test_gives_distinct_ids_of_the_pool_each_with_a_reason(self, name, n, share, fraction, seed):
        pool, budget = make_pool(n, seed), round(share * n)
        selection = choose(name, pool, budget, seed, random_fraction=fraction)
        assert len(selection) == len(selection.scores) == len(selection.reasons) == budget
        assert len(set(selection.sample_ids)) == budget
        assert set(selection.sample_ids) <= set(pool.sample_ids)
        assert all(type(one) is int for one in selection.sample_ids)

    @every_strategy
    @given(seed=st.integers(0, 999), fraction=st.sampled_from([0.0, 0.3, 1.0]))
    @settings(max_examples=10, deadline=None)
    def test_a_permuted_pool_gives_the_same_ids_and_reasons(self, name, seed, fraction):
        pool = make_pool(40, seed)
        order = np.random.default_rng(seed + 1).permutation(40)
        assert choose(name, pool, 12, random_fraction=fraction) == choose(
            name, permuted(pool, order), 12, random_fraction=fraction
        )

    @every_strategy
    def test_a_permuted_pool_of_equal_samples_gives_the_same_ids(self, name):
        pool = make_pool(20, equal=True)
        order = np.random.default_rng(1).permutation(20)
        first, second = choose(name, pool, 6), choose(name, permuted(pool, order), 6)
        assert first.sample_ids == second.sample_ids
        if name != "random":
            assert first.sample_ids == tuple(sorted(pool.sample_ids)[:6])

    @every_strategy
    def test_the_same_seed_gives_the_same_ids(self, name):
        pool = make_pool(40)
        assert choose(name, pool, 15, 3, random_fraction=0.4) == choose(name, pool, 15, 3, random_fraction=0.4)

    @every_strategy
    def test_all_of_the_pool_none_of_it_and_a_pool_of_one(self, name):
        pool = make_pool(12)
        assert set(choose(name, pool, 12).sample_ids) == set(pool.sample_ids)
        assert choose(name, pool, 0).sample_ids == ()
        assert choose(name, make_pool(1), 1).sample_ids == make_pool(1).sample_ids

    @every_strategy
    def test_more_than_the_pool_is_refused(self, name):
        with pytest.raises(InvalidInputError, match="budget is 13, expected 0 to 12"):
            choose(name, make_pool(12), 13)

    @every_strategy
    def test_the_last_row_can_be_chosen(self, name):
        n = 15
        rows = np.tile([0.98, 0.01, 0.01], (n, 1))
        rows[-1] = 1 / 3
        embeddings = np.zeros((n, 2))
        embeddings[-1] = 50
        passes = np.repeat(rows[:, None], 3, axis=1)
        passes[-1] = np.eye(3)
        pool = PoolArrays(range(n), rows, embeddings, passes, np.zeros((1, 2)))
        chosen = {one for seed in range(60) for one in choose(name, pool, 1, seed).sample_ids}
        assert n - 1 in chosen

    @pytest.mark.parametrize("name", [name for name in strategies.names() if name != "margin+k_center"])
    def test_scores_that_there_are_fall_from_pick_to_pick(self, name):
        found = [score for score in choose(name, make_pool(40), 20).scores if score is not None]
        assert found == sorted(found, reverse=True)

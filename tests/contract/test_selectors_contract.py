"""What every selector and every strategy keeps, whatever it prefers."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import cdist, pdist

from al_service.acquisition import selectors, strategies
from al_service.acquisition.arrays import PoolArrays
from al_service.acquisition.selectors import Selector, UnknownSelectorError
from al_service.errors import InvalidInputError

#: Selectors that go on where a smaller k stopped.
GREEDY = {"top_k", "power", "k_center", "badge", "prob_cover", "class_quota"}
#: Strategies that draw beside the random slice.
DRAWING = {"random", "power_margin", "k_means", "typiclust", "badge", "batch_bald", "auto", "epig"}

every_selector = pytest.mark.parametrize(
    "selector", [selectors.get(name) for name in selectors.names()], ids=selectors.names()
)
every_strategy = pytest.mark.parametrize("name", strategies.names())


def arrays_of(selector: Selector, rows: np.ndarray) -> list[np.ndarray]:
    """What the selector takes, each row a function of that row of features and of nothing else."""
    made = {"embeddings": rows, "scores": 1 / (1 + np.exp(-rows[:, 0]))}
    mixing = np.random.default_rng(5).normal(size=(6, rows.shape[1], 4))
    logits = np.einsum("nd,mdc->nmc", rows, mixing)
    passes = np.exp(logits - logits.max(2, keepdims=True))
    made["sampled_probabilities"] = passes / passes.sum(2, keepdims=True)
    made["probabilities"] = made["sampled_probabilities"].mean(1)
    return [made[name] for name in selector.needs]


def pick(selector: Selector, rows: np.ndarray, k: int, seed: int = 0, **more: object) -> np.ndarray:
    drawn = {"rng": np.random.default_rng(seed)} if selector.draws else {}
    return selector.function(*arrays_of(selector, rows), k, **drawn, **more)


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
    @settings(max_examples=15, deadline=None)
    def test_gives_k_distinct_positions_of_the_pool(self, selector, n, share, seed):
        k = round(share * n)
        chosen = pick(selector, features(n, seed), k, seed)
        assert chosen.shape == (k,) and chosen.dtype == np.int64
        assert len(set(chosen.tolist())) == k
        assert set(chosen.tolist()) <= set(range(n))

    @every_selector
    def test_the_first_of_many_are_the_few(self, selector):
        if selector.name in GREEDY:
            pool = features(30)
            np.testing.assert_array_equal(pick(selector, pool, 20, 7)[:8], pick(selector, pool, 8, 7))

    @every_selector
    def test_the_same_seed_gives_the_same_positions(self, selector):
        np.testing.assert_array_equal(pick(selector, features(30), 10, 3), pick(selector, features(30), 10, 3))

    @every_selector
    def test_another_seed_changes_what_draws_and_nothing_else(self, selector):
        # Few joint samples: with enough of them BatchBALD's picks are those of the exact sums whatever the seed.
        given = {"joint_samples": 4} if selector.name == "batch_bald" else {}
        answers = {tuple(pick(selector, features(60), 5, seed, **given).tolist()) for seed in range(6)}
        assert (len(answers) > 1) == selector.draws

    @every_selector
    @pytest.mark.parametrize("k", [0, 1, 7, 25])
    def test_equal_samples_are_chosen_once_each(self, selector, k):
        chosen = pick(selector, np.ones((25, 3)), k)
        assert len(set(chosen.tolist())) == k
        assert len(set(pick(selector, np.zeros((25, 3)), k).tolist())) == k

    @every_selector
    def test_all_of_the_pool_none_of_it_and_a_pool_of_one_or_none(self, selector):
        assert set(pick(selector, features(12), 12).tolist()) == set(range(12))
        assert pick(selector, features(12), 0).tolist() == []
        assert pick(selector, features(1), 1).tolist() == [0]
        assert pick(selector, features(0), 0).tolist() == []

    @every_selector
    @pytest.mark.parametrize("k", [-1, 13])
    def test_more_than_the_pool_or_fewer_than_none_is_refused(self, selector, k):
        with pytest.raises(InvalidInputError, match="0 to 12"):
            pick(selector, features(12), k)

    @every_selector
    def test_the_last_row_can_be_chosen(self, selector):
        # The radius that ProbCover finds for so few is below every distance: all tie, and the first positions win.
        given = {"delta": 1.5} if selector.name == "prob_cover" else {}
        assert any(10 in pick(selector, features(11, seed), 6, seed, **given) for seed in range(40))

    @every_selector
    def test_a_permuted_pool_gives_the_permuted_answer(self, selector):
        if selector.draws or selector.name == "prob_cover":
            return  # draws go by position, and so do ties (ProbCover's gains are counts); strategies go by id
        pool, order = features(40), np.random.default_rng(1).permutation(40)
        np.testing.assert_array_equal(order[pick(selector, pool[order], 7)], pick(selector, pool, 7))

    @every_selector
    def test_torch_numpy_and_half_precision_agree_and_nothing_is_written_to(self, selector):
        rows = features(40).astype(np.float16).astype(np.float64)
        inputs = arrays_of(selector, rows)
        before = [array.copy() for array in inputs]
        for array in inputs:
            array.flags.writeable = False
        drawn = {"rng": np.random.default_rng(2)} if selector.draws else {}
        expected = selector.function(*inputs, 9, **drawn)
        halved = [
            torch.from_numpy(one).half() if name == "embeddings" else torch.from_numpy(one)
            for name, one in zip(selector.needs, before, strict=True)
        ]
        drawn = {"rng": np.random.default_rng(2)} if selector.draws else {}
        found = selector.function(*halved, 9, **drawn)
        assert isinstance(found, torch.Tensor)
        np.testing.assert_array_equal(found.numpy(), expected)
        for array, kept in zip(inputs, before, strict=True):
            np.testing.assert_array_equal(array, kept)

    @every_selector
    @pytest.mark.parametrize("kind", [np.float32, np.float64])
    @pytest.mark.parametrize("k", [9, 40])
    def test_the_unit_of_embeddings_does_not_matter(self, selector, kind, k):
        inputs = arrays_of(selector, features(80, 1).astype(np.float32).astype(np.float64))

        def scaled(factor: float) -> list[int]:
            given = [(one * factor).astype(kind) if name == "embeddings" else one for name, one in named(inputs)]
            drawn = {"rng": np.random.default_rng(0)} if selector.draws else {}
            return selector.function(*given, k, **drawn).tolist()

        def named(arrays: list[np.ndarray]) -> list[tuple[str, np.ndarray]]:
            return list(zip(selector.needs, arrays, strict=True))

        assert scaled(2.0**60) == scaled(2.0**-60) == scaled(1.0)
        for factor in (1e30, 1e-30, *((1e200, 1e307, 1e-320) if kind is np.float64 else (2e37, 1e-42))):
            assert len(set(scaled(factor))) == k

    @every_selector
    def test_what_is_labelled_is_not_asked_again(self, selector):
        if not selector.takes_labelled:
            return
        rng = np.random.default_rng(0)
        blobs = np.concatenate([rng.normal(size=(30, 3)) * 0.1, rng.normal(size=(30, 3)) * 0.1 + 9])
        for labelled, others in ((blobs[:6], range(30, 60)), (blobs[30:36], range(30))):
            assert int(pick(selector, blobs, 1, labelled=labelled)[0]) in others

    def test_an_unknown_name_is_refused_with_the_names_there_are(self):
        with pytest.raises(UnknownSelectorError, match="k_center, k_means"):
            selectors.get("kcenter")


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
        if name not in DRAWING:
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
    def test_the_last_id_can_be_chosen(self, name):
        pools = [make_pool(15, seed) for seed in range(40)]
        assert any(max(pool.sample_ids) in choose(name, pool, 8, seed).sample_ids for seed, pool in enumerate(pools))

    @pytest.mark.parametrize(
        "name", ["margin", "entropy", "bald", "vote_entropy", "expected_gradient_length", "k_center"]
    )
    def test_scores_that_there_are_fall_from_pick_to_pick(self, name):
        found = [score for score in choose(name, make_pool(40), 20).scores if score is not None]
        assert found == sorted(found, reverse=True)

    @every_strategy
    def test_what_is_chosen_already_is_not_chosen_again(self, name):
        pool = make_pool(30)
        before = sorted(pool.sample_ids)[:12]
        chosen = choose(name, pool, 10, already_chosen=before).sample_ids
        assert not set(before) & set(chosen) and len(set(chosen)) == 10
        rest = choose(name, pool, 18, already_chosen=before).sample_ids
        assert sorted((*before, *rest)) == sorted(pool.sample_ids)
        with pytest.raises(InvalidInputError, match="budget is 19, expected 0 to 18"):
            choose(name, pool, 19, already_chosen=before)

    @every_strategy
    def test_limits_are_kept_as_far_as_the_pool_allows_and_leave_no_place_empty(self, name):
        pool = make_pool(40)
        for limits in ({"class_cap": 0.3}, {"duplicate_radius": 0.4}, {"class_cap": 0.3, "duplicate_radius": 0.9}):
            chosen = choose(name, pool, 10, **limits).sample_ids
            assert len(set(chosen)) == 10 and set(chosen) <= set(pool.sample_ids)
            assert set(choose(name, pool, 40, **limits).sample_ids) == set(pool.sample_ids)

    @every_strategy
    def test_a_class_takes_no_more_than_its_cap(self, name):
        pool = make_pool(200)
        if name == "random":
            return  # chance knows no limits
        place_of = {sample_id: place for place, sample_id in enumerate(pool.sample_ids)}
        chosen = [place_of[one] for one in choose(name, pool, 20, class_cap=0.4).sample_ids]
        counts = np.bincount(pool.probabilities.argmax(1)[chosen])
        assert counts.max() <= 8

    @every_strategy
    def test_picks_keep_their_distance_from_each_other_and_from_what_is_labelled(self, name):
        pool = make_pool(200)
        if name == "random":
            return
        place_of = {sample_id: place for place, sample_id in enumerate(pool.sample_ids)}
        chosen = pool.embeddings[[place_of[one] for one in choose(name, pool, 10, duplicate_radius=0.3).sample_ids]]
        usual = np.median(pdist(pool.embeddings.astype(np.float64)))
        assert pdist(chosen.astype(np.float64)).min() > 0.28 * usual
        assert cdist(chosen, pool.labelled_embeddings).min() > 0.28 * usual

    @every_strategy
    def test_a_pool_of_copies_of_what_is_labelled_keeps_scores_beside_their_ids(self, name):
        pool = make_pool(20)
        near = np.tile(pool.labelled_embeddings[:1], (20, 1)) + 1e-4 * pool.embeddings
        copies = replace(pool, embeddings=near)
        chosen = choose(name, copies, 10, duplicate_radius=0.5, random_fraction=0.2)
        assert len(chosen.sample_ids) == len(chosen.scores) == len(chosen.reasons) == 10

    @every_strategy
    def test_without_a_model_those_with_a_cold_start_choose_by_embeddings(self, name):
        pool = make_pool(30)
        cold = PoolArrays(pool.sample_ids, embeddings=pool.embeddings)
        if strategies.get(name).needs.cold_start:
            chosen = choose(name, cold, 6, random_fraction=0.2)
            assert len(set(chosen.sample_ids)) == 6
            assert {reason["code"] for reason in chosen.reasons} <= {"random", "typical", "far"}
        elif name != "random":
            with pytest.raises(InvalidInputError, match="needs"):
                choose(name, cold, 6)

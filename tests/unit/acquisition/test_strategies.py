"""What single strategies choose and say."""

import json

import numpy as np
import pytest
import torch

from al_service.acquisition import scores, selectors, strategies
from al_service.acquisition.arrays import InvalidArrayError, PoolArrays
from al_service.domain.reasons import REASON_CODES
from al_service.domain.strategy_names import STRATEGIES, UnknownStrategyError
from al_service.errors import InvalidInputError


def make_pool(n: int = 60, labelled: int | None = 4) -> PoolArrays:
    rng = np.random.default_rng(0)
    return PoolArrays(
        np.arange(n) * 3 + 100,
        rng.dirichlet(np.ones(5), size=n),
        rng.normal(size=(n, 6)),
        rng.dirichlet(np.ones(5), size=(n, 7)),
        None if labelled is None else rng.normal(size=(labelled, 6)),
    )


def choose(name: str, pool: PoolArrays, budget: int, seed: int = 0, **parameters) -> strategies.Selection:
    return strategies.get(name).select(pool, budget, rng=np.random.default_rng(seed), **parameters)


def ids_at(pool: PoolArrays, positions) -> list[int]:
    return [pool.sample_ids[position] for position in positions]


def test_the_strategies_are_exactly_those_that_the_service_knows_by_name():
    assert strategies.names() == tuple(STRATEGIES)
    assert all(strategies.get(name).name == name for name in STRATEGIES)


def test_an_unknown_name_is_refused_with_the_names_there_are():
    with pytest.raises(UnknownStrategyError, match=r"margin\+k_center"):
        strategies.get("margins")


@pytest.mark.parametrize("name", ["least_confidence", "margin", "ratio", "entropy"])
def test_a_strategy_by_score_is_the_top_of_that_score(name):
    pool = make_pool()
    values = scores.get(name).function(pool.probabilities)
    expected = selectors.top_k(values, 9)
    selection = choose(name, pool, 9)
    assert list(selection.sample_ids) == ids_at(pool, expected)
    assert list(selection.scores) == pytest.approx(values[expected].tolist())


def test_bald_is_the_top_of_bald():
    pool = make_pool()
    expected = selectors.top_k(scores.bald(pool.sampled_probabilities), 9)
    assert list(choose("bald", pool, 9).sample_ids) == ids_at(pool, expected)


def test_k_center_is_the_selector_and_its_scores_are_distances():
    pool = make_pool()
    expected = selectors.k_center(pool.embeddings, 9, labelled=pool.labelled_embeddings)
    selection = choose("k_center", pool, 9)
    assert list(selection.sample_ids) == ids_at(pool, expected)
    distances = np.linalg.norm(pool.embeddings[expected[0]] - pool.labelled_embeddings, axis=1)
    assert selection.scores[0] == pytest.approx(distances.min(), rel=1e-5)


def test_the_first_centre_of_all_has_no_score():
    selection = choose("k_center", make_pool(labelled=None), 3)
    assert selection.scores[0] is None and selection.reasons[0] == {"code": "far"}
    assert all(score > 0 for score in selection.scores[1:])


def test_margin_then_coverage_stays_within_the_closest_margins_and_spreads_there():
    pool = make_pool()
    closest = selectors.top_k(scores.margin(pool.probabilities), 20)
    spread = selectors.k_center(pool.embeddings[closest], 5, labelled=pool.labelled_embeddings)
    selection = choose("margin+k_center", pool, 5, prefilter_factor=4)
    assert list(selection.sample_ids) == ids_at(pool, closest[spread])
    assert list(choose("margin+k_center", pool, 5, prefilter_factor=1).sample_ids) != list(selection.sample_ids)
    assert set(choose("margin+k_center", pool, 5, prefilter_factor=1).sample_ids) == set(
        choose("margin", pool, 5).sample_ids
    )


def test_the_random_slice_does_not_depend_on_the_scores_and_comes_first():
    pool = make_pool()
    other = PoolArrays(
        pool.sample_ids, pool.probabilities[::-1], pool.embeddings[::-1], pool.sampled_probabilities[::-1]
    )
    by_name = {}
    for name in strategies.names():
        if name == "random":
            continue
        for one in (pool, other):
            selection = choose(name, one, 10, seed=5, random_fraction=0.3)
            assert [reason["code"] == "random" for reason in selection.reasons] == [True] * 3 + [False] * 7
            by_name[name, one is pool] = selection.sample_ids[:3]
    assert len(set(by_name.values())) == 1


def test_the_random_slice_is_drawn_from_all_of_the_pool_equally():
    pool = PoolArrays(range(8), np.tile([0.9, 0.1], (8, 1)))
    rng = np.random.default_rng(0)
    drawn = [strategies.get("margin").select(pool, 2, rng=rng, random_fraction=0.5).sample_ids[0] for _ in range(1600)]
    # 200 expected each, standard deviation 13.
    assert np.bincount(drawn, minlength=8).min() > 140


@pytest.mark.parametrize(("fraction", "expected"), [(0.0, 0), (0.04, 0), (0.05, 1), (0.25, 3), (1.0, 10)])
def test_the_random_slice_is_rounded_half_up(fraction, expected):
    selection = choose("margin", make_pool(), 10, random_fraction=fraction)
    assert sum(reason["code"] == "random" for reason in selection.reasons) == expected


def test_after_the_slice_the_strategy_takes_the_best_of_the_rest():
    pool = make_pool()
    selection = choose("entropy", pool, 10, random_fraction=0.3)
    taken = set(selection.sample_ids[:3])
    ranked = ids_at(pool, selectors.top_k(scores.entropy(pool.probabilities), 60))
    assert list(selection.sample_ids[3:]) == [one for one in ranked if one not in taken][:7]


def test_coverage_counts_the_random_slice_as_covered():
    embeddings = np.array([[0.0, 0.0], [10.0, 0.0], [10.1, 0.0], [0.0, 9.0]])
    pool = PoolArrays(range(4), embeddings=embeddings, labelled_embeddings=np.zeros((1, 2)))
    by_slice = {}
    for seed in range(30):
        first, second = choose("k_center", pool, 2, seed, random_fraction=0.5).sample_ids
        by_slice[first] = second
    assert by_slice == {0: 2, 1: 3, 2: 3, 3: 2}


def test_a_random_pick_of_a_scoring_strategy_keeps_its_score_and_one_of_random_has_none():
    assert choose("margin", make_pool(), 4, random_fraction=0.5).scores[0] is not None
    assert choose("random", make_pool(), 4).scores == (None,) * 4
    assert choose("k_center", make_pool(), 4, random_fraction=0.5).scores[:2] == (None, None)


@pytest.mark.parametrize("name", strategies.names())
def test_reasons_are_plain_data_with_words_for_people(name):
    for reason in choose(name, make_pool(), 10, random_fraction=0.2).reasons:
        assert reason["code"] in REASON_CODES
        assert json.loads(json.dumps(reason)) == reason


def test_reasons_name_the_two_likeliest_classes():
    rows = np.array([[0.1, 0.2, 0.7], [0.4, 0.1, 0.5]])
    selection = choose("margin", PoolArrays([1, 2], rows), 2)
    assert selection.reasons == ({"code": "margin", "between": [2, 0]}, {"code": "margin", "between": [2, 1]})
    passes = np.array([[[0.0, 0.1, 0.9], [0.0, 0.9, 0.1], [0.0, 0.6, 0.4]]])
    selection = choose("bald", PoolArrays([1], sampled_probabilities=passes), 1)
    assert selection.reasons == ({"code": "disagreement", "between": [1, 2]},)


@pytest.mark.parametrize("name", [name for name, needs in STRATEGIES.items() if needs.needs_model])
def test_a_pool_without_what_a_strategy_needs_is_refused(name):
    with pytest.raises(InvalidArrayError, match=f"{name!r} needs".replace("+", r"\+")):
        choose(name, PoolArrays([1, 2, 3]), 1)


def test_random_needs_ids_only():
    assert set(choose("random", PoolArrays(["b", "a"]), 2).sample_ids) == {"a", "b"}


def test_parameters_out_of_range_are_refused():
    with pytest.raises(InvalidInputError, match="random_fraction"):
        choose("margin", make_pool(), 3, random_fraction=1.5)
    with pytest.raises(InvalidInputError, match="prefilter_factor"):
        choose("margin+k_center", make_pool(), 3, prefilter_factor=0)


@pytest.mark.parametrize("name", strategies.names())
def test_a_pool_of_tensors_gives_the_same_ids(name):
    pool = make_pool()
    tensors = PoolArrays(
        pool.sample_ids,
        *(torch.from_numpy(array) for array in (pool.probabilities, pool.embeddings)),
        torch.from_numpy(pool.sampled_probabilities),
        torch.from_numpy(pool.labelled_embeddings),
    )
    assert choose(name, tensors, 10, random_fraction=0.2) == choose(name, pool, 10, random_fraction=0.2)

"""Scored pools: files, shards that become one pool, and what is left after a batch was chosen."""

import numpy as np
import pytest

from al_service.acquisition.scored_pool import InvalidScoredPoolError, ScoredPool


def merged(shards: list[ScoredPool]) -> ScoredPool:
    return ScoredPool.merged(iter(shards), len(shards), sum(len(shard.sample_ids) for shard in shards))


def _pool(first: int, count: int, labelled: int = 0) -> ScoredPool:
    rng = np.random.default_rng(first)
    probabilities = rng.dirichlet(np.ones(3), count).astype(np.float32)
    embeddings = rng.normal(size=(count, 4)).astype(np.float16)
    known = rng.normal(size=(labelled, 4)).astype(np.float16) if labelled else None
    return ScoredPool(np.arange(first, first + count), probabilities, embeddings, labelled_embeddings=known)


def test_shards_choose_what_the_whole_pool_chooses() -> None:
    whole = _pool(10, 60, labelled=5)
    cuts = (slice(0, 25), slice(25, 26), slice(26, 60))
    shards = [
        ScoredPool(
            whole.sample_ids[cut],
            whole.probabilities[cut],
            whole.embeddings[cut],
            labelled_embeddings=whole.labelled_embeddings if at == 0 else None,
        )
        for at, cut in enumerate(cuts)
    ]
    together = merged([ScoredPool.from_bytes(shard.to_bytes()) for shard in shards])
    for strategy in ("margin", "k_center", "margin+k_center"):
        chosen = together.choose(strategy, 8, seed=3, random_fraction=0.25)
        assert chosen.sample_ids == whole.choose(strategy, 8, seed=3, random_fraction=0.25).sample_ids


def test_the_order_of_shards_does_not_change_the_choice() -> None:
    shards = [_pool(0, 20), _pool(50, 20), _pool(20, 20)]
    there = merged(shards).choose("margin+k_center", 9, seed=1, random_fraction=0.0)
    back = merged(shards[::-1]).choose("margin+k_center", 9, seed=1, random_fraction=0.0)
    assert there.sample_ids == back.sample_ids


def test_a_batch_that_was_chosen_counts_as_labelled_for_the_next() -> None:
    pool = _pool(0, 40, labelled=3)
    batch = pool.choose("k_center", 6, seed=0).sample_ids
    more = pool.choose("k_center", 5, seed=0, already_chosen=batch).sample_ids
    # Greedy k-center goes on as if it had been asked for more at once.
    assert (*batch, *more) == pool.choose("k_center", 11, seed=0).sample_ids
    every = pool.choose("margin", 99, seed=0, already_chosen=batch).sample_ids
    assert sorted((*batch, *every)) == pool.sample_ids.tolist()


def test_a_pool_that_no_model_has_seen_is_drawn_from_at_random() -> None:
    pool = ScoredPool(np.arange(10))
    drawn = pool.choose("margin", 4, seed=1, already_chosen=[3, 4])
    assert not {3, 4} & set(drawn.sample_ids)
    assert {reason["code"] for reason in drawn.reasons} == {"first_look"}
    assert drawn.sample_ids != pool.choose("margin", 4, seed=2, already_chosen=[3, 4]).sample_ids


def test_a_cold_start_chooses_by_embeddings() -> None:
    blobs = np.concatenate([np.zeros((90, 4)), np.full((10, 4), 5.0)]) + np.random.default_rng(0).normal(size=(100, 4))
    pool = ScoredPool(np.arange(100), embeddings=blobs.astype(np.float16))
    chosen = pool.choose("auto", 2, seed=0)
    assert sorted(one >= 90 for one in chosen.sample_ids) == [False, True]
    assert chosen.facts == {"regime": "cover", "why": "there is no model yet"}
    assert {reason["code"] for reason in chosen.reasons} == {"typical"}


@pytest.mark.parametrize(
    ("shards", "words"),
    [
        ([], "at least one shard"),
        ([_pool(0, 5), _pool(4, 5)], "the same sample"),
        ([_pool(0, 5), ScoredPool(np.arange(5, 9))], "1 of 2 shards have probabilities"),
    ],
)
def test_shards_that_do_not_fit_are_refused(shards: list[ScoredPool], words: str) -> None:
    with pytest.raises(InvalidScoredPoolError, match=words):
        merged(shards)


def test_a_pool_is_read_file_by_file_and_cut_to_what_may_be_chosen() -> None:
    files = {"a": _pool(0, 20, labelled=2).to_bytes(), "b": _pool(20, 30).to_bytes()}
    asked: list[str] = []

    def read(name: str) -> bytes:
        asked.append(name)
        return files[name]

    wanted = np.array([1, 2, 19, 20, 40, 99])
    pool = ScoredPool.read(read, ["a", "b"], wanted)
    assert asked == ["a", "b"]
    assert pool.sample_ids.tolist() == [1, 2, 19, 20, 40]
    assert pool.embeddings is not None and len(pool.embeddings) == 5
    np.testing.assert_array_equal(pool.embeddings[3:], _pool(20, 30).embeddings[[0, 20]])
    with pytest.raises(InvalidScoredPoolError, match="the same sample"):
        ScoredPool.read(lambda name: files["a"], ["a", "a"], wanted)


@pytest.mark.parametrize("data", [b"", b"no zip", _pool(0, 5).to_bytes()[:-30]])
def test_damaged_files_say_what_to_do(data: bytes) -> None:
    with pytest.raises(InvalidScoredPoolError, match="run the score stage again"):
        ScoredPool.from_bytes(data)


# -- two stages ----------------------------------------------------------------------------------------------------


def two_stages(whole: ScoredPool, cut_at: int, strategy: str, count: int, **options: float) -> ScoredPool:
    """What a selection holds after both halves proposed."""
    halves = [whole.restricted_to(ids) for ids in (whole.sample_ids[:cut_at], whole.sample_ids[cut_at:])]
    offers = [half.proposals(strategy, count, seed=[1, at], **options) for at, half in enumerate(halves)]
    return merged(offers).beside(whole.sample_ids)


@pytest.mark.parametrize("strategy", ["margin", "entropy", "least_confidence"])
@pytest.mark.parametrize("cut_at", [1, 20, 39])
def test_where_each_sample_is_judged_alone_two_stages_choose_what_one_would(strategy: str, cut_at: int) -> None:
    whole = _pool(5, 40)
    pool = two_stages(whole, cut_at, strategy, 8)
    assert pool.choose(strategy, 8, seed=3).sample_ids == whole.choose(strategy, 8, seed=3).sample_ids
    assert len(pool.sample_ids) == min(8, cut_at) + min(8, 40 - cut_at)


def test_proposals_hold_none_of_the_random_slice_and_keep_what_is_labelled() -> None:
    whole = _pool(5, 40, labelled=3)
    offered = whole.proposals("margin", 6, seed=0, random_fraction=1.0)
    assert set(offered.sample_ids) == set(whole.choose("margin", 6, seed=0).sample_ids)
    assert offered.labelled_embeddings is whole.labelled_embeddings


def test_the_random_slice_comes_from_the_whole_pool_each_sample_as_often() -> None:
    pool = two_stages(_pool(5, 40), 20, "margin", 5)
    counts = dict.fromkeys(range(5, 45), 0)
    for seed in range(400):
        chosen = pool.choose("margin", 8, seed=seed, random_fraction=0.5)
        assert len(set(chosen.sample_ids)) == 8
        assert [reason["code"] for reason in chosen.reasons].count("random") == 4
        for one, reason in zip(chosen.sample_ids, chosen.reasons, strict=True):
            counts[int(one)] += reason["code"] == "random"
    assert min(counts.values()) > 15 and max(counts.values()) < 70, "40 expected of each"


def test_the_reserve_of_two_stages_has_none_of_the_batch() -> None:
    pool = two_stages(_pool(5, 40, labelled=3), 20, "margin+k_center", 10)
    batch = pool.choose("margin+k_center", 5, seed=0, random_fraction=0.4)
    reserve = pool.choose("margin+k_center", 5, seed=1, random_fraction=0.4, already_chosen=batch.sample_ids)
    assert len({*batch.sample_ids, *reserve.sample_ids}) == 10
    everything = pool.choose("random", 99, seed=2, already_chosen=batch.sample_ids)
    assert sorted([*batch.sample_ids, *everything.sample_ids]) == list(range(5, 45))


def test_the_rest_of_the_pool_is_in_the_file() -> None:
    pool = two_stages(_pool(5, 10), 5, "margin", 2)
    again = ScoredPool.from_bytes(pool.to_bytes())
    assert again.choose("margin", 4, seed=1, random_fraction=0.5) == pool.choose(
        "margin", 4, seed=1, random_fraction=0.5
    )

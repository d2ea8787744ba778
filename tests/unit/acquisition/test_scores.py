"""Each score against numbers from the literature, and identities between scores."""

import numpy as np
import pytest

from al_service.acquisition import scores
from al_service.acquisition.arrays import InvalidArrayError
from al_service.errors import InvalidInputError

ROW = np.array([[0.7, 0.2, 0.1]])


def mixture() -> np.ndarray:
    """The four variables of batchbald_redux's example: (4, 20, 4), each from one distribution to another."""
    starts = np.full((4, 4), 0.1) + 0.6 * np.eye(4)
    ends = np.array([[0.3, 0.3, 0.2, 0.2], [0.2, 0.3, 0.3, 0.2], [0.2, 0.2, 0.3, 0.3], [0.3, 0.2, 0.2, 0.3]])
    share = np.linspace(0, 1, 20)[None, :, None]
    return starts[:, None] * (1 - share) + ends[:, None] * share


def test_scores_of_a_known_row():
    assert scores.least_confidence(ROW)[0] == pytest.approx(0.45)
    assert scores.margin(ROW)[0] == pytest.approx(0.5)
    assert scores.ratio(ROW)[0] == pytest.approx(0.2857, abs=1e-4)
    assert scores.entropy(ROW)[0] == pytest.approx(0.7298, abs=1e-4)
    assert scores.entropy(ROW)[0] * np.log(3) == pytest.approx(0.8018, abs=1e-4)


def test_bald_and_its_two_entropies_on_the_batchbald_example():
    sampled = mixture()
    np.testing.assert_allclose(scores.predictive_entropy(sampled) * np.log(4), np.full(4, 1.2376), atol=1e-4)
    np.testing.assert_allclose(scores.expected_entropy(sampled) * np.log(4), np.full(4, 1.2069), atol=1e-4)
    np.testing.assert_allclose(scores.bald(sampled) * np.log(4), np.full(4, 0.0307156), atol=1e-7)


def test_bald_is_predictive_minus_expected_entropy():
    sampled = np.random.default_rng(0).dirichlet(np.ones(5), size=(50, 8))
    expected = scores.predictive_entropy(sampled) - scores.expected_entropy(sampled)
    np.testing.assert_allclose(scores.bald(sampled), expected, atol=1e-12)


def test_bald_is_normalised_by_the_passes_where_they_are_fewer_than_the_classes():
    sampled = np.eye(10)[None, :3]
    assert scores.bald(sampled)[0] == pytest.approx(1.0)


def test_bald_of_one_pass_and_of_nearly_equal_passes_is_not_negative():
    sampled = np.random.default_rng(0).dirichlet(np.ones(5), size=(200, 1))
    assert (scores.bald(sampled) == 0).all()
    nearly = (np.repeat(sampled, 20, axis=1) * (1 + 1e-7)).astype(np.float32)
    found = scores.bald(nearly)
    assert (found >= 0).all() and (found < 1e-12).all()


def test_mean_std_and_variation_ratio_of_known_passes():
    sampled = np.array([[[0.9, 0.1, 0.0], [0.1, 0.9, 0.0], [0.8, 0.2, 0.0], [0.7, 0.3, 0.0]]])
    spread = np.std([0.9, 0.1, 0.8, 0.7])
    assert scores.mean_std(sampled)[0] == pytest.approx(2 * (2 * spread) / 3)
    assert scores.variation_ratio(sampled)[0] == pytest.approx(0.25 * 3 / 2)


def test_votes_of_a_committee_that_is_split_in_two_have_an_entropy_of_ln_2():
    sampled = np.repeat([[[0.9, 0.1], [0.2, 0.8]]], 5, axis=1)
    assert scores.vote_entropy(sampled)[0] * np.log(2) == pytest.approx(np.log(2))
    assert scores.vote_entropy(sampled[:, :1])[0] == 0
    unequal = np.array([[[0.9, 0.1, 0.0]] * 3 + [[0.0, 0.1, 0.9]]])
    expected = -(0.75 * np.log(0.75) + 0.25 * np.log(0.25)) / np.log(3)
    assert scores.vote_entropy(unequal)[0] == pytest.approx(expected)


@pytest.mark.parametrize(("passes", "classes"), [(1, 4), (3, 10), (8, 5), (40, 2)])
def test_a_committees_mean_kl_is_bald_and_its_consensus_entropy_the_predictive_entropy(passes, classes):
    sampled = np.random.default_rng(2).dirichlet(np.full(classes, 0.3), size=(60, passes))
    np.testing.assert_allclose(scores.mean_kl(sampled), scores.bald(sampled), rtol=0, atol=1e-12)
    np.testing.assert_array_equal(scores.consensus_entropy(sampled), scores.predictive_entropy(sampled))
    if passes == 1:
        assert not scores.mean_kl(sampled).any()


def test_dropquery_is_the_share_of_passes_that_leave_the_clean_prediction():
    clean = np.array([[0.6, 0.4], [0.1, 0.9]])
    passes = np.array([[[0.7, 0.3], [0.4, 0.6], [0.2, 0.8]], [[0.4, 0.6]] * 3])
    np.testing.assert_allclose(scores.dropquery(clean, passes), [2 / 3, 0])
    with pytest.raises(InvalidArrayError, match=r"expected \(2, M, 2\)"):
        scores.dropquery(clean, passes[:1])


def test_gradient_lengths_of_a_known_row_grow_with_the_embedding_and_say_nothing_of_a_certain_one():
    rows, embeddings = np.array([[0.7, 0.2, 0.1], [1, 0, 0], [0.7, 0.2, 0.1]]), np.array([[3, 4], [3, 4], [6, 8]])
    to_each = [np.sqrt(0.09 + 0.04 + 0.01), np.sqrt(0.49 + 0.64 + 0.01), np.sqrt(0.49 + 0.04 + 0.81)]
    np.testing.assert_allclose(scores.gradient_norm(rows, embeddings), [5 * to_each[0], 0, 10 * to_each[0]])
    expected = np.dot([0.7, 0.2, 0.1], to_each)
    np.testing.assert_allclose(scores.expected_gradient_length(rows, embeddings), [5 * expected, 0, 10 * expected])
    with pytest.raises(InvalidArrayError, match="2 rows for 3"):
        scores.gradient_norm(rows, embeddings[:2])


def test_gradient_norm_falls_with_confidence():
    rows = np.random.default_rng(3).dirichlet(np.ones(5), size=500)
    lengths = scores.gradient_norm(rows, np.ones((500, 8)))
    assert np.corrcoef(lengths, rows.max(1))[0, 1] < -0.95


def test_epig_asks_for_what_the_targets_need_and_is_a_mutual_information():
    # Two facts about the model, told by passes 0 to 3: samples 0 and 1 tell one each, targets need the second.
    one, other = np.array([0, 0, 1, 1]), np.array([0, 1, 0, 1])
    sampled = np.eye(2)[np.stack([one, other, np.zeros(4, int)])]
    target = np.eye(2)[other][None]
    np.testing.assert_allclose(scores.epig(sampled, target), [0, np.log(2), 0], atol=1e-12)
    assert scores.bald(sampled).tolist() == pytest.approx([1, 1, 0])
    assert not scores.epig(sampled[:, :1], target[:, :1]).any()
    with pytest.raises(InvalidArrayError, match="same passes"):
        scores.epig(sampled, target[:, :3])
    with pytest.raises(InvalidArrayError, match="T >= 1"):
        scores.epig(sampled, target[:0])


def test_epig_is_symmetric_and_at_most_the_disagreement_on_either_side():
    rng = np.random.default_rng(4)
    sampled, targets = rng.dirichlet(np.ones(3), size=(6, 10)), rng.dirichlet(np.ones(3), size=(5, 10))
    table = np.stack([scores.epig(sampled, target[None]) for target in targets], axis=1)
    turned = np.stack([scores.epig(targets, one[None]) for one in sampled])
    np.testing.assert_allclose(table, turned, atol=1e-12)
    np.testing.assert_allclose(scores.epig(sampled, targets), table.mean(1), atol=1e-12)
    bald = scores.bald(sampled) * np.log(3)
    assert (table <= bald[:, None] + 1e-12).all() and (table > 0).all()


def test_logits_keep_the_order_of_nearly_certain_rows_that_float32_probabilities_lose():
    gaps = np.array([[0.0, -gap, -gap - 1] for gap in (120, 50, 40, 30, 0.1)])
    passes = np.stack([gaps, gaps - np.array([0, 1, 0])], axis=1)
    rounded = np.exp(gaps.astype(np.float32)) / np.exp(gaps.astype(np.float32)).sum(1, keepdims=True)
    assert 1 - rounded[1, 0] == 1 - rounded[2, 0] == 1 - rounded[3, 0] == 0
    embeddings, clean = np.ones((5, 2)), {"probabilities": gaps, "sampled_probabilities": passes}
    for name in ("least_confidence", "margin", "ratio", "entropy", "predictive_entropy", "expected_entropy", "bald",
                 "mean_std", "expected_gradient_length", "gradient_norm"):  # fmt: skip
        score = scores.get(name)
        found = scores.from_logits(name, clean[score.needs], *([embeddings] if score.also else []))
        assert (found > 0).all() and (np.diff(found[:4]) > 0).all(), name
    nats = scores.from_logits("entropy", gaps) * np.log(3)
    small = np.exp(-np.array([50, 51.0]))
    assert nats[1] == pytest.approx((small * (1 - np.log(small))).sum(), rel=1e-12)


def test_logits_may_say_impossible_and_must_be_numbers():
    logits = np.array([[0.0, 0.0, -np.inf], [2.0, -np.inf, -np.inf]])
    np.testing.assert_allclose(scores.from_logits("entropy", logits), [np.log(2) / np.log(3), 0])
    np.testing.assert_array_equal(scores.from_logits("bald", np.stack([logits, logits], 1)), [0, 0])
    for row in ([np.nan, 0, 0], [np.inf, 0, 0], [-np.inf] * 3):
        with pytest.raises(InvalidArrayError, match=r"logits\[2\]"):
            scores.from_logits("margin", np.vstack([logits, row]))
    with pytest.raises(InvalidArrayError, match=r"\(N, M, C\)"):
        scores.from_logits("bald", logits)
    with pytest.raises(InvalidInputError, match="reads probabilities, embeddings; 1 arrays"):
        scores.from_logits("gradient_norm", logits)
    with pytest.raises(InvalidArrayError, match="1 rows beside 2"):
        scores.from_logits("gradient_norm", logits, np.ones((1, 4)))


def test_rows_that_were_rounded_score_as_the_distributions_that_they_are():
    rows = np.random.default_rng(5).dirichlet(np.ones(8), size=200).astype(np.float16)
    exact = rows.astype(np.float64) / rows.astype(np.float64).sum(1, keepdims=True)
    for name in ("least_confidence", "margin", "ratio", "entropy"):
        function = scores.get(name).function
        np.testing.assert_allclose(function(rows), function(exact), rtol=0, atol=1e-15)


def test_two_classes_are_ranked_alike_by_all_four_simple_scores():
    rows = np.random.default_rng(1).dirichlet([1, 1], size=100)
    ranks = {name: np.argsort(scores.get(name).function(rows)).tolist() for name in ("least_confidence", "margin")}
    ranks |= {name: np.argsort(scores.get(name).function(rows)).tolist() for name in ("ratio", "entropy")}
    assert len({tuple(rank) for rank in ranks.values()}) == 1


def test_the_registry_refuses_a_second_score_of_one_name_and_names_those_it_has():
    assert scores.names() == (
        "least_confidence", "margin", "ratio", "entropy",
        "predictive_entropy", "expected_entropy", "bald", "mean_std", "variation_ratio",
        "vote_entropy", "consensus_entropy", "mean_kl", "dropquery", "epig",
        "expected_gradient_length", "gradient_norm",
    )  # fmt: skip
    assert {name for name in scores.names() if not scores.get(name).is_normalised} == {
        "epig", "expected_gradient_length", "gradient_norm",
    }  # fmt: skip
    with pytest.raises(scores.RepeatedScoreError, match="margin"):
        scores.register("margin", "probabilities")(scores.ratio)
    assert scores.get("margin").function is scores.margin
    with pytest.raises(scores.UnknownScoreError, match="least_confidence"):
        scores.get("bold")

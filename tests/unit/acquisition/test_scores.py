"""Each score against numbers from the literature, and identities between scores."""

import numpy as np
import pytest

from al_service.acquisition import scores

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


def test_two_classes_are_ranked_alike_by_all_four_simple_scores():
    rows = np.random.default_rng(1).dirichlet([1, 1], size=100)
    ranks = {name: np.argsort(scores.get(name).function(rows)).tolist() for name in ("least_confidence", "margin")}
    ranks |= {name: np.argsort(scores.get(name).function(rows)).tolist() for name in ("ratio", "entropy")}
    assert len({tuple(rank) for rank in ranks.values()}) == 1


def test_the_registry_refuses_a_second_score_of_one_name_and_names_those_it_has():
    assert scores.names() == (
        "least_confidence", "margin", "ratio", "entropy",
        "predictive_entropy", "expected_entropy", "bald", "mean_std", "variation_ratio",
    )  # fmt: skip
    with pytest.raises(scores.RepeatedScoreError, match="margin"):
        scores.register("margin", "probabilities")(scores.ratio)
    assert scores.get("margin").function is scores.margin
    with pytest.raises(scores.UnknownScoreError, match="least_confidence"):
        scores.get("bold")

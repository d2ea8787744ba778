"""How many labels look wrong, and when that is told from a bad model."""

import numpy as np
import pytest

from al_service.learning.label_noise import InvalidNoiseDataError, LabelNoise, advice, confident_count, estimate
from al_service.learning.probe import fit_probe, held_out_probabilities
from tests.unit.learning.test_neighbours import spoiled


def judged(embeddings: np.ndarray, labels: np.ndarray) -> LabelNoise:
    l2 = fit_probe(embeddings, labels, 10).l2
    return estimate(held_out_probabilities(embeddings, labels, 10, l2=l2), labels)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.3])
def test_both_ends_are_near_the_truth(share, flat):
    embeddings, labels = (part[:1000] for part in flat)
    found = judged(embeddings, spoiled(labels, share, seed=1))
    assert found.low <= found.high == pytest.approx(share, abs=0.06)
    assert found.low == pytest.approx(share, abs=0.09)
    assert found.count == 1000
    assert found.is_worth_a_look == (share == 0.3)


@pytest.mark.parametrize("distance", [0.25, 0.35, 0.5])
@pytest.mark.parametrize("count", [100, 300, 1000])
def test_classes_that_overlap_are_not_taken_for_wrong_labels(distance, count):
    for seed in range(3):
        rng = np.random.default_rng(seed)
        labels = rng.integers(0, 10, count)
        embeddings = (rng.normal(size=(10, 32)) * distance)[labels] + rng.normal(size=(count, 32))
        assert not judged(embeddings.astype(np.float32), labels).is_worth_a_look


def test_with_few_labels_a_class_nothing_is_advised(flat):
    embeddings, labels = (part[:150] for part in flat)
    found = judged(embeddings, spoiled(labels, 0.3, seed=1))
    assert found.low > 0.05
    assert not found.can_tell


def test_a_judge_that_saw_the_labels_gives_the_lower_end_alone(flat):
    embeddings, labels = (part[:400] for part in flat)
    wrong = spoiled(labels, 0.3, seed=1)
    held_out = held_out_probabilities(embeddings, wrong, 10, l2=0.1)
    found = estimate(held_out, wrong, embeddings_saw_labels=True)
    assert found.high is None
    assert found.low == estimate(held_out, wrong).low


def test_confident_learning_counts_by_class():
    assert confident_count(np.array([[1.0, 0.0]]), [0]).share == 0
    assert confident_count(np.full((4, 2), 0.5), np.zeros(4, int)).share == 0
    labels = np.array([0] * 20 + [1] * 20)
    rows = np.eye(2)[labels] * 0.8 + 0.1
    rows[0] = 0.1, 0.9
    assert confident_count(rows, labels).per_class == (0.05, 0.0)


def test_one_sample_and_one_class_are_no_reason_to_look():
    for rows, labels in ((np.array([[1.0, 0.0]]), [0]), (np.ones((60, 1)), np.zeros(60, int))):
        assert not estimate(rows, labels).is_worth_a_look


def test_advice_says_how_many_and_what_the_training_mode_can_do():
    found = LabelNoise(low=0.21, high=0.34, count=500, can_tell=True)
    assert "At least 21% and up to 34% of the labels" in (advice(found, "probe") or "")
    assert "curriculum" not in (advice(found, "probe") or "")
    assert "curriculum=easy_first" in (advice(found, "finetune") or "")
    assert "up to" not in (advice(LabelNoise(0.21, None, 500, True), "finetune") or "")
    assert advice(LabelNoise(0.21, 0.34, 500, can_tell=False), "finetune") is None
    assert advice(LabelNoise(0.09, 0.34, 500, True), "finetune") is None


def test_what_does_not_fit_is_refused():
    labels = np.array([0, 1, 0, 1])
    rows = np.random.default_rng(0).normal(size=(4, 3))
    for probabilities, given, text in (
        (np.eye(4), labels[:2], "expected"), (rows, labels, "sums to"), (np.eye(4), labels + 3, "expected 0 to 3"),
        (np.empty((0, 2)), labels[:0], "N >= 1"),
    ):  # fmt: skip
        with pytest.raises(InvalidNoiseDataError, match=text):
            estimate(probabilities, given)

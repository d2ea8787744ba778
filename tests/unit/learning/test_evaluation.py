"""Metrics against scikit-learn, against the definition, and at their ends."""

import json

import numpy as np
import pytest
from sklearn import metrics

from al_service.domain.proportions import wilson_interval
from al_service.learning import evaluation


def predictions(count: int = 300, classes: int = 4, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, count)
    logits = rng.normal(size=(count, classes)) + 1.5 * np.eye(classes)[labels]
    rows = np.exp(logits)
    return rows / rows.sum(1, keepdims=True), labels


def test_metrics_are_those_of_scikit_learn():
    rows, labels = predictions()
    found, predicted = evaluation.evaluate(rows, labels), rows.argmax(1)
    assert found.count == 300
    assert found.accuracy == pytest.approx(metrics.accuracy_score(labels, predicted))
    assert found.macro_f1 == pytest.approx(metrics.f1_score(labels, predicted, average="macro"))
    assert found.nll == pytest.approx(metrics.log_loss(labels, rows))
    assert found.confusion == tuple(map(tuple, metrics.confusion_matrix(labels, predicted).tolist()))
    assert found.brier == pytest.approx(((rows - np.eye(4)[labels]) ** 2).sum(1).mean())
    assert [one.recall for one in found.per_class] == pytest.approx(
        metrics.recall_score(labels, predicted, average=None).tolist()
    )


def test_perfect_predictions():
    found = evaluation.evaluate(np.eye(3), [0, 1, 2])
    assert (found.accuracy, found.macro_f1, found.ece, found.brier, found.nll) == (1, 1, 0, 0, 0)
    assert found.accuracy_ci95[1] == 1 and 0.4 < found.accuracy_ci95[0] < 0.5


def test_certain_and_wrong_predictions_stay_finite():
    found = evaluation.evaluate(np.eye(2), [1, 0])
    assert (found.accuracy, found.macro_f1, found.ece, found.brier) == (0, 0, 1, 2)
    assert found.nll == pytest.approx(-np.log(1e-12))
    assert found.accuracy_ci95[0] == 0


def test_classes_that_do_not_occur_have_no_metrics_and_do_not_lower_the_mean():
    rows = np.array([[0.8, 0.1, 0.1, 0.0], [0.2, 0.7, 0.1, 0.0]])
    found = evaluation.evaluate(rows, [0, 1])
    assert found.macro_f1 == 1
    assert found.per_class[3] == evaluation.ClassMetrics(None, None, None, 0)
    predicted_only = evaluation.evaluate(rows, [0, 0])
    assert predicted_only.per_class[1].precision == 0 and predicted_only.per_class[1].recall == 0


def test_everything_is_plain_data():
    found = evaluation.evaluate(*predictions())
    assert json.loads(json.dumps(found.to_json()))["confusion"] == [list(row) for row in found.confusion]


@pytest.mark.parametrize(("successes", "count"), [(0, 10), (10, 10), (5, 10), (1, 1000), (0, 1)])
def test_the_wilson_interval_solves_its_equation(successes, count):
    low, high = wilson_interval(successes, count)
    share = successes / count
    assert 0 <= low <= share <= high <= 1
    for end in (low, high):
        if 0 < end < 1:
            assert abs(share - end) == pytest.approx(1.959964 * np.sqrt(end * (1 - end) / count), rel=1e-5)


def test_the_calibration_error_of_known_bins():
    confidences = np.array([0.6, 0.6, 0.9, 0.9])
    right = np.array([True, False, True, True])
    assert evaluation.expected_calibration_error(confidences, right, bins=2) == pytest.approx(0.1)
    assert evaluation.expected_calibration_error(confidences[:1], right[:1], bins=15) == pytest.approx(0.4)


def test_labels_that_fit_the_probabilities_are_calibrated():
    rng = np.random.default_rng(0)
    rows = rng.dirichlet(np.ones(3), size=20_000)
    labels = (rows.cumsum(1) < rng.random((20_000, 1))).sum(1)
    assert evaluation.evaluate(rows, labels).ece < 0.02


def test_the_reliability_diagram_holds_every_sample_once_with_rising_confidence():
    rows, labels = predictions(107)
    found = evaluation.evaluate(rows, labels, bins=10)
    diagram = found.reliability
    assert sorted({one.count for one in diagram}) == [10, 11] and sum(one.count for one in diagram) == 107
    assert [one.confidence for one in diagram] == sorted(one.confidence for one in diagram)
    assert sum(one.count * one.accuracy for one in diagram) == pytest.approx(107 * found.accuracy)
    assert sum(one.count * one.confidence for one in diagram) == pytest.approx(rows.max(1).sum())
    assert found.ece == pytest.approx(sum(one.count * abs(one.confidence - one.accuracy) for one in diagram) / 107)
    for one in diagram:
        low, high = one.accuracy_ci95
        assert 0 <= low <= one.accuracy <= high <= 1
    assert json.loads(json.dumps(found.to_json()))["reliability"][0]["count"] == diagram[0].count


def test_a_single_class():
    found = evaluation.evaluate(np.ones((3, 1)), np.zeros(3, np.int8))
    assert (found.accuracy, found.macro_f1, found.ece, found.nll, found.confusion) == (1, 1, 0, 0, ((3,),))


def test_the_reliability_diagram_of_one_and_of_no_sample():
    assert len(evaluation.evaluate(np.array([[0.3, 0.7]]), [1]).reliability) == 1
    assert evaluation.reliability(np.empty(0), np.empty(0, bool)) == ()


def test_what_does_not_fit_is_refused():
    rows, labels = predictions(5)
    for bad_rows, bad_labels, text in (
        (rows, labels[:4], "expected"), (rows[:0], labels[:0], "N >= 1"), (rows, labels + 4, "expected 0 to 3"),
        (np.log(rows), labels, "softmax"), (rows, labels.astype(float), "float64"),
        (rows * np.nan, labels, "sums to nan"),
    ):  # fmt: skip
        with pytest.raises(evaluation.InvalidEvaluationSetError, match=text):
            evaluation.evaluate(bad_rows, bad_labels)

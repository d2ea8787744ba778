"""Temperatures: found where logits were scaled, honest about what they change, and calm where labels are few."""

import json

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from al_service.learning import calibration
from al_service.learning.calibration import InvalidCalibrationSetError, calibrate, fit_temperature


def calibrated(count: int, classes: int = 5, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Logits whose softmax is right, and labels drawn from it."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(count, classes)) * 3
    rows = torch.from_numpy(logits).softmax(1).numpy()
    return logits, (rows.cumsum(1) < rng.random((count, 1))).sum(1).clip(0, classes - 1)


def test_scaled_logits_ask_for_that_temperature():
    logits, labels = calibrated(20_000)
    assert fit_temperature(logits, labels).value == pytest.approx(1, rel=0.04)
    assert fit_temperature(logits * 3, labels).value == pytest.approx(3, rel=0.04)
    assert fit_temperature(logits / 4, labels).value == pytest.approx(1 / 4, rel=0.04)


def test_over_confident_logits_become_calibrated_and_no_answer_changes():
    logits, labels = calibrated(2_000, seed=1)
    found = calibrate(logits * 3, labels, seed=0)
    assert found.after.ece < found.before.ece / 2
    assert found.after.nll < found.before.nll and found.after.brier < found.before.brier
    assert found.after.accuracy == found.before.accuracy and found.after.confusion == found.before.confusion
    sure = found.temperature.probabilities(logits * 3)
    assert (sure.argmax(1) == logits.argmax(1)).all()
    np.testing.assert_allclose(sure.sum(1), 1, atol=1e-6)
    assert json.loads(json.dumps(found.to_json()))["temperature"]["count"] == 2_000


def test_calibrated_logits_stay_about_as_they_are_and_the_report_does_not_flatter():
    logits, labels = calibrated(100, seed=3)
    found = calibrate(logits, labels)
    assert found.temperature.value == pytest.approx(1, abs=0.3)
    assert found.temperature.nll_after <= found.temperature.nll_before == pytest.approx(found.before.nll)
    # Measured on labels that the temperature never saw it is no better than where it was fitted.
    assert found.after.nll >= found.temperature.nll_after


@given(count=st.integers(1, 60), classes=st.integers(1, 6), scale=st.floats(0.01, 100), seed=st.integers(0, 2**31 - 1))
def test_the_temperature_is_where_loss_and_prior_are_least(count, classes, scale, seed):
    rng = np.random.default_rng(seed)
    logits, labels = rng.normal(size=(count, classes)) * scale, rng.integers(0, classes, count)
    found = fit_temperature(logits, labels)

    def objective(value: float) -> float:
        log_rows = torch.from_numpy(logits / value).log_softmax(1).numpy()
        prior = calibration.PRIOR_SAMPLES / count * (1 / value - 1 + np.log(value))
        return float(-log_rows[np.arange(count), labels].mean() + prior)

    assert calibration.TEMPERATURE_LOW <= found.value <= calibration.TEMPERATURE_HIGH
    grid = np.geomspace(calibration.TEMPERATURE_LOW, calibration.TEMPERATURE_HIGH, 60)
    assert objective(found.value) <= min(objective(value) for value in grid) + 1e-6
    assert found.nll_after <= found.nll_before + 1e-6


def test_few_labels_move_it_little():
    logits = np.array([[10.0, 0.0]])
    right, wrong = fit_temperature(logits, [0]), fit_temperature(logits, [1])
    assert 0.99 < right.value <= 1
    assert 1 < wrong.value < 4
    one = calibrate(logits, np.array([1]))
    assert one.after == one.before and one.temperature == wrong


def test_labels_of_one_class_and_a_single_class():
    logits, _ = calibrated(50)
    assert np.isfinite(calibrate(logits, np.full(50, 2)).after.nll)
    alone = calibrate(np.ones((7, 1)), np.zeros(7, int))
    assert alone.temperature.value == pytest.approx(1) and alone.after.nll == 0


def test_tensors_of_half_precision_are_welcome():
    logits, labels = calibrated(200)
    half = fit_temperature(torch.from_numpy(logits).half(), torch.from_numpy(labels))
    assert half.value == pytest.approx(fit_temperature(logits, labels).value, rel=1e-2)


def test_what_does_not_fit_is_refused():
    logits, labels = calibrated(5)
    for bad_logits, bad_labels, text in (
        (logits[:0], labels[:0], "N >= 1"), (logits[0], labels, "shape"), (logits, labels[:4], r"\(4,\)"),
        (logits, labels.astype(float), "float64"), (logits, labels + 5, "expected 0 to 4"),
        (logits * np.nan, labels, r"logits\[0\]"),
    ):  # fmt: skip
        for function in (fit_temperature, calibrate):
            with pytest.raises(InvalidCalibrationSetError, match=text):
                function(bad_logits, bad_labels)

"""A round's model from settings and arrays: what is trained, calibrated, measured and said."""

import json
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from al_service.domain.project_config import ProjectConfig
from al_service.learning import networks
from al_service.learning.checkpoints import Checkpoint, model_hash
from al_service.learning.inference import embed
from al_service.learning.round_model import Examples, Lesson, Means, finetune, fit_head

CLASSES = tuple("0123456789")


def _digits() -> tuple[np.ndarray, np.ndarray]:
    found = load_digits()
    grey = (found.images * 15.9).astype(np.uint8)
    order = np.random.default_rng(0).permutation(len(grey))
    return np.repeat(grey[order][..., None], 3, axis=3), found.target[order].astype(np.int64)


PIXELS, LABELS = _digits()


def lesson_of(labels: np.ndarray | None = None, count: int = 120, **settings: Any) -> Lesson:
    """`count` labelled digits, 300 to measure on, 600 without label."""
    given = LABELS[:count] if labels is None else labels
    return Lesson(
        config=ProjectConfig(epochs_max=6).with_values(settings),
        class_names=CLASSES,
        seed=3,
        labelled=Examples(PIXELS[:count], given),
        evaluation=Examples(PIXELS[1000:1300], LABELS[1000:1300]),
        unlabelled=PIXELS[1300:1797],
    )


def fresh(seed: int = 1) -> networks.Network:
    return networks.build("small_cnn", 10, 8, seed=seed)


def on_embeddings(lesson: Lesson, network: networks.Network) -> Lesson:
    """The same lesson for a frozen backbone."""
    evaluation = lesson.evaluation
    assert evaluation is not None
    return Lesson(
        config=lesson.config,
        class_names=lesson.class_names,
        seed=lesson.seed,
        labelled=Examples(embed(network, lesson.labelled.values), lesson.labelled.class_indices),
        evaluation=Examples(embed(network, evaluation.values), evaluation.class_indices),
        unlabelled=embed(network, lesson.unlabelled),
    )


def test_a_finetuned_model_is_measured_before_and_after_calibration() -> None:
    learned = finetune(lesson_of(), fresh(), Means())
    json.dumps([learned.facts, learned.metrics], allow_nan=False)
    calibration = learned.metrics["calibration"]
    assert calibration["temperature"] == learned.temperature
    assert calibration["count"] == learned.metrics["evaluation_samples"] == 300
    assert calibration["after"]["nll"] == learned.metrics["nll"]
    for part in ("before", "after"):
        bins = calibration[part]["reliability"]
        assert sum(one["count"] for one in bins) == 300
        assert all(one["low"] <= one["accuracy"] <= one["high"] for one in bins)
    assert set(learned.metrics["per_class"]) == set(CLASSES)
    assert np.array(learned.metrics["confusion"]["counts"]).sum() == 300


def test_equal_seeds_give_the_equal_model() -> None:
    first, second = (finetune(lesson_of(), fresh(), Means()) for _ in range(2))
    assert model_hash(first.network) == model_hash(second.network)
    assert first.metrics == second.metrics


def test_without_evaluation_images_nothing_is_measured_or_calibrated() -> None:
    whole = lesson_of()
    learned = finetune(Lesson(whole.config, CLASSES, 3, whole.labelled), fresh(), Means())
    assert learned.temperature == 1.0
    assert learned.metrics["evaluation_samples"] == 0
    assert "accuracy" not in learned.metrics


def test_a_head_on_a_frozen_backbone_leaves_the_backbone_alone() -> None:
    network = fresh()
    before = {key: value.clone() for key, value in network.backbone.state_dict().items()}
    learned = fit_head(on_embeddings(lesson_of(), network), network, Means())
    assert learned.metrics["accuracy"] > 0.7
    assert all(torch.equal(value, before[key]) for key, value in learned.network.backbone.state_dict().items())


def test_labels_that_spread_are_reported_beside_the_plain_head() -> None:
    network = fresh()
    plain = fit_head(on_embeddings(lesson_of(count=60), network), fresh(), Means())
    lesson = on_embeddings(lesson_of(count=60, semi_supervised="label_spreading"), network)
    learned = fit_head(lesson, network, Means())
    assert 0 < learned.facts["spread_labels"] <= learned.facts["unlabelled"] == 497
    assert learned.metrics["plain"]["nll"] == plain.metrics["nll"]
    assert learned.metrics["nll"] != plain.metrics["nll"]


def test_the_last_model_is_where_training_starts_when_asked() -> None:
    previous = Checkpoint(finetune(lesson_of(), fresh(), Means()).network, CLASSES)
    lesson = lesson_of(warm_start="previous", epochs_max=1)
    went_on = finetune(Lesson(**{**vars(lesson), "previous": previous}), fresh(9), Means())
    from_scratch = finetune(lesson_of(epochs_max=1), fresh(9), Means())
    assert went_on.facts["classes_taken"] == 10
    assert went_on.metrics["accuracy"] > from_scratch.metrics["accuracy"] + 0.2


@pytest.mark.parametrize("difficulty", ["previous_round", "knn"])
def test_a_curriculum_asks_the_last_model_what_is_hard(difficulty: str) -> None:
    lesson = lesson_of(curriculum="easy_first", curriculum_difficulty=difficulty)
    first = finetune(lesson, fresh(), Means())
    assert "none yet" in first.facts["curriculum"]
    previous = Checkpoint(first.network, CLASSES)
    ordered = finetune(Lesson(**{**vars(lesson), "previous": previous}), fresh(), Means())
    assert ordered.facts["curriculum"] == f"easy_first, linear, by {difficulty}"
    assert model_hash(ordered.network) != model_hash(first.network)


def spoiled_labels(count: int = 900, wrong: int = 180) -> np.ndarray:
    """So many labels, and so many of them wrong."""
    labels = LABELS[:count].copy()
    flipped = np.random.default_rng(1).permutation(count)[:wrong]
    labels[flipped] = (labels[flipped] + 1 + np.arange(wrong) % 9) % 10
    return labels


def test_many_wrong_labels_bring_advice_and_right_ones_none() -> None:
    network = fresh()
    lesson = lesson_of(spoiled_labels(), count=900, training_mode="probe")
    learned = fit_head(on_embeddings(lesson, network), network, Means())
    noise = learned.metrics["label_noise"]
    assert 0.1 < noise["low"] <= noise["high"]
    assert 0.1 < noise["high"] < 0.35
    [advice] = [one for one in learned.metrics["advice"] if one["code"] == "label_noise"]
    assert "curriculum" not in advice["text"], "a probe has none"
    clean = fit_head(on_embeddings(lesson_of(count=600, training_mode="probe"), network), fresh(), Means())
    assert "label_noise" not in [one["code"] for one in clean.metrics["advice"]]


def test_a_trained_network_tells_the_least_share_of_wrong_labels() -> None:
    noise = finetune(lesson_of(spoiled_labels(600), count=600, epochs_max=8), fresh(), Means()).metrics["label_noise"]
    assert 0 < noise["low"] < 0.35
    assert noise["high"] is None


def test_few_labels_and_simulations_are_not_asked_how_many_are_wrong() -> None:
    assert "label_noise" not in finetune(lesson_of(count=49, epochs_max=1), fresh(), Means()).metrics
    silent = Means(looks_for_wrong_labels=False)
    assert "label_noise" not in finetune(lesson_of(count=80, epochs_max=1), fresh(), silent).metrics

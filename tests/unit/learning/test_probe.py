"""The probe: one optimum, from wherever it starts; few labels, missing classes, and what is refused."""

import numpy as np
import pytest
import torch

from al_service.errors import InvalidInputError
from al_service.learning import networks
from al_service.learning.penalty_choice import L2_GRID, L2_WITHOUT_CHOICE, stratified_folds
from al_service.learning.probe import InvalidProbeDataError, fit_probe, install


def test_a_warm_start_reaches_the_same_head_in_fewer_steps(flat):
    embeddings, class_indices = flat
    before = fit_probe(embeddings[:950], class_indices[:950], 10, l2=0.01)
    cold = fit_probe(embeddings[:1000], class_indices[:1000], 10, l2=0.01)
    warm = fit_probe(embeddings[:1000], class_indices[:1000], 10, l2=0.01, start=before)
    np.testing.assert_allclose(warm.weights, cold.weights, atol=1e-6)
    np.testing.assert_allclose(warm.bias, cold.bias, atol=1e-6)
    assert warm.converged and cold.converged
    assert warm.iterations < cold.iterations and warm.products < cold.products


def test_the_chosen_penalty_does_well_on_held_out_labels_and_on_new_images(flat):
    embeddings, class_indices = flat
    probe = fit_probe(embeddings[:300], class_indices[:300], 10)
    assert probe.l2 == min(probe.tried, key=lambda one: one.held_out_nll).l2
    assert [one.l2 for one in probe.tried] == list(L2_GRID[: len(probe.tried)])

    def nll(found) -> float:
        rows = found.probabilities(embeddings[600:])
        return float(-np.log(rows[np.arange(len(rows)), class_indices[600:]]).mean())

    others = [nll(fit_probe(embeddings[:300], class_indices[:300], 10, l2=l2)) for l2 in L2_GRID]
    assert nll(probe) <= min(others) * 1.1
    assert (probe.logits(embeddings[600:]).argmax(1) == class_indices[600:]).mean() > 0.9


def test_one_label_for_each_class(flat):
    embeddings, class_indices = flat
    rows = np.array([np.flatnonzero(class_indices == one)[0] for one in range(10)])
    probe = fit_probe(embeddings[rows], class_indices[rows], 10)
    assert probe.l2 == L2_WITHOUT_CHOICE and probe.tried == ()
    assert (probe.logits(embeddings[rows]).argmax(1) == class_indices[rows]).all()
    assert (probe.logits(embeddings).argmax(1) == class_indices).mean() > 0.5


def test_two_labels_of_one_class_and_one_of_another():
    embeddings = np.array([[0.0, 1.0], [0.1, 1.0], [1.0, 0.0]], np.float32)
    probe = fit_probe(embeddings, np.array([0, 0, 1]), 2)
    assert probe.logits(embeddings).argmax(1).tolist() == [0, 0, 1]
    assert np.isfinite(probe.weights).all() and probe.converged


@pytest.mark.parametrize("class_count", [3, 1000])
def test_classes_without_labels_end_low_but_finite(class_count, flat):
    embeddings, class_indices = flat
    rows = np.flatnonzero(class_indices < 2)[:20]
    probe = fit_probe(embeddings[rows], class_indices[rows], class_count)
    found = probe.probabilities(embeddings)
    assert np.isfinite(found).all() and (found > 0).all()
    assert (found[:, 2:].sum(1) <= 1 / 22 + 1e-6).all()


@pytest.mark.parametrize("count", [1, 7])
def test_labels_of_one_class_give_a_constant(count):
    rng = np.random.default_rng(0)
    probe = fit_probe(rng.normal(size=(count, 5)), np.full(count, 1), 3)
    found = probe.probabilities(rng.normal(size=(4, 5)))
    assert probe.converged and not probe.weights.any()
    np.testing.assert_allclose(found[:, 1], 1 - 1 / (count + 2), atol=1e-6)
    assert fit_probe(np.ones((1, 5)), np.array([0]), 1).probabilities(np.ones((2, 5))).tolist() == [[1], [1]]


def test_constant_and_equal_embeddings_are_no_trouble():
    probe = fit_probe(np.ones((4, 3)), np.array([0, 0, 0, 1]), 2, l2=0.1)
    np.testing.assert_allclose(probe.probabilities(np.ones((1, 3))), [[0.75, 0.25]], atol=1e-6)
    assert fit_probe(np.ones((2, 0)), np.array([0, 1]), 2).logits(np.ones((1, 0))).tolist() == [[0, 0]]


def test_weights_are_as_good_as_repeating_samples(flat):
    embeddings, class_indices = flat
    times = np.random.default_rng(0).integers(0, 3, 100)
    times[:2] = 0, 2
    rows = np.repeat(np.arange(100), times)
    weighted = fit_probe(embeddings[:100], class_indices[:100], 10, l2=0.1, sample_weights=times * 0.5)
    repeated = fit_probe(embeddings[rows], class_indices[rows], 10, l2=0.1)
    np.testing.assert_allclose(weighted.weights, repeated.weights, atol=1e-6)


def test_soft_targets_that_are_certain_are_labels(flat):
    embeddings, class_indices = flat
    hard = fit_probe(embeddings[:80], class_indices[:80], 10)
    soft = fit_probe(torch.from_numpy(embeddings[:80]), np.eye(10)[class_indices[:80]], 10)
    np.testing.assert_array_equal(hard.weights, soft.weights)
    assert hard.l2 == soft.l2


def test_equal_input_gives_equal_weights(flat):
    embeddings, class_indices = flat
    first, second = (fit_probe(embeddings[:200], class_indices[:200], 10, seed=3) for _ in range(2))
    np.testing.assert_array_equal(first.weights, second.weights)


def test_the_order_and_the_unit_of_the_embeddings_do_not_matter(flat):
    embeddings, class_indices = (part[:200] for part in flat)
    order = np.random.default_rng(0).permutation(200)
    first = fit_probe(embeddings, class_indices, 10, l2=0.1)
    second = fit_probe(embeddings[order].astype(np.float64) * 1000 - 5, class_indices[order], 10, l2=0.1)
    np.testing.assert_allclose(second.weights * 1000, first.weights, atol=1e-4)
    np.testing.assert_allclose(second.logits(embeddings * 1000.0 - 5), first.logits(embeddings), atol=1e-3)


def test_a_head_with_the_probe_says_what_the_probe_says(flat):
    embeddings, class_indices = flat
    probe = fit_probe(embeddings[:100], class_indices[:100], 10)
    head = networks.Head(64, 10, 0.25).eval()
    install(probe, head)
    with torch.inference_mode():
        np.testing.assert_allclose(
            head(torch.from_numpy(embeddings).float()).numpy(), probe.logits(embeddings), atol=1e-5
        )
    with pytest.raises(InvalidInputError, match=r"\(10, 64\).*\(10, 32\)"):
        install(probe, networks.Head(32, 10, 0.25))
    assert probe.logits(embeddings[:0]).shape == (0, 10)


def test_folds_spread_each_class_and_never_hold_out_a_lone_label():
    class_indices = np.array([0] * 7 + [1] * 2 + [2])
    folds = stratified_folds(class_indices, 5, seed=1)
    assert folds[-1] == -1
    assert sorted(np.bincount(folds[:7], minlength=5)) == [1, 1, 1, 2, 2]
    assert folds[7] != folds[8]


def test_what_does_not_fit_is_refused():
    rows, labels = np.random.default_rng(0).normal(size=(4, 3)), np.array([0, 1, 0, 1])
    broken = rows.copy()
    broken[2, 1] = np.nan
    start = fit_probe(rows, labels, 3)
    for embeddings, class_indices, options, text in (
        (rows[:0], labels[:0], {}, "L >= 1"), (rows.astype(int), labels, {}, "dtype int64"),
        (rows[0], labels, {}, "shape"),
        (broken, labels, {}, r"embeddings\[2\]"), (rows, labels[:3], {}, r"\(3,\)"),
        (rows, labels + 1, {}, "expected 0 to 1"),
        (rows, np.full((4, 2), 0.7), {}, "sums to 1.400"), (rows, labels.astype(float), {}, "float64"),
        (rows, labels, {"sample_weights": np.zeros(4)}, "all sample_weights are 0"),
        (rows, labels, {"sample_weights": [1, 1, -1, 1]}, r"sample_weights\[2\] is -1"),
        (rows, labels, {"sample_weights": [1.0]}, r"\(1,\)"), (rows, labels, {"start": start}, r"\(3, 3\)"),
    ):  # fmt: skip
        with pytest.raises(InvalidProbeDataError, match=text):
            fit_probe(embeddings, class_indices, 2, **options)
    with pytest.raises(InvalidInputError, match="l2 is 0"):
        fit_probe(rows, labels, 2, l2=0)
    with pytest.raises(InvalidInputError, match="class_count is 0"):
        fit_probe(rows, labels, 0)
    with pytest.raises(InvalidProbeDataError, match="expected \\(N, 3\\)"):
        start.logits(rows[:, :2])

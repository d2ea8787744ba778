"""Outputs of a network, and its passes under dropout masks against a loop over the same masks."""

import numpy as np
import pytest
import torch

from al_service.acquisition import scores
from al_service.errors import InvalidInputError
from al_service.learning import inference, networks
from al_service.learning.dropout_masks import head_masks
from al_service.learning.pixels import InvalidPixelsError


def test_the_outputs_belong_together(digits, trained):
    found = inference.predict(trained, digits.pixels[:50], mc_passes=4)
    images = torch.from_numpy(digits.pixels[:50]).permute(0, 3, 1, 2)
    with torch.inference_mode():
        np.testing.assert_allclose(found.logits, trained(images).numpy(), atol=1e-5)
        np.testing.assert_allclose(found.embeddings, trained.embed(images).numpy(), atol=5e-3, rtol=1e-3)
    np.testing.assert_allclose(found.probabilities.sum(1), np.ones(50), atol=1e-6)
    np.testing.assert_array_equal(found.probabilities.argmax(1), found.logits.argmax(1))
    assert found.logits.dtype == found.probabilities.dtype == found.sampled_probabilities.dtype == np.float32
    assert found.embeddings.dtype == np.float16
    assert found.sampled_probabilities.shape == (50, 4, 10)


def test_passes_equal_a_loop_over_the_same_masks(digits, trained):
    found = inference.predict(trained, digits.pixels[:30], mc_passes=6, seed=5)
    masks = head_masks(trained.head, 6, seed=5)
    assert masks.unique().tolist() == pytest.approx([0, 1 / 0.75])
    with torch.inference_mode():
        embeddings = trained.embed(torch.from_numpy(digits.pixels[:30]).permute(0, 3, 1, 2))
        looped = torch.stack([trained.head.linear(embeddings * mask).softmax(1) for mask in masks], dim=1)
    np.testing.assert_allclose(found.sampled_probabilities, looped.numpy(), atol=2e-6)


def test_the_mean_of_many_masked_logits_is_the_clean_logit(digits, trained):
    masks = head_masks(trained.head, 20_000, seed=0)
    with torch.inference_mode():
        embeddings = trained.embed(torch.from_numpy(digits.pixels[:1]).permute(0, 3, 1, 2))
        masked = trained.head.linear(embeddings * masks)
        error = (masked.mean(0) - trained.head.linear(embeddings)[0]).abs()
        assert (error < 5 * masked.std(0) / 20_000**0.5).all()


@pytest.mark.parametrize("minibatch_size", [1, 7, 1000])
def test_the_minibatch_size_changes_nothing(digits, trained, minibatch_size):
    pixels = digits.pixels[:40]
    whole = inference.predict(trained, pixels, mc_passes=3, seed=1)
    parts = inference.predict(trained, pixels, mc_passes=3, seed=1, minibatch_size=minibatch_size)
    np.testing.assert_allclose(parts.logits, whole.logits, atol=1e-4)
    np.testing.assert_allclose(parts.sampled_probabilities, whole.sampled_probabilities, atol=1e-5)
    np.testing.assert_allclose(parts.embeddings, whole.embeddings, atol=5e-3, rtol=2e-3)


def test_batch_normalisation_and_dropout_rest_whatever_mode_the_network_was_in(digits):
    network = networks.build("shufflenet_v2_x0_5", 10, 8)
    first = inference.predict(network.train(), digits.pixels[:6], mc_passes=2, seed=3)
    second = inference.predict(network.train(), digits.pixels[:6], mc_passes=2, seed=3)
    alone = inference.predict(network.train(), digits.pixels[:1], mc_passes=2, seed=3)
    np.testing.assert_array_equal(first.logits, second.logits)
    np.testing.assert_array_equal(first.sampled_probabilities, second.sampled_probabilities)
    np.testing.assert_allclose(alone.sampled_probabilities[0], first.sampled_probabilities[0], atol=1e-4)


def test_the_seed_decides_the_masks_and_the_global_generator_does_not(digits, trained):
    torch.manual_seed(0)
    first = inference.predict(trained, digits.pixels[:5], mc_passes=3, seed=1).sampled_probabilities
    torch.manual_seed(1)
    np.testing.assert_array_equal(
        first, inference.predict(trained, digits.pixels[:5], mc_passes=3, seed=1).sampled_probabilities
    )
    other = inference.predict(trained, digits.pixels[:5], mc_passes=3, seed=2).sampled_probabilities
    assert (first != other).any()


def test_disagreement_is_higher_on_noise_than_on_digits(digits, trained):
    noise = np.random.default_rng(0).integers(0, 256, (100, 8, 8, 3), dtype=np.uint8)
    known = inference.predict(trained, digits.pixels[:100], mc_passes=20).sampled_probabilities
    unknown = inference.predict(trained, noise, mc_passes=20).sampled_probabilities
    assert scores.bald(unknown).mean() > 2 * scores.bald(known).mean()


def test_no_images_and_no_passes(trained):
    found = inference.predict(trained, np.empty((0, 8, 8, 3), np.uint8), mc_passes=2)
    assert found.logits.shape == (0, 10) and found.sampled_probabilities.shape == (0, 2, 10)
    assert inference.predict(trained, np.empty((0, 8, 8, 3), np.uint8)).sampled_probabilities is None


def test_progress_is_told_and_may_stop(digits, trained):
    told = []
    inference.predict(
        trained, digits.pixels[:25], minibatch_size=10, on_progress=lambda done, total: told.append((done, total))
    )
    assert told == [(10, 25), (20, 25), (25, 25)]
    with pytest.raises(ZeroDivisionError):
        inference.predict(trained, digits.pixels[:25], on_progress=lambda done, total: done / 0)


def test_other_pixels_and_sizes_are_refused(digits, trained):
    with pytest.raises(InvalidPixelsError, match="8, 8, 3"):
        inference.predict(trained, digits.pixels[:2, :7])
    with pytest.raises(InvalidInputError, match="minibatch_size"):
        inference.predict(trained, digits.pixels[:2], minibatch_size=0)
    with pytest.raises(InvalidInputError, match="mc_passes"):
        inference.predict(trained, digits.pixels[:2], mc_passes=-1)

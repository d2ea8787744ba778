"""Outputs of a network, and its passes under dropout masks against a loop over the same masks."""

import copy
import threading

import numpy as np
import pytest
import torch

from al_service.acquisition import scores
from al_service.errors import InvalidInputError
from al_service.learning import inference, networks
from al_service.learning.dropout_masks import head_masks
from al_service.learning.minibatch_size import MinibatchSizes
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


# -- where the pixels lie, and what the network holds afterwards ----------------------------------------------------


class Rows:
    """An array-like that is no array: it notes which slices were asked of it, and by which thread."""

    def __init__(self, array: np.ndarray) -> None:
        self.array, self.shape, self.dtype = array, array.shape, array.dtype
        self.asked: list[tuple[int, int]] = []
        self.threads: set[str] = set()

    def __len__(self) -> int:
        return len(self.array)

    def __getitem__(self, rows: slice) -> np.ndarray:
        self.asked.append((rows.start or 0, rows.stop))
        self.threads.add(threading.current_thread().name)
        if rows.start == 60:
            raise FileNotFoundError("row 60 is gone")
        return self.array[rows].copy()


def test_a_read_only_memory_map_and_an_array_like_give_what_the_array_gives(digits, trained, tmp_path):
    np.save(tmp_path / "pixels.npy", digits.pixels[:50])
    mapped = np.load(tmp_path / "pixels.npy", mmap_mode="r")
    rows = Rows(digits.pixels[:50])
    expected = inference.predict(trained, digits.pixels[:50], minibatch_size=20)
    for pixels in (mapped, rows, np.asfortranarray(digits.pixels[:50])):
        found = inference.predict(trained, pixels, minibatch_size=20)
        np.testing.assert_allclose(found.logits, expected.logits, atol=1e-5)
    assert rows.asked == [(0, 20), (20, 40), (40, 60)]
    assert len(rows.threads) == 1 and "read-ahead" in next(iter(rows.threads))
    assert not any("read-ahead" in thread.name for thread in threading.enumerate())


def test_what_reading_ahead_raises_passes_through_after_what_was_read(digits, trained):
    told = []
    with pytest.raises(FileNotFoundError, match="row 60"):
        inference.predict(
            trained, Rows(digits.pixels[:100]), minibatch_size=20, on_progress=lambda done, _: told.append(done)
        )
    assert told == [20, 40]
    assert not any("read-ahead" in thread.name for thread in threading.enumerate())


def test_the_pixels_stay_as_they_were(digits, trained):
    before = digits.pixels[:40].copy()
    inference.predict(trained, digits.pixels[:40], mc_passes=2)
    np.testing.assert_array_equal(digits.pixels[:40], before)


def test_weights_are_the_same_tensors_in_the_same_layout_afterwards(digits):
    network = networks.build("resnet18", 10, 8)
    before = {key: (value.data_ptr(), value.stride()) for key, value in network.state_dict().items()}
    inference.predict(network, digits.pixels[:3])
    with pytest.raises(ZeroDivisionError):
        inference.predict(network, digits.pixels[:3], on_progress=lambda *_: 1 / 0)
    assert {key: (value.data_ptr(), value.stride()) for key, value in network.state_dict().items()} == before


def test_progress_told_while_a_minibatch_waits_is_complete_and_in_order(digits, trained):
    told = []
    inference.predict(trained, digits.pixels[:7], minibatch_size=3, on_progress=lambda done, _: told.append(done))
    assert told == [3, 6, 7]


def test_an_unknown_precision_is_refused(digits, trained):
    with pytest.raises(InvalidInputError, match="'half', expected one of auto, float32"):
        inference.predict(trained, digits.pixels[:2], precision="half")


@pytest.mark.parametrize("passes", [0, 3])
def test_a_network_that_overflows_in_half_precision_goes_on_in_full(digits, passes):
    """On the CPU by hand: only GPUs are run in half precision otherwise."""
    network = networks.build("small_cnn", 10, 8).eval()
    with torch.no_grad():
        network.backbone.features[0].weight.mul_(1e9)  # the normalisation behind it takes that back
    expected = inference.predict(network, digits.pixels[:50], mc_passes=passes)
    found = inference.Inference.empty(50, network, passes)
    device = torch.device("cpu")
    with inference.dropout_passes(network, passes, 0) as run:
        scoring = inference._Scoring(network, run, device, half=True)
        memory = inference._Remembered(scoring, MinibatchSizes(), passes)
        scoring.score(digits.pixels[:50], 20, found, memory, None)
    assert scoring.precision == "float32"
    np.testing.assert_allclose(found.logits, expected.logits, atol=1e-3)
    if passes:
        np.testing.assert_allclose(found.sampled_probabilities, expected.sampled_probabilities, atol=1e-3)


# -- from embeddings -----------------------------------------------------------------------------------------------


def test_kept_embeddings_give_what_the_pixels_give(digits, trained):
    whole = inference.predict(trained, digits.pixels[:60], mc_passes=5, seed=2)
    embeddings = inference.embed(trained, digits.pixels[:60])
    np.testing.assert_array_equal(embeddings, whole.embeddings)
    for kept in (embeddings, Rows(embeddings)):
        found = inference.head_outputs(trained, kept, mc_passes=5, seed=2)
        np.testing.assert_allclose(found.probabilities, whole.probabilities, atol=5e-3)
        np.testing.assert_allclose(found.sampled_probabilities, whole.sampled_probabilities, atol=1e-2)
        np.testing.assert_array_equal(found.embeddings, embeddings)
    assert inference.head_outputs(trained, embeddings).sampled_probabilities is None


def test_a_long_pool_of_embeddings_is_read_in_parts(trained):
    rows = Rows(np.random.default_rng(0).normal(size=(20_000, trained.embedding_width)).astype(np.float16))
    found = inference.head_outputs(trained, rows)
    assert len(rows.asked) > 2
    with torch.inference_mode():
        expected = trained.head(torch.from_numpy(rows.array).float()).softmax(1).numpy()
    np.testing.assert_allclose(found.probabilities, expected, atol=1e-5)


def test_embeddings_beyond_half_precision_are_cut_to_its_range(digits, trained):
    loud = copy.deepcopy(trained)
    last = [layer for layer in loud.backbone.modules() if isinstance(layer, torch.nn.GroupNorm)][-1]
    with torch.no_grad():
        last.weight.mul_(1e7)
        last.bias.mul_(1e7)
    found = inference.embed(loud, digits.pixels[:20])
    assert np.isfinite(found).all()
    assert found.max() == np.finfo(np.float16).max
    assert np.isfinite(inference.head_outputs(loud, found).probabilities).all()


def test_no_embeddings_and_other_embeddings(trained):
    width = trained.embedding_width
    assert inference.head_outputs(trained, np.empty((0, width), np.float16), mc_passes=2).logits.shape == (0, 10)
    with pytest.raises(InvalidInputError, match=rf"\(3, {width + 1}\); small_cnn makes \(N, {width}\)"):
        inference.head_outputs(trained, np.zeros((3, width + 1), np.float16))
    with pytest.raises(InvalidInputError, match="mc_passes is -1"):
        inference.head_outputs(trained, np.zeros((3, width), np.float16), mc_passes=-1)

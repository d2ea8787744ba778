"""Minibatch sizes: found, remembered, and halved when memory runs out."""

import json
import logging

import numpy as np
import pytest
import torch

from al_service.errors import UnavailableError
from al_service.learning import inference, minibatch_size, networks
from al_service.learning.backbones import build_builtin
from al_service.learning.minibatch_size import MinibatchSizes, OutOfDeviceMemoryError, SizeKey

KEY = SizeKey("resnet18", 224, "cpu", "float32", 20)


class Cramped(networks.Network):
    """small_cnn on a device that holds a few images at a time; sizes counts what was asked of it."""

    def __init__(self, room: int, error: type[Exception] = torch.cuda.OutOfMemoryError, text: str = "full") -> None:
        built = networks.build("small_cnn", 10, 8)
        super().__init__("cramped", build_builtin("small_cnn", 8, "none"), 10, 8)
        self.load_state_dict(built.state_dict())
        self.room, self.error, self.text, self.sizes = room, error, text, []

    def prepare(self, images):
        self.sizes.append(len(images))
        if len(images) > self.room:
            raise self.error(self.text)
        return super().prepare(images)


@pytest.mark.parametrize("passes", [0, 3])
@pytest.mark.parametrize(
    ("error", "text"),
    [
        (torch.cuda.OutOfMemoryError, "CUDA out of memory. Tried to allocate 2.00 GiB"),
        (RuntimeError, "[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
        (RuntimeError, "cuDNN error: out of memory"),
        (MemoryError, ""),
    ],
)
def test_running_out_of_memory_halves_the_size_and_changes_nothing(digits, error, text, passes):
    undisturbed = Cramped(1000)
    cramped = Cramped(5, error, text)
    told = []
    options = {"minibatch_size": 32, "mc_passes": passes, "seed": 1}
    expected = inference.predict(undisturbed, digits.pixels[:75], **options)
    found = inference.predict(
        cramped, digits.pixels[:75], **options, on_progress=lambda done, total: told.append((done, total))
    )
    np.testing.assert_allclose(found.logits, expected.logits, atol=1e-5)
    np.testing.assert_allclose(found.embeddings, expected.embeddings, atol=5e-3, rtol=2e-3)
    if passes:
        np.testing.assert_allclose(found.sampled_probabilities, expected.sampled_probabilities, atol=1e-5)
    assert cramped.sizes[:5] == [32, 16, 8, 4, 4] and max(cramped.sizes[3:]) == 4
    assert told[-1] == (75, 75) and told == sorted(set(told))


def test_dropout_in_the_middle_of_the_network_survives_running_out_too(digits):
    """The modules' own code is back, and the passes are the same, although memory ran out between two of them."""
    network = networks.build("small_cnn", 10, 8)
    network.backbone.features.insert(4, torch.nn.Dropout2d(0.5))
    expected = inference.predict(network, digits.pixels[:40], mc_passes=3).sampled_probabilities
    limit = 6
    last = network.backbone.features[-2]
    plain = last.forward

    def cramped(values):
        if len(values) > limit:
            raise torch.cuda.OutOfMemoryError("full")
        return plain(values)

    last.forward = cramped
    found = inference.predict(network, digits.pixels[:40], mc_passes=3, minibatch_size=40).sampled_probabilities
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert last.forward is cramped
    assert not [module for module in network.modules() if "forward" in vars(module) and module is not last]


def test_the_size_that_ran_out_is_lowered_for_the_next_run(digits):
    sizes = MinibatchSizes()
    first, second = Cramped(20), Cramped(20)
    inference.predict(first, digits.pixels[:200], sizes=sizes)
    inference.predict(second, digits.pixels[:200], sizes=sizes)
    assert max(first.sizes) > 20
    assert max(second.sizes) == sizes.find(SizeKey("cramped", 8, "cpu", "float32", 0)) <= 20


def test_a_device_too_small_for_one_image_is_told_in_words(digits):
    with pytest.raises(OutOfDeviceMemoryError, match=r"one image of 8 px does not fit .* smaller image_px") as caught:
        inference.predict(Cramped(0), digits.pixels[:10], minibatch_size=8)
    assert isinstance(caught.value, UnavailableError)


def test_other_errors_of_the_network_pass_through(digits):
    with pytest.raises(RuntimeError, match="shapes do not fit"):
        inference.predict(Cramped(2, RuntimeError, "shapes do not fit"), digits.pixels[:10], minibatch_size=10)


def test_a_large_pool_has_its_size_tried_once_and_remembered(digits):
    sizes = MinibatchSizes()
    pixels = np.tile(digits.pixels, (3, 1, 1, 1))[: minibatch_size.WORTH_TRYING]
    network = Cramped(10_000)
    inference.predict(network, pixels, sizes=sizes)
    key = SizeKey("cramped", 8, "cpu", "float32", 0)
    assert sizes.find(key) in minibatch_size.CPU_SIZES
    network.sizes.clear()
    inference.predict(network, pixels, sizes=sizes)
    assert set(network.sizes[:-1]) == {sizes.find(key)}
    assert sizes.find(SizeKey("cramped", 8, "cpu", "float32", 5)) is None


def test_a_few_images_are_scored_without_trying(digits):
    sizes = MinibatchSizes()
    network = Cramped(10_000)
    inference.predict(network, digits.pixels[:30], sizes=sizes)
    assert network.sizes == [30]


def test_the_quickest_size_is_the_smallest_that_no_larger_one_clearly_beats():
    assert minibatch_size.quickest_size(lambda size: 0.001 * size, 512) == 32
    assert minibatch_size.quickest_size(lambda size: 0.02 + 0.0001 * size, 512) == 512
    assert minibatch_size.quickest_size(lambda size: 0.02 + 0.0001 * size, 130) == 128
    assert minibatch_size.quickest_size(lambda size: 0.0, 512) == 512


def test_trying_stops_before_it_takes_long():
    tried = []

    def slow(size: int) -> float:
        tried.append(size)
        return size * 0.01

    minibatch_size.quickest_size(slow, 512)
    assert tried == [32, 64]


def test_sizes_that_fit():
    assert minibatch_size.most_that_fit(10, 0, 512) == 1
    assert minibatch_size.most_that_fit(10, 1e12, 500) == 256
    assert minibatch_size.cpu_free_bytes() > 0


def test_sizes_outlive_the_process_in_a_file(tmp_path):
    path = tmp_path / "deep" / "sizes.json"
    sizes = MinibatchSizes(path)
    assert sizes.find(KEY) is None
    sizes.remember(KEY, 64)
    sizes.lower(KEY, 128)
    assert MinibatchSizes(path).find(KEY) == 64
    sizes.lower(KEY, 16)
    assert MinibatchSizes(path).find(KEY) == 16
    assert [one.name for one in path.parent.iterdir()] == ["sizes.json"]


@pytest.mark.parametrize("content", ["{", "[]", '{"a": 0}', '{"a": "8"}', '{"a": true}', "\x00"])
def test_a_damaged_file_is_logged_and_begun_anew(tmp_path, caplog, content):
    path = tmp_path / "sizes.json"
    path.write_text(content)
    with caplog.at_level(logging.WARNING):
        sizes = MinibatchSizes(path)
        assert sizes.find(KEY) is None
    assert "found anew" in caplog.text
    sizes.remember(KEY, 32)
    assert json.loads(path.read_text()) == {"resnet18|224|cpu|float32|20": 32}


def test_a_file_that_cannot_be_written_is_logged_and_memory_serves(tmp_path, caplog):
    (tmp_path / "file").write_text("")
    sizes = MinibatchSizes(tmp_path / "file" / "sizes.json")
    sizes.remember(KEY, 8)
    assert sizes.find(KEY) == 8 and "cannot be" in caplog.text

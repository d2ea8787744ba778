"""Minibatch sizes: found, remembered, and halved when memory runs out."""

import dataclasses
import json
import logging

import numpy as np
import pytest
import torch

from al_service.errors import UnavailableError
from al_service.learning import inference, minibatch_size, networks
from al_service.learning.backbones import build_builtin
from al_service.learning.free_memory import cpu_free_bytes
from al_service.learning.minibatch_size import FoundSize, MinibatchSizes, OutOfDeviceMemoryError, SizeKey
from al_service.learning.outputs import Inference

KEY = SizeKey("vgg11", 224, "cpu", "float32", 20)


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


def test_a_process_stays_below_the_size_that_ran_out_and_the_next_one_begins_anew(digits, tmp_path):
    path = tmp_path / "sizes.json"
    MinibatchSizes(path).remember(SizeKey("cramped", 8, "cpu", "float32", 0), FoundSize(64, 100))
    sizes = MinibatchSizes(path)
    first, second, next_process = Cramped(20), Cramped(20), Cramped(1000)
    inference.predict(first, digits.pixels[:200], sizes=sizes)
    inference.predict(second, digits.pixels[:200], sizes=sizes)
    assert (max(first.sizes), max(second.sizes)) == (64, 16)
    inference.predict(next_process, digits.pixels[:200], sizes=MinibatchSizes(path))
    assert max(next_process.sizes) == 64


def test_a_size_found_in_plenty_is_not_used_where_so_much_does_not_fit_now(digits):
    sizes = MinibatchSizes()
    key = SizeKey("cramped", 8, "cpu", "float32", 0)
    sizes.remember(key, FoundSize(512, cpu_free_bytes() // 40))
    network = Cramped(1000)
    inference.predict(network, digits.pixels[:100], sizes=sizes)
    assert max(network.sizes) == 8  # the largest power of two within a quarter of what is free
    assert sizes.find(key).size == 512


def test_a_size_that_scarce_memory_chose_is_not_remembered(digits):
    """choose_size says what is worth remembering: not what a hungry network left room for."""

    class Hungry(torch.nn.Module):
        def forward(self, images):
            return images.new_empty(1).expand(len(images) * self.numbers)

    run, images = Hungry(), torch.zeros(32, 3, 8, 8)
    device = torch.device("cpu")
    run.numbers = 1
    found, is_lasting = minibatch_size.choose_size(run, run, images, device, count=minibatch_size.WORTH_TRYING)
    assert is_lasting and found.size in minibatch_size.CPU_SIZES
    run.numbers = cpu_free_bytes() // 4 // 4 // 10  # of four bytes each, in a quarter of what is free: ten images fit
    found, is_lasting = minibatch_size.choose_size(run, run, images, device, count=minibatch_size.WORTH_TRYING)
    assert (found.size, is_lasting) == (8, False)


def test_a_pool_too_small_to_try_sizes_leaves_nothing_to_remember(digits):
    sizes = MinibatchSizes()
    inference.predict(Cramped(1000), digits.pixels[:100], sizes=sizes)
    assert sizes.find(SizeKey("cramped", 8, "cpu", "float32", 0)) is None


# -- memory that runs out beside the network ------------------------------------------------------------------------


class FullScoring(inference._Scoring):
    """A device that has no room for the images themselves."""

    def images(self, rows):
        if len(rows) > 5:
            raise torch.cuda.OutOfMemoryError("full")
        return super().images(rows)


class FullTensor(torch.Tensor):
    """Logits on a device that has no room for their probabilities."""

    def softmax(self, dim):
        if len(self) > 5:
            raise torch.cuda.OutOfMemoryError("full")
        return self.as_subclass(torch.Tensor).softmax(dim)


@pytest.mark.parametrize("where", ["images", "softmax"])
@pytest.mark.parametrize("passes", [0, 2])
def test_running_out_beside_the_network_halves_the_size_too(digits, where, passes):
    network = networks.build("small_cnn", 10, 8).eval()
    expected = inference.predict(network, digits.pixels[:30], mc_passes=passes)
    found = Inference.empty(30, network, passes)
    with inference.dropout_passes(network, passes, 0) as run:

        def without_room(images):
            outputs = run(images)
            return dataclasses.replace(outputs, logits=outputs.logits.as_subclass(FullTensor))

        kind, outputs_of = (FullScoring, run) if where == "images" else (inference._Scoring, without_room)
        scoring = kind(network, outputs_of, torch.device("cpu"), False)
        memory = inference._Remembered(scoring, MinibatchSizes(), passes)
        scoring.score(digits.pixels[:30], 16, found, memory, None)
    np.testing.assert_allclose(found.probabilities, expected.probabilities, atol=1e-6)
    np.testing.assert_allclose(found.embeddings, expected.embeddings, atol=5e-3, rtol=2e-3)
    if passes:
        np.testing.assert_allclose(found.sampled_probabilities, expected.sampled_probabilities, atol=1e-6)


class CrampedHead(networks.Head):
    """A head on a device that holds a few rows at a time."""

    def __init__(self, head, room):
        super().__init__(head.linear.in_features, head.linear.out_features, head.dropout.p)
        self.load_state_dict(head.state_dict())
        self.room, self.sizes = room, []

    def forward(self, embeddings):
        self.sizes.append(len(embeddings))
        if len(embeddings) > self.room:
            raise torch.cuda.OutOfMemoryError("full")
        return super().forward(embeddings)


def test_the_head_over_kept_embeddings_goes_on_with_fewer_rows_when_memory_runs_out(digits):
    network = networks.build("small_cnn", 10, 8)
    embeddings = inference.embed(network, digits.pixels[:50])
    expected = inference.head_outputs(network, embeddings, mc_passes=3)
    network.head = CrampedHead(network.head, 7)
    found = inference.head_outputs(network, embeddings, mc_passes=3)
    assert network.head.sizes[:4] == [50, 25, 12, 6]
    np.testing.assert_allclose(found.probabilities, expected.probabilities, atol=1e-6)
    np.testing.assert_allclose(found.sampled_probabilities, expected.sampled_probabilities, atol=1e-6)
    network.head.room = 0
    with pytest.raises(OutOfDeviceMemoryError):
        inference.head_outputs(network, embeddings)


def test_rows_of_the_head_are_fewer_where_passes_and_classes_are_many():
    network = networks.build("small_cnn", 500, 8).eval()
    network.head = CrampedHead(network.head, 10_000)
    embeddings = np.zeros((9000, network.embedding_width), np.float16)
    inference.head_outputs(network, embeddings)
    assert network.head.sizes == [8192, 808]
    network.head.sizes.clear()
    inference.head_outputs(network, embeddings[:1000], mc_passes=40)
    assert network.head.sizes == [838, 162]  # 838 x 40 x 500 floats are 64 MiB


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
    found = sizes.find(key)
    assert found.size in minibatch_size.CPU_SIZES and found.bytes_per_image > 8 * 8 * 3
    network.sizes.clear()
    inference.predict(network, pixels, sizes=sizes)
    assert set(network.sizes[:-1]) == {found.size}
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


def test_one_disturbed_try_does_not_decide():
    """The first call of every size prepares its layers; later ones show what it takes."""
    tries: dict[int, int] = {}

    def first_is_slow(size: int) -> float:
        tries[size] = tries.get(size, 0) + 1
        return 0.002 + 0.0001 * size + (0.05 if tries[size] == 1 and size >= 128 else 0)

    assert minibatch_size.quickest_size(first_is_slow, 512) == 512


def test_sizes_that_fit():
    assert minibatch_size.most_that_fit(10, 0, 512) == 1
    assert minibatch_size.most_that_fit(10, 1e12, 500) == 256


def test_sizes_outlive_the_process_in_a_file_and_halvings_do_not(tmp_path):
    path = tmp_path / "deep" / "sizes.json"
    sizes = MinibatchSizes(path)
    assert sizes.find(KEY) is None and sizes.capped(KEY, 64) == 64
    sizes.remember(KEY, FoundSize(64, 1000))
    for lowered in (16, 32):
        sizes.lower(KEY, lowered)
        assert (sizes.capped(KEY, 64), sizes.capped(KEY, 8)) == (16, 8)
    assert sizes.find(KEY) == MinibatchSizes(path).find(KEY) == FoundSize(64, 1000)
    assert MinibatchSizes(path).capped(KEY, 64) == 64
    assert [one.name for one in path.parent.iterdir()] == ["sizes.json"]


@pytest.mark.parametrize(
    "content",
    [
        "{",
        "[]",
        "\x00",
        '{"a": 64}',
        '{"a": {"size": 64}}',
        '{"a": {"size": 0, "bytes_per_image": 1}}',
        '{"a": {"size": true, "bytes_per_image": 1}}',
        '{"a": {"size": 1, "bytes_per_image": 1, "more": 1}}',
        pytest.param('{"a": {"size": 1, "bytes_per_image": 1' + "0" * 400 + "}}", id="more bytes than there are"),
        pytest.param("[" * 100_000, id="nested too deep"),
        pytest.param('{"a":' * 100_000 + "1" + "}" * 100_000, id="valid and nested too deep"),
    ],
)
def test_a_file_that_is_damaged_or_of_an_earlier_version_is_logged_and_begun_anew(tmp_path, caplog, content):
    path = tmp_path / "sizes.json"
    path.write_text(content)
    with caplog.at_level(logging.WARNING):
        sizes = MinibatchSizes(path)
        assert sizes.find(KEY) is None
    assert "found anew" in caplog.text
    sizes.remember(KEY, FoundSize(32, 1000))
    assert json.loads(path.read_text()) == {"vgg11|224|cpu|float32|20": {"size": 32, "bytes_per_image": 1000}}


def test_a_file_that_cannot_be_written_is_logged_and_memory_serves(tmp_path, caplog):
    (tmp_path / "file").write_text("")
    sizes = MinibatchSizes(tmp_path / "file" / "sizes.json")
    sizes.remember(KEY, FoundSize(8, 1000))
    assert sizes.find(KEY) == FoundSize(8, 1000) and "cannot be" in caplog.text

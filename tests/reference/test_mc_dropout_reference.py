"""Dropout passes at the price of one against the plain loop: the whole network M times with the masks installed."""

from collections import Counter
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from torch import nn

from al_service.learning import networks
from al_service.learning.backbones import Backbone
from al_service.learning.dropout_masks import draw_masks, dropout_layers, mask_shape
from al_service.learning.mc_dropout import dropout_passes

PASSES = 3
SEED = 11


@contextmanager
def masks_installed(network, number, passes=PASSES, seed=SEED):
    """Every active dropout layer multiplies by its mask of that pass, through a hook: nothing else is touched."""
    calls = Counter()
    hooks = []
    for name, layer in dropout_layers(network).items():

        def multiply(module, given, _, name=name):
            values = given[0]
            shape = mask_shape(module, tuple(values.shape[1:]))
            masks = draw_masks(name, calls[name], shape, module.p, passes, seed)
            calls[name] += 1
            return values * masks[number]

        hooks.append(layer.register_forward_hook(multiply))
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def plain_loop(network, images, passes=PASSES, seed=SEED):
    """(n, M, C) probabilities: M whole passes."""
    found = []
    with torch.no_grad():
        for number in range(passes):
            with masks_installed(network, number, passes, seed):
                found.append(network(images).softmax(1))
    return torch.stack(found, 1)


def fast(network, *minibatches, passes=PASSES, seed=SEED):
    with dropout_passes(network.eval(), passes, seed) as run:
        found = [run(images) for images in minibatches]
    return found if len(minibatches) > 1 else found[0]


def images_of(px, count=3, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).integers(0, 256, (count, 3, px, px), np.uint8))


def wrapped(backbone, width, class_count=4, px=16):
    """A network of ours around any backbone, with weights large enough for the passes to differ."""
    network = networks.Network("custom", Backbone(backbone, width, px, "fc"), class_count, px)
    nn.init.normal_(network.head.linear.weight, generator=torch.Generator().manual_seed(3))
    return network.eval()


class Residual(nn.Module):
    """Dropout2d and batch normalisation in the middle, sums in place, a layer called twice, a module list."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.relu = nn.ReLU(inplace=True)
        self.layers = nn.ModuleList([nn.Conv2d(8, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1)])
        self.dropout = nn.Dropout2d(0.5)
        self.last = nn.Conv2d(8, 8, 3, padding=1)
        self.silu = nn.SiLU(inplace=True)

    def forward(self, images):
        skip = self.relu(self.norm(self.stem(images)))
        values = self.layers[0](skip)
        values += skip  # in place, before the first dropout
        values = self.dropout(self.layers[1](values))
        values += skip
        skip *= 0.5  # in place, after it
        values = self.dropout(self.silu(self.last(values)))  # the same layer, a second mask
        return (values + skip).mean((2, 3))


class DropoutFirst(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Dropout(0.3)
        self.rest = nn.Sequential(nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.AdaptiveAvgPool2d(1))

    def forward(self, images):
        return self.rest(self.first(images)).flatten(1)


class ChangesItsInput(nn.Module):
    """Divides what it is given in place, then drops."""

    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(3, 6, 3), nn.AdaptiveAvgPool2d(1))
        self.dropout = nn.Dropout(0.5)

    def forward(self, images):
        images /= 2
        return self.dropout(self.features(images).flatten(1))


class ReadsWhatALayerChanged(nn.Module):
    """The ReLU's output is ignored: the code counts on its doing in place, and replaying cannot know."""

    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(3, 6, 3), nn.AdaptiveAvgPool2d(1))
        self.twice = Double()
        self.dropout = nn.Dropout(0.5)

    def forward(self, images):
        values = self.features(images)
        before = values * 1
        self.twice(values)
        return self.dropout((values - before).flatten(1) * 20)


class Double(nn.Module):
    def forward(self, values):
        values *= 2
        return values


def build(name):
    match name:
        case "small_cnn":
            return networks.build(name, 4, 16), 16
        case "alexnet":
            return networks.build(name, 4, 64), 64
        case "middle":
            return wrapped(Residual(), 8), 16
        case "first":
            return wrapped(DropoutFirst(), 6), 16
        case "changes_its_input":
            return wrapped(ChangesItsInput(), 6), 16
        case "reads_what_a_layer_changed":
            return wrapped(ReadsWhatALayerChanged(), 6), 16
        case _:
            return networks.build(name, 4, 32), 32


TORCHVISION = ["small_cnn", "vgg11", "alexnet", "mobilenet_v3_small", "efficientnet_b0", "squeezenet1_1"]
OURS = ["middle", "first", "changes_its_input", "reads_what_a_layer_changed"]


@pytest.mark.parametrize("name", TORCHVISION + OURS)
def test_the_passes_equal_the_plain_loop_and_the_clean_outputs_the_plain_pass(name):
    network, px = build(name)
    network.eval()
    with torch.no_grad():  # outputs of untrained networks are nearly uniform
        network.head.linear.weight /= (network.embed(images_of(px)) @ network.head.linear.weight.T).std()
    first, second = images_of(px), images_of(px, 2, seed=1)
    expected = [plain_loop(network, images) for images in (first, second)]
    found = fast(network, first, second)
    for images, outputs, wanted in zip((first, second), found, expected, strict=True):
        torch.testing.assert_close(outputs.sampled_probabilities, wanted, atol=2e-5, rtol=1e-4)
        with torch.no_grad():
            torch.testing.assert_close(outputs.logits, network(images), atol=1e-4, rtol=1e-4)
            torch.testing.assert_close(outputs.embeddings, network.embed(images), atol=1e-4, rtol=1e-4)
    assert (expected[0][:, 0] - expected[0][:, 1]).abs().max() > 1e-3, "the passes do not differ"


@pytest.mark.parametrize("name", ["small_cnn", "efficientnet_b0", "alexnet"])
def test_the_convolutions_run_once(name):
    network, px = build(name)
    calls = Counter()
    computing = network.backbone.features[0]
    (computing if not isinstance(computing, nn.Sequential) else computing[0]).register_forward_hook(
        lambda *_: calls.update(["convolution"])
    )
    images = images_of(px)
    fast(network, images, passes=2)  # the first two images of a run are also put through a plain pass
    start = calls["convolution"]
    fast(network, images, passes=50)
    assert calls["convolution"] == 2 * start <= 6


def test_what_comes_after_the_first_dropout_runs_in_every_pass():
    network, px = build("middle")
    calls = Counter()
    for name in ("stem", "last"):
        getattr(network.backbone, name).register_forward_hook(lambda *_, name=name: calls.update([name]))
    with dropout_passes(network, 20, 0) as run:
        run(images_of(px))
        first = dict(calls)
        run(images_of(px))
    # Hooks see the modules that are asked, computed or not; only "last" is asked to compute again.
    assert calls["last"] - first["last"] == 21


def test_a_module_before_the_first_dropout_computes_once_per_minibatch():
    network, px = build("middle")
    inner = Counter()

    class Counting(nn.Conv2d):
        def forward(self, values):
            inner.update(["stem"])
            return super().forward(values)

    stem = Counting(3, 8, 3, padding=1)
    stem.load_state_dict(network.backbone.stem.state_dict())
    network.backbone.stem = stem
    with dropout_passes(network, 20, 0) as run:
        run(images_of(px))
        inner.clear()
        for seed in range(4):
            run(images_of(px, seed=seed))
    assert inner["stem"] == 4


@pytest.mark.parametrize("rate", [0.0, 1.0])
@pytest.mark.parametrize("name", ["small_cnn", "middle"])
def test_rates_of_zero_and_one(name, rate):
    network, px = build(name)
    for module in network.modules():
        if isinstance(module, nn.Dropout | nn.Dropout2d):
            module.p = rate
    images = images_of(px)
    found = fast(network, images)
    torch.testing.assert_close(found.sampled_probabilities, plain_loop(network.eval(), images), atol=1e-6, rtol=1e-5)
    assert (found.sampled_probabilities[:, 0] == found.sampled_probabilities[:, 1]).all()
    if rate == 0:
        clean = found.logits.softmax(1)[:, None].expand_as(found.sampled_probabilities)
        torch.testing.assert_close(found.sampled_probabilities, clean, atol=1e-6, rtol=1e-5)


def test_dropout_in_the_backbone_alone():
    network, px = build("middle")
    network.head.dropout.p = 0.0
    images = images_of(px)
    found = fast(network, images)
    torch.testing.assert_close(found.sampled_probabilities, plain_loop(network, images), atol=1e-6, rtol=1e-5)


def test_a_later_minibatch_may_change_more_in_place():
    """Which outputs are changed may depend on the images; every minibatch is watched."""

    class Sometimes(Residual):
        def forward(self, images):
            skip = self.relu(self.norm(self.stem(images)))
            dropped = self.dropout(self.layers[0](skip))
            if len(images) > 2:
                skip += 1
            return (dropped + skip).mean((2, 3))

    network = wrapped(Sometimes(), 8)
    small, large = images_of(16, 2), images_of(16, 5)
    for images, outputs in zip((small, large), fast(network, small, large), strict=True):
        torch.testing.assert_close(outputs.sampled_probabilities, plain_loop(network, images), atol=1e-6, rtol=1e-5)

"""Masks of dropout passes, which dropout is refused, and that the network is left as it was."""

import numpy as np
import pytest
import torch
from torch import nn

from al_service.errors import InvalidInputError
from al_service.learning import networks
from al_service.learning.backbones import Backbone
from al_service.learning.dropout_masks import (
    UnsupportedDropoutError,
    draw_masks,
    dropout_layers,
    head_masks,
    mask_shape,
)
from al_service.learning.mc_dropout import FoldedHead, dropout_passes


class Middle(nn.Module):
    """Batch normalisation before and behind a dropout."""

    def __init__(self, dropout: nn.Module) -> None:
        super().__init__()
        self.before = nn.Sequential(nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.ReLU(inplace=True))
        self.dropout = dropout
        self.behind = nn.Sequential(nn.Conv2d(6, 6, 3), nn.BatchNorm2d(6))

    def forward(self, images):
        return self.behind(self.dropout(self.before(images))).mean((2, 3))


def middle(dropout: nn.Module) -> networks.Network:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return networks.Network("custom", Backbone(Middle(dropout), 6, 12, "fc"), 4, 12).eval()


def images_of(count: int = 4, px: int = 12, seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).integers(0, 256, (count, 3, px, px), np.uint8))


def passes_of(network: networks.Network, images: torch.Tensor, passes: int = 5, seed: int = 0) -> torch.Tensor:
    with dropout_passes(network, passes, seed) as run:
        return run(images).sampled_probabilities


def test_masks_depend_on_seed_layer_and_call_and_nothing_else():
    first = draw_masks("a", 0, (50,), 0.5, 4, 1)
    torch.manual_seed(9)
    assert torch.equal(first, draw_masks("a", 0, (50,), 0.5, 4, 1))
    for other in (("b", 0, 1), ("a", 1, 1), ("a", 0, 2)):
        layer, call, seed = other
        assert not torch.equal(first, draw_masks(layer, call, (50,), 0.5, 4, seed))
    assert not torch.equal(first[0], first[1])


@pytest.mark.parametrize("rate", [0.0, 0.1, 0.5, 0.9, 1.0])
def test_masks_are_1_on_average_and_drop_the_rate(rate):
    masks = draw_masks("a", 0, (1000,), rate, 100, 0)
    assert (masks == 0).float().mean().item() == pytest.approx(rate, abs=0.01)
    assert masks.mean().item() == pytest.approx(0 if rate == 1 else 1, abs=0.02)


@pytest.mark.parametrize("kind", [nn.Dropout1d, nn.Dropout2d, nn.Dropout3d])
def test_dropout_of_channels_has_one_value_a_channel(kind):
    assert mask_shape(kind(0.5), (8, 5, 5)) == (8, 1, 1)
    assert mask_shape(nn.Dropout(0.5), (8, 5, 5)) == (8, 5, 5)


def test_all_images_share_a_pass_s_masks_whatever_the_minibatches():
    network = middle(nn.Dropout2d(0.5))
    images = images_of(1).expand(6, -1, -1, -1)
    same = passes_of(network, images)
    torch.testing.assert_close(same, same[:1].expand_as(same))
    different = images_of(7)
    whole = passes_of(network, different)
    with dropout_passes(network, 5, 0) as run:
        parts = torch.cat([run(part).sampled_probabilities for part in different.split([3, 1, 2, 1])])
    torch.testing.assert_close(parts, whole, atol=1e-6, rtol=1e-5)
    assert (whole[:, 0] - whole[:, 1]).abs().max() > 1e-4


@pytest.mark.parametrize("fails", [False, True])
def test_the_network_is_left_as_it_was(fails):
    network = middle(nn.Dropout(0.5))
    network.backbone.before.train()  # a mode that somebody else chose
    network.backbone.before[1].eval()
    own = network.backbone.behind.forward
    network.backbone.behind.forward = own
    modes = [module.training for module in network.modules()]
    state = {key: value.clone() for key, value in network.state_dict().items()}
    images = images_of(px=1) if fails else images_of()  # too small for two convolutions
    if fails:
        network.input_px = 1
        with pytest.raises(RuntimeError, match="Kernel size"):
            passes_of(network, images)
    else:
        passes_of(network, images)
    assert [module.training for module in network.modules()] == modes
    assert [name for name, module in network.named_modules() if "forward" in vars(module)] == ["backbone.behind"]
    assert vars(network.backbone.behind)["forward"] is own
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in network.modules())
    for key, value in network.state_dict().items():
        assert torch.equal(value, state[key]), key
    assert torch.is_grad_enabled() and not torch.is_inference_mode_enabled()


class Attentive(nn.Module):
    """Patches, a transformer layer whose attention has no dropout of its own, their mean."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 8, 4, stride=4)
        self.layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.5, batch_first=True)
        self.layer.self_attn.dropout = 0.0

    def forward(self, images):
        return self.layer(self.patches(images).flatten(2).transpose(1, 2)).mean(1)


def attentive() -> networks.Network:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return networks.Network("custom", Backbone(Attentive(), 8, 12, "fc"), 4, 12).eval()


def test_dropout_inside_a_fused_transformer_layer_takes_part_in_the_passes():
    """At rest torch computes such a layer by one operation, which calls no dropout."""
    network = attentive()
    network.head.dropout.p = 0.0
    images = images_of()
    found = passes_of(network, images)
    assert (found[:, 0] - found[:, 1]).abs().max() > 1e-2
    assert torch.backends.mha.get_fastpath_enabled()
    layer = network.backbone.layer
    shapes = {"dropout": (9, 16), "dropout1": (9, 8), "dropout2": (9, 8)}
    drop = {name: draw_masks(f"backbone.layer.{name}", 0, shape, 0.5, 5, 0)[3] for name, shape in shapes.items()}
    with torch.no_grad():  # pass 3 by hand
        values = network.backbone.patches(network.prepare(images)).flatten(2).transpose(1, 2)
        attended = layer.self_attn(values, values, values, need_weights=False)[0]
        values = layer.norm1(values + attended * drop["dropout1"])
        values = layer.norm2(values + layer.linear2(layer.linear1(values).relu() * drop["dropout"]) * drop["dropout2"])
        expected = network.head(values.mean(1)).softmax(1)
    torch.testing.assert_close(found[:, 3], expected, atol=1e-5, rtol=1e-5)


def test_dropout_that_the_network_never_calls_is_refused_by_name():
    network = middle(nn.Dropout(0.5))
    network.backbone.spare = nn.Dropout(0.3)
    with pytest.raises(UnsupportedDropoutError, match=r"backbone\.spare \(Dropout\) is never called"):
        passes_of(network, images_of())
    network.backbone.spare.p = 0.0
    assert passes_of(network, images_of()).shape == (4, 5, 4)


def test_images_whose_outputs_are_no_numbers_do_not_make_later_minibatches_slow(caplog):
    """They say nothing of whether outputs may be handed out again, so the next images are asked."""
    network = middle(nn.Dropout2d(0.5))
    calls = []
    network.backbone.before[0].register_forward_hook(lambda *_: calls.append(1))
    odd = images_of().float() / 255
    odd[0] = torch.nan
    expected = passes_of(network, images_of())
    with dropout_passes(network, 5, 0) as run:
        assert run(odd).sampled_probabilities[0].isnan().all()
        calls.clear()
        torch.testing.assert_close(run(images_of()).sampled_probabilities, expected)
        first = len(calls)
        calls.clear()
        run(images_of())
    assert (first, len(calls)) == (3, 1), "one to ask, one plain, one for the clean pass; then the clean pass alone"
    assert "every pass runs in full" not in caplog.text


def test_batch_normalisation_stays_at_rest():
    network = middle(nn.Dropout(0.5))
    norm = network.backbone.behind[1]
    before = norm.running_mean.clone(), norm.num_batches_tracked.clone()
    alone = passes_of(network, images_of(1))
    among = passes_of(network, images_of(4))
    torch.testing.assert_close(alone[0], among[0], atol=1e-6, rtol=1e-5)
    assert torch.equal(norm.running_mean, before[0]) and torch.equal(norm.num_batches_tracked, before[1])


def test_stochastic_depth_is_not_dropout():
    network = networks.build("efficientnet_b0", 3, 32)
    assert list(dropout_layers(network)) == ["head.dropout"]


@pytest.mark.parametrize(
    ("part", "words"),
    [
        (nn.AlphaDropout(0.2), r"backbone.dropout \(AlphaDropout\) has p=0.2"),
        (nn.FeatureAlphaDropout(0.2), "FeatureAlphaDropout"),
        (nn.MultiheadAttention(8, 2, dropout=0.1), r"MultiheadAttention\) has dropout=0.1"),
        (nn.LSTM(4, 4, 2, dropout=0.3), r"LSTM\) has dropout=0.3"),
    ],
)
def test_dropout_that_takes_no_masks_is_refused_by_name(part, words):
    with (
        pytest.raises(UnsupportedDropoutError, match=words) as caught,
        dropout_passes(middle(part), 3, 0),
    ):
        pass
    assert isinstance(caught.value, InvalidInputError)


@pytest.mark.parametrize("name", ["densenet121", "swin_t", "vit_b_32"])
def test_the_attention_and_dense_layers_of_torchvision_pass_at_rate_0(name):
    with torch.device("meta"):
        network = networks.build(name, 3, 224)
    assert list(dropout_layers(network)) == ["head.dropout"]


def test_no_passes_ask_nothing_of_the_dropout():
    with dropout_passes(middle(nn.Identity()), 0, 0) as run:
        assert run(images_of()).sampled_probabilities is None


def test_images_that_are_not_along_the_first_dimension_are_refused():
    class Folds(Middle):
        def forward(self, images):
            return self.behind(self.dropout(self.before(images).repeat(2, 1, 1, 1))[: len(images)]).mean((2, 3))

    network = middle(nn.Dropout(0.5))
    network.backbone = Folds(nn.Dropout(0.5)).eval()
    with pytest.raises(UnsupportedDropoutError, match=r"\(4, 6, 10, 10\) for 2 images"):
        passes_of(network, images_of())


def test_a_network_that_changes_its_order_is_refused():
    class Wanders(Middle):
        turns = 0

        def forward(self, images):
            Wanders.turns += 1
            values = self.before(images)
            if Wanders.turns % 2:
                values = self.behind(values)
            return self.dropout(values).mean((2, 3))

    network = middle(nn.Dropout(0.5))
    network.backbone = Wanders(nn.Dropout(0.5)).eval()
    with pytest.raises(UnsupportedDropoutError, match="the same order each time"):
        passes_of(network, images_of())


@pytest.mark.parametrize(("classes", "width", "passes"), [(3, 5, 7), (1, 4, 2), (2000, 3000, 9)])
def test_folded_passes_equal_a_loop_also_in_blocks(classes, width, passes):
    """The largest does not fit one block, so that weights are folded block by block."""
    head = networks.Head(width, classes, 0.4).eval()
    embeddings = torch.randn(6, width, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        found = FoldedHead(head, passes, 3).probabilities(embeddings)
        looped = [head.linear(embeddings * mask).softmax(1) for mask in head_masks(head, passes, 3)]
    torch.testing.assert_close(found, torch.stack(looped, 1), atol=1e-6, rtol=1e-4)


def test_the_mean_of_many_passes_of_a_linear_head_is_the_clean_logit():
    head = networks.Head(30, 3, 0.5).eval()
    embeddings = torch.rand(1, 30, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        masked = head.linear(embeddings * head_masks(head, 20_000, 0))
        error = (masked.mean(0) - head.linear(embeddings)[0]).abs()
        assert (error < 5 * masked.std(0) / 20_000**0.5).all()


def test_no_images(digits):
    network = middle(nn.Dropout(0.5))
    with dropout_passes(network, 3, 0) as run:
        assert run(images_of(0)).sampled_probabilities.shape == (0, 3, 4)

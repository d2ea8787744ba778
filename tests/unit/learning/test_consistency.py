"""The loss on unlabelled images: depends on network and step alone, touches nothing but gradients, and trains."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from al_service.errors import InvalidInputError
from al_service.learning import networks, training
from al_service.learning.consistency import ConsistencyLoss, align, strong_view
from al_service.learning.pixels import InvalidPixelsError


def test_equal_steps_give_equal_losses_and_gradients_and_other_steps_others(trained, digits):
    trained.train()
    trained.head.dropout.p = 0.0
    found = []
    for step in (3, 4, 3):
        trained.zero_grad()
        loss = ConsistencyLoss(digits.pixels, [0, 1], 10, seed=1, threshold=0.8)(trained, step)
        loss.backward()
        found.append((float(loss.detach()), trained.head.linear.weight.grad.clone()))
    trained.zero_grad()
    trained.head.dropout.p = networks.HEAD_DROPOUT
    assert found[0][0] == found[2][0] != found[1][0] and found[0][0] > 0
    assert torch.equal(found[0][1], found[2][1])


def test_what_is_not_sure_does_not_count(digits):
    network = networks.build("small_cnn", 10, 8).train()
    loss = ConsistencyLoss(digits.pixels, np.arange(10), 10, minibatch_size=32)
    assert loss(network, 0).item() == 0
    assert (loss.seen, loss.used) == (32, 0)
    everything = ConsistencyLoss(digits.pixels, np.arange(10), 10, minibatch_size=32, threshold=0.01, weight=2.0)
    assert everything(network, 0).item() > 1
    assert (everything.seen, everything.used) == (32, 32)


def test_modes_and_running_statistics_stay(digits):
    pixels = np.repeat(np.repeat(digits.pixels[:20], 4, 1), 4, 2)
    network = networks.build("resnet18", 10, 32).train()
    before = {key: value.clone() for key, value in network.state_dict().items() if "running" in key}
    ConsistencyLoss(pixels, [1, 2], 10, minibatch_size=4, threshold=0.01)(network, 0).backward()
    assert network.training and network.backbone.training
    after = network.state_dict()
    assert before and all(torch.equal(after[key], value) for key, value in before.items())
    assert network.backbone.bn1.momentum == 0.1


def test_it_trains_with_labels_and_can_be_resumed_to_the_same_weights(digits):
    labels = digits.class_indices[:20]
    config = training.TrainConfig(epochs_max=4, patience=4)
    states: list[bytes] = []

    def run(**options):
        network = networks.build("small_cnn", 10, 8)
        extra = ConsistencyLoss(digits.pixels[20:400], labels, 10, minibatch_size=32, threshold=0.3)
        report = training.train(network, digits.pixels[:20], labels, config, extra_loss=extra, **options)
        return network, report, extra

    whole, _, extra = run(on_state=states.append, state_every_s=0)
    assert extra.seen == 4 * 8 * 32 and 0 < extra.used <= extra.seen
    resumed, report, again = run(state=states[1])
    assert report.resumed_from_epoch == 2
    assert (again.seen, again.used) == (extra.seen, extra.used), "what earlier attempts saw counts too"
    for key, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[key])


def test_a_state_is_not_gone_on_with_over_other_unlabelled_images_or_settings(digits):
    labels = digits.class_indices[:20]
    config = training.TrainConfig(epochs_max=2)
    states: list[bytes] = []

    def run(pixels, loss_labels=labels, state=None, **settings):
        extra = ConsistencyLoss(pixels, loss_labels, 10, **{"minibatch_size": 4, **settings})
        network = networks.build("small_cnn", 10, 8)
        options = {"on_state": states.append, "state_every_s": 0, "extra_loss": extra, "state": state}
        return training.train(network, digits.pixels[:20], labels, config, **options), extra

    run(digits.pixels[20:120])
    state = states[0]
    report, extra = run(digits.pixels[20:120], state=state)
    assert report.resumed_from_epoch == 1 and extra.seen == 2 * 8 * 4
    others = [
        ((digits.pixels[21:121],), {}),
        ((digits.pixels[20:119],), {}),
        ((digits.pixels[20:120], labels[:9]), {}),
        ((digits.pixels[20:120],), {"threshold": 0.9}),
        ((digits.pixels[20:120],), {"seed": 1}),
        ((digits.pixels[20:120],), {"weight": 2.0}),
    ]
    for arguments, settings in others:
        report, extra = run(*arguments, state=state, **settings)
        assert report.resumed_from_epoch == 0 and "unlabelled images" in report.state_refused
        assert extra.seen == 2 * 8 * 4, "nothing of the refused state is counted"


@given(count=st.integers(1, 40), classes=st.integers(1, 6), seed=st.integers(0, 2**31 - 1))
def test_alignment_gives_probabilities_and_moves_towards_the_prior(count, classes, seed):
    generator = torch.Generator().manual_seed(seed)
    rows = (torch.randn(count, classes, generator=generator) * 3).softmax(1)
    prior = torch.randn(classes, generator=generator).softmax(0)
    aligned = align(rows, prior)
    torch.testing.assert_close(aligned.sum(1), torch.ones(count))
    # Where the minibatch says what was expected, nothing changes.
    torch.testing.assert_close(align(rows, rows.mean(0)), rows)
    said = rows.mean(0)
    for one in range(classes):
        if said[one] / prior[one] == (said / prior).max():
            assert aligned[:, one].mean() <= said[one] + 1e-5


def test_strong_views_are_images_that_differ_and_depend_on_the_generator_alone():
    images = torch.rand(6, 3, 16, 12, generator=torch.Generator().manual_seed(0))
    first, again, other = (strong_view(images, torch.Generator().manual_seed(seed)) for seed in (0, 0, 1))
    assert first.shape == images.shape and first.min() >= 0 and first.max() <= 1
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert ((first - images).abs().mean((1, 2, 3)) > 0.02).all()
    flat = strong_view(torch.full((2, 3, 8, 8), 0.5), torch.Generator().manual_seed(0))
    torch.testing.assert_close(flat, flat[:, :, :1, :1].expand_as(flat))


def test_what_does_not_fit_is_refused(trained, digits):
    pixels = digits.pixels[:4]
    for arguments, options, text in (
        ((pixels[:0], [0], 10), {}, "no unlabelled images"), ((pixels, [10], 10), {}, "0 to 9"),
        ((pixels, [0.5], 10), {}, "whole numbers"), ((pixels, [0], 10), {"threshold": 0}, "threshold 0"),
        ((pixels, [0], 10), {"weight": float("nan")}, "weight nan"),
        ((pixels, [0], 10), {"augment": "spin"}, "augment"),
        ((pixels, [0], 10), {"minibatch_size": 1}, "minibatch_size is 1"),
    ):  # fmt: skip
        with pytest.raises(InvalidInputError, match=text):
            ConsistencyLoss(*arguments, **options)
    with pytest.raises(InvalidPixelsError):
        ConsistencyLoss(np.zeros((4, 9, 9, 3), np.uint8), [0], 10)(trained, 0)

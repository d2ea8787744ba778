"""The moving average of weights."""

import numpy as np
import pytest
import torch

from al_service.learning import networks
from al_service.learning.ema import AveragedNetwork


def test_the_average_follows_its_formula_with_a_decay_that_warms_up():
    network = networks.build("small_cnn", 2, 8)
    average = AveragedNetwork(network, 0.5)
    expected = network.head.linear.bias.detach().clone()
    rng = np.random.default_rng(0)
    for step in range(1, 20):
        with torch.no_grad():
            network.head.linear.bias += torch.from_numpy(rng.standard_normal(2).astype(np.float32))
        average.update(step)
        decay = min(0.5, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * network.head.linear.bias.detach()
    assert average.network.head.linear.bias.tolist() == pytest.approx(expected.tolist(), rel=1e-5)
    assert not average.network.training and network.training
    assert not any(one.requires_grad for one in average.network.parameters())


def test_running_statistics_are_averaged_and_counters_are_copied():
    network = networks.build("shufflenet_v2_x0_5", 2, 32)
    average = AveragedNetwork(network, 0.9)
    before = {name: value.clone() for name, value in average.network.named_buffers()}
    network(torch.rand(4, 3, 32, 32))
    average.update(1)
    for name, value in network.named_buffers():
        mine = dict(average.network.named_buffers())[name]
        if name.endswith("num_batches_tracked"):
            assert mine == value == 1
        elif name.endswith("running_mean"):
            assert torch.allclose(mine, before[name] + (1 - 2 / 11) * (value - before[name]))

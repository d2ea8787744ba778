"""Half precision, on the CPU: the arithmetic is the same as a GPU's, only slower."""

import pytest
import torch

from al_service.learning.precision import Precision

CPU = torch.device("cpu")


def test_a_cpu_computes_in_full():
    for mode in ("auto", "off"):
        chosen = Precision.chosen(CPU, mode)
        assert chosen.half is None and not chosen.skips_overflow and not chosen.exhausted()


@pytest.mark.parametrize("half", [None, torch.bfloat16, torch.float16])
def test_a_step_goes_down_the_slope_in_every_precision(half):
    torch.manual_seed(0)
    layer = torch.nn.Linear(8, 1)
    optimiser = torch.optim.SGD(layer.parameters(), lr=0.05)
    precision = Precision(CPU, half)
    inputs = torch.randn(32, 8)
    targets = inputs.sum(1, keepdim=True)
    losses = []
    for _ in range(60):
        optimiser.zero_grad()
        with precision.autocast():
            outputs = layer(inputs)
        assert outputs.dtype == (half or torch.float32)
        loss = (outputs.float() - targets).square().mean()
        precision.backward(loss)
        precision.step(optimiser)
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0] / 5
    assert layer.weight.dtype == torch.float32


def test_float16_leaves_out_steps_that_overflow_and_says_when_none_is_left():
    weight = torch.nn.Parameter(torch.ones(1))
    optimiser = torch.optim.SGD([weight], lr=0.1)
    precision = Precision(CPU, torch.float16)
    for _ in range(40):
        optimiser.zero_grad()
        precision.backward(weight.sum() * torch.inf)
        precision.step(optimiser)
    assert weight.item() == 1.0
    assert precision.exhausted()

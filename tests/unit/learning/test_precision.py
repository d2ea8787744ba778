"""Half precision, on the CPU: the arithmetic is the same as a GPU's, only slower."""

import pytest
import torch

from al_service.learning import networks
from al_service.learning.precision import Precision
from al_service.learning.ranks import Ranks
from al_service.learning.train_config import TrainConfig
from al_service.learning.training_run import Hooks, TrainingRun
from al_service.learning.training_state import TrainingState

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


@pytest.mark.parametrize("half", [torch.bfloat16, torch.float16])
def test_a_training_in_half_precision_learns_and_goes_on_from_its_state(digits, half):
    config = TrainConfig(epochs_max=4, augment="none", ema_decay=0.5, focal_gamma=1.0)

    def run(hooks: Hooks, state: TrainingState | None = None) -> TrainingRun:
        with torch.random.fork_rng():
            network = networks.build("small_cnn", 10, 8)
            run = TrainingRun(network, digits.pixels[:32], digits.class_indices[:32], config, CPU, hooks, Ranks())
            run.precision = Precision(CPU, half)
            if state is not None:
                run.take_up(state)
            assert run.to_the_end() == "epochs_max"
        return run

    states: list[bytes] = []
    whole = run(Hooks(on_state=states.append, state_every_s=0, record_samples=True))
    assert whole.progress.train_losses[-1] < whole.progress.train_losses[0]
    assert all(value.dtype != half for value in whole.network.state_dict().values())
    resumed = run(Hooks(record_samples=True), TrainingState.from_bytes(states[1], ""))
    for key, value in whole.network.state_dict().items():
        assert torch.equal(value, resumed.network.state_dict()[key])
    assert whole.precision.scaler.state_dict() == resumed.precision.scaler.state_dict()

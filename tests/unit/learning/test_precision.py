"""Half precision, on the CPU: the arithmetic is the same as a GPU's, only slower."""

import pytest
import torch

from al_service.learning import networks
from al_service.learning.precision import Precision
from al_service.learning.pretraining import PretrainConfig, _Run
from al_service.learning.ranks import Ranks
from al_service.learning.train_config import TrainConfig, TrainingDivergedError
from al_service.learning.training_run import Hooks, TrainingRun
from al_service.learning.training_state import TrainingState
from al_service.learning.views import views_for

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


def pretrained(digits, config: PretrainConfig, half, state: bytes | None = None, on_state=None) -> _Run:
    """As pretrain does on a GPU: in half precision, channels last."""
    with torch.random.fork_rng():
        run = _Run(networks.build("small_cnn", 1, 8), digits.pixels[:40], config, CPU, None, on_state)
        run.precision, run.memory_format = Precision(CPU, half), torch.channels_last
        run.network.backbone.to(memory_format=torch.channels_last)
        assert run.take_up(state)[1] == ""
        run.to_the_end()
    return run


@pytest.mark.parametrize("half", [None, torch.bfloat16, torch.float16])
def test_a_pretraining_in_half_precision_learns_and_goes_on_from_its_state_in_the_middle_of_an_epoch(digits, half):
    config = PretrainConfig(epochs=3, minibatch_size=16, views=views_for(8), state_every_s=0)
    states: list[bytes] = []
    whole = pretrained(digits, config, half, on_state=states.append)
    assert whole.progress.losses[-1] < whole.progress.losses[0]
    resumed = pretrained(digits, config, half, states[3])
    for key, value in whole.network.state_dict().items():
        assert torch.equal(value, resumed.network.state_dict()[key])
    assert whole.precision.scaler.state_dict() == resumed.precision.scaler.state_dict()
    assert whole.progress.losses == resumed.progress.losses
    for parameter, slots in resumed.optimiser.state.items():
        assert slots["exp_avg"].stride() == parameter.stride()


def test_a_pretraining_whose_gradients_overflow_at_every_scale_ends_and_says_so(digits):
    # The loss is finite, about 1e30, and so is its slope; float16 ends at 65,504.
    config = PretrainConfig(epochs=20, minibatch_size=20, views=views_for(8), temperature=1e-30)
    with pytest.raises(TrainingDivergedError, match=r"gradients .* in step 31 of 40 .*mixed_precision to off"):
        pretrained(digits, config, torch.float16)

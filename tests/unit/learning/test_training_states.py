"""Trainings that are interrupted and taken up again."""

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest
import torch

from al_service.learning import networks, tensor_files, training
from al_service.learning.curriculum import Curriculum
from al_service.learning.training import TrainConfig

CONFIG = TrainConfig(epochs_max=5, augment="shift+flip", patience=9)
FULL = dataclasses.replace(
    CONFIG, class_balance="sampling", focal_gamma=1.0, label_smoothing=0.1, ema_decay=0.9, seed=3
)


class KilledError(Exception):
    """Stands for the end of the process."""


class Killed:
    """Interrupts training after that many steps."""

    def __init__(self, after_steps: int) -> None:
        self.after_steps = after_steps

    def __call__(self, done: int, total: int) -> None:
        if done == self.after_steps:
            raise KilledError


def weights(network: networks.Network) -> dict[str, torch.Tensor]:
    return {key: value.clone() for key, value in network.state_dict().items()}


def equal(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(first[key], second[key]) for key in first)


def run(digits, config: TrainConfig, rows=slice(32), name: str = "small_cnn", **others):
    network = networks.build(name, 10, 8, seed=1)
    report = training.train(network, digits.pixels[rows], digits.class_indices[rows], config, **others)
    return network, report


def state_at(digits, config: TrainConfig, after_steps: int, **others) -> bytes:
    """The last state before the interruption."""
    states: list[bytes] = []
    with pytest.raises(KilledError):
        run(digits, config, on_progress=Killed(after_steps), on_state=states.append, state_every_s=0, **others)
    return states[-1]


def two_classes(digits) -> np.ndarray:
    """Enough of each for a validation part."""
    return np.concatenate([np.flatnonzero(digits.class_indices == one)[:52] for one in (0, 1)])


@pytest.mark.parametrize("config", [CONFIG, FULL])
@pytest.mark.parametrize("validated", [False, True])
def test_an_interrupted_training_ends_with_the_same_weights_bit_for_bit(digits, config, validated):
    rows = two_classes(digits) if validated else slice(32)
    whole, whole_report = run(digits, config, rows, record_samples=True)
    steps = 10 if validated else 8
    state = state_at(digits, config, 3 * steps + 4, rows=rows, record_samples=True)
    resumed, report = run(digits, config, rows, state=state, record_samples=True)
    assert report.resumed_from_epoch == 3 and report.state_refused == ""
    assert equal(weights(whole), weights(resumed))
    for name in ("epochs", "train_loss", "validation_loss", "best_epoch", "stop_reason", "validation_count"):
        assert getattr(report, name) == getattr(whole_report, name)
    assert (report.samples.visits == whole_report.samples.visits).all()
    assert np.array_equal(report.samples.margin, whole_report.samples.margin, equal_nan=True)


def test_running_statistics_and_an_order_go_on_too(digits):
    def order(epoch: int, rng: np.random.Generator) -> np.ndarray:
        return rng.permutation(12)[: 4 + epoch]

    others = {"name": "shufflenet_v2_x0_5", "rows": slice(12), "order": order}
    config = dataclasses.replace(CONFIG, epochs_max=3, ema_decay=0.5)
    whole, _ = run(digits, config, **others)
    resumed, report = run(digits, config, state=state_at(digits, config, 13, **others), **others)
    assert report.resumed_from_epoch == 1
    assert equal(weights(whole), weights(resumed))


def test_a_state_is_not_gone_on_with_in_another_order(digits):
    labels = digits.class_indices[:32]

    def curriculum(order: str, pacing: str = "linear", hardest: int = 31) -> Curriculum:
        hardness = np.where(np.arange(32) == hardest, 99, np.arange(32))
        return Curriculum(hardness, labels, order=order, pacing=pacing, epochs_max=CONFIG.epochs_max)

    state = state_at(digits, CONFIG, 20, order=curriculum("easy_first"))
    whole, _ = run(digits, CONFIG, order=curriculum("easy_first"))
    resumed, report = run(digits, CONFIG, state=state, order=curriculum("easy_first"))
    assert report.resumed_from_epoch == 2 and equal(weights(whole), weights(resumed))
    same_class = [int(row) for row in np.flatnonzero(labels == labels[0])]
    for other in (
        curriculum("hard_first"),
        curriculum("easy_first", "step"),
        curriculum("easy_first", hardest=same_class[0]),
        None,
        lambda epoch, rng: rng.permutation(32),
    ):
        _, report = run(digits, CONFIG, state=state, order=other)
        assert report.resumed_from_epoch == 0 and "order of images" in report.state_refused


def test_a_network_with_channels_last_goes_on_with_its_optimiser_in_the_same_order_of_memory(digits):
    """As every network on a GPU; a fused step takes both as they lie."""

    def trained(**options) -> networks.Network:
        network = networks.build("small_cnn", 10, 8, seed=1).to(memory_format=torch.channels_last)
        training.train(network, digits.pixels[:32], digits.class_indices[:32], CONFIG, **options)
        return network

    states: list[bytes] = []
    whole = trained(on_state=states.append, state_every_s=0)
    assert equal(weights(whole), weights(trained(state=states[1])))


def test_progress_goes_on_where_it_was(digits):
    told = []
    state = state_at(digits, CONFIG, 20)
    run(digits, CONFIG, state=state, on_progress=lambda done, total: told.append((done, total)))
    assert told == [(done, 40) for done in range(17, 41)]


def test_an_interruption_may_come_again_and_again(digits):
    whole, _ = run(digits, CONFIG)
    state = state_at(digits, CONFIG, 9)
    for after in (18, 26, 34):
        state = state_at(digits, CONFIG, after, state=state)
    resumed, report = run(digits, CONFIG, state=state)
    assert report.resumed_from_epoch == 4
    assert equal(weights(whole), weights(resumed))


def test_the_state_of_a_finished_training_gives_its_result_at_once(digits):
    states, told = [], []
    config = dataclasses.replace(CONFIG, patience=1, learning_rate=1e-6, epochs_max=30)
    whole, whole_report = run(digits, config, on_state=states.append, state_every_s=0)
    assert whole_report.stop_reason == "training_plateau" and len(states) == whole_report.epochs
    resumed, report = run(digits, config, state=states[-1], on_progress=lambda done, total: told.append(done))
    assert told == []
    assert equal(weights(whole), weights(resumed))
    assert dataclasses.replace(report, seconds=0, resumed_from_epoch=0) == dataclasses.replace(whole_report, seconds=0)


def test_states_come_no_oftener_than_asked(digits):
    states = []
    run(digits, CONFIG, on_state=states.append, state_every_s=3600)
    assert states == []


def changed(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda data: b"",
    "cut short": lambda data: data[: len(data) // 2],
    "a bit of the last tensor": lambda data: changed(data, len(data) - 5),
    "a bit in the middle": lambda data: changed(data, len(data) // 2),
    "not safetensors": lambda data: b"PK" + data,
}


@pytest.mark.parametrize("how", DAMAGE)
def test_a_damaged_state_starts_anew_and_says_so(digits, how):
    config = dataclasses.replace(CONFIG, epochs_max=2)
    whole, _ = run(digits, config)
    network, report = run(digits, config, state=DAMAGE[how](state_at(digits, config, 9)))
    assert report.resumed_from_epoch == 0 and "damaged" in report.state_refused
    assert equal(weights(whole), weights(network))


def test_a_state_of_another_training_starts_anew_and_says_so(digits):
    state = state_at(digits, CONFIG, 9)
    other_labels = (digits.class_indices[:32] + 1) % 10
    short = dataclasses.replace(CONFIG, epochs_max=1)
    cases = [
        (short, digits.pixels[:32], digits.class_indices[:32], 1),
        (dataclasses.replace(CONFIG, seed=9), digits.pixels[:32], digits.class_indices[:32], 1),
        (CONFIG, digits.pixels[:32], other_labels, 1),
        (CONFIG, digits.pixels[32:64], digits.class_indices[:32], 1),
        (CONFIG, digits.pixels[:32], digits.class_indices[:32], 2),
    ]
    for config, pixels, labels, seed in cases:
        network = networks.build("small_cnn", 10, 8, seed=seed)
        with pytest.raises(KilledError):
            training.train(network, pixels, labels, config, Killed(1), state=state)
    network = networks.build("small_cnn", 10, 8, seed=1)
    report = training.train(network, digits.pixels[:32], digits.class_indices[:32], short, state=state)
    assert report.resumed_from_epoch == 0 and "another training" in report.state_refused


def test_a_state_of_a_later_format_starts_anew(digits):
    tensors, metadata = tensor_files.from_bytes(state_at(digits, CONFIG, 9), "state")
    later = tensor_files.to_bytes(tensors, metadata | {"format_version": 99})
    _, report = run(digits, dataclasses.replace(CONFIG, epochs_max=1), state=later)
    assert "format version 99" in report.state_refused

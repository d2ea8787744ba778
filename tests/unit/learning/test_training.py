"""Training on real digits, and on sets too small to train on."""

import math

import numpy as np
import pytest
import torch

from al_service.errors import InvalidInputError
from al_service.learning import evaluation, inference, networks, training
from al_service.learning.pixels import InvalidPixelsError
from al_service.learning.training import TrainConfig


def weights(network: networks.Network) -> dict[str, torch.Tensor]:
    return {key: value.clone() for key, value in network.state_dict().items()}


def equal(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(first[key], second[key]) for key in first)


def trained_on(digits, rows, config: TrainConfig, **others) -> tuple[networks.Network, training.TrainReport]:
    network = networks.build("small_cnn", 10, 8)
    return network, training.train(network, digits.pixels[rows], digits.class_indices[rows], config, **others)


def test_two_hundred_digits_are_enough_for_85_percent(digits, training_run):
    network, report = training_run
    found = inference.predict(network, digits.pixels[1000:])
    assert evaluation.evaluate(found.probabilities, digits.class_indices[1000:]).accuracy > 0.85
    assert report.train_count + report.validation_count == 200
    assert len(report.train_loss) == report.epochs <= 30
    assert report.train_loss[-1] < report.train_loss[0]
    assert 1 <= report.best_epoch <= report.epochs
    assert not network.training


def test_equal_seeds_give_equal_weights_bit_for_bit_and_others_do_not(digits):
    runs = []
    for seed, before in ((1, 10), (1, 99), (2, 10)):
        torch.manual_seed(before)
        state = torch.random.get_rng_state()
        network, report = trained_on(digits, slice(40), TrainConfig(epochs_max=3, seed=seed, augment="shift+flip"))
        assert torch.equal(state, torch.random.get_rng_state())
        runs.append((weights(network), report.train_loss))
    assert equal(runs[0][0], runs[1][0]) and runs[0][1] == runs[1][1]
    assert not equal(runs[0][0], runs[2][0])


def test_the_weights_of_the_best_epoch_are_kept(digits):
    rows = np.concatenate([np.flatnonzero(digits.class_indices == one)[:52] for one in (0, 1)])
    seen = []

    network = networks.build("small_cnn", 10, 8)
    config = TrainConfig(epochs_max=8, learning_rate=0.02)
    steps_per_epoch = 10

    def note(done: int, total: int) -> None:
        assert total == steps_per_epoch * config.epochs_max
        if done % steps_per_epoch == 0:
            seen.append(weights(network))

    report = training.train(network, digits.pixels[rows], digits.class_indices[rows], config, note)
    assert report.validation_count == 10
    assert report.best_epoch == 1 + int(np.argmin(report.validation_loss))
    assert equal(weights(network), seen[report.best_epoch - 1])


@pytest.mark.parametrize("count", [1, 2, 3, 5, 9, 17, 65])
@pytest.mark.parametrize("name", ["small_cnn", "squeezenet1_1", "shufflenet_v2_x0_5"])
def test_any_number_of_samples_trains_batch_normalisation_included(digits, count, name):
    if name != "small_cnn" and count > 5:
        count = 3
    network = networks.build(name, 10, 8)
    report = training.train(
        network, digits.pixels[:count], digits.class_indices[:count], TrainConfig(epochs_max=1, minibatch_size=2)
    )
    assert math.isfinite(report.train_loss[0])
    assert report.validation_loss == () and report.train_count == count


def test_one_class_alone_and_missing_classes_train(digits):
    rows = np.flatnonzero(digits.class_indices == 3)[:12]
    network, report = trained_on(digits, rows, TrainConfig(epochs_max=6, class_balance="weights", label_smoothing=0.1))
    assert math.isfinite(report.train_loss[-1])
    assert (inference.predict(network, digits.pixels[rows]).logits.argmax(1) == 3).all()


def test_training_stops_when_the_loss_no_longer_falls(digits):
    noise = np.random.default_rng(0).integers(0, 10, 100)
    network = networks.build("small_cnn", 10, 8)
    config = TrainConfig(epochs_max=50, patience=2, learning_rate=1e-6)
    report = training.train(network, digits.pixels[:100], noise, config)
    assert report.stop_reason in ("training_plateau", "validation_plateau") and report.epochs < 50
    _, whole = trained_on(digits, slice(20), TrainConfig(epochs_max=2))
    assert whole.stop_reason == "epochs_max" and whole.epochs == 2


def test_progress_is_told_after_each_step_and_may_stop_training(digits):
    told = []
    trained_on(digits, slice(20), TrainConfig(epochs_max=3), on_progress=lambda done, total: told.append((done, total)))
    assert [done for done, _ in told] == list(range(1, told[0][1] + 1))

    class StopError(Exception):
        pass

    def stop(done: int, total: int) -> None:
        raise StopError

    with pytest.raises(StopError):
        trained_on(digits, slice(20), TrainConfig(), on_progress=stop)


def test_a_read_only_memory_map_trains(digits, tmp_path):
    np.save(tmp_path / "pixels.npy", digits.pixels[:20])
    mapped = np.load(tmp_path / "pixels.npy", mmap_mode="r")
    network = networks.build("small_cnn", 10, 8)
    training.train(network, mapped, digits.class_indices[:20], TrainConfig(epochs_max=1))
    assert inference.predict(network, mapped).logits.shape == (20, 10)


def test_balanced_classes_weigh_the_same_in_sum():
    labels = np.array([0] * 90 + [2] * 10)
    found = training.class_weights(labels, 4).numpy()
    assert found[0] * 90 == pytest.approx(found[2] * 10)
    assert found[labels].mean() == pytest.approx(1)
    assert np.isfinite(found).all()


def test_a_diverging_loss_is_an_error_and_not_a_model(digits):
    with pytest.raises(training.TrainingDivergedError, match="lower learning_rate"):
        trained_on(digits, slice(20), TrainConfig(learning_rate=1e30))


def test_labels_and_pixels_that_do_not_fit_are_refused(digits):
    network = networks.build("small_cnn", 10, 8)
    pixels = digits.pixels[:3]
    for labels, text in (
        ([0, 1], "shape"),
        ([0.0, 1.0, 2.0], "float64"),
        ([0, 10, 1], r"\[1\] is 10"),
        ([0, -1, 1], "-1"),
    ):
        with pytest.raises(training.InvalidTrainingSetError, match=text):
            training.train(network, pixels, labels, TrainConfig())
    with pytest.raises(training.InvalidTrainingSetError, match="no labelled"):
        training.train(network, pixels[:0], [], TrainConfig())
    with pytest.raises(InvalidPixelsError, match=r"\(N, 8, 8, 3\)"):
        training.train(network, np.zeros((3, 9, 9, 3), np.uint8), [0, 1, 2], TrainConfig())
    with pytest.raises(InvalidPixelsError, match="float64"):
        training.train(network, np.zeros((3, 8, 8, 3)), [0, 1, 2], TrainConfig())


@pytest.mark.parametrize(
    "wrong",
    [
        {"epochs_max": 0}, {"learning_rate": 0.0}, {"learning_rate": float("nan")}, {"minibatch_size": 1},
        {"augment": "spin"}, {"label_smoothing": 1.0}, {"patience": 0}, {"weight_decay": -1.0}, {"seed": -1},
    ],
)  # fmt: skip
def test_a_setting_out_of_range_is_refused_by_name(wrong):
    with pytest.raises(InvalidInputError, match=next(iter(wrong))):
        TrainConfig(**wrong)

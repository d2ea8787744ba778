"""What training can be told: order, extra loss, rare classes, averages; and trainings that break down."""

import math

import numpy as np
import pytest
import torch

from al_service.errors import InvalidInputError
from al_service.learning import networks, training
from al_service.learning.backbones import Backbone
from al_service.learning.inference import predict
from al_service.learning.training import TrainConfig


def weights(network: networks.Network) -> dict[str, torch.Tensor]:
    return {key: value.clone() for key, value in network.state_dict().items()}


def equal(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(first[key], second[key]) for key in first)


def trained_on(digits, rows, config: TrainConfig, **others) -> tuple[networks.Network, training.TrainReport]:
    network = networks.build("small_cnn", 10, 8)
    return network, training.train(network, digits.pixels[rows], digits.class_indices[rows], config, **others)


# -- rare classes ------------------------------------------------------------------------------------------------


def blobs(common: int, rare: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Noise images; those of class 1 are brighter in one corner."""
    rng = np.random.default_rng(seed)
    labels = np.repeat([0, 1], [common, rare])
    pixels = rng.normal(110, 40, (len(labels), 8, 8, 3))
    pixels[labels == 1, :4, :4] += 40
    return pixels.clip(0, 255).astype(np.uint8), labels


def quarters(class_count: int) -> networks.Network:
    """A network that sees the mean colour of each quarter of an image: quick to train."""
    module = torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(2), torch.nn.Flatten())
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return networks.Network("quarters", Backbone(module, 12, 8, "none"), class_count, 8)


@pytest.mark.parametrize("balance", ["weights", "sampling"])
def test_one_in_a_thousand_is_found_with_balance_and_not_without(balance):
    pixels, labels = blobs(2000, 2, seed=0)
    held_out, held_labels = blobs(200, 200, seed=1)
    recalls = {}
    for chosen in ("none", balance):
        network = quarters(2)
        config = TrainConfig(epochs_max=20, class_balance=chosen, augment="none", patience=20, learning_rate=0.01)
        training.train(network, pixels, labels, config)
        found = predict(network, held_out).logits.argmax(1)
        recalls[chosen] = [float((found[held_labels == one] == one).mean()) for one in (0, 1)]
    assert recalls["none"][1] < 0.1
    assert min(recalls[balance]) > 0.8


@pytest.mark.parametrize("balance", ["none", "weights", "sampling"])
def test_classes_without_images_one_class_and_one_image_train(digits, balance):
    config = TrainConfig(
        epochs_max=4, class_balance=balance, focal_gamma=2.0, label_smoothing=0.1, ema_decay=0.9, augment="none"
    )
    some = np.flatnonzero(digits.class_indices < 3)[:30]
    one_class = np.flatnonzero(digits.class_indices == 7)[:12]
    for rows in (some, one_class, one_class[:1]):
        network, report = trained_on(digits, rows, config)
        assert all(map(math.isfinite, report.train_loss)) and report.train_count == len(rows)
        probabilities = predict(network, digits.pixels[rows]).probabilities
        assert np.isfinite(probabilities).all()
        if len(set(digits.class_indices[rows])) == 1:
            assert (probabilities.argmax(1) == 7).all()


def test_a_network_of_a_single_class_trains(digits):
    network = networks.build("small_cnn", 1, 8)
    config = TrainConfig(epochs_max=2, focal_gamma=2.0)
    report = training.train(network, digits.pixels[:5], np.zeros(5, int), config, record_samples=True)
    assert report.train_loss == pytest.approx((0.0, 0.0))
    assert np.isnan(report.samples.margin).all() and (report.samples.loss == 0).all()


def test_labels_of_one_class_that_are_all_wrong_train_to_an_end(digits):
    labels = digits.class_indices[:200].copy()
    wrong = labels == 4
    labels[wrong] = np.random.default_rng(0).integers(0, 10, wrong.sum())
    network = networks.build("small_cnn", 10, 8)
    report = training.train(network, digits.pixels[:200], labels, TrainConfig(epochs_max=6, learning_rate=0.01))
    assert all(map(math.isfinite, report.train_loss))


# -- averages ----------------------------------------------------------------------------------------------------


def test_the_average_of_the_weights_is_what_is_kept(digits):
    rows = slice(60)
    plain, _ = trained_on(digits, rows, TrainConfig(epochs_max=3))
    followed, averages = [], []
    network = networks.build("small_cnn", 10, 8)
    expected = weights(network)

    def follow(done: int, total: int) -> None:
        decay = min(0.8, (1 + done) / (10 + done))
        for key, value in network.state_dict().items():
            expected[key] += (1 - decay) * (value - expected[key])
        followed.append(weights(network))
        averages.append({key: value.clone() for key, value in expected.items()})

    config = TrainConfig(epochs_max=3, ema_decay=0.8)
    report = training.train(network, digits.pixels[rows], digits.class_indices[rows], config, follow)
    # The average steps aside: the weights that are trained are those of a plain training.
    assert equal(followed[8 * report.best_epoch - 1], weights(plain))
    for key, value in network.state_dict().items():
        assert torch.allclose(value, averages[8 * report.best_epoch - 1][key], atol=1e-5)
    assert all(one.requires_grad for one in network.parameters())


# -- order and extra loss ----------------------------------------------------------------------------------------


def test_an_order_is_asked_for_every_epoch_and_rows_left_out_are_never_seen(digits):
    asked = []

    def easy(epoch: int, rng: np.random.Generator) -> np.ndarray:
        asked.append(epoch)
        return rng.permutation(10 + 5 * epoch)

    config = TrainConfig(epochs_max=3, augment="none")
    _, report = trained_on(digits, slice(60), config, order=easy, record_samples=True)
    assert asked == [1, 2, 3]
    assert (report.samples.visits[:15] > 0).all() and (report.samples.visits[25:] == 0).all()
    assert np.isnan(report.samples.loss[25:]).all() and np.isfinite(report.samples.margin[:25]).all()
    with pytest.raises(InvalidInputError, match="row 60"):
        trained_on(digits, slice(60), config, order=lambda epoch, rng: np.array([60]))


def test_an_order_may_name_rows_that_validate_and_they_stay_apart(digits):
    rows = np.concatenate([np.flatnonzero(digits.class_indices == one)[:52] for one in (0, 1)])
    config = TrainConfig(epochs_max=2)
    _, report = trained_on(digits, rows, config, order=lambda epoch, rng: np.arange(104), record_samples=True)
    assert report.validation_count == 10 == (report.samples.visits == 0).sum()


def test_an_extra_loss_moves_the_weights_and_not_the_reported_loss(digits):
    steps = []

    def extra(network: networks.Network, step: int) -> torch.Tensor:
        assert network.training
        steps.append(step)
        return 100 * network.head.linear.weight.square().mean()

    config = TrainConfig(epochs_max=2)
    plain, _ = trained_on(digits, slice(20), config)
    network, report = trained_on(digits, slice(20), config, extra_loss=extra)
    assert steps == list(range(16))
    assert network.head.linear.weight.abs().mean() < 0.9 * plain.head.linear.weight.abs().mean()
    assert report.train_loss[0] < 5


# -- records -----------------------------------------------------------------------------------------------------


def test_wrong_labels_have_low_margins_over_training(digits):
    labels = digits.class_indices[:200].copy()
    wrong = np.random.default_rng(0).permutation(200)[:15]
    labels[wrong] = (labels[wrong] + 1) % 10
    network = networks.build("small_cnn", 10, 8)
    report = training.train(network, digits.pixels[:200], labels, TrainConfig(epochs_max=12), record_samples=True)
    assert (report.samples.visits == report.samples.visits[0]).all()
    lowest = np.argsort(report.samples.margin)[:15]
    assert len(set(lowest.tolist()) & set(wrong.tolist())) >= 9
    assert report.samples.loss[wrong].mean() > report.samples.loss.mean()


def test_recording_changes_no_weight(digits):
    plain, _ = trained_on(digits, slice(30), TrainConfig(epochs_max=2))
    recorded, report = trained_on(digits, slice(30), TrainConfig(epochs_max=2), record_samples=True)
    assert equal(weights(plain), weights(recorded))
    assert report.samples.visits.sum() == 2 * 30 * report.samples.visits[0] / 2


# -- trainings that break down -----------------------------------------------------------------------------------


def test_a_huge_learning_rate_is_told_with_epoch_step_and_rate(digits):
    with pytest.raises(
        training.TrainingDivergedError, match=r"epoch 1.*step \d+ of 480.*lower learning_rate"
    ) as caught:
        trained_on(digits, slice(20), TrainConfig(learning_rate=1e30))
    assert caught.value.details["epoch"] == 1 and 1 <= caught.value.details["step"] <= 3


@pytest.mark.parametrize("what", ["the loss", "the gradients"])
def test_what_became_no_number_is_named_before_it_reaches_the_weights(digits, what):
    network = networks.build("small_cnn", 10, 8)

    def broken(network: networks.Network, step: int) -> torch.Tensor:
        weight = network.head.linear.weight
        if step < 9:
            return 0 * weight.sum()
        # The root's slope at 0 is infinite, and 0 times infinity is no number; its value is 0.
        return weight.sum() * torch.nan if what == "the loss" else (0 * weight).sqrt().sum()

    with pytest.raises(training.TrainingDivergedError, match=f"{what} became .* epoch 2, .* step 10 .*unlabelled"):
        training.train(
            network, digits.pixels[:20], digits.class_indices[:20], TrainConfig(epochs_max=3), extra_loss=broken
        )
    assert all(torch.isfinite(value).all() for value in network.state_dict().values())


def test_weights_that_are_no_numbers_are_never_taken_for_the_best(digits):
    network = networks.build("small_cnn", 10, 8)

    def spoil(done: int, total: int) -> None:
        if done == 16:
            with torch.no_grad():
                network.head.linear.bias[0] = torch.inf

    with pytest.raises(training.TrainingDivergedError, match=r"the weights .* epoch 2"):
        training.train(network, digits.pixels[:20], digits.class_indices[:20], TrainConfig(epochs_max=3), spoil)


@pytest.mark.parametrize("ema_decay", [0.0, 0.5])
def test_a_validation_loss_that_is_no_number_fails_the_training(digits, ema_decay):
    """In training, batch normalisation takes the minibatch's own statistics; these break what is judged alone."""
    rows = np.concatenate([np.flatnonzero(digits.class_indices == one)[:52] for one in (0, 1)])
    network = networks.build("shufflenet_v2_x0_5", 10, 32)
    for layer in network.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            layer.momentum = 0.0
            layer.running_mean.fill_(3e38)
    pixels = digits.pixels[rows].repeat(4, 1).repeat(4, 2)
    config = TrainConfig(epochs_max=3, augment="none", ema_decay=ema_decay)
    with pytest.raises(
        training.TrainingDivergedError, match=r"the validation loss became .* epoch 1, .* step 10 of 30"
    ):
        training.train(network, pixels, digits.class_indices[rows], config)

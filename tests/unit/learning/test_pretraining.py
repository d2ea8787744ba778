"""Pretraining on real digits: it learns without labels, ends the same after a kill, and says when it did not work."""

import math

import numpy as np
import pytest
import torch

from al_service.errors import InvalidInputError
from al_service.learning import checkpoints, networks, pretraining_objective
from al_service.learning.pixels import InvalidPixelsError
from al_service.learning.pretraining import PretrainConfig, pretrain
from al_service.learning.pretraining_probe import (
    InvalidPretrainingSetError,
    NeighbourProbe,
    neighbour_accuracy,
    spread_and_rank,
)
from al_service.learning.training import TrainingDivergedError
from al_service.learning.views import Views, views_for

TINY = PretrainConfig(epochs=2, minibatch_size=16, views=views_for(8), state_every_s=0)


def weights(network: networks.Network) -> dict[str, torch.Tensor]:
    return {key: value.clone() for key, value in network.backbone.state_dict().items()}


def equal(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[key], second[key]) for key in first)


class KilledError(Exception):
    """Stands for the end of the process."""


def states_until(pixels, config: PretrainConfig, step: int, name: str = "small_cnn", **others) -> bytes:
    """The newest state of a run that is cut short after so many steps."""
    held = []

    def kill(done: int, total: int) -> None:
        if done == step:
            raise KilledError

    with pytest.raises(KilledError):
        pretrain(name, pixels, config, on_state=held.append, on_progress=kill, **others)
    assert len(held) == step
    return held[-1]


def test_neighbours_are_of_the_same_digit_more_often_after_pretraining_without_a_label(digits):
    probe = NeighbourProbe(
        digits.pixels[:600], digits.class_indices[:600], digits.pixels[1000:], digits.class_indices[1000:]
    )
    config = PretrainConfig(epochs=8, minibatch_size=128, views=views_for(8), seed=3)
    network, report = pretrain("small_cnn", digits.pixels[:1000], config, probe=probe)
    assert report.knn_accuracy_before < report.knn_accuracy
    assert report.knn_accuracy == neighbour_accuracy(network, probe)
    assert report.loss[-1] < report.loss[0] < math.log(2 * 128)
    assert (report.images, report.epochs, report.steps, len(report.loss)) == (1000, 8, 64, 8)
    assert report.images_per_s == pytest.approx(8000 / report.seconds)
    assert not report.collapsed and report.warning == "" and report.state_refused == "" and report.resumed_step == 0
    assert not network.training


def test_equal_seeds_give_equal_weights_bit_for_bit_and_others_do_not(digits):
    runs = []
    for seed, before in ((1, 10), (1, 99), (2, 10)):
        torch.manual_seed(before)
        state = torch.random.get_rng_state()
        config = PretrainConfig(epochs=1, minibatch_size=16, seed=seed)
        network, report = pretrain("small_cnn", digits.pixels[:40], config)
        assert torch.equal(state, torch.random.get_rng_state())
        runs.append((weights(network), report.loss))
    assert equal(runs[0][0], runs[1][0]) and runs[0][1] == runs[1][1]
    assert not equal(runs[0][0], runs[2][0])


@pytest.mark.parametrize("step", [1, 3, 5])
def test_a_run_that_was_killed_ends_with_the_weights_of_one_that_was_not(digits, step):
    pixels = digits.pixels[:40]
    probe = (pixels, digits.class_indices[:40], digits.pixels[40:60], digits.class_indices[40:60])
    whole, expected = pretrain("small_cnn", pixels, TINY, probe=probe)
    state = states_until(pixels, TINY, step, probe=probe)
    resumed, report = pretrain("small_cnn", pixels, TINY, state=state, probe=probe)
    assert equal(weights(whole), weights(resumed))
    assert report.loss == expected.loss and report.steps == expected.steps == 6
    assert report.knn_accuracy_before == expected.knn_accuracy_before
    assert report.knn_accuracy == expected.knn_accuracy
    assert report.resumed_step == step and report.state_refused == ""


def test_a_network_with_batch_normalisation_and_dropout_resumes_bit_for_bit_too(digits):
    config = PretrainConfig(epochs=1, minibatch_size=4, views=Views(), state_every_s=0)
    pixels = np.random.default_rng(0).integers(0, 256, (8, 32, 32, 3), dtype=np.uint8)
    for name in ("resnet18", "efficientnet_b0"):
        whole, _ = pretrain(name, pixels, config)
        state = states_until(pixels, config, 1, name)
        resumed, report = pretrain(name, pixels, config, state=state)
        assert report.resumed_step == 1
        assert equal(weights(whole), weights(resumed))


def test_the_state_after_the_last_step_gives_the_finished_network_at_once(digits):
    held = []
    whole, _ = pretrain("small_cnn", digits.pixels[:20], TINY, on_state=held.append)
    again, report = pretrain("small_cnn", digits.pixels[:20], TINY, state=held[-1])
    assert report.resumed_step == report.steps == len(held)
    assert equal(weights(whole), weights(again))


def test_how_often_states_are_given_changes_nothing(digits):
    held = []
    rare = PretrainConfig(epochs=2, minibatch_size=16, views=views_for(8), state_every_s=3600)
    network, _ = pretrain("small_cnn", digits.pixels[:40], rare, on_state=held.append)
    assert held == []
    assert equal(weights(network), weights(pretrain("small_cnn", digits.pixels[:40], TINY, on_state=held.append)[0]))
    assert len(held) == 6
    # A state of the one is a state of the other.
    _, report = pretrain("small_cnn", digits.pixels[:40], rare, state=held[2])
    assert report.resumed_step == 3


def test_a_damaged_or_foreign_state_is_refused_in_words_and_the_run_starts_anew(digits):
    pixels = digits.pixels[:20]
    state = states_until(pixels, TINY, 2)
    fresh, _ = pretrain("small_cnn", pixels, TINY)
    flipped = bytearray(state)
    flipped[-1] ^= 1
    in_progress = state.replace(b'\\"step\\": 2', b'\\"step\\": 3')
    assert in_progress != state
    for wrong, text in (
        (b"", "safetensors"),
        (state[:-100], "safetensors"),
        (bytes(flipped), "damaged"),
        (in_progress, "damaged"),
        (checkpoints.to_bytes(fresh, ["one"]), "version"),
    ):
        network, report = pretrain("small_cnn", pixels, TINY, state=wrong)
        assert text in report.state_refused and report.resumed_step == 0
        assert equal(weights(network), weights(fresh))


def test_a_state_of_other_images_settings_or_initial_weights_is_refused(digits, tmp_path):
    state = states_until(digits.pixels[:20], TINY, 1)
    other_seed = PretrainConfig(epochs=2, minibatch_size=16, views=views_for(8), seed=5)
    other_views = PretrainConfig(epochs=2, minibatch_size=16, views=Views(flip=True))
    for pixels, config in (
        (digits.pixels[20:40], TINY),
        (digits.pixels[:21], TINY),
        (digits.pixels[:20], other_seed),
        (digits.pixels[:20], other_views),
    ):
        _, report = pretrain("small_cnn", pixels, config, state=state)
        assert "other" in report.state_refused and report.resumed_step == 0
    start = tmp_path / "start.safetensors"
    start.write_bytes(checkpoints.backbone_to_bytes(networks.build("small_cnn", 1, 8, seed=9)))
    _, report = pretrain("small_cnn", digits.pixels[:20], TINY, state=state, weights=str(start))
    assert "other" in report.state_refused and report.resumed_step == 0


def test_the_backbone_starts_other_networks(digits, tmp_path):
    network, _ = pretrain("small_cnn", digits.pixels[:20], TINY)
    path = tmp_path / "backbone.safetensors"
    path.write_bytes(checkpoints.backbone_to_bytes(network))
    started = networks.build("small_cnn", 10, 8, weights=str(path), seed=3)
    assert equal(weights(network), weights(started))
    # And pretraining itself goes on from weights.
    further, _ = pretrain("small_cnn", digits.pixels[:20], TINY, weights=str(path))
    assert not equal(weights(network), weights(further))


@pytest.mark.parametrize("count", [2, 3, 5, 17, 33])
@pytest.mark.parametrize("name", ["small_cnn", "shufflenet_v2_x0_5"])
def test_any_number_of_images_from_two_on_pretrains(digits, count, name):
    if name != "small_cnn" and count > 5:
        count = 4
    config = PretrainConfig(epochs=1, minibatch_size=16, views=views_for(8))
    _, report = pretrain(name, digits.pixels[:count], config)
    assert math.isfinite(report.loss[0]) and report.images == count


def test_no_image_or_one_alone_is_refused(digits):
    for count in (0, 1):
        with pytest.raises(InvalidPretrainingSetError, match=f"there are {count} images"):
            pretrain("small_cnn", digits.pixels[:count], TINY)


def test_pixels_that_are_not_square_bytes_are_refused():
    for wrong in (np.zeros((4, 8, 9, 3), np.uint8), np.zeros((4, 8, 8, 3)), np.zeros((4, 8, 8), np.uint8)):
        with pytest.raises(InvalidPixelsError):
            pretrain("small_cnn", wrong, TINY)


def test_images_that_are_all_the_same_are_reported_as_collapsed(digits):
    _, report = pretrain("small_cnn", np.repeat(digits.pixels[:1], 32, axis=0), TINY)
    assert report.collapsed and report.spread < 1e-3 and "do not use" in report.warning
    assert report.effective_rank == 1


def test_one_colour_only_pretrains_and_says_that_it_is_worth_nothing():
    _, report = pretrain("small_cnn", np.full((16, 8, 8, 3), 255, np.uint8), TINY)
    assert report.collapsed


def test_a_diverging_loss_is_an_error_and_not_a_backbone(digits):
    config = PretrainConfig(epochs=3, minibatch_size=16, learning_rate=1e30)
    with pytest.raises(TrainingDivergedError, match="lower it"):
        pretrain("small_cnn", digits.pixels[:40], config)


def test_a_read_only_memory_map_pretrains_and_is_read_by_minibatches(digits, tmp_path):
    np.save(tmp_path / "pixels.npy", digits.pixels[:40])
    mapped = np.load(tmp_path / "pixels.npy", mmap_mode="r")

    class Rows:
        """An array-like that notes how many rows are asked for at a time."""

        shape, dtype = mapped.shape, mapped.dtype
        most = 0

        def __len__(self) -> int:
            return len(mapped)

        def __getitem__(self, rows):
            if isinstance(rows, np.ndarray):
                Rows.most = max(Rows.most, len(rows))
            return mapped[rows]

    config = PretrainConfig(epochs=1, minibatch_size=8)
    assert equal(
        weights(pretrain("small_cnn", Rows(), config)[0]), weights(pretrain("small_cnn", digits.pixels[:40], config)[0])
    )
    assert Rows.most <= 40


def test_a_probe_that_does_not_fit_is_refused_before_the_work(digits):
    pixels, classes = digits.pixels[:20], digits.class_indices[:20]
    for probe in (
        (pixels, classes[:3], pixels, classes),
        (pixels, classes, pixels[:0], classes[:0]),
        (pixels, classes.astype(float), pixels, classes),
        (pixels, classes - 10, pixels, classes),
    ):
        with pytest.raises(InvalidPretrainingSetError, match="probe"):
            pretrain("small_cnn", pixels, TINY, probe=probe)


def test_the_loss_is_the_cross_entropy_of_the_partner_computed_pair_by_pair():
    projections = torch.randn(8, 5, generator=torch.Generator().manual_seed(0))
    units = projections / projections.norm(dim=1, keepdim=True)
    expected = []
    for one in range(8):
        partner = (one + 4) % 8
        others = [math.exp(float(units[one] @ units[other]) / 0.3) for other in range(8) if other != one]
        expected.append(-math.log(math.exp(float(units[one] @ units[partner]) / 0.3) / sum(others)))
    found = pretraining_objective.contrastive_loss(projections, 0.3)
    assert float(found) == pytest.approx(np.mean(expected), rel=1e-5)


def test_spread_and_rank_of_known_embeddings():
    rng = np.random.default_rng(0)
    spread, rank = spread_and_rank(rng.standard_normal((20_000, 8)))
    assert spread == pytest.approx(1, abs=0.01) and rank == pytest.approx(8, abs=0.05)
    spread, rank = spread_and_rank(np.ones((5, 8)))
    assert (spread, rank) == (0.0, 1.0)
    assert spread_and_rank(np.ones((1, 8))) == (0.0, 1.0)


@pytest.mark.parametrize(
    "wrong",
    [
        {"epochs": 0}, {"minibatch_size": 1}, {"learning_rate": 0.0}, {"learning_rate": math.inf}, {"temperature": 0.0},
        {"temperature": math.nan}, {"weight_decay": -1.0}, {"seed": -1}, {"state_every_s": -1.0},
        {"mixed_precision": "half"},
    ],
)  # fmt: skip
def test_a_setting_out_of_range_is_refused_by_name(wrong):
    with pytest.raises(InvalidInputError, match=next(iter(wrong))):
        PretrainConfig(**wrong)

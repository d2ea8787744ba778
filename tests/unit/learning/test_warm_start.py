"""Starting from the last round's model."""

import pytest
import torch

from al_service.errors import InvalidInputError
from al_service.learning import networks
from al_service.learning.networks import Network
from al_service.learning.warm_start import NOISE, SHRINK, warm_start


def weights(network: Network) -> dict[str, torch.Tensor]:
    return {key: value.clone() for key, value in network.state_dict().items()}


def built(class_count: int = 3, seed: int = 0, name: str = "small_cnn", image_px: int = 8) -> Network:
    return networks.build(name, class_count, image_px, seed=seed)


def test_nothing_is_taken_by_default_mode():
    network, before = built(), weights(built())
    report = warm_start(network, built(seed=1), "none")
    assert all(torch.equal(before[key], value) for key, value in network.state_dict().items())
    assert report.taken == () and report.classes_taken == 0


def test_previous_takes_all_weights_and_leaves_the_previous_network_as_it_is():
    network, previous = built(), built(seed=1)
    expected = weights(previous)
    report = warm_start(network, previous, "previous")
    assert all(torch.equal(expected[key], value) for key, value in network.state_dict().items())
    with torch.no_grad():
        network.head.linear.bias += 1
    assert all(torch.equal(expected[key], value) for key, value in previous.state_dict().items())
    assert report.left == () and report.classes_taken == 3


def test_rows_of_the_head_are_matched_by_class_name_and_new_classes_stay_fresh():
    network, previous = built(4), built(3, seed=1)
    fresh = weights(network)
    report = warm_start(
        network,
        previous,
        "previous",
        class_names=("owl", "cat", "dog", "fox"),
        previous_class_names=("dog", "cow", "cat"),
    )
    for name in ("head.linear.weight", "head.linear.bias"):
        now, old = network.state_dict()[name], previous.state_dict()[name]
        assert torch.equal(now[1], old[2]) and torch.equal(now[2], old[0])
        assert torch.equal(now[0], fresh[name][0]) and torch.equal(now[3], fresh[name][3])
    assert report.classes_taken == 2 and report.left == ()


@pytest.mark.parametrize("names", [{}, {"class_names": "abcd", "previous_class_names": "xyz"}])
def test_a_head_without_a_class_in_common_stays_fresh(names):
    network = built(4)
    fresh = weights(network)
    report = warm_start(network, built(3, seed=1), "previous", **names)
    assert torch.equal(network.head.linear.weight, fresh["head.linear.weight"])
    assert report.left == ("head.linear.weight", "head.linear.bias") and report.classes_taken == 0


def test_of_another_architecture_only_what_fits_is_taken():
    network, previous = built(), built(name="shufflenet_v2_x0_5", image_px=32)
    fresh = weights(network)
    report = warm_start(network, previous, "previous")
    assert set(report.taken) <= {"mean", "std", "head.linear.bias"}
    assert all(torch.equal(fresh[name], network.state_dict()[name]) for name in report.left)


def test_shrink_perturb_keeps_the_direction_and_adds_noise_in_proportion_to_fresh_weights():
    network, previous = built(), built(seed=1)
    fresh = weights(network)
    warm_start(network, previous, "shrink_perturb", seed=5)
    name = "backbone.features.4.weight"
    noise = (network.state_dict()[name] - SHRINK * previous.state_dict()[name]) / NOISE
    assert float(noise.std() / fresh[name].std()) == pytest.approx(1, abs=0.05)
    assert abs(float(torch.corrcoef(torch.stack([noise.flatten(), fresh[name].flatten()]))[0, 1])) < 0.05
    again, other = built(), built()
    warm_start(again, previous, "shrink_perturb", seed=5)
    warm_start(other, previous, "shrink_perturb", seed=6)
    assert torch.equal(again.state_dict()[name], network.state_dict()[name])
    assert not torch.equal(other.state_dict()[name], network.state_dict()[name])


def test_shrink_perturb_leaves_running_statistics_fresh():
    network, previous = (built(seed=seed, name="shufflenet_v2_x0_5", image_px=32) for seed in (0, 1))
    previous(torch.rand(4, 3, 32, 32))
    warm_start(network, previous, "shrink_perturb")
    for name, value in network.named_buffers():
        if name.endswith(("running_mean", "num_batches_tracked")):
            assert not value.any()


def test_wrong_requests_are_refused():
    for options, text in (
        ({"mode": "half"}, "half"),
        ({"mode": "previous", "class_names": "abc"}, "both"),
        ({"mode": "previous", "class_names": "ab", "previous_class_names": "abc"}, "class_names are 2 names"),
        ({"mode": "previous", "class_names": "abc", "previous_class_names": "aab"}, "2 of them distinct"),
    ):
        with pytest.raises(InvalidInputError, match=text):
            warm_start(built(), built(), **options)

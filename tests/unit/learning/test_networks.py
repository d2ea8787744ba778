"""Building networks by name."""

import numpy as np
import pytest
import torch

from al_service.errors import InvalidInputError
from al_service.learning import checkpoints, networks
from al_service.learning.tensor_files import InvalidCheckpointError, to_bytes


def parameters(network: networks.Network) -> dict[str, np.ndarray]:
    return {key: value.numpy().copy() for key, value in network.state_dict().items()}


@pytest.mark.parametrize("image_px", [8, 15, 28, 32, 64])
def test_small_cnn_classifies_the_embeddings_of_any_size_up_to_64(image_px):
    network = networks.build("small_cnn", 7, image_px).eval()
    images = torch.rand(2, 3, image_px, image_px)
    embeddings = network.embed(images)
    assert embeddings.shape == (2, network.embedding_width)
    torch.testing.assert_close(network(images), network.head(embeddings))
    assert network(images).shape == (2, 7)
    assert sum(one.numel() for one in network.parameters()) < 300_000


@pytest.mark.parametrize("image_px", [7, 65])
def test_small_cnn_refuses_other_sizes(image_px):
    with pytest.raises(InvalidInputError, match="8 to 64"):
        networks.build("small_cnn", 2, image_px)


@pytest.mark.parametrize(
    ("name", "width"),
    [("resnet18", 512), ("squeezenet1_1", 512), ("mobilenet_v3_small", 1024), ("shufflenet_v2_x0_5", 1024)],
)
def test_a_torchvision_network_gets_our_head(name, width):
    network = networks.build(name, 3, 20).eval()
    images = torch.rand(2, 3, 20, 20)
    assert network.embedding_width == width
    assert network.embed(images).shape == (2, width)
    torch.testing.assert_close(network(images), network.head(network.embed(images)))


def test_no_dropout_is_left_right_before_ours():
    network = networks.build("mobilenet_v3_small", 3, 32)
    dropouts = [path for path, one in network.named_modules() if isinstance(one, torch.nn.Dropout) and one.p > 0]
    assert dropouts == ["head.dropout"]


def test_every_torchvision_classification_network_is_known():
    assert {"small_cnn", "resnet50", "vit_b_16", "convnext_tiny"} <= set(networks.names())


def test_an_unknown_network_is_refused():
    with pytest.raises(networks.UnknownNetworkError, match="resnet19"):
        networks.build("resnet19", 2, 32)
    with pytest.raises(InvalidInputError, match="class_count"):
        networks.build("small_cnn", 0, 32)


def test_bytes_and_shares_are_the_same_images():
    network = networks.build("small_cnn", 3, 8).eval()
    images = torch.randint(0, 256, (4, 3, 8, 8), dtype=torch.uint8)
    torch.testing.assert_close(network(images), network(images.float() / 255))


def test_the_seed_decides_the_weights_and_the_global_generator_is_left_alone():
    torch.manual_seed(1)
    before = torch.random.get_rng_state()
    first, same, other = (parameters(networks.build("small_cnn", 3, 8, seed=seed)) for seed in (5, 5, 6))
    assert torch.equal(before, torch.random.get_rng_state())
    assert all((first[key] == same[key]).all() for key in first)
    assert (first["head.linear.weight"] != other["head.linear.weight"]).any()


def test_weights_come_from_a_checkpoint_and_the_head_is_fresh(tmp_path):
    source = networks.build("small_cnn", 10, 8, seed=1)
    checkpoints.save(tmp_path / "start.safetensors", source, [str(one) for one in range(10)])
    network = networks.build("small_cnn", 4, 8, weights=str(tmp_path / "start.safetensors"), seed=2)
    for key, value in source.backbone.state_dict().items():
        assert torch.equal(network.backbone.state_dict()[key], value)
    assert network.head.linear.weight.shape == (4, 128)


def test_weights_come_from_a_file_with_torchvision_names(tmp_path):
    from torchvision import models

    model = models.squeezenet1_1(weights=None)
    (tmp_path / "w.safetensors").write_bytes(to_bytes(model.state_dict(), {}))
    network = networks.build("squeezenet1_1", 4, 32, weights=str(tmp_path / "w.safetensors"))
    assert torch.equal(network.backbone.state_dict()["features.0.weight"], model.features[0].weight)


def test_weights_of_another_network_or_none_at_all_are_refused(tmp_path):
    source = networks.build("small_cnn", 10, 8)
    checkpoints.save(tmp_path / "start.safetensors", source, [str(one) for one in range(10)])
    with pytest.raises(InvalidCheckpointError, match="holds nothing for"):
        networks.build("squeezenet1_1", 4, 32, weights=str(tmp_path / "start.safetensors"))
    with pytest.raises(InvalidCheckpointError, match="cannot be read"):
        networks.build("small_cnn", 4, 8, weights=str(tmp_path / "missing.safetensors"))
    with pytest.raises(InvalidInputError, match="no default weights"):
        networks.build("small_cnn", 4, 8, weights="default")


@pytest.mark.parametrize(
    ("name", "image_px"),
    [("small_cnn", 48), ("cifar_resnet20", 32), ("resnet18", 64), ("regnet_y_400mf", 64), ("squeezenet1_1", 64)],
)
def test_an_outline_has_the_names_shapes_and_types_of_the_network_and_no_values(name, image_px):
    built = networks.build(name, 3, image_px).state_dict()
    before = torch.random.get_rng_state()
    found = networks.outline(name, 3, image_px)
    assert torch.equal(before, torch.random.get_rng_state())
    assert found.keys() == built.keys()
    assert all((found[key].shape, found[key].dtype) == (built[key].shape, built[key].dtype) for key in built)
    assert all(tensor.is_meta for tensor in found.values())
    # Nothing of it stays behind: the next network is a real one again.
    assert not any(tensor.is_meta for tensor in networks.build(name, 3, image_px).state_dict().values())


def test_an_outline_is_refused_where_the_network_would_be():
    with pytest.raises(networks.UnknownNetworkError):
        networks.outline("nothing", 3, 32)
    for image_px in (0, networks.IMAGE_PX_MAX + 1):
        with pytest.raises(InvalidInputError, match=f"image_px is {image_px}, expected 1 to 4096"):
            networks.outline("resnet18", 3, image_px)
        with pytest.raises(InvalidInputError, match=f"image_px is {image_px}, expected 1 to 4096"):
            networks.build("resnet18", 3, image_px)

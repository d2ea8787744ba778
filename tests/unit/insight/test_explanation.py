"""Class-activation maps: their means are the logits, wherever a network's answer can be laid out over its image."""

import numpy as np
import pytest
import torch
from torch import nn

from al_service.acquisition.arrays import InvalidArrayError
from al_service.errors import InvalidInputError
from al_service.insight.explanation import NoMapError, class_activation_maps, evidence_maps
from al_service.learning import networks
from al_service.learning.probe import fit_probe, install

CLASSES = 4
AVERAGING = ["small_cnn", "cifar_resnet20", "resnet18", "densenet121", "squeezenet1_1", "swin_t"]


class Flattening(nn.Module):
    """A convolution, and a linear layer over all its places: no pooling."""

    def __init__(self, behind: nn.Module | None = None) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(3, 5, 3, stride=2, padding=1)
        self.relu = nn.ReLU(inplace=True)
        self.behind = behind or nn.Flatten()
        self.linear = nn.LazyLinear(CLASSES)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.linear(self.behind(self.relu(self.convolution(images))))


class OneMapPerClass(nn.Module):
    """A last convolution with one filter for each class, then global average pooling: its maps are the answer."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2))
        self.per_class = nn.Conv2d(6, CLASSES, 3, padding=1)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.per_class(self.features(images)).mean((2, 3))


def images_of(px: int, count: int = 3) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(px).integers(0, 256, (count, 3, px, px), np.uint8))


def logits_of(model: nn.Module, images: torch.Tensor) -> torch.Tensor:
    model.eval()
    with torch.no_grad():
        return model(images)


def seeded(make: type[nn.Module], *args: nn.Module) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(7)
        model = make(*args)
        model(torch.rand(1, 3, 16, 16))  # lazy layers learn their width
    return model


def close(one: torch.Tensor, other: torch.Tensor) -> None:
    torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)


class TestTheMeanOfAMapIsTheLogit:
    @pytest.mark.parametrize("name", AVERAGING)
    def test_of_networks_that_average_and_end_in_a_linear_layer(self, name: str) -> None:
        network, images = networks.build(name, CLASSES, 64, seed=3), images_of(64)
        maps = class_activation_maps(network, images)
        assert maps.shape[:2] == (3, CLASSES)
        assert maps.shape[2] > 1
        close(maps.mean((2, 3)) + network.head.linear.bias.detach(), logits_of(network, images))

    def test_of_a_head_fitted_to_a_frozen_backbone(self) -> None:
        network, images = networks.build("cifar_resnet20", CLASSES, 32, seed=3), images_of(32, 12)
        network.eval()
        with torch.no_grad():
            embeddings = network.embed(images).numpy()
        install(fit_probe(embeddings, np.arange(12) % CLASSES, CLASSES, seed=1), network.head)
        maps = class_activation_maps(network, images)
        close(maps.mean((2, 3)) + network.head.linear.bias.detach(), logits_of(network, images))

    def test_of_a_network_with_one_map_per_class(self) -> None:
        model, images = seeded(OneMapPerClass), images_of(16) / 255
        close(class_activation_maps(model, images).mean((2, 3)), logits_of(model, images))

    @pytest.mark.parametrize("behind", [nn.Flatten(), nn.Sequential(nn.AdaptiveMaxPool2d(1), nn.Flatten())])
    def test_of_networks_without_averaging_by_the_gradient(self, behind: nn.Module) -> None:
        model, images = seeded(Flattening, behind), images_of(16) / 255
        maps = class_activation_maps(model, images)
        assert maps.shape == (3, CLASSES, 8, 8)
        close(maps.mean((2, 3)) + model.linear.bias.detach(), logits_of(model, images))

    def test_of_whole_classifiers_of_torchvision(self) -> None:
        from torchvision import models

        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(1)
            model = models.resnet18(num_classes=CLASSES)
        images = images_of(64) / 255
        maps = class_activation_maps(model, images)
        close(maps.mean((2, 3)) + model.fc.bias.detach(), logits_of(model, images))


class TestEvidence:
    def test_is_the_map_less_the_mean_map_of_the_classes_asked_for(self) -> None:
        network, images = networks.build("small_cnn", CLASSES, 32, seed=3), images_of(32)
        maps = class_activation_maps(network, images)
        wanted = np.array([[2, 0], [1, 3], [0, 0]])
        evidence = evidence_maps(network, images, wanted)
        expected = torch.stack([maps[row, wanted[row]] - maps[row].mean(0) for row in range(3)])
        close(evidence, expected)

    def test_by_the_gradient_too(self) -> None:
        model, images = seeded(Flattening), images_of(16) / 255
        maps = class_activation_maps(model, images)
        evidence = evidence_maps(model, images, np.array([[3], [1], [0]]))
        close(evidence[:, 0], maps[torch.arange(3), torch.tensor([3, 1, 0])] - maps.mean(1))

    def test_does_not_see_what_all_classes_have_in_common(self) -> None:
        network, images = networks.build("small_cnn", CLASSES, 32, seed=3), images_of(32)
        before = evidence_maps(network, images, np.array([[0], [1], [2]]))
        with torch.no_grad():
            network.head.linear.weight += 3.0
        close(evidence_maps(network, images, np.array([[0], [1], [2]])), before)

    @pytest.mark.parametrize("wanted", [np.array([0, 1, 2]), np.array([[0.5], [1], [2]]), np.array([[0], [1]])])
    def test_refuses_what_is_no_list_of_classes_per_image(self, wanted: np.ndarray) -> None:
        with pytest.raises(InvalidArrayError, match="class_indices have shape"):
            evidence_maps(networks.build("small_cnn", CLASSES, 32), images_of(32), wanted)

    @pytest.mark.parametrize("index", [-1, CLASSES])
    def test_refuses_a_class_that_is_not_there(self, index: int) -> None:
        with pytest.raises(InvalidArrayError, match="expected 0 to 3"):
            evidence_maps(networks.build("small_cnn", CLASSES, 32), images_of(32), np.full((3, 1), index))


class TestWhatComesBack:
    def test_a_spot_that_alone_makes_the_class_is_where_the_map_is(self) -> None:
        model = nn.Sequential(nn.Conv2d(3, 2, 1, bias=False), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2, 2))
        with torch.no_grad():
            model[0].weight.copy_(torch.tensor([[1.0, 0, 0], [0, 0, 1.0]]).view(2, 3, 1, 1))
            model[3].weight.copy_(torch.eye(2))
        image = torch.zeros(1, 3, 6, 6)
        image[0, 0, 1, 4] = 1  # red
        image[0, 2, 5, 0] = 1  # blue
        maps = class_activation_maps(model, image)
        assert torch.nonzero(maps[0, 0]).tolist() == [[1, 4]]
        assert torch.nonzero(maps[0, 1]).tolist() == [[5, 0]]

    def test_the_order_and_number_of_images_change_nothing(self) -> None:
        network, images = networks.build("small_cnn", CLASSES, 32, seed=3), images_of(32, 7)
        maps = class_activation_maps(network, images)
        order = torch.tensor([4, 0, 6, 1, 5, 2, 3])
        close(class_activation_maps(network, images[order], minibatch_size=2), maps[order])
        close(class_activation_maps(network, images[:1]), maps[:1])

    def test_numpy_gives_numpy(self) -> None:
        network, images = networks.build("small_cnn", CLASSES, 32, seed=3), images_of(32)
        maps = class_activation_maps(network, images.numpy())
        assert isinstance(maps, np.ndarray)
        assert maps.dtype == np.float32
        np.testing.assert_array_equal(maps, class_activation_maps(network, images).numpy())

    def test_a_network_is_as_it_was(self) -> None:
        model = seeded(Flattening)
        model.convolution.eval()
        class_activation_maps(model, images_of(16) / 255)
        assert (model.training, model.convolution.training, model.linear.training) == (True, False, True)
        assert all(not module._forward_hooks for module in model.modules())
        assert all(weight.grad is None for weight in model.parameters())
        assert torch.is_grad_enabled()

    def test_an_error_leaves_no_hook_behind(self) -> None:
        model = seeded(Flattening)
        with pytest.raises(RuntimeError):
            class_activation_maps(model, torch.rand(1, 3, 40, 40))  # its linear layer wants 16 px
        assert all(not module._forward_hooks for module in model.modules())
        assert model.training

    def test_an_image_of_one_pixel_has_a_map_of_one_place(self) -> None:
        network = networks.build("cifar_resnet20", CLASSES, 1, seed=3)
        assert class_activation_maps(network, images_of(1)).shape == (3, CLASSES, 1, 1)


class TestRefused:
    def test_a_network_without_any_convolution(self) -> None:
        model = nn.Sequential(nn.Flatten(), nn.Linear(48, CLASSES))
        with pytest.raises(NoMapError, match="calls no module that gives maps"):
            class_activation_maps(model, torch.rand(2, 3, 4, 4))

    def test_a_network_that_looks_at_tokens(self) -> None:
        from torchvision import models

        model = models.VisionTransformer(32, 8, 1, 2, 16, 32, num_classes=CLASSES)
        with pytest.raises(NoMapError, match="tokens"):
            class_activation_maps(model, torch.rand(2, 3, 32, 32))

    def test_images_of_another_shape(self) -> None:
        network = networks.build("small_cnn", CLASSES, 32)
        for images in (torch.zeros(3, 32, 32), torch.zeros(2, 1, 32, 32), torch.zeros(2, 3, 0, 32)):
            with pytest.raises(InvalidArrayError, match=r"expected \(N, 3, H, W\)"):
                class_activation_maps(network, images)
        with pytest.raises(InvalidArrayError, match="there is no image"):
            class_activation_maps(network, torch.zeros(0, 3, 32, 32))

    def test_nan_in_an_image_and_in_what_a_network_says(self) -> None:
        network = networks.build("small_cnn", CLASSES, 32)
        images = torch.rand(3, 3, 32, 32)
        images[1, 0, 0, 0] = torch.nan
        with pytest.raises(InvalidArrayError, match=r"images\[1\] hold NaN"):
            class_activation_maps(network, images)
        with torch.no_grad():
            network.head.linear.weight[0, 0] = torch.nan
        with pytest.raises(InvalidArrayError, match=r"maps of images\[0\] hold NaN"):
            class_activation_maps(network, images_of(32))

    def test_a_minibatch_of_none_and_an_answer_that_is_no_logits(self) -> None:
        network = networks.build("small_cnn", CLASSES, 32)
        with pytest.raises(InvalidInputError, match="minibatch_size is 0"):
            class_activation_maps(network, images_of(32), minibatch_size=0)
        with pytest.raises(InvalidInputError, match=r"expected \(N, C\) logits"):
            class_activation_maps(nn.Conv2d(3, 2, 1), torch.rand(2, 3, 4, 4))

"""Class-activation maps against captum's Grad-CAM and against gradients written out place by place."""

import numpy as np
import pytest
import torch
from captum.attr import LayerGradCam

from al_service.insight.explanation import class_activation_maps
from al_service.learning import networks

CLASSES = 3
#: Network -> the layer whose output is averaged.
LAYERS = {"small_cnn": "features", "cifar_resnet20": "layer3", "resnet18": "layer4"}


def network_and_images(name):
    network = networks.build(name, CLASSES, 64, seed=5)
    network.eval()
    images = torch.from_numpy(np.random.default_rng(1).integers(0, 256, (4, 3, 64, 64), np.uint8))
    return network, images.float() / 255


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("class_index", range(CLASSES))
def test_maps_are_captums_grad_cam_times_the_number_of_places(name, class_index):
    network, images = network_and_images(name)
    layer = network.backbone.get_submodule(LAYERS[name])
    theirs = LayerGradCam(network, layer).attribute(images, target=class_index)[:, 0].detach()
    ours = class_activation_maps(network, images)[:, class_index]
    places = theirs[0].numel()
    torch.testing.assert_close(ours, theirs * places, rtol=1e-3, atol=1e-4)
    cosine = torch.nn.functional.cosine_similarity(ours.flatten(), theirs.flatten(), dim=0)
    assert cosine >= 1 - 1e-6


def test_without_averaging_maps_are_gradient_times_value_place_by_place():
    network, images = network_and_images("vgg11")
    kept = []
    handle = network.backbone.avgpool.register_forward_hook(lambda *call: kept.append(call[2]))
    for weight in network.parameters():
        weight.requires_grad_(True)
    logits = network(images)
    handle.remove()
    ours = class_activation_maps(network, images)
    for row, class_index in [(0, 0), (1, 2), (3, 1)]:
        [slope] = torch.autograd.grad(logits[row, class_index], kept[0], retain_graph=True)
        expected = torch.zeros(kept[0].shape[2:])
        for h in range(expected.shape[0]):
            for w in range(expected.shape[1]):
                expected[h, w] = (slope[row, :, h, w] * kept[0][row, :, h, w]).sum() * expected.numel()
        torch.testing.assert_close(ours[row, class_index], expected.detach(), rtol=1e-3, atol=1e-5)

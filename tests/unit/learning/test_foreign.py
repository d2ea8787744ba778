"""Whole classifiers from files of others, and CIFAR's residual networks, whose files these often are."""

import numpy as np
import pytest
import torch
from torch import nn
from torchvision import models

from al_service.errors import InvalidInputError
from al_service.learning import checkpoints, networks
from al_service.learning.foreign import load_foreign
from al_service.learning.inference import predict
from al_service.learning.pretrained import load_file
from al_service.learning.residual import CIFAR_RESNETS
from al_service.learning.tensor_files import InvalidCheckpointError, to_bytes

TEN = tuple(f"class {one}" for one in range(10))


class ReferenceBlock(nn.Module):
    """The paper's block, written plainly: every second pixel, zeros for the new channels on both sides."""

    def __init__(self, channels_in: int, channels: int) -> None:
        super().__init__()
        self.widens = channels != channels_in
        self.conv1 = nn.Conv2d(channels_in, channels, 3, 2 if self.widens else 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.bn2(self.conv2(self.bn1(self.conv1(x)).relu()))
        if self.widens:
            zeros = torch.zeros(len(x), x.shape[1] // 2, *y.shape[2:])
            x = torch.cat([zeros, nn.functional.max_pool2d(x, 1, stride=2), zeros], 1)
        return (x + y).relu()


class Reference(nn.Module):
    """ResNet-(6 blocks + 2) for CIFAR, with the names of the usual public files."""

    def __init__(self, blocks: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        widths = [16] * blocks + [32] * blocks + [64] * blocks
        pairs = list(zip([16, *widths], widths, strict=False))
        self.layer1, self.layer2, self.layer3 = (
            nn.Sequential(*(ReferenceBlock(*pair) for pair in pairs[start : start + blocks]))
            for start in range(0, 3 * blocks, blocks)
        )
        self.linear = nn.Linear(64, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.bn1(self.conv1(x)).relu()
        return self.linear(self.layer3(self.layer2(self.layer1(x))).mean((2, 3)))


def reference(blocks: int = 3, seed: int = 0) -> Reference:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = Reference(blocks)
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                nn.init.uniform_(module.weight, 0.5, 1.5)
                nn.init.normal_(module.bias, std=0.1)
                nn.init.normal_(module.running_mean, std=0.1)
                nn.init.uniform_(module.running_var, 0.5, 1.5)
    return model.eval()


def plain_state(model: nn.Module) -> dict[str, torch.Tensor]:
    """As many public files are: without the counters of batch normalisation."""
    return {key: one for key, one in model.state_dict().items() if not key.endswith("num_batches_tracked")}


@pytest.fixture
def pixels() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (6, 32, 32, 3), dtype=np.uint8)


@pytest.mark.parametrize(("name", "count"), [("cifar_resnet20", 269_722), ("cifar_resnet56", 853_018)])
def test_the_paper_counts_as_many_parameters(name, count):
    network = networks.build(name, 10, 32)
    assert sum(one.numel() for one in network.parameters()) == count


@pytest.mark.parametrize("name", CIFAR_RESNETS)
def test_a_cifar_resnet_of_others_predicts_as_it_did_there(tmp_path, pixels, name):
    model = reference(CIFAR_RESNETS[name])
    (tmp_path / "w.safetensors").write_bytes(to_bytes(plain_state(model), {}))
    found = load_foreign(tmp_path / "w.safetensors", name, TEN)
    assert (found.network_name, found.image_px, found.class_names) == (name, 32, TEN)
    assert not found.network.training
    images = torch.from_numpy(pixels).permute(0, 3, 1, 2)
    with torch.no_grad():
        expected = model(found.network.prepare(images)).numpy()
    np.testing.assert_allclose(predict(found.network, pixels).logits, expected, atol=1e-4)


@pytest.mark.parametrize("image_px", [8, 28, 64, 96])
def test_a_cifar_resnet_sees_images_of_other_sides(image_px):
    network = networks.build("cifar_resnet20", 3, image_px).eval()
    assert network.embed(torch.rand(1, 3, image_px, image_px)).shape == (1, 64)
    assert network.input_px == min(image_px, 64)


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v3_small", "shufflenet_v2_x0_5"])
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_a_torchvision_network_keeps_its_head(tmp_path, pixels, name, suffix):
    model = models.get_model(name, weights=None, num_classes=10).eval()
    path = tmp_path / f"w{suffix}"
    if suffix == ".pth":
        torch.save({"state_dict": {f"module.{key}": one for key, one in model.state_dict().items()}}, path)
    else:
        path.write_bytes(to_bytes(plain_state(model), {}))
    found = load_foreign(path, name, TEN, image_px=32)
    images = torch.from_numpy(pixels).permute(0, 3, 1, 2)
    with torch.no_grad():
        expected = model(found.network.prepare(images)).numpy()
    np.testing.assert_allclose(predict(found.network, pixels).logits, expected, atol=1e-4)


def test_it_is_stored_as_a_checkpoint_of_ours_and_comes_back(tmp_path):
    torch.save(plain_state(reference()), tmp_path / "w.pt")
    found = load_foreign(tmp_path / "w.pt", "cifar_resnet20", TEN)
    again = checkpoints.from_bytes(checkpoints.to_bytes(found.network, found.class_names))
    assert checkpoints.model_hash(again.network) == checkpoints.model_hash(found.network)


def test_our_own_checkpoint_is_refused_for_it_says_itself_what_it_is(tmp_path):
    """Its temperature would be lost, and its classes could be given in another order."""
    network = networks.build("small_cnn", 10, 8)
    checkpoints.save(tmp_path / "w.safetensors", network, TEN, temperature=2.0)
    with pytest.raises(InvalidCheckpointError, match="leave --network out"):
        load_foreign(tmp_path / "w.safetensors", "small_cnn", tuple(reversed(TEN)), image_px=8)
    assert checkpoints.load(tmp_path / "w.safetensors").temperature == 2.0


def test_half_precision_and_a_missing_bias_are_taken(tmp_path):
    model = reference()
    state = {key: one.half() for key, one in plain_state(model).items() if key != "linear.bias"}
    torch.save(state, tmp_path / "w.pt")
    found = load_foreign(tmp_path / "w.pt", "cifar_resnet20", TEN)
    assert found.network.head.linear.bias.eq(0).all()
    assert found.network.head.linear.weight.dtype == torch.float32


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"layer1.0.conv1.weight": None}, r"holds nothing for 'layer1\.0\.conv1\.weight'"),
        ({"layer1.3.conv1.weight": torch.zeros(16, 16, 3, 3)}, r"'layer1\.3\.conv1\.weight', and this network expects"),
        ({"conv1.weight": torch.zeros(16, 1, 3, 3)}, r"holds \(16, 1, 3, 3\) for 'conv1\.weight'"),
        ({"linear.weight": None}, r"holds nothing for 'linear\.weight', the classifier of cifar_resnet20"),
        ({"linear.weight": torch.zeros(100, 64)}, "tells 100 classes apart, and 10 class names were given"),
        ({"linear.weight": torch.zeros(10, 64, 1, 1)}, "is no linear layer"),
        ({"linear.bias": torch.zeros(3)}, r"holds \(3,\) for 'linear\.bias'"),
        ({"bn1.bias": torch.full((16,), torch.nan)}, r"16 NaN or infinite values in 'bn1\.bias' of 16"),
        (
            {"linear.weight": torch.zeros(10, 64).index_fill(0, torch.tensor(3), torch.inf)},
            r"64 NaN .* 'linear\.weight'",
        ),
    ],
)
def test_what_does_not_fit_is_named(tmp_path, changes, words):
    state = {key: one for key, one in {**plain_state(reference()), **changes}.items() if one is not None}
    torch.save(state, tmp_path / "w.pt")
    with pytest.raises(InvalidCheckpointError, match=words):
        load_foreign(tmp_path / "w.pt", "cifar_resnet20", TEN)


@pytest.mark.parametrize("name", ["conv1.weight", "more", "linear.bias"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bool])
def test_a_tensor_that_says_it_has_a_million_million_values_is_refused_by_its_shape(tmp_path, name, dtype):
    """Looking at them first would take 2^40 bytes; in the file they are one."""
    giant = torch.zeros(1, dtype=dtype).expand(1 << 20, 1 << 20)
    torch.save({**plain_state(reference()), name: giant}, tmp_path / "w.pt")
    words = rf"holds \(1048576, 1048576\) for '{name}'"
    with pytest.raises(InvalidCheckpointError, match=words):
        load_foreign(tmp_path / "w.pt", "cifar_resnet20", TEN)
    if name != "linear.bias":  # a backbone leaves the file's head alone
        with pytest.raises(InvalidCheckpointError, match=words):
            networks.build("cifar_resnet20", 4, 32, weights=str(tmp_path / "w.pt"))


@pytest.mark.filterwarnings("ignore:.*quantiz.*", "ignore:.*TypedStorage.*")
@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            lambda one: one.to("meta"),
            r"float32, strided, device meta\) for '{}', expected a dense tensor of plain numbers",
        ),
        (
            lambda one: torch.quantize_per_tensor(one, 0.1, 0, torch.qint8),
            r"qint8, .* for '{}', expected a dense tensor",
        ),
        (lambda one: one.to(torch.complex64), "holds complex64 for '{}', and this network expects float32"),
        (lambda one: one.to(torch.int8), "holds int8 for '{}', and this network expects float32"),
        (lambda one: one.to(torch.int64), "holds int64 for '{}', and this network expects float32"),
        (lambda one: one.to(torch.bool), "holds bool for '{}', and this network expects float32"),
    ],
)
@pytest.mark.parametrize("name", ["conv1.weight", "linear.weight", "linear.bias"])
def test_tensors_that_hold_no_plain_weights_are_named(tmp_path, change, words, name):
    state = plain_state(reference())
    torch.save({**state, name: change(state[name])}, tmp_path / "w.pt")
    with pytest.raises(InvalidCheckpointError, match=words.format(name.replace(".", r"\."))):
        load_foreign(tmp_path / "w.pt", "cifar_resnet20", TEN)
    if name == "conv1.weight":
        with pytest.raises(InvalidCheckpointError, match=words.format(r"conv1\.weight")):
            networks.build("cifar_resnet20", 4, 32, weights=str(tmp_path / "w.pt"))


def test_a_deeper_network_of_the_same_family_is_another_one(tmp_path):
    torch.save(plain_state(reference(5)), tmp_path / "w.pt")
    with pytest.raises(InvalidCheckpointError, match=r"'layer1\.3\."):
        load_foreign(tmp_path / "w.pt", "cifar_resnet20", TEN)


def test_a_classifier_that_is_no_linear_layer_is_refused(tmp_path):
    torch.save(models.squeezenet1_1(weights=None, num_classes=10).state_dict(), tmp_path / "w.pt")
    with pytest.raises(InvalidCheckpointError, match="is no linear layer"):
        load_foreign(tmp_path / "w.pt", "squeezenet1_1", TEN)


def test_class_names_are_checked(tmp_path):
    for names in ((), ("a", "a")):
        with pytest.raises(InvalidInputError, match="at least one and each once"):
            load_foreign(tmp_path / "w.pt", "cifar_resnet20", names)


def test_a_backbone_starts_from_a_file_of_others_and_its_head_is_left_out(tmp_path):
    model = reference()
    torch.save({"model": {f"backbone.{key}": one for key, one in plain_state(model).items()}}, tmp_path / "w.pt")
    network = networks.build("cifar_resnet20", 4, 32, weights=str(tmp_path / "w.pt"))
    assert torch.equal(network.backbone.conv1.weight, model.conv1.weight)
    assert network.head.linear.weight.shape == (4, 64)


def test_a_backbone_with_nan_is_no_start_either(tmp_path):
    state = plain_state(reference())
    state["layer1.0.conv1.weight"][0, 0, 0, 0] = torch.nan
    torch.save(state, tmp_path / "w.pt")
    with pytest.raises(InvalidCheckpointError, match=r"1 NaN or infinite values in 'layer1\.0\.conv1\.weight' of 2304"):
        networks.build("cifar_resnet20", 4, 32, weights=str(tmp_path / "w.pt"))


def test_infinities_of_an_attention_mask_are_no_damage(tmp_path):
    class Masked(nn.Linear):
        def __init__(self):
            super().__init__(2, 2)
            self.register_buffer("mask", torch.full((2, 2), -torch.inf).triu(1))

    state = Masked().state_dict()
    torch.save(state, tmp_path / "w.pt")
    found = Masked()
    load_file(found, tmp_path / "w.pt", "fc")
    assert torch.equal(found.weight, state["weight"])
    state["mask"][0, 0] = torch.inf
    torch.save(state, tmp_path / "w.pt")
    with pytest.raises(InvalidCheckpointError, match="1 NaN or infinite values in 'mask' of 4"):
        load_file(found, tmp_path / "w.pt", "fc")


def test_parts_beside_a_backbone_that_its_names_say_are_left_out(tmp_path):
    model = reference()
    state = {f"backbone.{key}": one for key, one in plain_state(model).items()}
    torch.save({**state, "projector.0.weight": torch.zeros(3)}, tmp_path / "w.pt")
    network = networks.build("cifar_resnet20", 4, 32, weights=str(tmp_path / "w.pt"))
    assert torch.equal(network.backbone.conv1.weight, model.conv1.weight)
    torch.save({**state, "backbone.projector.0.weight": torch.zeros(3)}, tmp_path / "w.pt")
    with pytest.raises(InvalidCheckpointError, match=r"'projector\.0\.weight', and this network expects nothing"):
        networks.build("cifar_resnet20", 4, 32, weights=str(tmp_path / "w.pt"))

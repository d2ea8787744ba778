"""Networks of other packages: small distributions, installed for real into a folder on the path."""

import sys
from pathlib import Path

import pytest
import torch

from al_service.errors import InvalidInputError
from al_service.learning import checkpoints, networks
from al_service.learning.own_networks import InvalidNetworkPackageError

BACKBONE = """
import torch

class Tiny(torch.nn.Module):
    width = 12
    input_px = 16
    image_mean = (0.5, 0.5, 0.5)
    image_std = (0.5, 0.5, 0.5)

    def __init__(self):
        super().__init__()
        self.convolution = torch.nn.Conv2d(3, 12, 3)

    def forward(self, images):
        assert images.shape[2:] == (16, 16)
        return self.convolution(images).mean((2, 3))

def build(class_count, image_px):
    return Tiny()

def classifier(class_count, image_px):
    return torch.nn.Sequential(
        torch.nn.Flatten(), torch.nn.Linear(3 * image_px**2, 7), torch.nn.ReLU(), torch.nn.Dropout(0.5),
        torch.nn.Linear(7, class_count),
    )

def softmaxed(class_count, image_px):
    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * image_px**2, class_count), torch.nn.Softmax(1))

class Backwards(torch.nn.Module):
    def __init__(self, class_count, image_px):
        super().__init__()
        self.last = torch.nn.Linear(class_count, class_count)
        self.first = torch.nn.Linear(3 * image_px**2, class_count)

    def forward(self, images):
        return self.last(self.first(images.flatten(1)))

class Tied(torch.nn.Module):
    width = 12

    def __init__(self):
        super().__init__()
        self.there = torch.nn.Linear(12, 12, bias=False)
        self.back = torch.nn.Linear(12, 12, bias=False)
        self.back.weight = self.there.weight

    def forward(self, images):
        return self.back(self.there(images.flatten(1)[:, :12]).relu())

def tied(class_count, image_px):
    return Tied()

def thousand(class_count, image_px):
    return classifier(1000, image_px)

def maps(class_count, image_px):
    found = torch.nn.Conv2d(3, 4, 3)
    found.width = 4
    return found

def nothing(class_count, image_px):
    return None

def fails(class_count, image_px):
    raise RuntimeError("no luck")

def bad_mean(class_count, image_px):
    found = Tiny()
    found.image_mean = 0.5
    return found

def flat_std(class_count, image_px):
    found = Tiny()
    found.image_std = (1, 1, 0)
    return found

def half_side(class_count, image_px):
    found = Tiny()
    found.input_px = image_px / 2
    return found

CONSTANT = 3
"""


def install(folder: Path, package: str, code: str, **points: str) -> None:
    """What `pip install` leaves of a package: its module, its metadata, its entry points."""
    module = package.replace("-", "_")
    (folder / f"{module}.py").write_text(code)
    info = folder / f"{module}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
    lines = [f"{name} = {module}:{target}" for name, target in points.items()]
    (info / "entry_points.txt").write_text("\n".join(["[al_service.networks]", *lines, ""]))


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder on the path; modules from it are forgotten after the test."""
    monkeypatch.syspath_prepend(tmp_path)
    known = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - known:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(tmp_path)):
            del sys.modules[name]


def test_a_backbone_gets_our_head_and_its_own_preparation(folder):
    install(folder, "tiny-nets", BACKBONE, tiny="build")
    assert "tiny" in networks.names()
    network = networks.build("tiny", 3, 32).eval()
    assert (network.embedding_width, network.input_px, network.image_px) == (12, 16, 32)
    grey = torch.full((2, 3, 32, 32), 0.5)
    torch.testing.assert_close(network.prepare(grey), torch.zeros(2, 3, 16, 16))
    torch.testing.assert_close(network(grey), network.head(network.embed(grey)))


def test_a_whole_classifier_is_cut_before_its_last_layer_and_the_dropout_in_front_of_it(folder):
    install(folder, "tiny-nets", BACKBONE, whole="classifier")
    network = networks.build("whole", 3, 8, seed=1)
    assert (network.embedding_width, network.classifier_name) == (7, "4")
    assert network.training
    assert [path for path, one in network.named_modules() if isinstance(one, torch.nn.Dropout)] == ["head.dropout"]
    assert network(torch.rand(5, 3, 8, 8)).shape == (5, 3)


def test_it_is_drawn_from_the_seed_and_comes_back_from_a_checkpoint(folder):
    install(folder, "tiny-nets", BACKBONE, whole="classifier")
    state = torch.random.get_rng_state()
    first, same, other = (networks.build("whole", 3, 8, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(state, torch.random.get_rng_state())
    assert checkpoints.model_hash(first) == checkpoints.model_hash(same) != checkpoints.model_hash(other)
    found = checkpoints.from_bytes(checkpoints.to_bytes(first, ["a", "b", "c"]))
    assert checkpoints.model_hash(found.network) == checkpoints.model_hash(first)


def test_tied_weights_come_back_from_a_checkpoint_and_are_tied_again(folder):
    install(folder, "tiny-nets", BACKBONE, tied="tied")
    network = networks.build("tied", 2, 8, seed=1)
    data = checkpoints.to_bytes(network, ["a", "b"])
    found = checkpoints.from_bytes(data).network
    assert checkpoints.model_hash(found) == checkpoints.model_hash(network)
    assert found.backbone.back.weight is found.backbone.there.weight
    assert data == checkpoints.to_bytes(found, ["a", "b"])


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("softmaxed", r"is no backbone .* a Softmax, expected nn\.Linear"),
        ("Backwards", "'first', its last layer by name, is not what gives the logits"),
        ("thousand", r"gives \(2, 1000\) for 2 images, expected \(2, 3\) logits"),
        ("maps", r"gives \(2, 4, 6, 6\) for 2 images, expected \(2, 4\) embeddings"),
        ("nothing", "gives a NoneType"),
        ("fails", "RuntimeError: no luck"),
        ("bad_mean", "image_mean 0.5, expected three numbers"),
        ("flat_std", "image_std .* above 0"),
        ("half_side", "input_px 4.0"),
        ("missing", "AttributeError"),
        ("CONSTANT", "TypeError"),
    ],
)
def test_what_is_no_network_is_refused_by_the_name_of_its_package(folder, target, words):
    install(folder, "tiny-nets", BACKBONE, tiny="build", odd=target)
    with pytest.raises(InvalidNetworkPackageError, match=words) as caught:
        networks.build("odd", 3, 8)
    assert f"tiny-nets (entry point odd = tiny_nets:{target})" in str(caught.value)
    assert networks.build("tiny", 3, 8).embedding_width == 12


def test_a_package_that_cannot_be_imported_breaks_only_its_own_names(folder):
    install(folder, "broken-nets", "import nothing_of_that_name", torn="build")
    install(folder, "tiny-nets", BACKBONE, tiny="build")
    assert {"tiny", "torn", "small_cnn"} <= set(networks.names())
    assert networks.build("tiny", 2, 8).class_count == networks.build("small_cnn", 2, 8).class_count
    with pytest.raises(InvalidNetworkPackageError, match=r"broken-nets .*ModuleNotFoundError"):
        networks.build("torn", 2, 8)


def test_a_second_registration_of_a_name_is_an_error_that_names_both(folder):
    install(folder, "tiny-nets", BACKBONE, tiny="build", small_cnn="build")
    install(folder, "more-nets", BACKBONE, tiny="classifier")
    with pytest.raises(InvalidNetworkPackageError, match=r"there twice: more-nets .* and tiny-nets "):
        networks.build("tiny", 2, 8)
    with pytest.raises(InvalidNetworkPackageError, match=r"'small_cnn' is built in, and tiny-nets "):
        networks.build("small_cnn", 2, 8)


def test_the_same_package_twice_on_the_path_is_one_registration(folder, tmp_path_factory, monkeypatch):
    install(folder, "tiny-nets", BACKBONE, tiny="build")
    again = tmp_path_factory.mktemp("again")
    install(again, "tiny-nets", BACKBONE, tiny="build")
    monkeypatch.syspath_prepend(again)
    assert networks.build("tiny", 2, 8).embedding_width == 12


def test_default_weights_are_torchvisions_only(folder):
    install(folder, "tiny-nets", BACKBONE, tiny="build")
    with pytest.raises(InvalidInputError, match="no default weights"):
        networks.build("tiny", 2, 8, weights="default")

"""Networks to bytes and back, and what is no checkpoint."""

import hashlib
import io
import json
import pickle
import resource

import numpy as np
import pytest
import torch

from al_service.learning import checkpoints, inference, networks, tensor_files
from al_service.learning.checkpoints import InvalidCheckpointError

NAMES = tuple(f"digit {one}" for one in range(10))


def with_metadata(data: bytes, **changes) -> bytes:
    tensors, metadata = tensor_files.from_bytes(data, "test")
    return tensor_files.to_bytes(tensors, metadata | changes)


def test_what_is_stored_comes_back(digits, trained):
    data = checkpoints.to_bytes(trained, NAMES, seed=7, extra={"round": 3})
    found = checkpoints.from_bytes(data)
    assert (found.class_names, found.seed, found.extra) == (NAMES, 7, {"round": 3})
    assert (found.network_name, found.image_px) == ("small_cnn", 8)
    assert not found.network.training
    before = inference.predict(trained, digits.pixels[:20], mc_passes=2)
    after = inference.predict(found.network, digits.pixels[:20], mc_passes=2)
    np.testing.assert_array_equal(before.logits, after.logits)
    np.testing.assert_array_equal(before.sampled_probabilities, after.sampled_probabilities)


def test_a_network_with_batch_normalisation_comes_back():
    network = networks.build("shufflenet_v2_x0_5", 2, 16)
    found = checkpoints.from_bytes(checkpoints.to_bytes(network, ["a", "b"]))
    assert checkpoints.model_hash(found.network) == checkpoints.model_hash(network)


def test_equal_networks_give_equal_bytes_and_hashes():
    first, second, other = (networks.build("small_cnn", 10, 8, seed=seed) for seed in (1, 1, 2))
    assert checkpoints.to_bytes(first, NAMES) == checkpoints.to_bytes(second, NAMES)
    assert checkpoints.model_hash(first) == checkpoints.model_hash(second) != checkpoints.model_hash(other)


def test_the_hash_is_over_the_bytes_of_the_tensors_in_order_of_name():
    network = networks.build("small_cnn", 2, 8)
    digest = hashlib.sha256()
    for _, tensor in sorted(network.state_dict().items()):
        digest.update(tensor.numpy().tobytes())
    assert checkpoints.model_hash(network) == digest.hexdigest()


def test_a_file_is_written_whole_and_read(tmp_path):
    network = networks.build("small_cnn", 10, 8)
    path = tmp_path / "model.safetensors"
    assert checkpoints.save(path, network, NAMES) == checkpoints.model_hash(network)
    assert [one.name for one in tmp_path.iterdir()] == ["model.safetensors"]
    assert checkpoints.load(path).class_names == checkpoints.load(path.read_bytes()).class_names == NAMES


def test_pickles_are_refused_and_never_run(tmp_path):
    ran = tmp_path / "ran"

    class Attack:
        def __reduce__(self):
            return (type(ran).touch, (ran,))

    saved = io.BytesIO()
    torch.save(networks.build("small_cnn", 2, 8).state_dict(), saved)
    for data in (pickle.dumps(Attack()), saved.getvalue()):
        with pytest.raises(InvalidCheckpointError, match="never read"):
            checkpoints.from_bytes(data)
    assert not ran.exists()


@pytest.mark.parametrize("length", [0, 4, 8, 100, -1])
def test_a_cut_file_is_refused(length):
    data = checkpoints.to_bytes(networks.build("small_cnn", 10, 8), NAMES)
    with pytest.raises(InvalidCheckpointError, match="complete"):
        checkpoints.from_bytes(data[:length])


def test_a_flipped_bit_is_found():
    data = bytearray(checkpoints.to_bytes(networks.build("small_cnn", 10, 8), NAMES))
    data[-5] ^= 1
    with pytest.raises(InvalidCheckpointError, match="damaged"):
        checkpoints.from_bytes(bytes(data))


def test_files_of_others_and_of_later_versions_are_refused():
    foreign = tensor_files.to_bytes({"weight": torch.zeros(2)}, {})
    later = with_metadata(checkpoints.to_bytes(networks.build("small_cnn", 10, 8), NAMES), format_version=99)
    for data in (foreign, later):
        with pytest.raises(InvalidCheckpointError, match="format version"):
            checkpoints.from_bytes(data)


@pytest.mark.parametrize(
    "changes",
    [
        {"network_name": "nothing"}, {"network_name": 3}, {"class_names": ["a"]}, {"class_names": 5}, {"image_px": "8"},
        {"image_px": 4000}, {"model_hash": "0"}, {"network_name": "squeezenet1_1"}, {"extra": None}, {"seed": "x"},
        {"seed": float("inf")}, {"seed": 1e308}, {"seed": 1.5}, {"seed": True}, {"seed": 1 << 65}, {"seed": None},
        {"class_names": [*NAMES[:9], ""]}, {"class_names": NAMES[:9] + NAMES[:1]}, {"class_names": "abcdefghij"},
        {"class_names": [*NAMES[:9], "a\0b"]}, {"class_names": [*NAMES[:9], "\ud800"]}, {"class_names": []},
        {"class_names": list(range(10))}, {"class_names": {"a": 1}}, {"class_names": None}, {"class_names": [[]] * 10},
        {"kind": "zzz"}, {"kind": None}, {"kind": ["whole"]}, {"kind": "head"}, {"kind": "head", "backbone_name": 3},
        {"image_px": True}, {"image_px": 8.0}, {"image_px": 8.5}, {"image_px": -8}, {"image_px": 0}, {"image_px": None},
        {"network_name": "resnet18", "image_px": 10**9}, {"network_name": ["small_cnn"]}, {"network_name": "a\0"},
        {"format_version": True}, {"format_version": 2.0}, {"format_version": [2]}, {"format_version": "2"},
        {"temperature": 1e-320}, {"temperature": 1e300}, {"temperature": float("nan")}, {"temperature": True},
        {"temperature": "1"}, {"temperature": None}, {"temperature": 10**400}, {"temperature": -1},
        {"extra": [1, 2]}, {"extra": {"a": json.loads("[" * 40 + "]" * 40)}},
    ],
)  # fmt: skip
def test_metadata_that_does_not_fit_is_refused(changes):
    data = checkpoints.to_bytes(networks.build("small_cnn", 10, 8), NAMES)
    with pytest.raises(InvalidCheckpointError):
        checkpoints.from_bytes(with_metadata(data, **changes))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"class_names": [*NAMES[:9], NAMES[0]]}, "it names the class 'digit 0' twice, expected distinct names"),
        ({"class_names": [*NAMES[:9], "a\0b"]}, r"it has class name 'a\\x00b', expected non-empty printable text"),
        ({"temperature": 1e300}, r"it has temperature 1e\+300, expected a number from 0.001 to 1000"),
        ({"seed": float("inf")}, "it has seed inf, expected a whole number"),
        ({"kind": "zzz"}, "it has kind 'zzz', expected one of whole, head, backbone"),
        ({"image_px": 8.5}, "it has image_px 8.5, expected a whole number"),
        ({"format_version": True}, "it has format version True, expected 1 or 2"),
    ],
)
def test_what_a_checkpoint_says_wrongly_of_itself_is_named(changes, words):
    data = checkpoints.to_bytes(networks.build("small_cnn", 10, 8), NAMES)
    with pytest.raises(InvalidCheckpointError, match=words):
        checkpoints.from_bytes(with_metadata(data, **changes), "it")


def test_what_could_not_be_read_again_is_not_written():
    network = networks.build("small_cnn", 2, 8)
    for names in (["a", "a"], ["a", ""], ["a", "\0"], ["a", "\ud800"]):
        with pytest.raises(InvalidCheckpointError, match="the checkpoint"):
            checkpoints.to_bytes(network, names)
    for temperature in (1e-4, 1e4):
        with pytest.raises(InvalidCheckpointError, match=r"from 0\.001 to 1000"):
            checkpoints.to_bytes(network, ["a", "b"], temperature=temperature)


@pytest.mark.parametrize("name", ["regnet_y_128gf", "vit_h_14"])
def test_a_small_file_that_says_it_is_a_huge_network_is_refused_before_that_is_built(name):
    """Built, they take 2.5 GB and half a minute."""
    data = with_metadata(checkpoints.to_bytes(networks.build("small_cnn", 10, 8), NAMES), network_name=name)
    backbone = with_metadata(checkpoints.backbone_to_bytes(networks.build("small_cnn", 10, 8)), network_name=name)
    expected = networks.outline(name, 10, 8)
    assert sum(tensor.nbytes for tensor in expected.values()) > 2_000_000_000
    head = {key: torch.zeros(one.shape) for key, one in expected.items() if key.startswith("head.")}
    _, facts = tensor_files.from_bytes(data, "test")
    on_it = tensor_files.to_bytes(head, facts | {"kind": "head", "backbone_name": "b", "backbone_hash": "0"})
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(InvalidCheckpointError, match=r"it holds .* and this network expects"):
        checkpoints.from_bytes(data, "it")
    with pytest.raises(InvalidCheckpointError, match=r"b holds .* and this network expects"):
        checkpoints.from_bytes(on_it, "it", lambda _: backbone)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 500_000  # KiB


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("name", ["head.linear.weight", "backbone.features.0.weight"])
def test_our_own_checkpoint_with_weights_that_are_no_numbers_is_refused_by_name(tmp_path, value, name):
    """Its hash fits: this is how it was written."""
    network = networks.build("small_cnn", 2, 8)
    network.get_parameter(name).data.view(-1)[3] = value
    data = checkpoints.to_bytes(network, ["a", "b"])
    words = f"1 NaN or infinite values in '{name}'"
    with pytest.raises(InvalidCheckpointError, match=words):
        checkpoints.from_bytes(data)
    backbone = checkpoints.backbone_to_bytes(network)
    head = checkpoints.to_bytes(network, ["a", "b"], backbone_name="b")
    with pytest.raises(InvalidCheckpointError, match=words):
        checkpoints.from_bytes(head, "head", lambda _: backbone)
    fresh = networks.build("small_cnn", 2, 8, seed=5)
    if name.startswith("backbone."):
        with pytest.raises(InvalidCheckpointError, match=words):
            checkpoints.load_backbone(fresh, backbone)
        (tmp_path / "w.safetensors").write_bytes(backbone)
        with pytest.raises(InvalidCheckpointError, match=r"1 NaN or infinite values in 'features\.0\.weight'"):
            networks.build("small_cnn", 2, 8, weights=str(tmp_path / "w.safetensors"))
    else:
        checkpoints.load_backbone(fresh, backbone)  # the head is not in it


def test_metadata_that_is_no_json_is_refused():
    header = json.dumps({"__metadata__": {"al_service": "{"}}).encode()
    with pytest.raises(InvalidCheckpointError):
        checkpoints.from_bytes(len(header).to_bytes(8, "little") + header)


def test_class_names_must_be_as_many_as_classes(tmp_path):
    with pytest.raises(InvalidCheckpointError, match="2 class_names for a network of 10"):
        checkpoints.to_bytes(networks.build("small_cnn", 10, 8), ["a", "b"])
    with pytest.raises(InvalidCheckpointError, match="cannot be read"):
        checkpoints.load(tmp_path / "missing")


def test_temperature_comes_back_and_must_be_above_0():
    network = networks.build("small_cnn", 10, 8)
    assert checkpoints.from_bytes(checkpoints.to_bytes(network, NAMES)).temperature == 1.0
    assert checkpoints.from_bytes(checkpoints.to_bytes(network, NAMES, temperature=1.75)).temperature == 1.75
    for temperature in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(InvalidCheckpointError, match=r"from 0\.001 to 1000"):
            checkpoints.to_bytes(network, NAMES, temperature=temperature)


def test_checkpoints_of_the_first_version_still_load():
    network = networks.build("small_cnn", 10, 8)
    metadata = {
        "format_version": 1, "network_name": "small_cnn", "class_names": NAMES, "image_px": 8, "seed": 3,
        "model_hash": checkpoints.model_hash(network), "extra": {"round": 2},
    }  # fmt: skip
    found = checkpoints.from_bytes(tensor_files.to_bytes(network.state_dict(), metadata))
    assert (found.temperature, found.backbone_name, found.seed) == (1.0, None, 3)
    assert checkpoints.model_hash(found.network) == checkpoints.model_hash(network)


class TestHeadsOnAStoredBackbone:
    @pytest.fixture
    def network(self):
        return networks.build("cifar_resnet20", 10, 32, seed=4)

    @pytest.fixture
    def head(self, network):
        return checkpoints.to_bytes(network, NAMES, temperature=2.0, backbone_name="backbones/a")

    @pytest.mark.parametrize("kind", ["whole", "backbone"])
    def test_they_are_put_together_again(self, network, head, kind):
        whole = checkpoints.to_bytes(network, NAMES)
        stored = {"backbones/a": whole if kind == "whole" else checkpoints.backbone_to_bytes(network)}
        found = checkpoints.from_bytes(head, "head", stored.__getitem__)
        assert checkpoints.model_hash(found.network) == checkpoints.model_hash(network)
        assert (found.temperature, found.backbone_name, found.class_names) == (2.0, "backbones/a", NAMES)
        assert not found.network.training
        assert len(head) < 6000 < len(whole) / 100

    def test_another_backbone_or_none_is_refused(self, network, head):
        with pytest.raises(InvalidCheckpointError, match="'backbones/a'; pass read_backbone"):
            checkpoints.from_bytes(head)
        other = checkpoints.backbone_to_bytes(networks.build("cifar_resnet20", 10, 32, seed=5))
        with pytest.raises(InvalidCheckpointError, match="head for another backbone"):
            checkpoints.from_bytes(head, "head", lambda name: other)
        small = checkpoints.backbone_to_bytes(networks.build("small_cnn", 10, 32))
        with pytest.raises(InvalidCheckpointError, match="is of the network 'small_cnn', expected 'cifar_resnet20'"):
            checkpoints.from_bytes(head, "head", lambda name: small)
        with pytest.raises(InvalidCheckpointError, match="holds only a head"):
            checkpoints.from_bytes(head, "head", lambda name: head)
        with pytest.raises(InvalidCheckpointError, match="complete"):
            checkpoints.from_bytes(head, "head", lambda name: other[:1000])

    def test_what_reading_the_backbone_raises_passes_through(self, head):
        with pytest.raises(KeyError):
            checkpoints.from_bytes(head, "head", {}.__getitem__)

    def test_a_flipped_bit_in_either_file_is_found(self, network, head):
        whole = bytearray(checkpoints.backbone_to_bytes(network))
        for data, backbone in ((bytearray(head), bytearray(whole)), (bytearray(head), whole)):
            (data if backbone is not whole else backbone)[-3] ^= 1
            with pytest.raises(InvalidCheckpointError, match=r"damaged"):
                checkpoints.from_bytes(bytes(data), "head", lambda name, found=backbone: bytes(found))

    def test_a_backbone_alone_is_no_model_but_a_start(self, network, tmp_path):
        data = checkpoints.backbone_to_bytes(network)
        with pytest.raises(InvalidCheckpointError, match="backbone without head"):
            checkpoints.from_bytes(data)
        (tmp_path / "start.safetensors").write_bytes(data)
        started = networks.build("cifar_resnet20", 2, 32, weights=str(tmp_path / "start.safetensors"), seed=9)
        loaded = networks.build("cifar_resnet20", 2, 32, seed=9)
        checkpoints.load_backbone(loaded, data)
        assert checkpoints.backbone_hash(started) == checkpoints.backbone_hash(loaded)
        assert checkpoints.backbone_hash(loaded) == checkpoints.backbone_hash(network)


def test_the_hash_of_a_backbone_is_about_embeddings_and_nothing_else():
    network = networks.build("small_cnn", 10, 8, seed=1)
    with_other_head = networks.build("small_cnn", 3, 8, seed=2)
    checkpoints.load_backbone(with_other_head, checkpoints.backbone_to_bytes(network))
    assert checkpoints.backbone_hash(with_other_head) == checkpoints.backbone_hash(network)
    others = [networks.build("small_cnn", 10, 8, seed=2), networks.build("small_cnn", 10, 9, seed=1)]
    brighter = networks.build("small_cnn", 10, 8, seed=1)
    brighter.mean += 0.1
    hashes = {checkpoints.backbone_hash(one) for one in (network, *others, brighter)}
    assert len(hashes) == 4


#: One network of each family of torchvision's, but those whose files are larger than 150 MB and load as others do.
FAMILIES = {
    "convnext_tiny": 32,
    "densenet121": 32,
    "efficientnet_b0": 32,
    "googlenet": 32,
    "inception_v3": 75,
    "maxvit_t": 224,
    "mnasnet0_5": 32,
    "mobilenet_v2": 32,
    "mobilenet_v3_small": 32,
    "regnet_y_400mf": 32,
    "resnet18": 32,
    "resnext50_32x4d": 32,
    "shufflenet_v2_x0_5": 32,
    "squeezenet1_1": 32,
    "swin_t": 32,
    "swin_v2_t": 32,
}


@pytest.mark.parametrize(("name", "image_px"), FAMILIES.items())
def test_a_network_of_each_family_comes_back(name, image_px):
    network = networks.build(name, 2, image_px, seed=1)
    found = checkpoints.from_bytes(checkpoints.to_bytes(network, ["a", "b"]))
    assert checkpoints.model_hash(found.network) == checkpoints.model_hash(network)


def test_a_backbone_that_asks_which_version_wrote_it_comes_back():
    network, other = (networks.build("mnasnet0_5", 2, 32, seed=seed) for seed in (1, 2))
    checkpoints.load_backbone(other, checkpoints.backbone_to_bytes(network))
    assert checkpoints.backbone_hash(other) == checkpoints.backbone_hash(network)

"""State dicts from files of others: where they may lie, and that pickled code is never run."""

import json
import os
import pickle
import zipfile
from pathlib import Path

import pytest
import torch

from al_service.learning import checkpoints, networks, tensor_files
from al_service.learning.tensor_files import InvalidCheckpointError, read_state

STATE = {"conv.weight": torch.arange(6.0).view(2, 3), "conv.bias": torch.ones(2)}


@pytest.mark.parametrize("suffix", [".pt", ".pth", ".PT"])
@pytest.mark.parametrize("key", [None, "state_dict", "model", "model_state_dict"])
@pytest.mark.parametrize("prefix", ["", "module.", "model.", "_orig_mod.", "module._orig_mod.", "model.module."])
def test_a_state_dict_is_found_where_training_scripts_put_it(tmp_path, suffix, key, prefix):
    state = {prefix + name: tensor for name, tensor in STATE.items()}
    torch.save(state if key is None else {"epoch": 7, key: state, "optimizer": {"lr": 0.1}}, tmp_path / f"w{suffix}")
    found, metadata = read_state(tmp_path / f"w{suffix}")
    assert found.keys() == STATE.keys()
    assert all(torch.equal(found[name], STATE[name]) for name in STATE)
    assert metadata == {}


def test_a_prefix_that_only_some_names_have_belongs_to_the_names(tmp_path):
    torch.save({"module.weight": torch.zeros(1), "bias": torch.zeros(1)}, tmp_path / "w.pt")
    assert set(read_state(tmp_path / "w.pt")[0]) == {"module.weight", "bias"}


def test_safetensors_of_others_are_read_too(tmp_path):
    path = tmp_path / "w.safetensors"
    path.write_bytes(tensor_files.to_bytes({f"module.{name}": tensor for name, tensor in STATE.items()}, {}))
    assert read_state(path)[0].keys() == STATE.keys()


class Attack:
    """Unpickling one makes a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (type(self.path).touch, (self.path,))


def test_pickled_code_is_refused_and_never_run(tmp_path):
    ran = tmp_path / "ran"
    torch.save({"state_dict": STATE, "more": Attack(ran)}, tmp_path / "zip.pt")
    torch.save({"more": Attack(ran)}, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    (tmp_path / "bare.pt").write_bytes(pickle.dumps(Attack(ran), protocol=2))
    torch.save(torch.nn.Linear(2, 2), tmp_path / "module.pt")
    for name in ("zip.pt", "old.pth", "bare.pt", "module.pt"):
        with pytest.raises(InvalidCheckpointError, match=f"{name}' hold more than tensors .* never run"):
            read_state(tmp_path / name)
    assert not ran.exists()
    # The attack is a real one: an ordinary load would have made the file.
    pickle.loads((tmp_path / "bare.pt").read_bytes())
    assert ran.exists()


@pytest.mark.filterwarnings("ignore:Validating sparse tensor:UserWarning")
@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({}, "hold a dict, expected a state dict"),
        ([1.0], "hold a list"),
        (torch.zeros(3), "hold a Tensor"),
        ({"state_dict": {"weight": 3}}, "hold a int for 'weight'"),
        ({5: torch.zeros(1)}, "for 5, expected a dense tensor"),
        ({"weight": torch.zeros(3).to_sparse()}, "for 'weight', expected a dense tensor"),
    ],
)
def test_what_is_no_state_dict_is_refused(tmp_path, content, words):
    torch.save(content, tmp_path / "w.pt")
    with pytest.raises(InvalidCheckpointError, match=words):
        read_state(tmp_path / "w.pt")


def test_files_that_are_cut_empty_missing_or_of_another_kind_are_refused(tmp_path):
    torch.save(STATE, tmp_path / "whole.pt")
    data = (tmp_path / "whole.pt").read_bytes()
    for length in (0, 1, 2, 100, len(data) // 2, len(data) - 1):
        (tmp_path / "cut.pt").write_bytes(data[:length])
        with pytest.raises(InvalidCheckpointError, match=r"cut\.pt"):
            read_state(tmp_path / "cut.pt")
    with zipfile.ZipFile(tmp_path / "other.pt", "w") as archive:
        archive.writestr("readme.txt", "no weights")
    (tmp_path / "text.pt").write_text("hello there, these are no weights")
    (tmp_path / "w.safetensors").write_bytes(data)
    for name in ("other.pt", "text.pt", "w.safetensors"):
        with pytest.raises(InvalidCheckpointError, match=name):
            read_state(tmp_path / name)
    for name in ("missing.pt", "missing.safetensors", ""):
        with pytest.raises(InvalidCheckpointError, match="cannot be read"):
            read_state(tmp_path / name)


def ways_in(path):
    """Everything that reads a file of weights by its path."""
    yield lambda: read_state(path)
    yield lambda: checkpoints.load(path)
    yield lambda: networks.build("small_cnn", 10, 16, weights=str(path))


@pytest.mark.parametrize("suffix", ["", ".pt", ".safetensors"])
def test_a_device_a_pipe_and_a_folder_are_refused_before_they_are_opened(tmp_path, suffix):
    """A device gives bytes until memory is full, and opening a pipe waits for its other end for ever."""
    pipe, device, folder = (tmp_path / f"{name}{suffix}" for name in ("pipe", "device", "folder"))
    os.mkfifo(pipe)
    device.symlink_to("/dev/null")
    folder.mkdir()
    for path in (pipe, device, folder):
        for read in ways_in(path):
            with pytest.raises(InvalidCheckpointError, match=rf"{path.name}' cannot be read: .* expected a regular"):
                read()


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_a_file_that_is_too_large_or_empty_is_refused_before_it_is_read(tmp_path, suffix):
    large, empty = tmp_path / f"large{suffix}", tmp_path / f"empty{suffix}"
    empty.touch()
    with large.open("wb") as file:
        file.truncate(tensor_files.FILE_BYTES_MAX + 1)  # takes no room on the disk
    for path, words in ((large, r"has 8589934593 bytes, expected at most 8589934592 \(8 GiB\)"), (empty, "is empty")):
        for read in ways_in(path):
            with pytest.raises(InvalidCheckpointError, match=words):
                read()


def test_an_archive_that_unpacks_to_more_than_it_has_is_refused_before_it_is_unpacked(tmp_path):
    torch.save({"weight": torch.zeros(1 << 20)}, tmp_path / "plain.pt")
    packed = tmp_path / "packed.pt"
    with zipfile.ZipFile(tmp_path / "plain.pt") as plain, zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in plain.namelist():
            archive.writestr(name, plain.read(name))
    assert packed.stat().st_size < 10_000 < torch.load(packed, weights_only=True)["weight"].nbytes
    with pytest.raises(InvalidCheckpointError, match=r"unpack to 419\d{4}, expected one as torch\.save makes it"):
        read_state(packed)
    assert read_state(tmp_path / "plain.pt")[0]["weight"].shape == (1 << 20,)


@pytest.mark.parametrize("name", ["a\0b", "a\0b.pt", "\ud800.safetensors"])
def test_what_no_file_can_be_called_is_refused_as_a_path(name):
    for read in ways_in(Path(name)):
        with pytest.raises(InvalidCheckpointError, match="cannot be read: that is no path of a file"):
            read()


def file_with_header(header):
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text


@pytest.mark.parametrize("metadata", ["[" * 100_000, "[" * 100_000 + "]" * 100_000], ids=["open", "valid"])
def test_metadata_nested_without_end_is_damage(metadata):
    data = file_with_header({"__metadata__": {"al_service": metadata}})
    with pytest.raises(InvalidCheckpointError, match=r"it is not a complete safetensors file \(maximum recursion"):
        tensor_files.from_bytes(data, "it")


def test_a_file_that_says_it_has_no_metadata_has_none():
    assert tensor_files.from_bytes(file_with_header({"__metadata__": None}), "it") == ({}, {})

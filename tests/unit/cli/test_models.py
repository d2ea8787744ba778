"""`al model …` on a real data folder."""

import json
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from click.testing import CliRunner, Result
from torchvision import models

from al_service.bootstrap import open_services
from al_service.cli.main import cli
from al_service.cli.models import FORMATS
from al_service.errors import ConflictError, InvalidInputError, NotFoundError
from al_service.learning import checkpoints, export, networks
from al_service.settings import Settings


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("AL_DATA_DIR", "AL_DATABASE_URL", "AL_REDIS_URL", "AL_STORAGE_URL"):
        monkeypatch.delenv(name, raising=False)
    data = tmp_path / "data"
    al(data, "project", "create", "pets", "--classes", "cat,dog")
    return data


def al(folder: Path, *words: str) -> Result:
    return CliRunner().invoke(cli, ["--data", str(folder), *words])


def facts(folder: Path, *words: str) -> dict:
    answer = al(folder, *words, "--json")
    assert answer.exit_code == 0, answer.output + repr(answer.exception)
    return json.loads(answer.stdout)


def own_checkpoint(path: Path, seed: int = 0) -> networks.Network:
    network = networks.build("small_cnn", 2, 8, seed=seed).eval()
    checkpoints.save(path, network, ["cat", "dog"], temperature=2.0)
    return network


def test_a_project_without_models(folder: Path) -> None:
    assert al(folder, "model", "list", "pets").stdout == "no models yet; each round trains one\n"
    assert facts(folder, "model", "list", "pets") == []
    assert isinstance(al(folder, "model", "show", "pets", "promoted").exception, NotFoundError)
    assert isinstance(al(folder, "model", "rollback", "pets").exception, ConflictError)


def test_models_are_imported_promoted_compared_and_rolled_back(folder: Path, tmp_path: Path) -> None:
    own_checkpoint(tmp_path / "first.safetensors")
    torch.save(models.resnet18(weights=None, num_classes=2).state_dict(), tmp_path / "second.pth")
    first = facts(folder, "model", "import", "pets", str(tmp_path / "first.safetensors"), "--name", "by hand")
    words = ("model", "import", "pets", str(tmp_path / "second.pth"), "--network", "resnet18")
    second = facts(folder, *words, "--classes", "dog, cat", "--image-px", "32")
    assert (first["name"], first["kind"], first["network_name"]) == ("by hand", "imported", "small_cnn")
    assert (second["name"], second["class_names"], second["image_px"]) == ("second.pth", ["dog", "cat"], 32)
    assert second["byte_count"] > 40_000_000
    for made in (first, second):
        promoted = al(folder, "model", "promote", "pets", str(made["id"]), "--reason", "tried it")
        assert promoted.stdout == f"model {made['id']} ({made['name']}) is the model of pets\n"
    listed = facts(folder, "model", "list", "pets")
    assert [(one["id"], one["promoted"]) for one in listed] == [(second["id"], True), (first["id"], False)]
    assert "by hand" in al(folder, "model", "list", "pets").stdout
    shown = facts(folder, "model", "show", "pets", "promoted")
    assert (shown["id"], [one["reason"] for one in shown["promotions"]]) == (second["id"], ["tried it"])
    assert "nothing was measured" in al(folder, "model", "show", "pets", str(first["id"])).stdout
    compared = facts(folder, "model", "compare", "pets", str(first["id"]), "promoted")
    assert (compared["a"]["id"], compared["b"]["id"], compared["metrics"]) == (first["id"], second["id"], {})
    text = al(folder, "model", "compare", "pets", str(first["id"]), "promoted").stdout
    assert f"not measured on an evaluation set: model {first['id']} and {second['id']}" in text
    assert facts(folder, "model", "rollback", "pets")["id"] == first["id"]


def test_a_model_is_exported_whole_also_when_only_its_head_was_stored(folder: Path, tmp_path: Path) -> None:
    network = own_checkpoint(tmp_path / "own.safetensors")
    made = facts(folder, "model", "import", "pets", str(tmp_path / "own.safetensors"))
    services = open_services(Settings(data_dir=folder))
    services.artifacts.put("backbones/a", checkpoints.backbone_to_bytes(network))
    head = checkpoints.to_bytes(network, ["cat", "dog"], temperature=2.0, backbone_name="backbones/a")
    services.artifacts.put(made["artifact"], head)
    words = ("model", "export", "pets", str(made["id"]), "--format")
    told = facts(folder, *words, "onnx", "--out", str(tmp_path / "model.onnx"))
    assert (told["class_names"], told["model_hash"], told["temperature"]) == (["cat", "dog"], made["model_hash"], 2.0)
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx", providers=["CPUExecutionProvider"])
    images = np.random.default_rng(0).integers(0, 256, (4, 3, 8, 8), dtype=np.uint8)
    with torch.no_grad():
        expected = (network(torch.from_numpy(images)) / 2.0).softmax(1).numpy()
    np.testing.assert_allclose(session.run(["probabilities"], {"images": images})[0], expected, atol=1e-4)
    written = al(folder, *words, "checkpoint", "--out", str(tmp_path / "whole.safetensors"))
    assert written.stdout.startswith(f"{tmp_path / 'whole.safetensors'}: model {made['id']} (own.safetensors)")
    whole = checkpoints.load(tmp_path / "whole.safetensors")
    assert (checkpoints.model_hash(whole.network), whole.temperature) == (made["model_hash"], 2.0)


def test_what_cannot_be_imported_leaves_nothing(folder: Path, tmp_path: Path) -> None:
    torch.save(torch.nn.Linear(2, 2), tmp_path / "code.pt")
    own_checkpoint(tmp_path / "own.safetensors")
    for words in (
        (str(tmp_path / "code.pt"), "--network", "resnet18"),
        (str(tmp_path / "missing.pt"), "--network", "resnet18"),
        (str(tmp_path / "own.safetensors"), "--network", "cifar_resnet20"),
        (str(tmp_path / "code.pt"),),
        (str(tmp_path / "own.safetensors"), "--name", "\n"),
    ):
        assert isinstance(al(folder, "model", "import", "pets", *words).exception, InvalidInputError), words
    assert facts(folder, "model", "list", "pets") == []


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (("pets", "{}", "--name", "a\nb"), InvalidInputError),
        (("pets", "{}", "--name", "a" * 201), InvalidInputError),
        (("nowhere", "{}"), NotFoundError),
        (("nowhere", "{}", "--network", "small_cnn"), NotFoundError),
        (("gone", "{}"), NotFoundError),
    ],
)
def test_an_import_that_the_registry_refuses_leaves_no_file(
    folder: Path, tmp_path: Path, words: tuple[str, ...], error: type[Exception]
) -> None:
    al(folder, "project", "create", "gone", "--classes", "cat,dog")
    al(folder, "project", "archive", "gone")
    own_checkpoint(tmp_path / "own.safetensors")
    filled = [word.format(tmp_path / "own.safetensors") for word in words]
    assert isinstance(al(folder, "model", "import", *filled).exception, error)
    artifacts = open_services(Settings(data_dir=folder)).artifacts
    assert artifacts.names("models/") == []
    made = facts(folder, "model", "import", "pets", str(tmp_path / "own.safetensors"))
    assert artifacts.names("models/") == [made["artifact"]]


def test_our_own_checkpoint_with_nan_is_neither_imported_nor_stored(folder: Path, tmp_path: Path) -> None:
    network = networks.build("small_cnn", 2, 8).eval()
    network.head.linear.weight.data[0, 0] = torch.nan
    checkpoints.save(tmp_path / "own.safetensors", network, ["cat", "dog"])
    refused = al(folder, "model", "import", "pets", str(tmp_path / "own.safetensors")).exception
    assert isinstance(refused, InvalidInputError) and "NaN or infinite values in 'head.linear.weight'" in str(refused)
    assert facts(folder, "model", "list", "pets") == []
    assert open_services(Settings(data_dir=folder)).artifacts.names("models/") == []


def test_our_own_checkpoint_keeps_its_temperature_and_class_order_whatever_network_is_said(
    folder: Path, tmp_path: Path
) -> None:
    """Under --network its classes would be taken for the project's, in the project's order."""
    network = networks.build("small_cnn", 2, 8).eval()
    checkpoints.save(tmp_path / "own.safetensors", network, ["dog", "cat"], temperature=2.0)
    words = ("model", "import", "pets", str(tmp_path / "own.safetensors"))
    refused = al(folder, *words, "--network", "small_cnn", "--image-px", "8").exception
    assert isinstance(refused, InvalidInputError) and "leave --network out" in str(refused)
    assert facts(folder, "model", "list", "pets") == []
    made = facts(folder, *words)
    stored = checkpoints.from_bytes(open_services(Settings(data_dir=folder)).artifacts.get(made["artifact"]))
    assert (made["class_names"], stored.class_names, stored.temperature) == (["dog", "cat"], ("dog", "cat"), 2.0)


def test_the_command_line_knows_every_format() -> None:
    assert (*export.FORMATS, "checkpoint") == FORMATS


@pytest.mark.parametrize("kind", ["checkpoint", "torchscript"])
def test_an_export_to_a_folder_that_is_not_there_says_so(folder: Path, tmp_path: Path, kind: str) -> None:
    own_checkpoint(tmp_path / "own.safetensors")
    made = facts(folder, "model", "import", "pets", str(tmp_path / "own.safetensors"))
    out = tmp_path / "missing" / "model.bin"
    answer = al(folder, "model", "export", "pets", str(made["id"]), "--format", kind, "--out", str(out))
    assert isinstance(answer.exception, InvalidInputError)
    assert f"no folder {out.parent}" in str(answer.exception)
    assert not out.parent.exists()


@pytest.mark.parametrize("words", [("--classes", "cat,dog"), ("--image-px", "8")])
def test_what_only_files_of_others_need_is_refused_for_our_own(
    folder: Path, tmp_path: Path, words: tuple[str, str]
) -> None:
    own_checkpoint(tmp_path / "own.safetensors")
    answer = al(folder, "model", "import", "pets", str(tmp_path / "own.safetensors"), *words)
    assert isinstance(answer.exception, InvalidInputError)
    assert "need --network" in str(answer.exception)
    assert facts(folder, "model", "list", "pets") == []

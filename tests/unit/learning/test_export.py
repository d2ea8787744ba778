"""Exported files answer as the network does, read by the programs they are made for."""

import json
import sys

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import nn

from al_service.errors import InvalidInputError
from al_service.learning import export, networks
from al_service.learning.checkpoints import Checkpoint, model_hash
from al_service.learning.export import ExportFailedError, ExportLibraryMissingError

NAMES = ("ant", "bee", "cow")


def checkpoint(name: str, image_px: int, temperature: float = 1.0) -> Checkpoint:
    return Checkpoint(networks.build(name, 3, image_px, seed=3).eval(), NAMES, temperature=temperature)


def run_onnx(path, images):
    session = onnxruntime.InferenceSession(path.read_bytes(), providers=["CPUExecutionProvider"])
    return session.run(list(export.OUTPUT_NAMES), {"images": images.numpy()})


def run_torchscript(path, images):
    with pytest.warns(FutureWarning, match=r"torch\.jit\.load"):
        loaded = torch.jit.load(path)
    return [one.numpy() for one in loaded(images)]


def run_exported(path, images):
    return [one.numpy() for one in torch.export.load(path).module()(images)]


RUNS = {"onnx": run_onnx, "torchscript": run_torchscript, "exported": run_exported}


@pytest.mark.parametrize("kind", RUNS)
@pytest.mark.parametrize(("name", "image_px"), [("small_cnn", 8), ("cifar_resnet20", 32), ("resnet18", 32)])
def test_a_file_answers_as_the_network_for_one_image_and_for_five(tmp_path, kind, name, image_px):
    made = checkpoint(name, image_px, temperature=2.5)
    before = model_hash(made.network)
    path = tmp_path / "model"
    export.FORMATS[kind][0](made, path)
    assert [one.name for one in tmp_path.iterdir()] == ["model"]
    assert model_hash(made.network) == before
    assert all(one.requires_grad for one in made.network.parameters())
    for count in (1, 5):
        images = torch.randint(0, 256, (count, 3, image_px, image_px), dtype=torch.uint8)
        with torch.no_grad():
            embedding = made.network.embed(images)
            logits = made.network.head(embedding)
        expected = (logits, embedding, (logits / 2.5).softmax(1))
        for one, other in zip(RUNS[kind](path, images), expected, strict=True):
            np.testing.assert_allclose(one, other.numpy(), rtol=1e-4, atol=1e-4)


def test_images_of_another_side_are_scaled_inside(tmp_path):
    made = checkpoint("cifar_resnet20", 80)
    export.to_onnx(made, tmp_path / "model.onnx")
    images = torch.randint(0, 256, (2, 3, 80, 80), dtype=torch.uint8)
    with torch.no_grad():
        expected = made.network(images).numpy()
    np.testing.assert_allclose(run_onnx(tmp_path / "model.onnx", images)[0], expected, rtol=1e-4, atol=1e-4)


def test_each_file_says_what_it_is(tmp_path):
    made = checkpoint("small_cnn", 8, temperature=1.5)
    for kind, (write, suffix) in export.FORMATS.items():
        write(made, tmp_path / f"{kind}{suffix}")
    found = {item.key: item.value for item in onnx.load(tmp_path / "onnx.onnx").metadata_props}
    facts = [json.loads(found["al_service"])]
    for load, path in ((torch.jit.load, "torchscript.ts"), (torch.export.load, "exported.pt2")):
        extra = {"al_service.json": ""}
        if load is torch.jit.load:
            with pytest.warns(FutureWarning, match=r"torch\.jit\.load"):
                load(tmp_path / path, _extra_files=extra)
        else:
            load(tmp_path / path, extra_files=extra)
        facts.append(json.loads(extra["al_service.json"]))
    assert facts == [export.facts_of(made)] * 3
    assert (facts[0]["class_names"], facts[0]["model_hash"]) == (list(NAMES), model_hash(made.network))
    assert facts[0]["temperature"] == 1.5
    dimension = onnx.load(tmp_path / "onnx.onnx").graph.input[0].type.tensor_type.shape.dim
    assert [one.dim_param or one.dim_value for one in dimension][1:] == [3, 8, 8]
    assert dimension[0].dim_param


@pytest.mark.parametrize("library", ["onnx", "onnxscript"])
def test_a_missing_library_says_what_to_install(tmp_path, monkeypatch, library):
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(ExportLibraryMissingError, match=rf"ONNX needs {library}: .* 'al-service\[export\]'"):
        export.to_onnx(checkpoint("small_cnn", 8), tmp_path / "model.onnx")
    assert list(tmp_path.iterdir()) == []


def test_without_onnxruntime_the_file_is_written_and_the_log_says_that_nobody_tried_it(tmp_path, monkeypatch, caplog):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    export.to_onnx(checkpoint("small_cnn", 8), tmp_path / "model.onnx")
    assert "onnxruntime is not installed" in caplog.text
    assert (tmp_path / "model.onnx").exists()


class ForTwoOnly(nn.Module):
    """A backbone whose trace holds for two images only."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3 * 64, 128)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.linear(images.flatten(1)) * float(len(images))


def test_a_file_that_answers_otherwise_is_refused_and_nothing_is_left(tmp_path):
    made = checkpoint("small_cnn", 8)
    made.network.backbone = ForTwoOnly()
    with pytest.raises(ExportFailedError, match="gives other logits than the network for 1 images"):
        export.to_torchscript(made, tmp_path / "model.ts")
    assert list(tmp_path.iterdir()) == []


class Undecided(nn.Module):
    """A backbone that looks at what is in the images."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        if images.sum() > 0:
            return images.flatten(1)[:, :128]
        return images.flatten(1)[:, 1:129]


def test_a_network_that_cannot_be_written_is_named(tmp_path):
    made = checkpoint("small_cnn", 8)
    made.network.backbone = Undecided()
    with pytest.raises(ExportFailedError, match=r"small_cnn cannot be written as torch\.export"):
        export.to_exported_program(made, tmp_path / "model.pt2")


class Precise(nn.Module):
    """A backbone that convolves in float64, which ONNX can say and onnxruntime cannot do."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(3, 128, 3)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        weight = self.convolution.weight.double()
        return nn.functional.conv2d(images.double(), weight).mean((2, 3)).float()


def test_a_file_that_onnxruntime_refuses_is_named_and_nothing_is_left(tmp_path):
    made = checkpoint("small_cnn", 8)
    made.network.backbone = Precise()
    with pytest.raises(ExportFailedError, match="small_cnn cannot be written as ONNX: NotImplemented"):
        export.to_onnx(made, tmp_path / "model.onnx")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_not_there_is_bad_input(tmp_path):
    with pytest.raises(InvalidInputError, match="cannot be written"):
        export.to_torchscript(checkpoint("small_cnn", 8), tmp_path / "missing" / "model.ts")

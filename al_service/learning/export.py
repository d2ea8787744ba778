"""Whole networks as files for other programs: ONNX, TorchScript, and torch.export programs.

Every format takes and gives the same. Input `images`: (N, 3, H, W) uint8, H = W = image_px, as `images.square_pixels`
cuts them (with the channels first); N is free, H and W are not. Outputs, all float32: `logits` (N, C), before the
softmax; `embedding` (N, D); `probabilities` (N, C), with the checkpoint's temperature in them. Normalisation and
scaling are inside.

Beside the weights each file has the facts of `facts_of` as JSON: class names in order, model hash, temperature. Where
they are: ONNX: model metadata `al_service`; TorchScript and torch.export: extra file `al_service.json`.

Every file is read again and asked about a few images before it counts; one that answers otherwise than the network is
refused. Only onnxruntime, which is needed for that with ONNX, may be missing: then the ONNX checker must do.
"""

import copy
import io
import json
import logging
import uuid
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.jit._trace import TracerWarning

from al_service.errors import AlServiceError, InvalidInputError
from al_service.learning.checkpoints import Checkpoint, model_hash
from al_service.learning.networks import Network

FACTS_KEY = "al_service"
FACTS_FILE = "al_service.json"
INPUT_NAME = "images"
OUTPUT_NAMES = ("logits", "embedding", "probabilities")
ONNX_OPSET = 18
TOLERANCE = 1e-3
#: Images that a file is tried out on; another number than the example it was traced with.
_TRIED = 3
_EXAMPLES = 2

Answers = tuple[np.ndarray, ...]


class ExportLibraryMissingError(InvalidInputError):
    """A format needs a library that is not installed; says which and how to install it."""

    code = "export_library_missing"


class ExportFailedError(InvalidInputError):
    """The network cannot be written in this format, or the file does not answer as the network does."""

    code = "export_failed"


class WholeNetwork(nn.Module):
    """(N, 3, H, W) uint8 images -> logits, embedding, probabilities."""

    def __init__(self, network: Network, temperature: float) -> None:
        super().__init__()
        self.network = network
        self.temperature = temperature

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        embedding = self.network.embed(images)
        logits = self.network.head(embedding)
        return logits, embedding, (logits / self.temperature).softmax(1)


def facts_of(checkpoint: Checkpoint) -> dict[str, Any]:
    """What every exported file says about itself."""
    return {
        "class_names": list(checkpoint.class_names),
        "model_hash": model_hash(checkpoint.network),
        "network_name": checkpoint.network_name,
        "image_px": checkpoint.image_px,
        "temperature": checkpoint.temperature,
        "input": f"{INPUT_NAME}: uint8 RGB, (N, 3, {checkpoint.image_px}, {checkpoint.image_px}), values 0..255",
        "outputs": list(OUTPUT_NAMES),
    }


def to_onnx(checkpoint: Checkpoint, path: str | Path) -> None:
    """Write the network as ONNX, in one file, whole or not at all.

    Raises:
        ExportLibraryMissingError: onnx or onnxscript is not installed.
        ExportFailedError: as the module says.
    """
    try:
        import onnx
        import onnxscript  # noqa: F401 - torch.onnx needs it, and would say so less clearly
    except ImportError as error:
        raise ExportLibraryMissingError(
            f"ONNX needs {error.name}: install it with pip install 'al-service[export]', or take another format"
        ) from error
    module, images = _prepared(checkpoint)
    with _named_failure(checkpoint, "ONNX"), _quiet():
        program = torch.onnx.export(
            module,
            (images,),
            dynamo=True,
            opset_version=ONNX_OPSET,
            input_names=[INPUT_NAME],
            output_names=list(OUTPUT_NAMES),
            dynamic_shapes={INPUT_NAME: {0: torch.export.Dim("N")}},
            verbose=False,
        )
        model = program.model_proto if program is not None else onnx.ModelProto()
        onnx.helper.set_model_props(model, {FACTS_KEY: json.dumps(facts_of(checkpoint), sort_keys=True)})
        onnx.checker.check_model(model)
        data = model.SerializeToString()
        run = _run_onnx(data)
    _check_answers(checkpoint, module, run, "ONNX")
    _write(Path(path), data)


def to_torchscript(checkpoint: Checkpoint, path: str | Path) -> None:
    """Write the network as TorchScript, for torch.jit.load and C++, whole or not at all.

    Raises:
        ExportFailedError: as the module says.
    """
    module, images = _prepared(checkpoint)
    file = io.BytesIO()
    with _named_failure(checkpoint, "TorchScript"), _quiet():
        traced = torch.jit.trace(module, (images,), check_trace=False)
        torch.jit.save(traced, file, _extra_files={FACTS_FILE: json.dumps(facts_of(checkpoint), sort_keys=True)})
        loaded = torch.jit.load(io.BytesIO(file.getvalue()))
    _check_answers(checkpoint, module, _run_torch(loaded), "TorchScript")
    _write(Path(path), file.getvalue())


def to_exported_program(checkpoint: Checkpoint, path: str | Path) -> None:
    """Write the network as a torch.export program (.pt2), for torch.export.load, whole or not at all.

    Raises:
        ExportFailedError: as the module says.
    """
    module, images = _prepared(checkpoint)
    file = io.BytesIO()
    with _named_failure(checkpoint, "torch.export"), _quiet():
        program = torch.export.export(module, (images,), dynamic_shapes={INPUT_NAME: {0: torch.export.Dim("N")}})
        torch.export.save(program, file, extra_files={FACTS_FILE: json.dumps(facts_of(checkpoint), sort_keys=True)})
        loaded = torch.export.load(io.BytesIO(file.getvalue())).module()
    _check_answers(checkpoint, module, _run_torch(loaded), "torch.export")
    _write(Path(path), file.getvalue())


#: Name on the command line -> (writer, usual suffix).
FORMATS: dict[str, tuple[Callable[[Checkpoint, str | Path], None], str]] = {
    "onnx": (to_onnx, ".onnx"),
    "torchscript": (to_torchscript, ".ts"),
    "exported": (to_exported_program, ".pt2"),
}


def _prepared(checkpoint: Checkpoint) -> tuple[WholeNetwork, Tensor]:
    """A copy of the network to trace (tracing must not touch the one that may be in use) and example images."""
    network = copy.deepcopy(checkpoint.network).to("cpu").float().eval().requires_grad_(requires_grad=False)
    return WholeNetwork(network, checkpoint.temperature).eval(), _images(checkpoint, _EXAMPLES)


def _images(checkpoint: Checkpoint, count: int) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    side = checkpoint.image_px
    return torch.randint(0, 256, (count, 3, side, side), dtype=torch.uint8, generator=generator)


def _check_answers(
    checkpoint: Checkpoint, module: nn.Module, run: Callable[[Tensor], Answers] | None, words: str
) -> None:
    """Raises ExportFailedError unless `run` says of a few images, and of a single one, what the network says."""
    if run is None:
        return
    for count in (1, _TRIED):
        images = _images(checkpoint, count)
        with torch.no_grad():
            expected = [one.numpy() for one in module(images)]
        with _named_failure(checkpoint, words):
            found = run(images)
        for name, one, other in zip(OUTPUT_NAMES, expected, found, strict=True):
            if one.shape != other.shape or not np.allclose(one, other, rtol=TOLERANCE, atol=TOLERANCE):
                raise ExportFailedError(
                    f"the {words} file of {checkpoint.network_name} gives other {name} than the network for {count} "
                    "images; nothing was written. Take another format"
                )


def _run_torch(loaded: Any) -> Callable[[Tensor], Answers]:
    def run(images: Tensor) -> Answers:
        with torch.no_grad():
            return tuple(one.numpy() for one in loaded(images))

    return run


def _run_onnx(data: bytes) -> Callable[[Tensor], Answers] | None:
    try:
        import onnxruntime  # type: ignore[import-untyped]
    except ImportError:
        logging.getLogger(__name__).warning("onnxruntime is not installed: the ONNX file is checked, but not tried out")
        return None
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    return lambda images: tuple(session.run(list(OUTPUT_NAMES), {INPUT_NAME: images.numpy()}))


@contextmanager
def _named_failure(checkpoint: Checkpoint, words: str) -> Iterator[None]:
    try:
        yield
    except AlServiceError:
        raise
    except Exception as error:
        reason = str(error).strip().partition("\n")[0]
        raise ExportFailedError(
            f"{checkpoint.network_name} cannot be written as {words}: {type(error).__name__}: {reason}"
        ) from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Without two warnings: that TorchScript is old, and that a trace may hold for its example only (we try it out)."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"`torch\.jit\.\w+` is (deprecated|not supported)")
        warnings.filterwarnings("ignore", category=TracerWarning)
        yield


def _write(path: Path, data: bytes) -> None:
    partial = path.with_name(f"{path.name}.{uuid.uuid4().hex}.partial")
    try:
        partial.write_bytes(data)
        partial.replace(path)
    except OSError as error:
        raise InvalidInputError(f"{str(path)!r} cannot be written: {error.strerror}") from error
    finally:
        partial.unlink(missing_ok=True)

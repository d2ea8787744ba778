"""Training by several processes of this machine, one per GPU or sharing its CPU cores: same call, same result.

The idea in words: what a training needs is written into a folder; torchrun starts the processes; each reads the folder
and runs the loop of training_run.py on its share of every minibatch (ranks.py), gradients averaged by torch's
DistributedDataParallel over nccl (GPUs) or gloo (CPUs). Rank 0 tells steps and states as JSON lines on standard output,
which this process passes on, and leaves the weights in the folder.

Nothing is left behind: every process holds the reading end of a pipe whose other end only this process has. When it
closes, because training is called off or because this process was killed, they end by themselves. All sockets are on
the loopback interface; processes find each other through a file.
"""

import json
import mmap
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch

from al_service.errors import InvalidInputError, UnavailableError
from al_service.learning import checkpoints, tensor_files
from al_service.learning.minibatches import ordered_rows
from al_service.learning.networks import Network
from al_service.learning.pixels import check_pixels
from al_service.learning.train_config import (
    EpochOrder,
    ExtraLoss,
    InvalidTrainingSetError,
    OnProgress,
    OnState,
    SampleRecord,
    TrainConfig,
    TrainingDivergedError,
    TrainReport,
    checked_labels,
    whole_from_epoch,
)
from al_service.learning.training import train

_COPY_BYTES = 64 * 1024 * 1024
_LOG_LINES = 15
_END_WAIT_S = 10.0
# Errors of a rank that the caller can mend come back as what they were.
_OWN_ERRORS = {one.code: one for one in (TrainingDivergedError, InvalidTrainingSetError, InvalidInputError)}


class DistributedTrainingError(UnavailableError):
    """A process of a training died, or could not start; the message has the end of its log."""

    code = "distributed_training_failed"


def train_distributed(
    network: Network,
    pixels: Any,
    class_indices: Any,
    config: TrainConfig,
    on_progress: OnProgress | None = None,
    device: str | torch.device = "cpu",
    *,
    processes: int,
    work_dir: str | Path,
    state: bytes | None = None,
    on_state: OnState | None = None,
    state_every_s: float = 30.0,
    order: EpochOrder | None = None,
    extra_loss: ExtraLoss | None = None,
    record_samples: bool = False,
) -> TrainReport:
    """As training.train, by several processes; minibatches are as large in sum as one process's.

    Gradients are those of one process up to rounding, uneven shares included, and so is the augmentation. Dropout draws
    differ, and batch normalisation sees a process's share only. States of one process can be gone on from by several
    and the other way round.

    Args:
        network: from networks.build, by a name that the processes can build too; ends as with train.
        pixels: as with train; a whole memory map of a file is handed over by its name, anything else is copied into
            work_dir (N * px * px * 3 bytes).
        device: "cpu", or "cuda": each process takes a GPU of its own.
        processes: 1 trains in this process.
        work_dir: a folder on this machine with room for the weights (about ten times); a folder in it is made and
            removed.
        extra_loss: None; a function cannot be handed over.

    Raises:
        InvalidInputError: processes below 1, more than GPUs, or an extra loss with several.
        DistributedTrainingError: a process died or did not start.
        Others: as train.
    """
    if processes < 1:
        raise InvalidInputError(f"processes is {processes}, expected at least 1")
    device = torch.device(device)
    if processes == 1:
        return train(
            network, pixels, class_indices, config, on_progress, device, state=state, on_state=on_state,
            state_every_s=state_every_s, order=order, extra_loss=extra_loss, record_samples=record_samples,
        )  # fmt: skip
    if extra_loss is not None:
        raise InvalidInputError("an extra loss cannot be handed to other processes; train with one process")
    if device.type == "cuda" and processes > torch.cuda.device_count():
        raise InvalidInputError(f"processes is {processes}, and this machine has {torch.cuda.device_count()} GPUs")
    check_pixels(pixels, network.image_px)
    labels = checked_labels(class_indices, len(pixels), network.class_count)
    folder = Path(tempfile.mkdtemp(prefix="training-", dir=work_dir))
    try:
        job = {
            "config": asdict(config),
            "device": device.type,
            "dropout": network.head.dropout.p,
            "threads": max(1, torch.get_num_threads() // processes),
            "record_samples": record_samples,
            "whole_from_epoch": whole_from_epoch(order),
            "wants_state": on_state is not None,
            "state_every_s": state_every_s,
            "pixels": _hand_over_pixels(pixels, folder),
        }
        _write_job(folder, job, network, labels, config, order, state)
        _run(folder, processes, on_progress, on_state)
        return _result(folder, network, device)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


# -- what goes over ----------------------------------------------------------------------------------------------


def _hand_over_pixels(pixels: Any, folder: Path) -> dict[str, Any]:
    """Where the processes find the pixels: file, offset, shape."""
    # A part of a memory map has the whole's name and offset; only the whole has the mapped file as its base.
    if isinstance(pixels, np.memmap) and isinstance(pixels.base, mmap.mmap) and pixels.flags.c_contiguous:
        return {"path": str(Path(str(pixels.filename)).resolve()), "offset": pixels.offset, "shape": pixels.shape}
    shape, path = tuple(pixels.shape), folder / "pixels"
    per_slice = max(1, _COPY_BYTES // int(np.prod(shape[1:])))
    with path.open("wb") as file:
        for start in range(0, shape[0], per_slice):
            file.write(np.ascontiguousarray(pixels[start : start + per_slice]).data)
    return {"path": str(path), "offset": 0, "shape": shape}


def _write_job(
    folder: Path,
    job: dict[str, Any],
    network: Network,
    labels: np.ndarray,
    config: TrainConfig,
    order: EpochOrder | None,
    state: bytes | None,
) -> None:
    (folder / "job.json").write_text(json.dumps(job))
    class_names = [str(index) for index in range(network.class_count)]
    (folder / "network.safetensors").write_bytes(checkpoints.to_bytes(network, class_names))
    np.save(folder / "labels.npy", labels)
    if state is not None:
        (folder / "state.safetensors").write_bytes(state)
    if order is not None:
        rows = [ordered_rows(order, config.seed, epoch) for epoch in range(1, config.epochs_max + 1)]
        np.savez(folder / "order.npz", *rows)


def _result(folder: Path, network: Network, device: torch.device) -> TrainReport:
    tensors, facts = tensor_files.from_bytes((folder / "result.safetensors").read_bytes(), "the result of training")
    samples = None
    if "samples/loss" in tensors:
        samples = SampleRecord(*(tensors.pop(f"samples/{name}").numpy() for name in ("loss", "margin", "visits")))
    network.to(device).load_state_dict(tensors)
    network.eval()
    facts |= {name: tuple(facts[name]) for name in ("train_loss", "validation_loss")}
    return TrainReport(**facts, samples=samples)


# -- the processes -----------------------------------------------------------------------------------------------


def _run(folder: Path, processes: int, on_progress: OnProgress | None, on_state: OnState | None) -> None:
    """Start the processes, pass on what rank 0 says, and be sure that they have ended."""
    with (folder / "launcher.log").open("wb") as log:
        launcher = subprocess.Popen(
            _command(folder, processes),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            env=_environment(),
            start_new_session=True,
        )
    try:
        assert launcher.stdout is not None
        _pass_on(launcher.stdout, on_progress, on_state)
        launcher.wait()
    finally:
        _end(launcher)
    if launcher.returncode or not (folder / "result.safetensors").exists():
        raise _failure(folder, launcher.returncode)


def _command(folder: Path, processes: int) -> list[str]:
    return [
        sys.executable, "-m", "torch.distributed.run",
        "--nnodes", "1", "--nproc-per-node", str(processes), "--max-restarts", "0", "--monitor-interval", "0.1",
        # Not --standalone: its store listens on every interface. A file needs no port at all.
        "--rdzv-backend", "c10d", "--rdzv-endpoint", str(folder / "rendezvous"), "--rdzv-conf", "store_type=file",
        "--rdzv-id", folder.name, "--local-addr", "127.0.0.1",
        "-m", "al_service.learning.distributed_rank", str(folder),
    ]  # fmt: skip


def _environment() -> dict[str, str]:
    loopback = next((name for _, name in socket.if_nameindex() if name.startswith("lo")), "lo")
    root = str(Path(__file__).parents[2])
    before = os.environ.get("PYTHONPATH")
    return {
        **os.environ,
        "PYTHONPATH": root if not before else os.pathsep.join((root, before)),
        "GLOO_SOCKET_IFNAME": loopback,
        "NCCL_SOCKET_IFNAME": loopback,
        "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1",
        # torchrun warns where it is missing; each process sets its own number of threads.
        "OMP_NUM_THREADS": "1",
    }


def _pass_on(lines: IO[bytes], on_progress: OnProgress | None, on_state: OnState | None) -> None:
    for line in lines:
        try:
            said = json.loads(line)
        except ValueError:
            continue  # not ours
        if "progress" in said and on_progress is not None:
            on_progress(*said["progress"])
        if "state" in said and on_state is not None:
            path = Path(said["state"])
            data = path.read_bytes()
            path.unlink()
            on_state(data)


def _end(launcher: "subprocess.Popen[bytes]") -> None:
    """Close the pipe that the processes live by, and wait for the launcher, which waits for them."""
    assert launcher.stdin is not None and launcher.stdout is not None
    launcher.stdin.close()
    try:
        launcher.wait(_END_WAIT_S)
    except subprocess.TimeoutExpired:
        os.killpg(launcher.pid, signal.SIGKILL)
        launcher.wait()
    finally:
        launcher.stdout.close()


def _failure(folder: Path, returncode: int) -> Exception:
    """What a rank said it was, else the first process that died and the end of its log."""
    for path in sorted(folder.glob("error-*.json")):
        error = json.loads(path.read_text())
        make: Callable[..., Exception] = _OWN_ERRORS.get(error["code"], InvalidInputError)
        return make(error["message"], **error["details"])
    launched = (folder / "launcher.log").read_text(errors="replace")
    cause = re.search(r"Root Cause.*?rank\s*: (\d+).*?exitcode\s*: (-?\d+)", launched, re.DOTALL)
    log, who = launched, f"the launcher of the training's processes ended with exit code {returncode}"
    if cause:
        who = f"process {cause[1]} of the training ended with exit code {cause[2]}"
        path = folder / f"rank-{cause[1]}.log"
        log = path.read_text(errors="replace") if path.exists() else launched
    tail = "\n".join(log.strip().splitlines()[-_LOG_LINES:])
    return DistributedTrainingError(f"{who}; the end of its log:\n{tail or '(empty)'}")

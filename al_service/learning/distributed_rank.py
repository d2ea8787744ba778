"""One of the processes that distributed.py starts: `python -m al_service.learning.distributed_rank FOLDER`."""

import json
import os
import select
import sys
import threading
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
import torch.distributed

from al_service.errors import InvalidInputError
from al_service.learning import checkpoints, tensor_files
from al_service.learning.ranks import Ranks
from al_service.learning.train_config import EpochOrder, TrainConfig, TrainReport
from al_service.learning.training import train_as_rank
from al_service.learning.training_run import Hooks

_LOOK_AT_LAUNCHER_EVERY_S = 1.0
_CALLED_OFF = 3


def main(folder: Path) -> None:
    """Train as this rank; rank 0 reports and leaves the result."""
    rank, count, local_rank = (int(os.environ[name]) for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"))
    reports = os.fdopen(os.dup(1), "w", buffering=1)
    log = os.open(folder / f"rank-{rank}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    # Standard output is for reports alone; whatever a library prints goes to this rank's log.
    os.dup2(log, 1)
    os.dup2(log, 2)
    threading.Thread(target=_end_with_the_caller, args=(os.getppid(),), daemon=True).start()
    try:
        _train(folder, Ranks(rank, count), local_rank, reports)
    except InvalidInputError as error:
        facts = {"code": error.code, "message": error.message, "details": error.details}
        (folder / f"error-{rank}.json").write_text(json.dumps(facts))
        # At once: the other ranks wait for this one, and an orderly end would wait for them.
        os._exit(1)


def _end_with_the_caller(launcher: int) -> None:
    """Wait until standard input ends, which is when the process that called for this training is gone or gives up."""
    while os.getppid() == launcher:
        ready, _, _ = select.select([0], [], [], _LOOK_AT_LAUNCHER_EVERY_S)
        if ready and not os.read(0, 1):
            break
    os._exit(_CALLED_OFF)


def _train(folder: Path, ranks: Ranks, local_rank: int, reports: IO[str]) -> None:
    job = json.loads((folder / "job.json").read_text())
    device = torch.device(job["device"], local_rank) if job["device"] == "cuda" else torch.device(job["device"])
    if device.type == "cuda":
        torch.cuda.set_device(device)
    torch.set_num_threads(job["threads"])
    backend = "nccl" if device.type == "cuda" else "gloo"
    torch.distributed.init_process_group(
        backend, init_method=f"file://{folder}/group", rank=ranks.rank, world_size=ranks.count
    )
    network = checkpoints.from_bytes((folder / "network.safetensors").read_bytes()).network
    network.head.dropout.p = job["dropout"]
    where = job["pixels"]
    pixels = np.memmap(where["path"], np.uint8, "r", where["offset"], tuple(where["shape"]))
    state = folder / "state.safetensors"
    report = train_as_rank(
        network,
        pixels,
        np.load(folder / "labels.npy"),
        TrainConfig(**job["config"]),
        device,
        _hooks(folder, job, ranks, reports),
        ranks,
        state.read_bytes() if state.exists() else None,
    )
    if ranks.rank == 0:
        _leave_result(folder, network.state_dict(), report)
    torch.distributed.destroy_process_group()


def _hooks(folder: Path, job: dict[str, Any], ranks: Ranks, reports: IO[str]) -> Hooks:
    order = _order(folder, job["whole_from_epoch"])
    if ranks.rank:
        return Hooks(order=order, record_samples=job["record_samples"])
    told = iter(range(sys.maxsize))

    def on_progress(done: int, total: int) -> None:
        reports.write(json.dumps({"progress": [done, total]}) + "\n")

    def on_state(state: bytes) -> None:
        path = folder / f"state-{next(told)}.safetensors"
        path.write_bytes(state)
        reports.write(json.dumps({"state": str(path)}) + "\n")

    return Hooks(
        on_progress=on_progress,
        order=order,
        record_samples=job["record_samples"],
        on_state=on_state if job["wants_state"] else None,
        state_every_s=job["state_every_s"],
    )


@dataclass(frozen=True, eq=False)
class _KeptOrder:
    """An order's rows, drawn by the process that called for this training; a train_config.GrowingOrder."""

    epochs: list[np.ndarray]
    whole_from_epoch: int

    def __call__(self, epoch: int, rng: np.random.Generator) -> np.ndarray:
        return self.epochs[epoch - 1]


def _order(folder: Path, whole_from_epoch: int) -> EpochOrder | None:
    path = folder / "order.npz"
    if not path.exists():
        return None
    with np.load(path) as rows:
        return _KeptOrder([rows[f"arr_{index}"] for index in range(len(rows.files))], whole_from_epoch)


def _leave_result(folder: Path, tensors: dict[str, torch.Tensor], report: TrainReport) -> None:
    facts = asdict(report)
    samples = facts.pop("samples")
    if samples is not None:
        tensors = tensors | {f"samples/{name}": torch.from_numpy(value) for name, value in samples.items()}
    partial = folder / "result.partial"
    partial.write_bytes(tensor_files.to_bytes(tensors, facts))
    partial.replace(folder / "result.safetensors")


if __name__ == "__main__":
    main(Path(sys.argv[1]))

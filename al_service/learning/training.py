"""Training a network on labelled pixels: seeded, with a cosine schedule, early stopping, and the best weights kept.

The idea in words: AdamW over shuffled minibatches; the learning rate rises for a twentieth of the steps and falls along
a cosine. Where every class has enough samples, a tenth of them is kept aside and its loss says when to stop and which
weights are best; with fewer samples every label is needed for training, and the training loss says it. Each round
trains from scratch unless the caller warm-starts the network first (warm_start.py). See docs/training.md.

The loop is in training_run.py, settings and report in train_config.py; several processes in distributed.py.
"""

import time
from typing import Any

import torch

from al_service.learning.losses import class_weights
from al_service.learning.networks import Network
from al_service.learning.pixels import check_pixels
from al_service.learning.ranks import Ranks
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
)
from al_service.learning.training_run import Hooks, TrainingRun, schedule
from al_service.learning.training_state import (
    StateRefusedError,
    TrainingState,
    fingerprint,
    loss_fingerprint,
    order_fingerprint,
)

__all__ = [
    "EpochOrder",
    "ExtraLoss",
    "InvalidTrainingSetError",
    "OnProgress",
    "OnState",
    "SampleRecord",
    "TrainConfig",
    "TrainReport",
    "TrainingDivergedError",
    "class_weights",
    "schedule",
    "train",
    "train_as_rank",
]


def train(
    network: Network,
    pixels: Any,
    class_indices: Any,
    config: TrainConfig,
    on_progress: OnProgress | None = None,
    device: str | torch.device = "cpu",
    *,
    state: bytes | None = None,
    on_state: OnState | None = None,
    state_every_s: float = 30.0,
    order: EpochOrder | None = None,
    extra_loss: ExtraLoss | None = None,
    record_samples: bool = False,
) -> TrainReport:
    """Train the network in place; it ends on `device`, in evaluation mode, with the weights of its best epoch.

    Args:
        network: from networks.build.
        pixels: (N, px, px, 3) uint8 array-like, N >= 1; indexed by rows, so a memory map is read piece by piece.
        class_indices: (N,) whole numbers in [0, C); classes may be missing.
        config: see TrainConfig.
        on_progress: called with (steps done, most steps) after every minibatch; what it raises stops training and
            passes through.
        device: see device.choose.
        state: what on_state was last given by an interrupted call with equal arguments: training goes on from there,
            and on the CPU ends with the same weights, bit for bit. One that is damaged or of another training is not
            used; the report says why.
        on_state: called after an epoch with all that is needed to go on from it, about five times the weights.
        state_every_s: least time between two such calls; 0 = after every epoch.
        order: called before every epoch with its number, from 1, and a generator; gives the rows to train on, in
            order. Fewer rows than an epoch holds come again until it is full; rows that are kept aside for validation
            are left out. One with whole_from_epoch (train_config.GrowingOrder) has no epoch before that judged by
            its training loss. Where states are wanted, it is asked for all epochs at the start too. See curriculum.py.
        extra_loss: called at every step with (network in training mode, steps done); the scalar is added to the loss
            of that step, not to the reported ones. To be resumable, let it depend on network and step alone; one with
            fingerprint, counts and take_up (train_config.KeptLoss) is also told from others in states.
        record_samples: keep the mean loss and margin of every row (TrainReport.samples).

    Raises:
        InvalidPixelsError: pixels of another shape or type.
        InvalidTrainingSetError: no samples, or labels that do not fit.
        TrainingDivergedError: loss, gradients or weights became NaN or infinite.

    Random: from config.seed; torch's global generators are left as they were. On the CPU, equal input gives equal
    weights, bit for bit, at an equal number of threads.
    """
    hooks = Hooks(on_progress, order, extra_loss, record_samples, on_state, state_every_s)
    return train_as_rank(network, pixels, class_indices, config, device, hooks, Ranks(), state)


def train_as_rank(
    network: Network,
    pixels: Any,
    class_indices: Any,
    config: TrainConfig,
    device: str | torch.device,
    hooks: Hooks,
    ranks: Ranks,
    state: bytes | None,
) -> TrainReport:
    """As train, for one of several processes that call this with equal arguments."""
    started = time.perf_counter()
    check_pixels(pixels, network.image_px)
    labels = checked_labels(class_indices, len(pixels), network.class_count)
    device = torch.device(device)
    print_of_run = ""
    if state is not None or hooks.on_state is not None:
        options = [order_fingerprint(hooks.order, config), loss_fingerprint(hooks.extra_loss), hooks.record_samples]
        print_of_run = fingerprint(network, pixels, labels, config, options)
    with torch.random.fork_rng(devices=_cuda_indices(device)):
        run = TrainingRun(network.to(device), pixels, labels, config, device, hooks, ranks, print_of_run)
        refused = _take_up(run, state, print_of_run)
        resumed_from = run.progress.epoch
        stop_reason = run.to_the_end()
    return TrainReport(
        epochs=run.progress.epoch,
        seconds=time.perf_counter() - started,
        train_loss=tuple(run.progress.train_losses),
        validation_loss=tuple(run.progress.validation_losses),
        best_epoch=run.progress.best_epoch,
        stop_reason=stop_reason,
        train_count=len(run.train_part),
        validation_count=len(run.validation_part),
        resumed_from_epoch=resumed_from,
        state_refused=refused,
        samples=run.sample_record(),
    )


def _take_up(run: TrainingRun, state: bytes | None, print_of_run: str) -> str:
    """Go on from the state where it is one of this training; why not, else."""
    if state is None:
        return ""
    try:
        run.take_up(TrainingState.from_bytes(state, print_of_run))
    except StateRefusedError as error:
        return str(error)
    return ""


def _cuda_indices(device: torch.device) -> list[int]:
    if device.type != "cuda":
        return []
    return [torch.cuda.current_device() if device.index is None else device.index]

"""Training a backbone without labels, on the images a project has most of. Labels are for the rounds that follow.

The idea in words: every image of a minibatch is shown in two random views (views.py), and the network learns to tell
which two belong together (pretraining_objective.py). What survives the changes is what the images show. Optimised by
AdamW under the cosine schedule of training.py.

A run may be killed at any moment: every random draw depends on the seed and on the number of the step alone, so a run
that goes on from a state (pretraining_state.py) ends with the same weights, bit for bit.
"""

import math
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from torch import Tensor

from al_service.learning import networks, pretraining_state, tensor_files
from al_service.learning.inference import predict
from al_service.learning.minibatches import minibatches
from al_service.learning.networks import Network
from al_service.learning.pixels import check_pixels
from al_service.learning.precision import Precision
from al_service.learning.pretrain_config import PretrainConfig, PretrainReport
from al_service.learning.pretraining_objective import Projector, contrastive_loss
from al_service.learning.pretraining_probe import (
    InvalidPretrainingSetError,
    NeighbourProbe,
    checked_probe,
    neighbour_accuracy,
    spread_and_rank,
)
from al_service.learning.pretraining_state import Progress
from al_service.learning.tensor_files import InvalidCheckpointError
from al_service.learning.training import TrainingDivergedError, schedule
from al_service.learning.views import random_views

__all__ = ["COLLAPSED_SPREAD", "LEAST_IMAGES", "OnProgress", "OnState", "PretrainConfig", "PretrainReport", "pretrain"]

OnProgress = Callable[[int, int], None]
OnState = Callable[[bytes], None]

LEAST_IMAGES = 2
#: Below this the embeddings of different images are, for all purposes, the same.
COLLAPSED_SPREAD = 0.02
_SPREAD_IMAGES = 1024
_CLASSES = 1  # the head is thrown away


def pretrain(
    network_name: str,
    pixels: Any,
    config: PretrainConfig,
    *,
    weights: str = "none",
    device: str | torch.device = "cpu",
    on_progress: OnProgress | None = None,
    state: bytes | None = None,
    on_state: OnState | None = None,
    probe: NeighbourProbe | tuple[Any, Any, Any, Any] | None = None,
) -> tuple[Network, PretrainReport]:
    """A network whose backbone was trained on the images alone, and what that took; its head is of no use.

    The network is on `device` and in evaluation mode. checkpoints.backbone_to_bytes makes the file that
    networks.build(weights=PATH) starts from.

    Args:
        network_name: as for networks.build.
        pixels: (N, px, px, 3) uint8 array-like, N >= 2; read minibatch by minibatch.
        config: see PretrainConfig.
        weights: where the backbone starts, as for networks.build.
        device: see device.choose.
        on_progress: called with (steps done, all steps) after every minibatch; what it raises stops the run and passes
            through.
        state: bytes that `on_state` was given by a run that was cut short. Of another run or damaged, they are not
            used, and the report says why.
        on_state: called with the run as bytes every `state_every_s` seconds; keep the newest.
        probe: labelled images, for k-NN accuracy before and after.

    Raises:
        InvalidPretrainingSetError: fewer than two images, or a probe that does not fit.
        InvalidPixelsError: pixels of another shape or type, or not square.
        TrainingDivergedError: the loss, or the gradients in half precision, became NaN or infinite.
        What networks.build raises for a name, a side or weights.

    Random: from config.seed; torch's global generators are left as they were. On the CPU, equal input gives equal
    weights, bit for bit, at an equal number of threads.
    """
    device = torch.device(device)
    network = _network_for(network_name, pixels, weights, config.seed)
    labelled = None if probe is None else checked_probe(NeighbourProbe(*probe), network.image_px)
    with torch.random.fork_rng(devices=_cuda_indices(device)):
        run = _Run(network.to(device), pixels, config, device, on_progress, on_state)
        resumed_step, refused = run.take_up(state)
        if labelled is not None and resumed_step == 0:
            run.progress.knn_accuracy_before = neighbour_accuracy(network, labelled, device)
        run.to_the_end()
    network.eval()
    return network, _report(run, labelled, resumed_step, refused)


class _Run:
    """One pretraining under way."""

    def __init__(
        self,
        network: Network,
        pixels: Any,
        config: PretrainConfig,
        device: torch.device,
        on_progress: OnProgress | None,
        on_state: OnState | None,
    ) -> None:
        self.network, self.pixels, self.config, self.device = network, pixels, config, device
        self.on_progress, self.on_state = on_progress, on_state
        # As in training: what a GPU's convolutions are quickest with.
        self.memory_format = torch.channels_last if device.type == "cuda" else torch.contiguous_format
        network.backbone.to(memory_format=self.memory_format)
        torch.manual_seed(config.seed)
        self.projector = Projector(network.embedding_width).to(device)
        self.modules = {"backbone": network.backbone, "projector": self.projector}
        parameters = [*network.backbone.parameters(), *self.projector.parameters()]
        self.optimiser = torch.optim.AdamW(parameters, lr=config.learning_rate, weight_decay=config.weight_decay)
        self.steps_per_epoch = len(minibatches(np.arange(len(pixels)), config.minibatch_size))
        self.steps_max = config.epochs * self.steps_per_epoch
        self.progress = Progress()
        self.precision = Precision.chosen(device, config.mixed_precision)
        settings = asdict(config) | {"network": network.name, "start": tensor_files.tensor_hash(network.state_dict())}
        del settings["state_every_s"]
        self.fingerprint = pretraining_state.fingerprint(pixels, settings)

    def take_up(self, state: bytes | None) -> tuple[int, str]:
        """Go on from a state: the steps it had done, and why it could not be used (or nothing)."""
        if state is None:
            return 0, ""
        try:
            self.progress = pretraining_state.from_bytes(
                state, self.modules, self.optimiser, self.precision.scaler, self.fingerprint
            )
        except InvalidCheckpointError as error:
            return 0, f"started anew: {error}"
        return self.progress.step, ""

    def state(self) -> bytes:
        """The run as bytes, to go on from."""
        return pretraining_state.to_bytes(
            self.modules, self.optimiser, self.precision.scaler, self.progress, self.fingerprint
        )

    def to_the_end(self) -> None:
        """All steps that are left."""
        progress, before = self.progress, self.progress.seconds
        started = noted = time.perf_counter()
        while progress.step < self.steps_max:
            epoch, first = divmod(progress.step, self.steps_per_epoch)
            order = np.random.default_rng((self.config.seed, epoch)).permutation(len(self.pixels))
            for images in self._read_ahead(minibatches(order, self.config.minibatch_size)[first:]):
                self._step(images)
                now = time.perf_counter()
                progress.seconds = before + now - started
                if self.on_state is not None and now - noted >= self.config.state_every_s:
                    self.on_state(self.state())
                    noted = time.perf_counter()
                if self.on_progress is not None:
                    self.on_progress(progress.step, self.steps_max)

    def _read_ahead(self, parts: list[np.ndarray]) -> Iterator[Tensor]:
        """(n, px, px, 3) images of each part; a thread reads the next part while this one is trained on."""

        def read(rows: np.ndarray) -> Tensor:
            # Files are read faster in order of the rows, and the order within a minibatch says nothing.
            return torch.from_numpy(np.array(self.pixels[np.sort(rows)]))

        with ThreadPoolExecutor(1, "pretraining") as reader:
            ahead = reader.submit(read, parts[0])
            for following in parts[1:]:
                images, ahead = ahead.result(), reader.submit(read, following)
                yield images
            yield ahead.result()

    def _step(self, images: Tensor) -> None:
        progress = self.progress
        # The number of the step decides what is drawn, so that a run can go on from any step.
        seed = int(np.random.SeedSequence((self.config.seed, progress.step)).generate_state(1)[0])
        torch.manual_seed(seed)  # dropout's
        generator = torch.Generator().manual_seed(seed)
        images = images.to(self.device)
        shown = torch.cat([random_views(images, self.config.views, generator) for _ in range(2)])
        shown = shown.contiguous(memory_format=self.memory_format)
        self.network.train()
        for group in self.optimiser.param_groups:
            group["lr"] = self.config.learning_rate * schedule(progress.step, self.steps_max)
        with self.precision.autocast():
            projections = self.projector(self.network.embed(shown))
        loss = contrastive_loss(projections, self.config.temperature)
        self.optimiser.zero_grad(set_to_none=True)
        self.precision.backward(loss)
        self.precision.step(self.optimiser)
        self._note(float(loss.detach()), len(images))

    def _note(self, loss: float, count: int) -> None:
        """One more step. Raises TrainingDivergedError where its loss, or gradients at every scale, are no numbers."""
        progress = self.progress
        if not math.isfinite(loss):
            self._diverged(f"the loss became {loss}")
        if self.precision.exhausted():
            # Steps that overflow are left out, so the loss stays as it was: nothing would be learned to the end.
            self._diverged("the gradients became NaN or infinite at every scale")
        progress.step += 1
        progress.open_loss, progress.open_count = progress.open_loss + loss * count, progress.open_count + count
        if progress.step % self.steps_per_epoch == 0:
            progress.losses.append(progress.open_loss / progress.open_count)
            progress.open_loss, progress.open_count = 0.0, 0

    def _diverged(self, what: str) -> None:
        advice = "" if self.precision.half is None else ", or set mixed_precision to off"
        raise TrainingDivergedError(
            f"{what} in step {self.progress.step + 1} of {self.steps_max} at learning_rate "
            f"{self.config.learning_rate}; lower it{advice}"
        )


def _report(run: _Run, probe: NeighbourProbe | None, resumed_step: int, refused: str) -> PretrainReport:
    progress, count = run.progress, len(run.pixels)
    rows = np.unique(np.linspace(0, count - 1, min(count, _SPREAD_IMAGES)).astype(np.int64))
    embeddings = predict(run.network, run.pixels[rows], device=run.device).embeddings
    if not np.isfinite(embeddings).all():
        raise TrainingDivergedError(
            f"embeddings are NaN or beyond half precision at learning_rate {run.config.learning_rate}; lower it"
        )
    spread, rank = spread_and_rank(embeddings)
    collapsed = spread < COLLAPSED_SPREAD
    warning = (
        f"the embeddings of {len(rows)} images are all but the same (spread {spread:.4f}, expected at least "
        f"{COLLAPSED_SPREAD}): do not use this backbone. Are the images different? If so, lower learning_rate."
    )
    return PretrainReport(
        images=count,
        epochs=run.config.epochs,
        steps=progress.step,
        seconds=progress.seconds,
        images_per_s=run.config.epochs * count / max(progress.seconds, 1e-9),
        loss=tuple(progress.losses),
        knn_accuracy_before=progress.knn_accuracy_before,
        knn_accuracy=None if probe is None else neighbour_accuracy(run.network, probe, run.device),
        spread=spread,
        effective_rank=rank,
        collapsed=collapsed,
        warning=warning if collapsed else "",
        resumed_step=resumed_step,
        state_refused=refused,
    )


# -- checks --------------------------------------------------------------------------------------------------------


def _network_for(name: str, pixels: Any, weights: str, seed: int) -> Network:
    side = int(pixels.shape[1]) if len(pixels.shape) == 4 else 1
    check_pixels(pixels, side)
    if len(pixels) < LEAST_IMAGES:
        raise InvalidPretrainingSetError(
            f"there are {len(pixels)} images, expected at least {LEAST_IMAGES}: pretraining learns what tells images "
            "apart; import more"
        )
    return networks.build(name, _CLASSES, side, weights, seed)


def _cuda_indices(device: torch.device) -> list[int]:
    if device.type != "cuda":
        return []
    return [torch.cuda.current_device() if device.index is None else device.index]

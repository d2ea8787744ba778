"""The loop of a training: epochs, steps, the judgement after each epoch, and the state to go on from.

Called by training.py and, in each of several processes, by distributed.py. Nothing here checks input.
"""

import math
import time
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from al_service.learning.ema import AveragedNetwork
from al_service.learning.losses import class_weights, margins, sample_losses
from al_service.learning.minibatch_loading import Minibatch, MinibatchLoader
from al_service.learning.minibatches import EpochPlan, validation_split
from al_service.learning.networks import Network
from al_service.learning.precision import Precision
from al_service.learning.ranks import Ranks
from al_service.learning.train_config import (
    EpochOrder,
    ExtraLoss,
    KeptLoss,
    OnProgress,
    OnState,
    SampleRecord,
    TrainConfig,
    TrainingDivergedError,
    whole_from_epoch,
)
from al_service.learning.training_state import Progress, TrainingState, copied, laid_out_as

_WARM_UP_FRACTION = 0.05
_PLATEAU_IMPROVEMENT = 0.01
# A GPU is not waited for at every step to look whether the loss is still a number.
_STEPS_BETWEEN_LOOKS = 50
# What the generators of one epoch are for; the order's and the balance's are in minibatches.py.
_AUGMENTATION, _DROPOUT = 1, 2


@dataclass(frozen=True)
class Hooks:
    """What the caller of `train` takes part in; see there."""

    on_progress: OnProgress | None = None
    order: EpochOrder | None = None
    extra_loss: ExtraLoss | None = None
    record_samples: bool = False
    on_state: OnState | None = None
    state_every_s: float = 30.0


class TrainingRun:
    """One training under way, of one rank.

    Args:
        network: on the device.
        pixels: (N, px, px, 3) uint8 array-like.
        labels: (N,) int64.
        config, device, hooks, ranks: see there.
        fingerprint: of this training, written into its states.
    """

    def __init__(
        self,
        network: Network,
        pixels: Any,
        labels: np.ndarray,
        config: TrainConfig,
        device: torch.device,
        hooks: Hooks,
        ranks: Ranks,
        fingerprint: str = "",
    ) -> None:
        self.network, self.config, self.device, self.hooks, self.ranks = network, config, device, hooks, ranks
        self.fingerprint = fingerprint
        self.train_part, self.validation_part = validation_split(labels, np.random.default_rng(config.seed))
        self.plan = EpochPlan(
            self.train_part,
            labels,
            config.minibatch_size,
            config.seed,
            balance=config.class_balance == "sampling",
            order=hooks.order,
        )
        self.judged_from_epoch = 1 if len(self.validation_part) else whole_from_epoch(hooks.order)
        self.steps_max = config.epochs_max * self.plan.steps
        balance_weights = class_weights(labels[self.train_part], network.class_count)
        ones = torch.ones(network.class_count)
        # Where classes are drawn equally often, training weighs all alike, and judging weighs classes equally.
        self.train_weights = (balance_weights if config.class_balance == "weights" else ones).to(device)
        self.judge_weights = (ones if config.class_balance == "none" else balance_weights).to(device)
        self.loader = MinibatchLoader(pixels, labels, device, ranks)
        self.precision = Precision.chosen(device, config.mixed_precision)
        if device.type == "cuda":
            network.to(memory_format=torch.channels_last)
        # Once: walking through all modules in every step takes as long as the optimiser.
        self.parameters = list(network.parameters())
        # Fused: a step of small_cnn takes 0.3 ms with it and 1.9 ms without, on one thread.
        self.optimiser = torch.optim.AdamW(
            self.parameters, lr=config.learning_rate, weight_decay=config.weight_decay, fused=True
        )
        self.average = AveragedNetwork(network, config.ema_decay) if config.ema_decay else None
        self.forward = ranks.wrapped(network, device)
        self.progress = Progress()
        self.best_weights: dict[str, Tensor] = {}
        # Rows: sum of losses, sum of margins, visits.
        self.samples = torch.zeros(3, len(labels) if hooks.record_samples else 0, dtype=torch.float64, device=device)
        self._state_written_at = time.monotonic()

    # -- epochs ----------------------------------------------------------------------------------------------------

    def to_the_end(self) -> str:
        """Run epochs until one of the three reasons to stop, which comes back; then put the best weights in."""
        while not (reason := self._stop_reason()):
            self.progress.epoch += 1
            self.progress.train_losses.append(self._one_epoch(self.progress.epoch))
            self._judge()
            self._offer_state()
        self.network.load_state_dict(self.best_weights)
        self.network.eval()
        return reason

    def _stop_reason(self) -> str:
        now = self.progress
        if now.epoch >= self.config.epochs_max:
            return "epochs_max"
        if now.epoch - now.plateau_epoch >= self.config.patience:
            return "validation_plateau" if len(self.validation_part) else "training_plateau"
        return ""

    def _judge(self) -> None:
        """After an epoch: is it the best so far, and is the loss still falling?"""
        now, judged = self.progress, self.network if self.average is None else self.average.network
        self._check_weights()
        if len(self.validation_part):
            now.validation_losses.append(self._validation_loss(judged))
            if not math.isfinite(now.validation_losses[-1]):
                # Else none of the following epochs would be better than this one.
                self._diverged("the validation loss", now.epoch * self.plan.steps)
        watched = (now.validation_losses or now.train_losses)[-1]
        # While only easy images are in play the training loss is low and says nothing: nothing is judged by it yet.
        if now.epoch < self.judged_from_epoch:
            now.plateau_epoch, watched = now.epoch, math.inf
        if watched < now.best_loss or not self.best_weights:
            now.best_epoch, now.best_loss = now.epoch, watched
            self.best_weights = copied(judged.state_dict())
        if watched < now.plateau_loss * (1 - _PLATEAU_IMPROVEMENT):
            now.plateau_epoch, now.plateau_loss = now.epoch, watched

    def _validation_loss(self, judged: Network) -> float:
        self.ranks.share_buffers(judged)
        judged.eval()
        parts = np.array_split(self.validation_part, -(-len(self.validation_part) // self.config.minibatch_size))
        total, count = torch.zeros((), dtype=torch.float64, device=self.device), 0
        with torch.inference_mode():
            for minibatch in self.loader.load(parts, "none", torch.Generator()):
                with self.precision.autocast():
                    logits = judged(minibatch.images)
                total += self._losses(logits.float(), minibatch, self.judge_weights).sum()
                count += minibatch.size
        return float(self.ranks.summed(total)) / count

    # -- steps -----------------------------------------------------------------------------------------------------

    def _one_epoch(self, epoch: int) -> float:
        self.network.train()
        torch.manual_seed(_seed(self.config.seed, epoch, _DROPOUT, self.ranks.rank))
        generator = torch.Generator().manual_seed(_seed(self.config.seed, epoch, _AUGMENTATION))
        total, count = torch.zeros((), dtype=torch.float64, device=self.device), 0
        samples = torch.zeros_like(self.samples)
        found = torch.zeros(2, device=self.device)
        step = (epoch - 1) * self.plan.steps
        with closing(self.loader.load(self.plan.epoch(epoch), self.config.augment, generator)) as minibatches:
            for minibatch in minibatches:
                total += self._one_step(minibatch, step, samples, found)
                count += minibatch.size
                step += 1
                if self.device.type == "cpu" or step % _STEPS_BETWEEN_LOOKS == 0:
                    self._check_numbers(found, step)
                self.precision.step(self.optimiser)
                if self.average is not None:
                    self.average.update(step)
                if self.hooks.on_progress is not None:
                    self.hooks.on_progress(step, self.steps_max)
        self._check_numbers(found, step)
        if self.hooks.record_samples:
            self.samples += self.ranks.summed(samples)
        return float(self.ranks.summed(total)) / count

    def _one_step(self, minibatch: Minibatch, step: int, samples: Tensor, found: Tensor) -> Tensor:
        """Gradients of one minibatch; the sum of its losses. Adds the loss and the gradients' extent to `found`."""
        for group in self.optimiser.param_groups:
            group["lr"] = self.config.learning_rate * schedule(step, self.steps_max)
        self.optimiser.zero_grad()
        with self.precision.autocast():
            logits = self.forward(minibatch.images)
        logits = logits.float()
        total = self._losses(logits, minibatch, self.train_weights).sum()
        # Gradients are averaged over ranks, and a rank's share is a part of the minibatch.
        objective = total * (self.ranks.count / minibatch.size)
        if self.hooks.extra_loss is not None:
            with self.precision.autocast():
                objective = objective + self.hooks.extra_loss(self.network, step)
        self.precision.backward(objective)
        found[0] += objective.detach()
        if not self.precision.skips_overflow:
            found[1] += _extent([one.grad for one in self.parameters if one.grad is not None])
        if self.hooks.record_samples:
            self._record(samples, logits.detach(), minibatch)
        return total.detach()

    def _losses(self, logits: Tensor, minibatch: Minibatch, weights: Tensor) -> Tensor:
        """(n,) weighted losses; 0 for images that are there to fill up."""
        losses = sample_losses(
            logits,
            minibatch.targets,
            label_smoothing=self.config.label_smoothing,
            focal_gamma=self.config.focal_gamma,
        )
        if self.config.class_balance != "none":
            losses = losses * weights[minibatch.targets]
        return losses if minibatch.counted is None else losses * minibatch.counted

    def _record(self, samples: Tensor, logits: Tensor, minibatch: Minibatch) -> None:
        found = torch.stack([sample_losses(logits, minibatch.targets), margins(logits, minibatch.targets)]).double()
        seen = torch.ones_like(found[:1]) if minibatch.counted is None else minibatch.counted[None].double()
        samples.index_add_(1, minibatch.rows, torch.cat([found * seen, seen]))

    # -- numbers that are none -------------------------------------------------------------------------------------

    def _check_numbers(self, found: Tensor, step: int) -> None:
        loss, gradient = found.tolist()
        if math.isfinite(loss) and math.isfinite(gradient):
            return
        self._diverged("the loss" if not math.isfinite(loss) else "the gradients", step)

    def _check_weights(self) -> None:
        step = self.progress.epoch * self.plan.steps
        weights = [one for one in self.network.state_dict().values() if one.is_floating_point()]
        if not math.isfinite(float(_extent(weights))):
            self._diverged("the weights", step)
        if self.precision.exhausted():
            self._diverged("the gradients", step)

    def _diverged(self, what: str, step: int) -> None:
        rate, peak = self.optimiser.param_groups[0]["lr"], self.config.learning_rate
        advice = f"lower learning_rate, e.g. to {peak / 10:.2g}"
        if self.hooks.extra_loss is not None:
            advice += ", or train without unlabelled images"
        if self.precision.half is not None:
            advice += ", or set mixed_precision to off"
        raise TrainingDivergedError(
            f"{what} became NaN or infinite in epoch {self.progress.epoch}, at or shortly before step {step} of "
            f"{self.steps_max}, at a learning rate of {rate:.3g} (peak {peak:.3g}); {advice}",
            epoch=self.progress.epoch,
            step=step,
            learning_rate=rate,
        )

    # -- states ----------------------------------------------------------------------------------------------------

    def state(self) -> TrainingState:
        """Everything that the next epoch depends on."""
        tensors = {"network": self.network.state_dict(), "best": self.best_weights}
        if self.average is not None:
            tensors["average"] = self.average.network.state_dict()
        if self.hooks.record_samples:
            tensors["samples"] = {"sums": self.samples}
        scaler = self.precision.scaler.state_dict()
        optimiser, loss = self.optimiser.state_dict()["state"], self.hooks.extra_loss
        counts = loss.counts() if isinstance(loss, KeptLoss) else {}
        return TrainingState(self.fingerprint, self.progress, tensors, optimiser, scaler, counts)

    def take_up(self, state: TrainingState) -> None:
        """Go on from a state of this training."""
        self.progress = state.progress
        self.network.load_state_dict(state.tensors["network"])
        self.best_weights = {name: tensor.to(self.device) for name, tensor in state.tensors["best"].items()}
        if self.average is not None:
            self.average.network.load_state_dict(state.tensors["average"])
        if self.hooks.record_samples:
            self.samples = state.tensors["samples"]["sums"].to(self.device)
        groups = self.optimiser.state_dict()["param_groups"]
        slots = laid_out_as(self.parameters, state.optimiser)
        self.optimiser.load_state_dict({"state": slots, "param_groups": groups})
        if state.scaler:
            self.precision.scaler.load_state_dict(dict(state.scaler))
        if isinstance(self.hooks.extra_loss, KeptLoss):
            self.hooks.extra_loss.take_up(state.counts)

    def _offer_state(self) -> None:
        waited = time.monotonic() - self._state_written_at
        if self.hooks.on_state is None or waited < self.hooks.state_every_s:
            return
        self.hooks.on_state(self.state().to_bytes())
        self._state_written_at = time.monotonic()

    def sample_record(self) -> SampleRecord | None:
        """The means over all visits."""
        if not self.hooks.record_samples:
            return None
        losses, label_margins, visits = self.samples.cpu().numpy()
        with np.errstate(invalid="ignore"):
            return SampleRecord(losses / visits, label_margins / visits, visits.astype(np.int64))


def schedule(step: int, steps_max: int) -> float:
    """The share of the learning rate at a step: up along a line for a twentieth of all steps, then down along a cosine.

    >>> [round(schedule(step, 4), 2) for step in range(4)]
    [1.0, 0.85, 0.5, 0.15]
    """
    warm_up = max(1, int(steps_max * _WARM_UP_FRACTION))
    return min(1.0, (step + 1) / warm_up) * 0.5 * (1 + math.cos(math.pi * step / steps_max))


def _seed(*facts: int) -> int:
    """A seed of 63 bits made from several numbers."""
    return int(np.random.SeedSequence(facts).generate_state(1, np.uint64)[0] >> np.uint64(1))


def _extent(tensors: list[Tensor]) -> Tensor:
    """A number that is finite where all of theirs are, and only there."""
    if tensors[0].device.type == "cpu":
        # Ten times as quick as looking for the largest number. Squares of finite numbers may overflow: then look.
        norm = torch.stack(torch._foreach_norm(tensors)).amax()
        if math.isfinite(norm):
            return norm
    return torch.stack(torch._foreach_norm(tensors, torch.inf)).amax()

"""Run a network once up to its first dropout and only the rest M times, wherever its dropout layers stand.

Every outermost module that holds no active dropout and is called before the first one leaves its output behind in a
clean pass. In the M passes under masks these modules hand that output out again instead of computing it; everything
later runs live. Called by mc_dropout.py. See docs/scoring.md.
"""

import copy
import logging
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from al_service.learning.dropout_masks import UnsupportedDropoutError, draw_masks, mask_shape, rate_of
from al_service.learning.networks import Network

log = logging.getLogger(__name__)

#: Two passes over the same images by the same operations differ by rounding alone; a wrong one by much more.
_SAFE_WITHIN = 0.01
_INPUT = -1  # the position of the network's prepared input among what is kept


@dataclass(frozen=True, eq=False)
class PassOutputs:
    """What the network says of one minibatch of n images.

    Args:
        embeddings: (n, D) float32, without dropout.
        logits: (n, C) float32, without dropout.
        sampled_probabilities: (n, M, C) float32, or None where M is 0.
    """

    embeddings: Tensor
    logits: Tensor
    sampled_probabilities: Tensor | None


@dataclass
class _Kept:
    """The output of one call of one module, and its tensors' counters of in-place changes."""

    module: nn.Module | None
    output: Any
    versions: list[int]
    pristine: Any = None

    def again(self) -> Any:
        """The output, for a later pass."""
        return self.output if self.pristine is None else copy.deepcopy(self.pristine)


@dataclass
class _Flow:
    """Where a pass stands: its number (None: the clean one), images, calls so far, whether a dropout has been met."""

    number: int | None
    images: int
    past_first: bool = False
    position: int = 0
    depth: int = 0
    calls: dict[str, int] = field(default_factory=dict)


class Replay:
    """Puts its own `forward` into every dropout layer and every module without one, and takes them out on exit.

    Sharp edge: code between modules may change an output in place (`out += identity`). Tensors count such changes; an
    output that was changed is handed out as a copy from then on. What modules do to their own input (ReLU in place) is
    not counted, since it is not done again. A network that reads such an input later would notice: so the first two
    images of a run are also put through one plain pass, and where that differs every pass runs in full. Where their
    outputs are not finite nothing can be told: that minibatch runs in full, and the next one is asked.

    torch computes transformer layers at rest by one fused operation that calls no module and so no dropout: that is
    switched off in between, in the whole process. A dropout that is not called all the same is an error.
    """

    def __init__(self, network: Network, layers: dict[str, nn.Module], passes: int, seed: int) -> None:
        self._network, self._layers, self._passes, self._seed = network, layers, passes, seed
        self._flow = _Flow(None, 0)
        self._kept: dict[int, _Kept] = {}
        self._changed: set[int] = set()
        self._masks: dict[tuple[str, int], Tensor] = {}
        self._undo: list[tuple[nn.Module, Any]] = []
        self._replays: bool | None = None  # not known before the first images
        self._fused = True  # as it was found

    def __enter__(self) -> "Replay":
        self._fused = torch.backends.mha.get_fastpath_enabled()
        torch.backends.mha.set_fastpath_enabled(False)
        names = {module: name for name, module in self._layers.items()}
        for module in (*self._network.backbone.modules(), *self._network.head.modules()):
            if module in names:
                self._install(module, self._dropout(names[module], module))
            elif not any(part in names for part in module.modules()):
                self._install(module, self._module(module, module.forward))
        return self

    def __exit__(self, *_: object) -> None:
        torch.backends.mha.set_fastpath_enabled(self._fused)
        for module, before in self._undo:
            if before is None:
                del module.__dict__["forward"]
            else:
                module.__dict__["forward"] = before
        self._undo.clear()
        self._kept.clear()

    def outputs(self, images: Tensor) -> PassOutputs:
        """The clean pass, which fills what is kept, then M passes."""
        try:
            if self._replays is None and len(images):
                self._replays = self._is_safe(images[:2])
            return self._run(images, self._passes, replays=bool(self._replays))
        finally:
            self._kept = {}

    def _run(self, images: Tensor, passes: int, *, replays: bool) -> PassOutputs:
        while (answer := self._attempt(images, passes, replays)) is None:
            pass  # each time more outputs are known to need copies
        return answer

    def _attempt(self, images: Tensor, passes: int, replays: bool) -> PassOutputs | None:
        """All passes, or None where one changed an output that had been kept."""
        self._kept = {}
        self._keep(_INPUT, None, self._network.prepare(images))
        self._flow = _Flow(None, len(images), past_first=not replays)
        embeddings, logits = self._outputs(self._kept[_INPUT].again())
        sampled = logits.new_empty((len(images), passes, self._network.class_count))
        for number in range(passes):
            if self._found_changes():
                return None
            self._flow = _Flow(number, len(images), past_first=not replays)
            sampled[:, number] = self._outputs(self._kept[_INPUT].again())[1].softmax(1)
            if self._flow.position != len(self._kept) - 1:  # the input is kept too
                raise _other_order(type(self._network.backbone).__name__, "calls fewer modules")
            self._check_all_called()
        return None if self._found_changes() else PassOutputs(embeddings, logits, sampled)

    def _outputs(self, prepared: Tensor) -> tuple[Tensor, Tensor]:
        """Embeddings and logits of one pass; the head in float32 also where the backbone is not."""
        embeddings = self._network.backbone(prepared).float()
        with torch.autocast(embeddings.device.type, enabled=False):
            return embeddings, self._network.head(embeddings)

    def _is_safe(self, images: Tensor) -> bool | None:
        """Whether pass 0 comes out the same with and without replaying; None where one is not finite."""
        replayed = self._run(images, 1, replays=True).sampled_probabilities
        self._flow = _Flow(0, len(images), past_first=True)
        plain = self._outputs(self._network.prepare(images))[1].softmax(1)
        difference = torch.inf if replayed is None else float((replayed[:, 0] - plain).abs().max())
        if not math.isfinite(difference):
            return None
        safe = difference < _SAFE_WITHIN
        if not safe:
            log.warning("%s depends on what its layers change in place; every pass runs in full", self._network.name)
        return safe

    def _check_all_called(self) -> None:
        """Raises UnsupportedDropoutError where a dropout took no part in the pass that has just ended."""
        silent = next((name for name in self._layers if name not in self._flow.calls), None)
        if silent is not None:
            raise UnsupportedDropoutError(
                f"{silent} ({type(self._layers[silent]).__name__}) is never called by the network's forward, so its "
                "dropout would be left out without a word. Remove it, set its p to 0, or use a strategy without "
                "dropout passes."
            )

    def _found_changes(self) -> bool:
        kept = self._kept.items()
        found = {at for at, one in kept if one.pristine is None and _versions(one.output) != one.versions}
        self._changed |= found
        return bool(found)

    def _install(self, module: nn.Module, forward: Callable[..., Any]) -> None:
        self._undo.append((module, module.__dict__.get("forward")))
        module.__dict__["forward"] = forward

    def _dropout(self, name: str, module: nn.Module) -> Callable[[Tensor], Tensor]:
        def forward(values: Tensor) -> Tensor:
            flow = self._flow
            flow.past_first = True
            call = flow.calls.get(name, 0)
            flow.calls[name] = call + 1
            if values.ndim < 2 or len(values) != flow.images:
                raise UnsupportedDropoutError(
                    f"{name} gets values of shape {tuple(values.shape)} for {flow.images} images: dropout passes need "
                    "the images along the first dimension"
                )
            return values if flow.number is None else values * self._mask(name, module, call, values)[flow.number]

        return forward

    def _mask(self, name: str, module: nn.Module, call: int, values: Tensor) -> Tensor:
        """(M, 1, ...) masks of that call, on the device and in the type of the values."""
        masks = self._masks.get((name, call))
        if masks is None or masks.dtype != values.dtype:
            shape = mask_shape(module, tuple(values.shape[1:]))
            masks = draw_masks(name, call, shape, rate_of(module), self._passes, self._seed)
            masks = masks[:, None].to(values.device, values.dtype)
            self._masks[name, call] = masks
        return masks

    def _module(self, module: nn.Module, computed: Callable[..., Any]) -> Callable[..., Any]:
        def forward(*args: Any, **kwargs: Any) -> Any:
            flow = self._flow
            if flow.past_first or flow.depth:
                return computed(*args, **kwargs)
            position = flow.position
            flow.position += 1
            if flow.number is not None:
                return self._again(position, module)
            before = _versions(args)
            flow.depth += 1
            try:
                output = computed(*args, **kwargs)
            finally:
                flow.depth -= 1
            self._absorb(args, before)
            self._keep(position, module, output)
            return output

        return forward

    def _keep(self, position: int, module: nn.Module | None, output: Any) -> None:
        pristine = copy.deepcopy(output) if position in self._changed else None
        self._kept[position] = _Kept(module, output, _versions(output), pristine)

    def _absorb(self, args: tuple[Any, ...], before: list[int]) -> None:
        """Take what a module did to its own input, which it will not do again, as the input's state."""
        for tensor, version in zip(_tensors(args), before, strict=True):
            if by := tensor._version - version:
                for kept in self._kept.values():
                    same = [_same_memory(tensor, one) for one in _tensors(kept.output)]
                    kept.versions = [old + by * mine for old, mine in zip(kept.versions, same, strict=True)]

    def _again(self, position: int, module: nn.Module) -> Any:
        kept = self._kept.get(position)
        if kept is None or kept.module is not module:
            raise _other_order(type(module).__name__, "is called")
        return kept.again()


def _other_order(name: str, does: str) -> UnsupportedDropoutError:
    return UnsupportedDropoutError(
        f"{name} {does} before the first dropout in one pass and not in another: dropout passes need a network that "
        "calls its modules in the same order each time"
    )


def _tensors(output: Any) -> list[Tensor]:
    """All tensors in an output, also in tuples, lists and dicts."""
    if isinstance(output, Tensor):
        return [output]
    if isinstance(output, dict):
        output = list(output.values())
    if isinstance(output, list | tuple):
        return [tensor for part in output for tensor in _tensors(part)]
    return []


def _versions(output: Any) -> list[int]:
    return [tensor._version for tensor in _tensors(output)]


def _same_memory(one: Tensor, other: Tensor) -> bool:
    return one.untyped_storage().data_ptr() == other.untyped_storage().data_ptr()

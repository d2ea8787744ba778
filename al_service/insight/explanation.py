"""Where in an image a network sees a class: class-activation maps of a whole batch, all classes at once.

Idea: most networks end in maps (D numbers for each place of a coarse grid), the mean of each over all places, and a
linear layer. The mean of sums is the sum of means, so the linear layer may as well be applied to every place first:
what it says there is the map of a class, and the mean of that map, plus the bias, *is* the logit. No gradient is needed
and all classes come at the price of scoring.

Where the last maps are not simply averaged (several layers behind them, another pooling), the gradient of the logit
with respect to each number, times the number, takes the place of the weight times the number: HiResCAM. On networks
that only average it is the same map, so both are in one unit.

Which maps a network has is found out by watching it look at two images; its modules are as they were afterwards. A
frozen backbone with a fitted head is such a network too. Called by workers; works in a notebook. See
docs/explanation.md.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from al_service.acquisition.arrays import FloatArray, IntArray, InvalidArrayError, in_kind_of, to_tensor
from al_service.errors import InvalidInputError

#: Two ways to compute the same numbers in float32 differ by so much of the largest.
_TOLERANCE = 1e-4
_WATCHED = 2

#: Of (n, C) logits, K sums with these weights; (n or 1, K, C).
Targets = Callable[[int, Tensor], Tensor]


class NoMapError(InvalidInputError):
    """The network has no maps of its image, or none that its answer depends on; says why."""

    code = "no_map"


def class_activation_maps(model: nn.Module, images: FloatArray, *, minibatch_size: int = 64) -> Any:
    """Say how much each place of each image speaks for each class; higher = more.

    Where the network ends in global average pooling and a linear layer (or in one map per class and pooling), the mean
    over h and w plus the layer's bias (or 0) is the logit, to rounding. Elsewhere it is HiResCAM, times h w.

    Args:
        model: (N, 3, H, W) -> (N, C) logits; ours, or any module whose last nn.Linear gives the logits. It is put in
            evaluation mode for the time being and stays on its device.
        images: (N, 3, H, W) as the model takes them; ours take uint8, or float in 0..1.
        minibatch_size: images at a time; changes memory, not the result beyond rounding.

    Returns:
        (N, C, h, w) float32, numpy for numpy, h and w as the network's last maps that have more than one place. Of a
        network that sees the image as one place: (N, C, 1, 1).

    Raises:
        InvalidArrayError: images of another shape, NaN in them, or a network that gives NaN for one; names the first.
        NoMapError: no convolution, or tokens instead of places (vision transformers).

    Source: Zhou et al. 2016 (CAM); Draelos, Carin 2020 (HiResCAM, arXiv 2011.08891).

    Cost: one forward pass; for HiResCAM another C backward passes through what is behind the last maps.
    """

    def each_class(_: int, logits: Tensor) -> Tensor:
        return torch.eye(logits.shape[1], device=logits.device)[None]  # (1, C, C)

    return _in_minibatches(model, images, each_class, minibatch_size)


def evidence_maps(model: nn.Module, images: FloatArray, class_indices: IntArray, *, minibatch_size: int = 64) -> Any:
    """Say how much more each place speaks for the given classes than for the average class; 0: no difference.

    Adding the same to all logits changes no probability, so what all classes have in common is no evidence for any:
    these maps are `class_activation_maps` less their mean over the classes.

    Args:
        model, images, minibatch_size: as in class_activation_maps.
        class_indices: (N, K) whole numbers, 0 to C - 1: the classes to explain, for each image.

    Returns:
        (N, K, h, w) float32; the mean over h and w, plus the biases' difference, is the logit less the mean logit.

    Raises:
        InvalidArrayError: as class_activation_maps, or class_indices of another shape or outside 0 to C - 1.
        NoMapError: as class_activation_maps.

    Cost: as class_activation_maps, with K in place of C.
    """
    wanted = to_tensor(class_indices, "class_indices")
    if wanted.ndim != 2 or len(wanted) != len(images) or wanted.is_floating_point():
        raise InvalidArrayError(
            f"class_indices have shape {tuple(wanted.shape)} and dtype {wanted.dtype} for {len(images)} images; "
            "expected (N, K) whole numbers"
        )

    def of_these(start: int, logits: Tensor) -> Tensor:
        rows, classes = wanted[start : start + len(logits)].to(logits.device, torch.int64), logits.shape[1]
        if rows.numel() and not 0 <= int(rows.min()) <= int(rows.max()) < classes:
            raise InvalidArrayError(
                f"class_indices are {int(rows.min())} to {int(rows.max())}, expected 0 to {classes - 1}"
            )
        return nn.functional.one_hot(rows, classes).float() - 1 / classes  # (n, K, C)

    return _in_minibatches(model, images, of_these, minibatch_size)


def _in_minibatches(model: nn.Module, images: FloatArray, targets: Targets, minibatch_size: int) -> Any:
    values = to_tensor(images, "images")
    if values.ndim != 4 or values.shape[1] != 3 or 0 in values.shape[2:]:
        raise InvalidArrayError(f"images have shape {tuple(values.shape)}, expected (N, 3, H, W)")
    if minibatch_size < 1:
        raise InvalidInputError(f"minibatch_size is {minibatch_size}, expected at least 1")
    _check_finite(values, "images")
    if not len(values):
        raise InvalidArrayError(
            "there is no image: how large its map would be shows only when the network looks at one"
        )
    device = next((one.device for one in model.parameters()), values.device)
    with _at_rest(model):
        place = _find_place(model, values[:_WATCHED].to(device))
        parts = []
        for start in range(0, len(values), minibatch_size):
            part = values[start : start + minibatch_size].to(device)
            parts.append(_maps(model, part, place, partial(targets, start)))
    maps = torch.cat(parts)
    _check_finite(maps, "maps of images")
    return in_kind_of(maps, images)


def _check_finite(values: Tensor, name: str) -> None:
    if not values.is_floating_point() or bool(torch.isfinite(values).all()):
        return
    bad = int(torch.nonzero(~torch.isfinite(values).flatten(1).all(1))[0])
    raise InvalidArrayError(f"{name}[{bad}] hold NaN or infinite values, shape {tuple(values.shape)}")


@contextmanager
def _at_rest(model: nn.Module) -> Iterator[None]:
    """In evaluation mode and without gradients; afterwards every module is in the mode that it was in."""
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for module in training:
            module.training = True


# -- which maps ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class _Call:
    """One call of one module: which call of it (from 0), and what came out. `given` is a linear layer's input."""

    module: nn.Module
    number: int
    output: Tensor
    given: Tensor | None = None


@dataclass(frozen=True, eq=False)
class _Place:
    """Where a network's maps come out, and what is behind them.

    Attributes:
        module, number: the module and which of its calls.
        head: the linear layer that their means go through; None: their means are the logits themselves.
        is_pooled: nothing but the mean (and the head) is behind them.
    """

    module: nn.Module
    number: int
    head: nn.Linear | None
    is_pooled: bool


def _find_place(model: nn.Module, images: Tensor) -> _Place:
    """The last maps whose means are all that the network looks at; else the last maps. Maps of one place only where
    there are no others.
    """
    calls: list[_Call] = []
    logits = _watched(model, images, calls)
    heads = [call for call in calls if isinstance(call.module, nn.Linear) and _is_same(call.output, logits)]
    maps = [call for call in calls if call.output.ndim == 4 and len(call.output) == len(images)]
    if not maps:
        raise NoMapError(f"{_name(model)} calls no module that gives maps of its image (N, D, h, w)")
    larger = [call for call in maps if call.output[0, 0].numel() > 1] or maps
    for call in reversed(larger):
        means = call.output.mean((2, 3))
        if _is_same(means, logits):
            return _Place(call.module, call.number, None, True)
        if heads and _is_same(means, heads[-1].given):
            head = heads[-1].module
            return _Place(call.module, call.number, head if isinstance(head, nn.Linear) else None, True)
    last = larger[-1]
    after = calls[calls.index(last) + 1 :]
    if any(call.output.ndim == 3 and call.output.shape[1] > 1 for call in after):
        raise NoMapError(f"{_name(model)} looks at tokens, not at places of its image: there is no map to show")
    return _Place(last.module, last.number, None, False)


def _watched(model: nn.Module, images: Tensor, calls: list[_Call]) -> Tensor:
    """The logits; every call of a module that gives a tensor is written down."""
    counts: dict[nn.Module, int] = {}

    def write_down(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        number = counts.get(module, 0)
        counts[module] = number + 1
        if isinstance(output, Tensor):
            given = args[0] if isinstance(module, nn.Linear) and args else None
            calls.append(_Call(module, number, output, given))

    with _hooked([module for module in model.modules() if module is not model], write_down):
        return _logits(model, images)


@contextmanager
def _hooked(modules: Sequence[nn.Module], hook: Callable[..., Any]) -> Iterator[None]:
    handles = []
    try:
        handles += [module.register_forward_hook(hook) for module in modules]
        yield
    finally:
        for handle in handles:
            handle.remove()


def _logits(model: nn.Module, images: Tensor) -> Tensor:
    logits = model(images)
    if not isinstance(logits, Tensor) or logits.ndim != 2 or len(logits) != len(images):
        shape = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        raise InvalidInputError(f"{_name(model)} gives {shape} for {len(images)} images, expected (N, C) logits")
    return logits


def _is_same(one: Tensor, other: Tensor | None) -> bool:
    """Equal but for rounding."""
    if other is None or one.shape != other.shape:
        return False
    return bool(((one - other).abs() <= _TOLERANCE * other.abs().max()).all())


def _name(model: nn.Module) -> str:
    return str(getattr(model, "name", type(model).__name__))


# -- the maps --------------------------------------------------------------------------------------------------------


@dataclass
class _Caught:
    """The maps of one pass."""

    count: int = 0
    maps: Tensor | None = field(default=None)


def _maps(model: nn.Module, images: Tensor, place: _Place, targets: Callable[[Tensor], Tensor]) -> Tensor:
    """(n, 3, H, W) -> (n, K, h, w)."""
    if not place.is_pooled:
        return _by_gradient(model, images, place, targets)
    caught = _Caught()

    def catch(module: nn.Module, args: tuple[Any, ...], output: Tensor) -> None:
        if caught.count == place.number:
            caught.maps = output
        caught.count += 1

    with _hooked([place.module], catch):
        logits = _logits(model, images)
    maps = _found(caught, model)
    weights = targets(logits)
    if place.head is not None:
        weights = weights @ place.head.weight.float()  # (n or 1, K, C) -> (n or 1, K, D)
    flat: Tensor = weights @ maps.float().flatten(2)  # (n, K, h w)
    return flat.view(*flat.shape[:2], *maps.shape[2:])


def _by_gradient(model: nn.Module, images: Tensor, place: _Place, targets: Callable[[Tensor], Tensor]) -> Tensor:
    """HiResCAM, times the number of places: the mean of a map is the sum of gradient times value."""
    caught = _Caught()

    def catch(module: nn.Module, args: tuple[Any, ...], output: Tensor) -> Tensor:
        caught.count += 1
        if caught.count != place.number + 1:
            return output
        caught.maps = output.detach().clone().requires_grad_()
        torch.set_grad_enabled(True)  # from here on; what is before the maps needs none
        return caught.maps.clone()  # later layers may change it in place

    with torch.no_grad(), _hooked([place.module], catch):
        logits = _logits(model, images)
        maps = _found(caught, model)
        weights = targets(logits.detach())
        scores = torch.einsum("nkc,nc->k", weights.expand(len(logits), -1, -1), logits)
        parts = []
        for at in range(len(scores)):
            more = at + 1 < len(scores)
            [slope] = torch.autograd.grad(scores[at], maps, retain_graph=more, allow_unused=True)
            if slope is None:
                raise NoMapError(f"what {_name(model)} says does not depend on its last maps")
            parts.append((slope * maps).sum(1))  # (n, D, h, w) -> (n, h, w)
    return torch.stack(parts, 1).detach() * maps[0, 0].numel()


def _found(caught: _Caught, model: nn.Module) -> Tensor:
    if caught.maps is None:
        raise NoMapError(f"{_name(model)} calls its modules in another order for other images")
    return caught.maps

"""Starting a training from the model of the round before, instead of from scratch.

From scratch is the default: a network that goes on from the last round's weights reaches the same training loss sooner
and is often worse on new images (Ash, Adams 2020). Their remedy is between the two: shrink the old weights towards 0,
which keeps what they say and forgets how sure they are, and add a little noise. docs/training.md has our own figures.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from al_service.domain.project_config import WARM_STARTS
from al_service.errors import InvalidInputError
from al_service.learning.networks import Network

# Of the paper: weights are multiplied by 0.6, and noise is 0.01 of a fresh network's weights, so that every layer gets
# it in proportion to what it usually starts with.
SHRINK = 0.6
NOISE = 0.01
_HEAD = ("head.linear.weight", "head.linear.bias")


@dataclass(frozen=True)
class WarmStart:
    """What was taken over.

    Args:
        mode: as asked.
        taken: names of the tensors that came from the previous network, wholly or for some classes.
        left: names of those that stayed fresh: the previous network has no such tensor, or one of another shape.
        classes_taken: how many classes of the head came from the previous network.
    """

    mode: str
    taken: tuple[str, ...] = ()
    left: tuple[str, ...] = ()
    classes_taken: int = 0


def warm_start(
    network: Network,
    previous: Network,
    mode: str,
    seed: int = 0,
    *,
    class_names: Sequence[str] | None = None,
    previous_class_names: Sequence[str] | None = None,
) -> WarmStart:
    """Put the previous network's weights into a fresh one, in place, as far as they fit; the previous one stays as is.

    Where both lists of class names are given, the head's rows are matched by name and new classes stay fresh. Without
    them the head is taken where both networks have as many classes, and stays fresh otherwise.

    Args:
        network: freshly built; on any device.
        previous: the network of the round before; of the same architecture or another.
        mode: "none": nothing; "previous": its weights and buffers; "shrink_perturb": SHRINK * its weights + NOISE *
            normal noise with the standard deviation of the fresh tensor; running statistics stay fresh then, because
            they were of the larger weights.
        seed: of the noise.
        class_names, previous_class_names: in class_index order; both or neither.

    Raises:
        InvalidInputError: an unknown mode, one list of names only, or lists that do not fit the networks.

    Random: a normal number per weight, from the seed.

    Source: Ash, Adams 2020, On Warm-Starting Neural Network Training.
    """
    if mode not in WARM_STARTS:
        raise InvalidInputError(f"warm_start is {mode!r}, expected one of {', '.join(WARM_STARTS)}")
    mine, theirs = _matched_classes(network, previous, class_names, previous_class_names)
    if mode == "none":
        return WarmStart(mode)
    old = previous.state_dict()
    kept_fresh = {name for name, _ in network.named_buffers()} if mode == "shrink_perturb" else set()
    generator = torch.Generator().manual_seed(seed)
    taken, left = [], []
    with torch.no_grad():
        for name, fresh in network.state_dict().items():
            rows = mine if name in _HEAD else None
            found = old.get(name)
            if name in kept_fresh or found is None or not _fits(fresh, found, rows):
                left.append(name)
                continue
            value = found.to(fresh.device, fresh.dtype) if rows is None else found[theirs].to(fresh.device, fresh.dtype)
            if mode == "shrink_perturb":
                value = SHRINK * value + NOISE * _noise(fresh, value.shape, generator)
            fresh[... if rows is None else rows] = value
            taken.append(name)
    return WarmStart(mode, tuple(taken), tuple(left), len(mine) if _HEAD[0] in taken else 0)


def _fits(fresh: Tensor, found: Tensor, rows: Tensor | None) -> bool:
    if rows is None:
        return fresh.shape == found.shape
    return len(rows) > 0 and fresh.shape[1:] == found.shape[1:]


def _noise(fresh: Tensor, shape: torch.Size, generator: torch.Generator) -> Tensor:
    drawn = torch.randn(shape, generator=generator).to(fresh.device, fresh.dtype)
    return drawn * fresh.std(correction=0)


def _matched_classes(
    network: Network,
    previous: Network,
    class_names: Sequence[str] | None,
    previous_class_names: Sequence[str] | None,
) -> tuple[Tensor, Tensor]:
    """Rows of the head, and the rows of the previous head that belong to the same classes."""
    if class_names is None and previous_class_names is None:
        count = network.class_count if network.class_count == previous.class_count else 0
        return torch.arange(count), torch.arange(count)
    if class_names is None or previous_class_names is None:
        raise InvalidInputError("warm_start needs both class_names and previous_class_names, or neither")
    for what, names, one in (
        ("class_names", class_names, network),
        ("previous_class_names", previous_class_names, previous),
    ):
        if len(names) != one.class_count or len(set(names)) != len(names):
            raise InvalidInputError(
                f"{what} are {len(names)} names, {len(set(names))} of them distinct, for a network of "
                f"{one.class_count} classes; expected one distinct name per class"
            )
    place = {name: row for row, name in enumerate(previous_class_names)}
    pairs = [(row, place[name]) for row, name in enumerate(class_names) if name in place]
    return torch.tensor([row for row, _ in pairs], dtype=torch.long), torch.tensor(
        [row for _, row in pairs], dtype=torch.long
    )

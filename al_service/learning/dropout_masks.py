"""Which dropout layers of a network are active, and the masks that they get in each of M passes.

A mask belongs to one pass and one layer and is shared by all images: pass m is one function over the whole pool,
whatever the minibatches, shards and workers (joint scores such as BatchBALD need that). Masks are drawn on the CPU from
the seed and the layer's name, so every worker draws the same. Called by mc_dropout.py and dropout_replay.py.
"""

import hashlib
from typing import cast

import torch
from torch import Tensor, nn

from al_service.errors import InvalidInputError
from al_service.learning.networks import Head

HEAD_LAYER = "head.dropout"
_DROPOUTS = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d)
_WHOLE_CHANNELS = (nn.Dropout1d, nn.Dropout2d, nn.Dropout3d)
_OTHER_DROPOUTS = (nn.AlphaDropout, nn.FeatureAlphaDropout)
#: Attributes under which modules (attention, recurrent, dense layers) keep the rate of a dropout inside their code.
_HIDDEN_RATES = ("dropout", "attention_dropout", "drop_rate")


class UnsupportedDropoutError(InvalidInputError):
    """The network has active dropout that cannot be given one mask per pass."""

    code = "unsupported_dropout"


def dropout_layers(network: nn.Module) -> dict[str, nn.Module]:
    """The active dropout layers (p > 0) by name, in the order of the modules.

    Raises:
        UnsupportedDropoutError: alpha dropout, or a dropout inside the code of an attention, recurrent or dense layer.
    """
    found: dict[str, nn.Module] = {}
    for name, module in network.named_modules():
        if isinstance(module, _DROPOUTS):
            if module.p > 0:
                found[name] = module
        elif isinstance(module, _OTHER_DROPOUTS):
            if module.p > 0:
                raise _unsupported(name, module, f"p={module.p}")
        else:
            for attribute in _HIDDEN_RATES:
                rate = getattr(module, attribute, None)
                if isinstance(rate, float) and rate > 0:
                    raise _unsupported(name, module, f"{attribute}={rate}")
    return found


def draw_masks(layer: str, call: int, shape: tuple[int, ...], rate: float, passes: int, seed: int) -> Tensor:
    """(M, *shape) float32 masks, 1 on average: 0 with probability `rate`, else 1 / (1 - rate).

    Args:
        layer: the dropout's name in the network; other layers have other masks.
        call: 0 at the layer's first call in a pass, 1 at its second, and so on.
        shape: of one image there.
        rate: p of the layer, 0 to 1.
        passes: M.
        seed: of the run.

    Random: its own generator on the CPU; equal arguments give equal masks on every machine.
    """
    if rate >= 1:
        return torch.zeros((passes, *shape))
    digest = hashlib.sha256(f"{seed}/{layer}/{call}".encode()).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(digest[:8], "big", signed=True))
    return (torch.rand((passes, *shape), generator=generator) >= rate).float() / (1 - rate)


def head_masks(head: Head, passes: int, seed: int) -> Tensor:
    """(M, D) masks of the head's dropout."""
    return draw_masks(HEAD_LAYER, 0, (head.linear.in_features,), head.dropout.p, passes, seed)


def mask_shape(layer: nn.Module, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Shape of the layer's mask for values of that shape (one image's); Dropout1d to 3d drop whole channels."""
    return (shape[0], *(1 for _ in shape[1:])) if isinstance(layer, _WHOLE_CHANNELS) else shape


def rate_of(layer: nn.Module) -> float:
    """p of a dropout layer."""
    return float(cast(nn.Dropout, layer).p)


def _unsupported(name: str, module: nn.Module, what: str) -> UnsupportedDropoutError:
    return UnsupportedDropoutError(
        f"{name or 'the network'} ({type(module).__name__}) has {what}: dropout passes need nn.Dropout, Dropout1d, "
        "Dropout2d or Dropout3d layers. Set that rate to 0, or use a strategy without dropout passes."
    )

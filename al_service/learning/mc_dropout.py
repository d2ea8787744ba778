"""M passes under dropout masks at the price of about one.

Where the only active dropout is the head's (most networks), the masks are folded into its weights and all passes are
one matrix product. Elsewhere the network runs once up to its first active dropout and only the rest M times, see
dropout_replay.py. Only dropout is switched on: batch normalisation and stochastic depth stay in evaluation mode.
Masks are those of dropout_masks.py. Called by inference.py. See docs/scoring.md.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from al_service.learning.dropout_masks import HEAD_LAYER, dropout_layers, head_masks
from al_service.learning.dropout_replay import PassOutputs, Replay
from al_service.learning.networks import Head, Network

#: Floats that one block of folded weights or one block of masked logits may hold: 64 MiB.
BLOCK_FLOATS = 1 << 24

Passes = Callable[[Tensor], PassOutputs]


def drops_in_head_only(network: Network) -> bool:
    """Whether all passes under dropout can be made from embeddings: no dropout of the backbone is active in them.

    Raises:
        UnsupportedDropoutError: as dropout_layers.
    """
    return dropout_layers(network).keys() <= {HEAD_LAYER}


@contextmanager
def dropout_passes(network: Network, passes: int, seed: int) -> Iterator[Passes]:
    """Give a function that runs the network over a minibatch of images, once clean and M times under masks.

    The network must be in evaluation mode and on its device. Gradients are off inside the block. Whatever happens, its
    modules are as they were afterwards.

    Args:
        network: ours.
        passes: M; 0 for the clean outputs alone.
        seed: of the masks.

    Raises:
        UnsupportedDropoutError: as dropout_layers, for M > 0.
    """
    if not passes or drops_in_head_only(network):
        # Inference mode spares autograd's bookkeeping. Replaying needs part of it: the counters of in-place changes.
        with torch.inference_mode():
            yield _head_only(network, passes, seed)
        return
    with torch.no_grad(), Replay(network, dropout_layers(network), passes, seed) as replay:
        yield replay.outputs


class FoldedHead:
    """M masked copies of the head's weights, so that all passes over embeddings are one matrix product.

    Cost: N M C D multiplications. Memory: blocks of at most 64 MiB beside the answer.
    """

    def __init__(self, head: Head, passes: int, seed: int) -> None:
        self._weight = head.linear.weight.detach().float()  # (C, D)
        self._bias = head.linear.bias.detach().float()
        self._masks = head_masks(head, passes, seed).to(self._weight.device)  # (M, D)
        self._per_block = max(1, BLOCK_FLOATS // self._weight.numel())
        self._only_block = self._fold(self._masks) if passes <= self._per_block else None

    def probabilities(self, embeddings: Tensor) -> Tensor:
        """(n, D) float32 -> (n, M, C) float32."""
        passes, classes = len(self._masks), len(self._weight)
        answer = embeddings.new_empty((len(embeddings), passes, classes))
        rows = max(1, BLOCK_FLOATS // (min(passes, self._per_block) * classes))
        for first in range(0, passes, self._per_block):
            masks = self._masks[first : first + self._per_block]
            folded = self._fold(masks) if self._only_block is None else self._only_block
            for start in range(0, len(embeddings), rows):
                logits = (embeddings[start : start + rows] @ folded.T).unflatten(1, (len(masks), classes))
                logits += self._bias
                answer[start : start + rows, first : first + len(masks)] = logits.softmax(2)
        return answer

    def _fold(self, masks: Tensor) -> Tensor:
        return (self._weight[None] * masks[:, None]).flatten(0, 1)  # (M, C, D) -> (M C, D)


def _head_only(network: Network, passes: int, seed: int) -> Passes:
    folded = FoldedHead(network.head, passes, seed) if passes else None

    def outputs(images: Tensor) -> PassOutputs:
        embeddings = network.embed(images).float()
        with torch.autocast(embeddings.device.type, enabled=False):
            sampled = None if folded is None else folded.probabilities(embeddings)
            return PassOutputs(embeddings, network.head(embeddings), sampled)

    return outputs

"""The processes that train one network together, or one process alone: what each takes and what they sum up.

Every rank knows all minibatches and labels; of each minibatch it loads its share. Its loss is the sum over its share
divided by the whole minibatch's weight, so the sum of all ranks' gradients is exactly the minibatch's gradient, also
where shares are of unequal length.
"""

from dataclasses import dataclass

import numpy as np
import torch
import torch.distributed
from torch import Tensor, nn

from al_service.learning.networks import Network

# Batch normalisation needs two images.
_SHARE_LEAST = 2


@dataclass(frozen=True)
class Ranks:
    """This process among those that train together.

    Args:
        rank: from 0; rank 0 reports.
        count: of processes; torch.distributed is set up where there is more than one.
    """

    rank: int = 0
    count: int = 1

    def wrapped(self, network: Network, device: torch.device) -> nn.Module:
        """What to run forward in training: gradients are averaged over the ranks behind it."""
        if self.count == 1:
            return network
        return nn.parallel.DistributedDataParallel(
            network, device_ids=None if device.type == "cpu" else [device], gradient_as_bucket_view=True
        )

    def share(self, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Positions in a minibatch of `count` rows that are this rank's, and (n,) bool: which of them count.

        A share of fewer than two is filled up from the start of the minibatch with images that do not count.
        """
        mine = np.array_split(np.arange(count), self.count)[self.rank]
        filling = np.arange(max(0, min(_SHARE_LEAST, count) - len(mine)))
        return np.concatenate([mine, filling]), np.arange(len(mine) + len(filling)) < len(mine)

    def summed(self, values: Tensor) -> Tensor:
        """The sum over all ranks, the same bits on each."""
        if self.count > 1:
            values = values.clone()
            torch.distributed.all_reduce(values)
            torch.distributed.broadcast(values, 0)
        return values

    def share_buffers(self, network: nn.Module) -> None:
        """Give every rank the buffers of rank 0: each has seen other images."""
        if self.count > 1:
            for buffer in network.buffers():
                torch.distributed.broadcast(buffer, 0)

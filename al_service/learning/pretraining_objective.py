"""What self-supervised pretraining minimises: two views of an image should be each other's nearest (NT-Xent, SimCLR).

The idea in words: a minibatch of n images gives 2 n views. Each view has one partner and 2 n - 2 strangers; the loss is
the cross-entropy of picking the partner by cosine similarity. It is counted on a projection of the embedding that is
thrown away afterwards, since what the loss wants forgotten (colour, place) is lost there and not in the backbone.

Source: Chen, Kornblith, Norouzi, Hinton 2020 (SimCLR). Why this one: see docs/pretraining.md.
"""

import torch
from torch import Tensor, nn

PROJECTOR_HIDDEN = 512
PROJECTOR_WIDTH = 256


class Projector(nn.Sequential):
    """(N, D) embeddings -> (N, P) projections, over one hidden layer."""

    def __init__(self, width: int) -> None:
        super().__init__(
            nn.Linear(width, PROJECTOR_HIDDEN, bias=False),
            nn.BatchNorm1d(PROJECTOR_HIDDEN),
            nn.ReLU(inplace=True),
            nn.Linear(PROJECTOR_HIDDEN, PROJECTOR_WIDTH),
        )


def contrastive_loss(projections: Tensor, temperature: float) -> Tensor:
    """Mean cross-entropy, in nats, of finding each view's partner among all other views; lower is better.

    Args:
        projections: (2 n, P): first one view of each of n images, then the other view of each, in the same order.
        temperature: cosines are divided by it.

    Cost: 4 n^2 P multiplications and 4 n^2 floats of memory.
    """
    units = nn.functional.normalize(projections.float(), dim=1)
    cosines = units @ units.T / temperature  # (2 n, P) -> (2 n, 2 n)
    cosines = cosines.masked_fill(torch.eye(len(units), dtype=torch.bool, device=units.device), -torch.inf)
    partners = torch.arange(len(units), device=units.device).roll(len(units) // 2)
    return nn.functional.cross_entropy(cosines, partners)

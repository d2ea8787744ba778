"""What an embedding is worth: how spread it is, and whether an image's nearest neighbours are of its class.

Called by pretraining.py before and after.
"""

import math
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn

from al_service.errors import InvalidInputError
from al_service.learning.inference import predict
from al_service.learning.neighbours import knn_accuracy
from al_service.learning.networks import Network
from al_service.learning.pixels import check_pixels


class InvalidPretrainingSetError(InvalidInputError):
    """Too few images, or a probe that does not fit them."""

    code = "invalid_pretraining_set"


class NeighbourProbe(NamedTuple):
    """Labelled images that say what the embedding is worth: are an image's nearest neighbours of its class?

    Args:
        pixels, class_indices: the neighbours: (N, px, px, 3) uint8 and (N,) whole numbers from 0.
        eval_pixels, eval_class_indices: the images that are classified by their neighbours.
    """

    pixels: Any
    class_indices: Any
    eval_pixels: Any
    eval_class_indices: Any


def spread_and_rank(embeddings: np.ndarray) -> tuple[float, float]:
    """How differently images are embedded: spread over the sphere (0 to 1), and directions in use (1 to D).

    Args:
        embeddings: (N, D) float, N >= 1.

    The spread is the root of the summed variances of the embeddings at length 1: 0 when all point one way, 1 when they
    point evenly to all sides. The rank is the exponential of the entropy of the covariance's eigenvalues (Roy and
    Vetterli 2007).

    >>> [round(value, 3) for value in spread_and_rank(np.array([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]]))]
    [1.0, 2.0]
    """
    values = torch.from_numpy(np.asarray(embeddings, np.float64))
    units = nn.functional.normalize(values, dim=1)
    centred = units - units.mean(0)
    variances = torch.linalg.svdvals(centred).square() / len(units)
    total = float(variances.sum())
    if total < 1e-12:
        return 0.0, 1.0
    shares = variances / total
    return math.sqrt(total), float(torch.special.entr(shares).sum().exp())


def neighbour_accuracy(network: Network, probe: NeighbourProbe, device: str | torch.device = "cpu") -> float:
    """Share of the probe's evaluation images whose class their 20 nearest vote for; see neighbours.knn_accuracy."""
    return knn_accuracy(
        predict(network, probe.pixels, device=device).embeddings,
        probe.class_indices,
        predict(network, probe.eval_pixels, device=device).embeddings,
        probe.eval_class_indices,
        device=device,
    )


def checked_probe(probe: NeighbourProbe, image_px: int) -> NeighbourProbe:
    """The probe, once it fits.

    Raises:
        InvalidPixelsError: pixels of another side, shape or type.
        InvalidPretrainingSetError: no images, or classes that do not fit them.
    """
    for pixels, classes, what in (
        (probe.pixels, probe.class_indices, "pixels"),
        (probe.eval_pixels, probe.eval_class_indices, "eval_pixels"),
    ):
        check_pixels(pixels, image_px)
        found = np.asarray(classes)
        if len(pixels) == 0 or found.shape != (len(pixels),) or found.dtype.kind not in "iu" or found.min() < 0:
            raise InvalidPretrainingSetError(
                f"the probe has {len(pixels)} {what} and classes of shape {found.shape} and dtype {found.dtype}; "
                "expected at least one image and a whole number from 0 for each. Leave the probe out if there is none."
            )
    return probe

"""Cluster-Margin: uncertain samples, taken by turns from the clusters they lie in, the smallest cluster first.

The embeddings are clustered from the bottom up (average linkage). Of the pool the 10 k samples of the lowest margin are
looked at; each round takes one sample of every cluster that has some left, in order of how many of these the cluster
holds. Small clusters are rare kinds of samples and come first; large ones are redundant and wait for later rounds.

Clustering costs the square of the samples, so it runs on evenly spaced ones in large pools, and everything else joins
the cluster whose mean is nearest. It depends on embeddings only: `agglomerate` once and give the clusters to every
round, as the paper does, where embeddings stay the same.
"""

import numpy as np
import torch
from sklearn.cluster import AgglomerativeClustering
from torch import Tensor

from al_service.acquisition.arrays import (
    FloatArray,
    IntArray,
    InvalidArrayError,
    by_rows,
    check_count,
    check_embeddings,
    check_probabilities,
    in_kind_of,
    to_tensor,
)
from al_service.acquisition.k_means import assign
from al_service.errors import InvalidInputError
from al_service.geometry.distances import Centred, evenly_spaced

MARGIN_FACTOR = 10
SAMPLES_MAX = 5_000
SAMPLES_PER_CLUSTER = 10


def cluster_margin(
    probabilities: FloatArray,
    embeddings: FloatArray,
    k: int,
    *,
    clusters: IntArray | None = None,
    margin_factor: int = MARGIN_FACTOR,
) -> IntArray:
    """k positions of low margin, spread over the clusters of the embeddings.

    Args:
        probabilities: (N, C) float, C >= 2.
        embeddings: (N, D) float, finite.
        k: 0 <= k <= N.
        clusters: (N,) whole numbers >= 0, the cluster of each sample, from `agglomerate` or elsewhere. None: found anew
            among the embeddings.
        margin_factor: samples looked at for each one wanted, at least 1; the paper takes 1.25 to 10.

    Returns:
        (k,) int64 distinct positions. Within a cluster the lowest margin first; clusters of equal size in order of
        their lowest margin; equal margins in order of position.

    Raises:
        InvalidArrayError: arrays that are not what they should be, or of different lengths.
        InvalidInputError: k < 0 or k > N, margin_factor < 1.

    Cost: O(N log N); without clusters also those of `agglomerate`.

    Source: Citovsky et al. 2021 (2107.14263), which draws at random within a cluster and cuts the tree at a distance.

    >>> unsure = np.array([[0.5, 0.5], [0.5, 0.5], [0.55, 0.45], [0.6, 0.4], [1.0, 0.0]])
    >>> place = np.array([[0.0], [0.1], [0.2], [9.0], [9.1]])
    >>> cluster_margin(unsure, place, 2, clusters=np.array([0, 0, 0, 1, 1]), margin_factor=2)
    array([3, 0])
    """
    outputs = check_probabilities(probabilities)
    points = check_embeddings(embeddings)
    if len(points) != len(outputs):
        raise InvalidArrayError(f"embeddings have {len(points)} rows for {len(outputs)} rows of probabilities")
    k = check_count(k, len(points))
    if check_count(margin_factor, 2**31, name="margin_factor") < 1:
        raise InvalidInputError("margin_factor is 0, expected at least 1")
    known = None if clusters is None else _check_clusters(clusters, len(points)).to(outputs.device)
    positions, _ = spread_over_clusters(_margins(outputs), points, k, known, margin_factor)
    return in_kind_of(positions, probabilities)


def spread_over_clusters(
    margins: Tensor, points: Tensor, k: int, clusters: Tensor | None, margin_factor: int = MARGIN_FACTOR
) -> tuple[Tensor, Tensor]:
    """As cluster_margin, for checked input; also each pick's margin.

    Args:
        margins: (N,) float, first less second probability, or whatever is lower where a label is wanted more.

    Returns:
        (k,) int64 positions and (k,) float64 margins.
    """
    lowest = torch.sort(margins, stable=True).indices[: margin_factor * k]
    if k == 0:
        return lowest, margins[lowest]
    clusters = agglomerate(points, which=lowest.to(points.device)) if clusters is None else clusters[lowest]
    _, labels = clusters.to(lowest.device).unique(return_inverse=True)
    sizes = torch.bincount(labels)
    # Samples stand in order of margin: a sample's turn is how many of its cluster stand before it.
    order = torch.sort(labels, stable=True).indices
    starts = sizes.cumsum(0) - sizes
    turns = torch.empty_like(labels)
    turns[order] = torch.arange(len(labels), device=labels.device) - starts[labels[order]]
    ranks_of_best = order[starts]
    # By turn, then size of the cluster, then its lowest margin: the least significant key first.
    by = torch.sort(ranks_of_best[labels], stable=True).indices
    by = by[torch.sort(sizes[labels[by]], stable=True).indices]
    by = by[torch.sort(turns[by], stable=True).indices]
    chosen = lowest[by[:k]]
    return chosen, margins[chosen]


def agglomerate(
    points: Tensor, *, which: Tensor | None = None, count: int | None = None, samples_max: int = SAMPLES_MAX
) -> Tensor:
    """The cluster of each sample, by average linkage of euclidean distances.

    Args:
        points: (N, D), checked.
        which: positions whose clusters are wanted; None: of all.
        count: of clusters; None: one for every 10 samples that are linked.
        samples_max: most samples to link, evenly spaced in the pool; others join the cluster whose mean is nearest.

    Returns:
        (N,) or (len(which),) int64.

    Cost: n^2 D for n = min(N, samples_max), and n^2 float64 (200 MB) in the memory of the host; then n / 10 D for each
        further sample.
    """
    which = torch.arange(len(points), device=points.device) if which is None else which
    linked = min(len(points), samples_max)
    some = evenly_spaced(len(points), samples_max, points.device)
    count = max(1, linked // SAMPLES_PER_CLUSTER) if count is None else count
    if count == 1:
        return torch.zeros_like(which)
    if count >= linked:
        return which if linked == len(points) else _joined(points, points[some], which)
    view = Centred.on_mean(points)
    rows = view.rows(some)
    linkage = AgglomerativeClustering(n_clusters=count, linkage="average")
    found = torch.from_numpy(_as_first_copies(rows.cpu().numpy(), linkage)).to(points.device, torch.int64)
    if linked == len(points):
        return found[which]
    found = found.unique(return_inverse=True)[1]
    means = torch.stack([rows[found == cluster].mean(0) for cluster in range(int(found.max()) + 1)])
    labels = assign(view.of(points[which]), means).labels
    place = torch.searchsorted(some, which).clamp_(max=linked - 1)
    return torch.where(some[place] == which, found[place], labels)


def _as_first_copies(rows: np.ndarray, linkage: AgglomerativeClustering) -> np.ndarray:
    """(n,) labels; copies of a row are in the cluster of the first one, which a tie in the tree does not promise."""
    _, first, copies = np.unique(rows, axis=0, return_index=True, return_inverse=True)
    return linkage.fit_predict(rows)[first[copies.ravel()]]


def _joined(points: Tensor, centres: Tensor, which: Tensor) -> Tensor:
    view = Centred.on_mean(points)
    return assign(view.of(points[which]), view.seen(centres)).labels


def _margins(outputs: Tensor) -> Tensor:
    def of_rows(rows: Tensor) -> Tensor:
        first, second = rows.topk(2, dim=1).values.unbind(1)
        return first - second

    return by_rows(of_rows, outputs)


def _check_clusters(clusters: IntArray, count: int) -> Tensor:
    tensor = to_tensor(clusters, "clusters")
    if tensor.shape != (count,) or tensor.is_floating_point():
        raise InvalidArrayError(
            f"clusters have shape {tuple(tensor.shape)} and dtype {tensor.dtype}; expected ({count},) whole numbers"
        )
    return tensor.to(torch.int64)

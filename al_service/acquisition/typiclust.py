"""TypiClust: the densest sample of every cluster that holds nothing labelled, the biggest cluster first.

For budgets so small that no model is to be trusted: a cluster that is big and has no label yet is where a label tells
most, and the sample in the middle of its crowd speaks for the others.
"""

import numpy as np
import torch
from torch import Tensor

from al_service.acquisition.arrays import FloatArray, IntArray, check_count, check_embeddings, in_kind_of
from al_service.acquisition.k_means import assign, centroids
from al_service.errors import InvalidInputError
from al_service.geometry.distances import Centred, row_slices, squared_distances

CLUSTERS_MAX = 500
NEIGHBOURS_MAX = 20
CLUSTER_SIZE_MIN = 5


def typiclust(
    embeddings: FloatArray,
    k: int,
    labelled: FloatArray | None = None,
    *,
    rng: np.random.Generator,
    clusters_max: int = CLUSTERS_MAX,
) -> IntArray:
    """k positions: by turns the most typical sample of each of min(L + k, 500) clusters, those without labels first.

    Typical is what has the lowest mean distance to its min(20, n / 2) nearest among the n samples of the cluster that
    are neither labelled nor chosen. Clusters stand in order of how many labelled samples they hold, then of size, the
    largest first. Once all had their turn the round begins anew, and clusters of fewer than 5 samples are left out as
    long as there are others.

    Args:
        embeddings: (N, D) float, finite; of a self-supervised network, as the paper has it, of unit length.
        k: 0 <= k <= N.
        labelled: (L, D) embeddings of samples that have labels; they are clustered with the pool.
        clusters_max: most clusters; at least 1.

    Returns:
        (k,) int64 distinct positions. Equal typicality goes to the lower position; clusters of equal standing stand in
        the order in which k-means drew them.

    Raises:
        InvalidArrayError: not (N, D), different widths, NaN or infinity.
        InvalidInputError: k < 0 or k > N, or clusters_max < 1.

    Cost: k-means with that many clusters, then the sum of n^2 D over the clusters per round; n x n distances of one
        cluster are held in blocks.

    Random: as k_means.

    Source: Hacohen, Dekel, Weinshall 2022 (2202.02794). Distances are plain, as in the paper; its code squares them.

    >>> cross = np.array([[1.0, 0.0], [0.0, 1.0], [0.0, 0.0], [-1.0, 0.0], [0.0, -1.0]])
    >>> pool = np.concatenate([cross, [[2.0, 2.0]], cross + 50])
    >>> typiclust(pool, 2, rng=np.random.default_rng(0))
    array([2, 8])
    """
    points = check_embeddings(embeddings)
    covered = None if labelled is None else check_embeddings(labelled, name="labelled", width=points.shape[1])
    k = check_count(k, len(points))
    if check_count(clusters_max, 2**31, name="clusters_max") < 1:
        raise InvalidInputError("clusters_max is 0, expected at least 1")
    positions, _ = most_typical(points, k, covered, rng, clusters_max=clusters_max)
    return in_kind_of(positions, embeddings)


def most_typical(
    points: Tensor, k: int, covered: Tensor | None, rng: np.random.Generator, *, clusters_max: int = CLUSTERS_MAX
) -> tuple[Tensor, Tensor]:
    """As typiclust, for checked input; also the mean distance by which each pick was the densest of its cluster.

    Returns:
        (k,) int64 positions and (k,) float32 mean distances, lower = denser; infinite for one alone in its cluster.
    """
    if k == 0:
        return torch.empty(0, dtype=torch.int64, device=points.device), torch.empty(0, device=points.device)
    covered = points[:0] if covered is None else covered.to(points)
    count = min(len(covered) + k, clusters_max, len(points) + len(covered))
    view = Centred.on_mean(points)
    everything = view if not len(covered) else view.of(torch.cat([points, view.in_reach(covered)]))
    labels = assign(everything, centroids(everything, count, None, rng)).labels
    known = torch.bincount(labels[len(points) :], minlength=count)
    members = _members(labels[: len(points)], count)
    standing = sorted(range(count), key=lambda cluster: (int(known[cluster]), -len(members[cluster]), cluster))
    return _in_turns(view, k, [members[cluster] for cluster in standing])


def densest(view: Centred, members: Tensor, neighbours_max: int = NEIGHBOURS_MAX) -> tuple[int, float]:
    """Where the lowest mean distance to the min(20, n / 2) nearest members is, and that distance, unscaled."""
    count = len(members)
    near = max(1, min(neighbours_max, count // 2))
    if count == 1:
        return 0, torch.inf
    rows = view.rows(members)
    best, place = torch.inf, 0
    for part in row_slices(count, count):
        distances = squared_distances(rows[part], rows)
        distances.diagonal(part.start).fill_(torch.inf)
        means = distances.topk(near, largest=False).values.sqrt_().mean(1)
        first = int(means.argmin())
        if float(means[first]) < best:
            best, place = float(means[first]), part.start + first
    return place, best / view.scale


def _members(labels: Tensor, count: int) -> list[Tensor]:
    """The positions of each cluster, rising."""
    order = torch.sort(labels, stable=True).indices
    return list(order.split(torch.bincount(labels, minlength=count).tolist()))


def _in_turns(view: Centred, k: int, members: list[Tensor]) -> tuple[Tensor, Tensor]:
    picks: list[Tensor] = []
    distances: list[float] = []
    least = CLUSTER_SIZE_MIN
    while len(picks) < k:
        before = len(picks)
        for cluster, free in enumerate(members):
            if len(picks) == k:
                break
            if len(free) < least:
                continue
            place, distance = densest(view, free)
            picks.append(free[place])
            distances.append(distance)
            members[cluster] = torch.cat([free[:place], free[place + 1 :]])
        if len(picks) == before:
            least = 1
    return torch.stack(picks), torch.tensor(distances, dtype=torch.float64, device=view.points.device).to(torch.float32)

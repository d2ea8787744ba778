"""One function for each kind of strategy: from candidates to a choice with scores and reasons. See strategies.py.

Those that diversify look at the `prefilter_factor` times k samples with the highest margin scores only. Random numbers
come from the generator that the caller gave; most choosers read none.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from al_service.acquisition import scores as score_registry
from al_service.acquisition.arrays import to_tensor
from al_service.acquisition.badge import diverse_gradients
from al_service.acquisition.batch_bald import JOINT_SAMPLES, most_informative
from al_service.acquisition.candidates import Candidates, Choice, Chooser, Options
from al_service.acquisition.class_quota import SHARE_POWER, quota_order
from al_service.acquisition.cluster_margin import spread_over_clusters
from al_service.acquisition.facility_location import most_representative
from al_service.acquisition.herding import most_herding
from al_service.acquisition.k_center import farthest_first
from al_service.acquisition.k_means import medoids
from al_service.acquisition.power import power_order
from al_service.acquisition.prob_cover import most_covering, radius
from al_service.acquisition.ranking import highest
from al_service.acquisition.typiclust import most_typical

# BatchBALD looks at joint outcomes of a batch, EPIG at pairs of samples: of a large pool at those that disagree most
# by themselves. EPIG is never above BALD, since a label tells of another label through the model alone.
_JOINT_CANDIDATES_MAX = 10_000
#: Samples that stand for what will be predicted.
_EPIG_TARGETS = 100

Geometry = Callable[[Tensor, int, Tensor | None, np.random.Generator], tuple[Tensor, Tensor]]


# -- by chance and by score --------------------------------------------------------------------------------------


def nothing_more(candidates: Candidates, k: int, options: Options, rng: np.random.Generator) -> Choice:
    """For "random": chance has taken the whole budget, and k is 0."""
    return Choice(candidates.free[:k], [None] * k, [{"code": "random"}] * k, [None] * len(candidates.taken))


def by_score(score_name: str, reason_code: str) -> Chooser:
    """The highest scores."""
    score = score_registry.get(score_name)

    def choose(candidates: Candidates, k: int, options: Options, rng: np.random.Generator) -> Choice:
        inputs = [candidates.arrays[name] for name in score.inputs]
        values = to_tensor(score.function(*inputs), "scores").cpu()
        best = candidates.free[highest(values[candidates.free], k)]
        return Choice(
            best, values[best].tolist(), _between(candidates, best, reason_code), values[candidates.taken].tolist()
        )

    return choose


def by_power(candidates: Candidates, k: int, options: Options, rng: np.random.Generator) -> Choice:
    """Drawn without replacement with chances proportional to the margin score."""
    values = margins(candidates)
    drawn = candidates.free[power_order(values[candidates.free], k, 1.0, rng)]
    return scored(candidates, drawn, values, "margin")


def by_quota(candidates: Candidates, k: int, options: Options, rng: np.random.Generator) -> Choice:
    """The closest margins of each predicted class, more of the classes that are common or hard."""
    values = margins(candidates)
    outputs = candidates.rows("probabilities", candidates.free)
    order = quota_order(outputs, values[candidates.free].to(outputs.device), k, None, SHARE_POWER).cpu()
    return scored(candidates, candidates.free[order], values, "margin")


# -- by geometry -------------------------------------------------------------------------------------------------


def by_geometry(select: Geometry, reason_code: str) -> Chooser:
    """Embeddings alone."""

    def choose(candidates: Candidates, k: int, options: Options, rng: np.random.Generator) -> Choice:
        if k == 0:
            return Choice(candidates.free[:0], [], [], [None] * len(candidates.taken))
        points = candidates.rows("embeddings", candidates.free)
        picks, values = select(points, k, candidates.covered, rng)
        reasons = [{"code": reason_code} for _ in range(k)]
        return Choice(candidates.free[picks.cpu()], _finite(values), reasons, [None] * len(candidates.taken))

    return choose


def by_k_center(candidates: Candidates, k: int, options: Options, rng: np.random.Generator) -> Choice:
    """Farthest from everything labelled or chosen."""
    points = candidates.arrays["embeddings"]
    excluded = torch.ones(len(points), dtype=torch.bool)
    excluded[candidates.free] = False
    # The pool as it is: without the excluded rows it would be a second pool in memory.
    picks, distances = farthest_first(
        points, k, candidates.covered, excluded=excluded.nonzero().flatten().to(points.device)
    )
    scores = _finite(distances)
    reasons = [{"code": "far"} | ({} if score is None else {"distance": score}) for score in scores]
    return Choice(picks.cpu(), scores, reasons, [None] * len(candidates.taken))


def by_medoids(points: Tensor, k: int, covered: Tensor | None, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """The middle of each of k clusters."""
    return medoids(points, k, None, rng)


def by_prob_cover(points: Tensor, k: int, covered: Tensor | None, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Most samples within a radius."""
    return most_covering(points, k, covered, radius(points))


def by_herding(points: Tensor, k: int, covered: Tensor | None, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """What covers most by soft balls."""
    return most_herding(points, k, None, covered, None)


def by_typiclust(points: Tensor, k: int, covered: Tensor | None, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """The densest of each cluster that nothing covers; scored by how near the neighbours are, 0 at most."""
    picks, distances = most_typical(points, k, covered, rng)
    return picks, 0.0 - distances


# -- uncertain, then unlike each other ---------------------------------------------------------------------------


def by_margin_then(select: Callable[[Tensor, Tensor, int, Tensor | None], tuple[Tensor, Tensor]], code: str) -> Chooser:
    """Among the closest margins, by geometry: `select` takes points, their scores, k and what is covered."""

    def choose(candidates: Candidates, k: int, options: Options, rng: np.random.Generator) -> Choice:
        values = margins(candidates)
        closest = prefiltered(candidates, values, k, options)
        points = candidates.rows("embeddings", closest)
        picks, distances = select(points, values[closest].to(points.device), k, candidates.covered)
        choice = scored(candidates, closest[picks.cpu()], values, code)
        if code == "margin+far":
            for reason, distance in zip(choice.reasons, distances.tolist(), strict=True):
                if math.isfinite(distance):
                    reason["distance"] = distance
        return choice

    return choose


def farthest_of_closest(points: Tensor, scores: Tensor, k: int, covered: Tensor | None) -> tuple[Tensor, Tensor]:
    """k-center. Points come by falling margin score, so of equally far ones the less certain is taken."""
    return farthest_first(points, k, covered)


def representatives_of_closest(points: Tensor, scores: Tensor, k: int, covered: Tensor | None) -> tuple[Tensor, Tensor]:
    """Facility location among the uncertain (FASS, Wei, Iyer, Bilmes 2015)."""
    return most_representative(points, k, None, covered)


def by_badge(candidates: Candidates, k: int, options: Options, rng: np.random.Generator) -> Choice:
    """Long and different gradients of the last layer."""
    outputs, points = (candidates.rows(name, candidates.free) for name in ("probabilities", "embeddings"))
    picks, lengths, _ = diverse_gradients(outputs, points, k, rng)
    chosen = candidates.free[picks.cpu()]
    taken: list[float | None] = [None] * len(candidates.taken)
    return Choice(chosen, _finite(lengths), _between(candidates, chosen, "gradient"), taken)


def by_cluster_margin(candidates: Candidates, k: int, options: Options, rng: np.random.Generator) -> Choice:
    """Of the closest margins, a few from each cluster."""
    values = margins(candidates)
    points = candidates.rows("embeddings", candidates.free)
    certainty = (1 - values[candidates.free]).to(points.device)
    picks, _ = spread_over_clusters(certainty, points, k, None, options.prefilter_factor)
    return scored(candidates, candidates.free[picks.cpu()], values, "margin+far")


def by_batch_bald(candidates: Candidates, k: int, options: Options, rng: np.random.Generator) -> Choice:
    """The batch about which the passes disagree most as a whole."""
    values = to_tensor(score_registry.bald(candidates.arrays["sampled_probabilities"]), "scores").cpu()
    some = candidates.free[highest(values[candidates.free], max(k, _JOINT_CANDIDATES_MAX))]
    found = most_informative(candidates.rows("sampled_probabilities", some), k, rng, JOINT_SAMPLES)
    chosen = some[found.positions.cpu()]
    reasons = _between(candidates, chosen, "disagreement")
    return Choice(chosen, values[chosen].tolist(), reasons, values[candidates.taken].tolist())


def by_epig(candidates: Candidates, k: int, options: Options, rng: np.random.Generator) -> Choice:
    """What would tell most about the labels of samples drawn from the pool (EPIG)."""
    free = candidates.free
    disagreement = to_tensor(score_registry.bald(candidates.arrays["sampled_probabilities"]), "scores").cpu()
    some = free[highest(disagreement[free], max(k, _JOINT_CANDIDATES_MAX))]
    targets = free[torch.from_numpy(rng.permutation(len(free))[:_EPIG_TARGETS])]
    both = (candidates.rows("sampled_probabilities", rows) for rows in (some, targets))
    values = to_tensor(score_registry.epig(*both), "scores").cpu() if len(free) else disagreement[some]
    best = highest(values, k)
    reasons = _between(candidates, some[best], "disagreement")
    return Choice(some[best], values[best].tolist(), reasons, [None] * len(candidates.taken))


# -- shared ------------------------------------------------------------------------------------------------------


def margins(candidates: Candidates) -> Tensor:
    """(N,) margin scores, of the mean pass where there are passes (a posterior average is better calibrated)."""
    outputs = candidates.arrays.get("probabilities")
    if outputs is None:
        outputs = candidates.arrays["sampled_probabilities"].mean(1)  # (N, M, C) -> (N, C)
    return to_tensor(score_registry.margin(outputs), "scores").cpu()


def prefiltered(candidates: Candidates, values: Tensor, k: int, options: Options) -> Tensor:
    """The free positions with the highest scores, highest first: prefilter_factor times k of them."""
    return candidates.free[highest(values[candidates.free], options.prefilter_factor * k)]


def scored(candidates: Candidates, chosen: Tensor, values: Tensor, code: str) -> Choice:
    return Choice(
        chosen, values[chosen].tolist(), _between(candidates, chosen, code), values[candidates.taken].tolist()
    )


def _between(candidates: Candidates, positions: Tensor, code: str) -> list[dict[str, Any]]:
    """Reasons that name the two likeliest classes of each position, of the mean pass where there are several."""
    outputs = candidates.arrays.get("probabilities")
    if outputs is None:
        outputs = candidates.arrays["sampled_probabilities"]
    rows = outputs[positions.to(outputs.device)].to(torch.float64)
    means = rows if rows.dim() == 2 else rows.mean(1)  # (K, M, C) -> (K, C)
    pairs = torch.sort(means, dim=1, descending=True, stable=True).indices[:, :2].tolist()
    return [{"code": code, "between": pair} for pair in pairs]


def _finite(values: Tensor) -> list[float | None]:
    return [float(value) if math.isfinite(value) else None for value in values.tolist()]

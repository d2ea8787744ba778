"""`auto`: coverage while labels are few, then what is uncertain and stands for much, and it says which and why.

The idea in words. With next to no labels a model's uncertainty means nothing, so the first batches are typical images
of places that nothing covers yet (TypiClust). From then on every sample weighs what its margin says, and the batch is
the one that covers most of that weight (UHerding): its kernel shrinks as labels come closer to each other, so what
began as coverage becomes uncertainty by itself. Of a large pool half of the samples that are looked at are the least
certain, the others are spread over the pool and say what is common.

Why this and not another one: docs/strategies.md has the curves.
"""

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from al_service.acquisition.candidates import Candidates, Choice, Options
from al_service.acquisition.choosers import by_geometry, by_typiclust, margins, scored
from al_service.acquisition.herding import most_herding
from al_service.acquisition.ranking import highest

#: Labels a class below which uncertainty is not asked.
COLD_LABELS_PER_CLASS = 2
#: Samples that are looked at: pairs of them are what a choice costs.
LOOKED_AT_MAX = 4096
#: Picks chosen from them: a larger batch comes in parts of this size, each as if those before it were labelled. So a
#: part is never most of what it is chosen from, and the cost grows with the batch, not with its square.
PART_MAX = 1024

_typical = by_geometry(by_typiclust, "typical")


def by_auto(candidates: Candidates, k: int, options: Options, rng: np.random.Generator) -> Choice:
    """The choice, with the regime and the reason for it in its facts."""
    labels = 0 if candidates.labelled_embeddings is None else len(candidates.labelled_embeddings)
    why = _why_cold(candidates, labels)
    if why is not None:
        choice = _typical(_looked_at(candidates, k, rng), k, options, rng)
        return Choice(
            choice.positions,
            choice.scores,
            choice.reasons,
            [None] * len(candidates.taken),
            {"regime": "cover", "why": why},
        )
    values = margins(candidates)
    chosen = _uncertain_that_stand_for_many(candidates, values, k)
    choice = scored(candidates, chosen, values, "margin+typical")
    return Choice(
        choice.positions,
        choice.scores,
        choice.reasons,
        choice.scores_of_taken,
        {
            "regime": "uncertain",
            "why": f"{labels} labels: the model's uncertainty counts, where images are common most",
        },
    )


def _uncertain_that_stand_for_many(candidates: Candidates, values: Tensor, k: int) -> Tensor:
    """(k,) positions in order of choice."""
    parts: list[Tensor] = []
    left = candidates
    for start in range(0, k, PART_MAX):
        some = _uncertain_and_common(left, values)
        points = left.rows("embeddings", some)
        size = min(PART_MAX, k - start)
        picks, _ = most_herding(points, size, values[some].to(points.device), left.covered, None)
        parts.append(some[picks.cpu()])
        free = left.free[~torch.isin(left.free, parts[-1])]
        left = replace(left, taken=torch.cat([left.taken, parts[-1]]), free=free)
    return torch.cat(parts) if parts else candidates.free[:0]


def _why_cold(candidates: Candidates, labels: int) -> str | None:
    """Why uncertainty is not asked yet; None where it is."""
    outputs = candidates.arrays.get("probabilities")
    if outputs is None:
        return "there is no model yet"
    classes = outputs.shape[1]
    if labels < COLD_LABELS_PER_CLASS * classes:
        return f"{labels} labels for {classes} classes: too few for the model to know what it does not know"
    return None


def _looked_at(candidates: Candidates, k: int, rng: np.random.Generator) -> Candidates:
    """Of a large pool a part, drawn at random, and four times what is wanted: clusters of it are clusters of all."""
    most = max(4 * k, LOOKED_AT_MAX)
    if len(candidates.free) <= most:
        return candidates
    drawn = np.sort(rng.permutation(len(candidates.free))[:most])
    return Candidates(
        candidates.arrays, candidates.labelled_embeddings, candidates.taken, candidates.free[torch.from_numpy(drawn)]
    )


def _uncertain_and_common(candidates: Candidates, values: Tensor) -> Tensor:
    """The free positions that are looked at, rising: all of a small pool."""
    free = candidates.free
    if len(free) <= LOOKED_AT_MAX:
        return free
    half = LOOKED_AT_MAX // 2
    uncertain = free[highest(values[free], half)]
    rest = free[~torch.isin(free, uncertain)]
    common = rest[torch.arange(half) * len(rest) // half]
    return torch.sort(torch.cat([uncertain, common])).values

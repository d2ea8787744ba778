"""`auto`: coverage while labels are few, then what is uncertain and stands for much, and it says which and why.

The idea in words. With next to no labels a model's uncertainty means nothing, so the first batches are typical images
of places that nothing covers yet (TypiClust). From then on every sample weighs what its margin says, and the batch is
the one that covers most of that weight (UHerding): its kernel shrinks as labels come closer to each other, so what
began as coverage becomes uncertainty by itself. Of a large pool half of the samples that are looked at are the least
certain, the others are spread over the pool and say what is common.

Why this and not another one: docs/strategies.md has the curves.
"""

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
    some = _uncertain_and_common(candidates, values, k)
    points = candidates.rows("embeddings", some)
    covered = candidates.covered
    picks, _ = most_herding(points, k, values[some].to(points.device), covered, None, samples_max=LOOKED_AT_MAX)
    choice = scored(candidates, some[picks.cpu()], values, "margin+typical")
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
    """At most LOOKED_AT_MAX of the free samples, drawn at random: clusters of a part are clusters of the whole."""
    most = max(k, LOOKED_AT_MAX)
    if len(candidates.free) <= most:
        return candidates
    drawn = np.sort(rng.permutation(len(candidates.free))[:most])
    return Candidates(
        candidates.arrays, candidates.labelled_embeddings, candidates.taken, candidates.free[torch.from_numpy(drawn)]
    )


def _uncertain_and_common(candidates: Candidates, values: Tensor, k: int) -> Tensor:
    """The free positions that are looked at, rising: all of a small pool."""
    free = candidates.free
    most = max(2 * k, LOOKED_AT_MAX)
    if len(free) <= most:
        return free
    uncertain = free[highest(values[free], most // 2)]
    rest = free[~torch.isin(free, uncertain)]
    common = rest[torch.arange(most // 2) * len(rest) // (most // 2)]
    return torch.sort(torch.cat([uncertain, common])).values

"""Scores: how much we want each sample's label, (N,) float64, higher = ask first, always.

They lie in [0, 1] and are 0 for a certain model, but for those that `get(name).is_normalised` denies. What to do with
scores is the selectors' business. Scores are found by name through `names()` and `get()`; `from_logits` takes logits in
place of probabilities. Arithmetic is float64 whatever comes in, because differences of entropies near 0 decide ranks;
0 log 0 is 0 throughout.

| module | scores |
|---|---|
| probability_scores | least_confidence, margin, ratio, entropy |
| committee_scores | of passes or members: entropies, BALD, votes, dropquery, EPIG |
| gradient_scores | expected_gradient_length, gradient_norm |
"""

from al_service.acquisition.committee_scores import (
    bald,
    consensus_entropy,
    dropquery,
    epig,
    expected_entropy,
    mean_kl,
    mean_std,
    predictive_entropy,
    variation_ratio,
    vote_entropy,
)
from al_service.acquisition.gradient_scores import expected_gradient_length, gradient_norm
from al_service.acquisition.logit_scores import from_logits
from al_service.acquisition.probability_scores import entropy, least_confidence, margin, ratio
from al_service.acquisition.score_registry import (
    Needs,
    RepeatedScoreError,
    Score,
    ScoreFunction,
    UnknownScoreError,
    get,
    names,
    register,
)

__all__ = [
    "Needs",
    "RepeatedScoreError",
    "Score",
    "ScoreFunction",
    "UnknownScoreError",
    "bald",
    "consensus_entropy",
    "dropquery",
    "entropy",
    "epig",
    "expected_entropy",
    "expected_gradient_length",
    "from_logits",
    "get",
    "gradient_norm",
    "least_confidence",
    "margin",
    "mean_kl",
    "mean_std",
    "names",
    "predictive_entropy",
    "ratio",
    "register",
    "variation_ratio",
    "vote_entropy",
]

"""BatchBALD: a batch whose labels together tell the most about the model, chosen greedily.

What is to be found out is which of the M passes (of dropout, of a committee, of a posterior) is right. A batch tells
about it by its labels: the gain of one more sample, given those chosen, is the mutual information of its label and the
pass, averaged over the answers that the chosen ones may get.

The idea in words: keep S possible answers to the samples chosen so far, each with its chance and with what would then
be believed of the passes, a row of M weights. Given an answer, a candidate's label has the distribution r = row @ q, a
matrix product for all candidates and all answers at once, and tells H(r) - row @ (entropies of q). A chosen sample
multiplies the answers by C. While they are at most `joint_samples` all are kept and the gains are exact; from there on
they are drawn, in proportion to chance times what remains unknown (the entropy of the row), and each gets the weight
that keeps every average right. So effort goes to answers that still matter, nothing underflows (rows are beliefs, not
products of likelihoods), and an answer that settles the question has exactly 0 left. No gain exceeds what remains
unknown on average; as this falls, fewer draws keep the error of the sum as small.

Gains can only fall as the batch grows, so a gain of long ago is an upper bound: only candidates whose bound lies above
the best found so far are evaluated again (lazy greedy). Once answers are drawn, bounds hold up to sampling noise.
Evaluations are in float32 while gains are far above its rounding; those that come within it of the best are done again
in float64, so ties are ties.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from al_service.acquisition.arrays import (
    FloatArray,
    IntArray,
    check_count,
    check_sampled_probabilities,
    in_kind_of,
)
from al_service.errors import InvalidInputError

JOINT_SAMPLES = 4000
# Candidates evaluated at a time at first; doubled while bounds keep lying above the best.
_FRONT = 128
# Floats of one block of (answers, candidates x classes) in float32: a few MB, so that it stays in the cache.
_BLOCK_FLOATS = 1 << 19
# Smaller beliefs become 0, and smaller chances of labels become this, so that x log x needs no special case. Far below
# rounding, and yet their product is not subnormal: processors are many times slower with such numbers.
_LEAST_BELIEF = {torch.float32: 1e-20, torch.float64: 1e-200}
_LEAST_CHANCE = {torch.float32: 1e-15, torch.float64: 1e-100}
# In nats for each log C: the rounding of entropies, and within which float64 gains are equal.
_ROUNDING = {torch.float32: 2e-6, torch.float64: 1e-14}
_EQUAL = 1e-12
# Below that much unknown, on average, float32 cannot tell gains from each other.
_SINGLE_ENOUGH = 1e-2
# Below that much nothing is left to learn, and no gain means anything.
_SETTLED = 1e-6
_DRAWS_MIN = 256
_REFINED_MAX = 512


def batch_bald(
    sampled: FloatArray, k: int, *, rng: np.random.Generator, joint_samples: int = JOINT_SAMPLES
) -> IntArray:
    """k positions whose labels together tell the most about the model, in order of choice.

    M passes can tell at most log M nats in all, so a large batch wants many passes: once the labels chosen are expected
    to tell everything (to 1e-6 nats), the rest follows by what each sample tells alone, as scores.bald has it.

    Args:
        sampled: (N, M, C), as in scores.bald; pass m must be the same model for every sample (masks shared by all).
        k: 0 <= k <= N.
        rng: read only once C^n exceeds joint_samples.
        joint_samples: how many joint answers are kept at most, at least 1. Gains are exact up to C^n of that size.

    Returns:
        (k,) int64 distinct positions; equal gains in order of position.

    Raises:
        InvalidArrayError: as scores.bald.
        InvalidInputError: k outside 0..N, or joint_samples < 1.

    Cost: k joint_samples N M C multiplications at most, usually a small part of it. Memory beside the input: a few MB,
    8 bytes a sample, 8 M joint_samples bytes and some 50 bytes for each of joint_samples C answers: 200 MB for 1,000
    classes.

    Random: one draw from rng for each pick after the answers have become too many.

    Source: Kirsch, van Amersfoort, Gal 2019 (1906.08158). Drawing by remaining entropy is ours.

    >>> pool = np.eye(2)[[[0, 0, 1, 1], [0, 0, 1, 1], [0, 1, 0, 1]]]
    >>> batch_bald(pool, 2, rng=np.random.default_rng(0))
    array([0, 2])
    """
    passes = check_sampled_probabilities(sampled)
    k = check_count(k, len(passes))
    if check_count(joint_samples, 2**31, name="joint_samples") < 1:
        raise InvalidInputError("joint_samples is 0, expected at least 1")
    return in_kind_of(most_informative(passes, k, rng, joint_samples).positions, sampled)


@dataclass(frozen=True, eq=False)
class Informative:
    """A batch in order of choice.

    Attributes:
        positions: (k,) int64.
        information: (k,) float64 nats: what the first 1, 2, ... k labels together tell about which pass is right.
        joint_entropy: (k,) float64 nats: of the first 1, 2, ... k labels together.
        is_exact: (k,) bool: whether that needed no drawn answers.
    """

    positions: Tensor
    information: Tensor
    joint_entropy: Tensor
    is_exact: Tensor


def most_informative(passes: Tensor, k: int, rng: np.random.Generator, joint_samples: int) -> Informative:
    """As batch_bald, for input that is already checked, with the information of every beginning of the batch."""
    answers = _Answers.none(passes.shape[1], passes.device)
    candidates = _Candidates(passes)
    positions = torch.empty(k, dtype=torch.int64, device=passes.device)
    gains, conditional = torch.empty(2, k, dtype=torch.float64)
    exact = torch.empty(k, dtype=torch.bool)
    for pick in range(k):
        position, gain = candidates.best(answers)
        chosen = _row_scaled(passes[position].to(torch.float64))
        positions[pick], gains[pick], exact[pick] = position, gain, answers.is_exact
        conditional[pick] = _entropies(chosen).mean()
        candidates.take(position)
        if answers.unknown > _SETTLED:
            answers = answers.after(chosen, joint_samples, rng)
    information = gains.cumsum(0)
    return Informative(positions, information, information + conditional.cumsum(0), exact)


@dataclass(frozen=True, eq=False)
class _Answers:
    """Possible answers to the samples chosen so far.

    Attributes:
        chances: (S,) float64 weights; they sum to 1 while exact, and in expectation afterwards.
        beliefs: (S, M) float64, rows sum to 1: how likely each pass is right, given the answer. None are kept once
            nothing is left to learn.
        unknown: nats, the mean entropy of the beliefs; no gain is larger.
        is_exact: whether these are all answers.
    """

    chances: Tensor
    beliefs: Tensor
    unknown: float
    is_exact: bool

    @classmethod
    def none(cls, passes: int, device: torch.device) -> "_Answers":
        """The one answer to no question."""
        ones = torch.ones(1, passes, dtype=torch.float64, device=device)
        return cls(ones[:, 0], ones / passes, math.log(passes), True)

    def after(self, q: Tensor, joint_samples: int, rng: np.random.Generator) -> "_Answers":
        """With the answers to one more sample, (M, C); at most joint_samples of them."""
        chances = (self.chances[:, None] * (self.beliefs @ q)).flatten()  # (S, C) -> (S C,)
        possible = chances.nonzero().flatten()
        chances = chances[possible]
        # All (S C, M) beliefs together may be large: those that are kept are computed again.
        blocks = possible.split(max(1, _BLOCK_FLOATS // q.shape[0]))
        unknown = torch.cat([_entropies(self._beliefs_after(q, block)) for block in blocks])
        remaining = chances * unknown
        total = float(remaining.sum())
        if self.is_exact and len(possible) <= joint_samples:
            return _Answers(chances, self._beliefs_after(q, possible), total, True)
        draws = min(joint_samples, max(_DRAWS_MIN, round(joint_samples * total / math.log(q.shape[0]))))
        if total <= _SETTLED:
            return _Answers(chances[:0], self.beliefs[:0], total, False)
        if len(possible) <= draws:
            return _Answers(chances, self._beliefs_after(q, possible), total, False)
        drawn = _systematic(remaining / total, draws, rng)
        # Every draw stands for an equal part of what remains unknown.
        return _Answers(total / draws / unknown[drawn], self._beliefs_after(q, possible[drawn]), total, False)

    def _beliefs_after(self, q: Tensor, answers: Tensor) -> Tensor:
        """(n, M) after these of the S C answers, given by answer * C + class."""
        beliefs = self.beliefs[answers // q.shape[1]] * q.T[answers % q.shape[1]]
        return beliefs.div_(beliefs.sum(1, keepdim=True))


class _Candidates:
    """The samples not chosen yet, with an upper bound of each one's gain."""

    def __init__(self, passes: Tensor) -> None:
        self.passes = passes
        self.bounds = torch.full((len(passes),), torch.inf, dtype=torch.float64, device=passes.device)
        self.alone: Tensor | None = None

    def take(self, position: int) -> None:
        """It is chosen and never comes back."""
        self.bounds[position] = -torch.inf

    def best(self, answers: _Answers) -> tuple[int, float]:
        """The position with the highest gain, the first of equals, and its gain in nats."""
        if answers.unknown <= _SETTLED:
            return self._best_alone(), 0.0
        dtype = torch.float32 if answers.unknown > _SINGLE_ENOUGH else torch.float64
        rounding = _ROUNDING[dtype] * math.log(self.passes.shape[2]) * float(answers.chances.sum())
        stale = self.bounds.clone()
        best, front = -math.inf, _FRONT
        evaluated = torch.zeros_like(stale, dtype=torch.bool)
        while True:
            values, positions = stale.topk(min(front, len(stale)))
            positions = positions[(values >= best - rounding) & (values > -torch.inf)]
            if not len(positions):
                break
            gains = self._gains(positions, answers, dtype)
            self.bounds[positions] = gains + rounding
            stale[positions] = -torch.inf
            evaluated[positions] = True
            best = max(best, float(gains.max()))
            front *= 2
        if self.alone is None:
            self.alone = self.bounds.clone()
        near = (evaluated & (self.bounds >= best - rounding)).nonzero().flatten()[:_REFINED_MAX]
        exact = self._gains(near, answers, torch.float64)
        winner = int((exact >= exact.max() - _EQUAL).nonzero()[0])
        return int(near[winner]), max(0.0, float(exact[winner]))

    def _best_alone(self) -> int:
        if self.alone is None:  # one pass, or passes that never differ
            return int((self.bounds > -torch.inf).nonzero()[0])
        return int(torch.where(self.bounds > -torch.inf, self.alone, -torch.inf).argmax())

    def _gains(self, positions: Tensor, answers: _Answers, dtype: torch.dtype) -> Tensor:
        """(n,) positions -> (n,) float64 nats."""
        beliefs = torch.where(answers.beliefs < _LEAST_BELIEF[dtype], 0.0, answers.beliefs)
        mean_belief = (answers.chances @ beliefs).to(dtype)
        beliefs, chances = beliefs.to(dtype), answers.chances.to(dtype)
        classes = self.passes.shape[2]
        found = []
        for part in positions.split(max(1, _BLOCK_FLOATS // (max(1, len(chances)) * classes))):
            q = _row_scaled(self.passes[part].to(dtype)).clamp_min_(_LEAST_CHANCE[dtype])  # (n, M, C)
            labels = beliefs @ q.transpose(0, 1).flatten(1)  # (S, M) @ (M, n C) -> (S, n C)
            total = -(chances @ labels.log().mul_(labels)).view(len(part), classes).sum(1)
            told = -(q.log().mul_(q).sum(2) @ mean_belief)  # (n, M) @ (M,) -> (n,)
            found.append((total - told).to(torch.float64))
        return torch.cat(found)


def _row_scaled(q: Tensor) -> Tensor:
    return q / q.sum(-1, keepdim=True)


def _entropies(p: Tensor) -> Tensor:
    """(..., C) -> (...) in nats."""
    return -torch.xlogy(p, p).sum(-1)


def _systematic(shares: Tensor, count: int, rng: np.random.Generator) -> Tensor:
    """`count` indices, each as often as its share says to within one: equally spaced points from one random start."""
    points = (torch.arange(count, dtype=torch.float64, device=shares.device) + rng.random()) / count
    return torch.searchsorted(shares.cumsum(0), points).clamp_max_(len(shares) - 1)

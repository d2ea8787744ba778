"""What a strategy chooses from, and what it says it chose: positions of the pool in order of sample id.

Plain data between strategies.py (the door), choosers.py (one function for each strategy) and limits.py.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class Candidates:
    """The pool in order of id.

    Args:
        arrays: those that the strategy needs, by name; absent: there is no model yet.
        labelled_embeddings: (L, D), or None.
        taken: positions that are chosen already, by chance or before this call; they count as covered.
        free: (n,) int64 positions that may be chosen, rising.
    """

    arrays: dict[str, Tensor]
    labelled_embeddings: Tensor | None
    taken: Tensor
    free: Tensor

    def rows(self, name: str, positions: Tensor) -> Tensor:
        """Rows of an array, on its device."""
        array = self.arrays[name]
        if len(positions) == len(array) and bool((positions == torch.arange(len(array))).all()):
            return array  # all of a large pool is not copied
        return array[positions.to(array.device)]

    @property
    def covered(self) -> Tensor | None:
        """(L + T, D) embeddings of what is labelled or taken; None where embeddings are not needed."""
        embeddings = self.arrays.get("embeddings")
        if embeddings is None:
            return None
        taken = embeddings[self.taken.to(embeddings.device)]
        if self.labelled_embeddings is None:
            return taken
        return torch.cat([self.labelled_embeddings.to(embeddings), taken])


@dataclass(frozen=True)
class Options:
    """What a caller may turn, see Strategy.select."""

    prefilter_factor: int = 10
    class_cap: float = 1.0
    duplicate_radius: float = 0.0


@dataclass(frozen=True)
class Choice:
    """Positions in order of choice, with a score and a reason for each.

    Args:
        scores_of_taken: scores of the taken positions, where the strategy has such.
        facts: what the strategy says of the whole choice, e.g. its regime and why.
    """

    positions: Tensor
    scores: list[float | None]
    reasons: list[dict[str, Any]]
    scores_of_taken: list[float | None]
    facts: dict[str, Any] = field(default_factory=dict)


Chooser = Callable[[Candidates, int, Options, np.random.Generator], Choice]

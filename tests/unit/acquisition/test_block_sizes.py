"""What is promised of memory: no array is larger than its docstring says, whatever the number of classes."""

from typing import Any

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from al_service.acquisition import scores
from al_service.acquisition.arrays import CHUNK_ELEMENTS
from al_service.acquisition.batch_bald import batch_bald


class Largest(TorchDispatchMode):
    """The most elements of any tensor that an operation gives."""

    elements = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if isinstance(result, torch.Tensor):
            self.elements = max(self.elements, result.numel())
        return result


def passes(n: int, m: int, classes: int) -> np.ndarray:
    return np.random.default_rng(0).dirichlet(np.full(classes, 0.1), size=(n, m))


@pytest.mark.parametrize(("n", "targets", "m", "classes"), [(2, 14, 4, 600), (1, 1, 2, 2100), (9000, 1, 300, 2)])
def test_epig_holds_32_mb_at_a_time(n, targets, m, classes):
    sampled, wanted = passes(n, m, classes), passes(targets, m, classes)
    with Largest() as largest:
        scores.epig(sampled, wanted)
    assert largest.elements <= max(CHUNK_ELEMENTS, sampled.size)


def test_batch_bald_never_holds_the_beliefs_after_all_answers():
    joint_samples, m, classes = 1000, 40, 50
    sampled = passes(20, m, classes)
    with Largest() as largest:
        batch_bald(sampled, 5, rng=np.random.default_rng(0), joint_samples=joint_samples)
    assert largest.elements <= joint_samples * m * classes / 3

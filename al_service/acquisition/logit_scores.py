"""Scores from logits: softmax in float64, a block of rows at a time.

float32 probabilities of a row whose logits lie 104 apart are exactly one-hot; from logits, nearly certain rows keep
their order up to gaps of about 700.
"""

import torch
from torch import Tensor

from al_service.acquisition import score_registry
from al_service.acquisition.arrays import (
    CHUNK_ELEMENTS,
    FloatArray,
    InvalidArrayError,
    check_embeddings,
    in_kind_of,
    row_chunks,
    to_tensor,
)
from al_service.acquisition.score_registry import Needs, Score
from al_service.errors import InvalidInputError

_AXES: dict[Needs, tuple[str, ...]] = {
    "probabilities": ("N", "C"),
    "sampled_probabilities": ("N", "M", "C"),
    "target_sampled_probabilities": ("T", "M", "C"),
}


def from_logits(name: str, logits: FloatArray, *others: FloatArray) -> FloatArray:
    """The score of that name, from logits in place of probabilities; higher = ask first.

    Args:
        name: of a registered score.
        logits: (N, C), or (N, M, C) for scores of passes. -inf says impossible: a probability of exactly 0.
        others: what else the score reads, in the order of its `inputs`; logits again for anything of probabilities,
            embeddings as they are.

    Returns:
        (N,) float64, as the score itself on softmax(logits) in float64.

    Raises:
        UnknownScoreError: no such name.
        InvalidInputError: fewer or more arrays than the score reads.
        InvalidArrayError: wrong shape, C < 2, NaN, +inf, or a row of -inf; and what the score raises.

    >>> import numpy as np
    >>> from_logits("margin", np.array([[0.0, 0.0, -np.inf], [0.0, -40.0, -np.inf]]))
    array([1.00000000e+00, 8.49670851e-18])
    """
    score = score_registry.get(name)
    arrays = (logits, *others)
    if len(arrays) != len(score.inputs):
        raise InvalidInputError(f"score {name!r} reads {', '.join(score.inputs)}; {len(arrays)} arrays were given")
    tensors = [_checked(array, needs) for array, needs in zip(arrays, score.inputs, strict=True)]
    count = len(tensors[0])
    for tensor, needs in zip(tensors, score.inputs, strict=True):
        if needs != "target_sampled_probabilities" and len(tensor) != count:
            raise InvalidArrayError(f"{needs} has {len(tensor)} rows beside {count} of {score.needs}; expected as many")
    return in_kind_of(_by_blocks(score, tensors), logits)


def _by_blocks(score: Score, tensors: list[Tensor]) -> Tensor:
    widest = max(tensor[:1].numel() for tensor in tensors)
    rows = max(1, CHUNK_ELEMENTS // max(1, widest))
    found = torch.empty(len(tensors[0]), dtype=torch.float64, device=tensors[0].device)
    targets = {
        needs: _softmax(tensor)
        for needs, tensor in zip(score.inputs, tensors, strict=True)
        if needs == "target_sampled_probabilities"
    }
    for start in range(0, len(found), rows):
        part = slice(start, start + rows)
        block = [
            targets[needs] if needs in targets else tensor[part] if needs == "embeddings" else _softmax(tensor[part])
            for needs, tensor in zip(score.inputs, tensors, strict=True)
        ]
        found[part] = to_tensor(score.function(*block), score.name)
    return found


def _softmax(logits: Tensor) -> Tensor:
    return logits.to(torch.float64).softmax(-1)


def _checked(array: FloatArray, needs: Needs) -> Tensor:
    if needs == "embeddings":
        return check_embeddings(array)
    tensor, axes = to_tensor(array, "logits"), _AXES[needs]
    if tensor.dim() != len(axes) or tensor.shape[-1] < 2 or (tensor.dim() == 3 and tensor.shape[1] == 0):
        raise InvalidArrayError(
            f"logits of {needs} have shape {tuple(tensor.shape)}, expected ({', '.join(axes)}) with C >= 2"
        )
    start = 0
    for chunk in row_chunks(tensor):
        # NaN and +inf are found by the maximum, and so is a row of -inf.
        bad = ~torch.isfinite(chunk.amax(-1))
        if bool(bad.any()):
            where = bad.nonzero()[0].tolist()
            at = ", ".join(str(index) for index in [start + where[0], *where[1:]])
            raise InvalidArrayError(
                f"logits[{at}] holds NaN or +inf, or -inf for every class; expected numbers, at least one of a row "
                f"above -inf, shape {tuple(tensor.shape)}"
            )
        start += chunk.shape[0]
    return tensor

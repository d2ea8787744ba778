"""Every check of an array's shape and values, and the door between numpy and torch.

Public functions of this room accept numpy arrays and torch tensors of any device, work on tensors, and answer in the
kind they were given. No score and no selector checks anything by itself.
"""

import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from al_service.errors import InvalidInputError

FloatArray = np.ndarray | Tensor
IntArray = np.ndarray | Tensor

ROW_SUM_TOLERANCE = 1e-3
# Elements a row-wise computation holds at once: 32 MB of float64.
CHUNK_ELEMENTS = 1 << 22


class InvalidArrayError(InvalidInputError):
    """An array has the wrong shape or values; names the array, the first bad row and what was expected."""

    code = "invalid_array"


@dataclass(frozen=True, eq=False)
class PoolArrays:
    """What is known of the unlabelled samples, row by row beside their ids; arrays that nobody needs may be absent.

    Args:
        sample_ids: N distinct ids, all whole numbers or all text.
        probabilities: (N, C) softmax outputs.
        embeddings: (N, D).
        sampled_probabilities: (N, M, C) softmax outputs of M stochastic passes.
        labelled_embeddings: (L, D) of the samples that have labels already, from the same model.

    Raises:
        InvalidArrayError: an id twice, an array that is not what its name says, or arrays of different lengths.
    """

    sample_ids: Sequence[int] | Sequence[str] | np.ndarray
    probabilities: FloatArray | None = None
    embeddings: FloatArray | None = None
    sampled_probabilities: FloatArray | None = None
    labelled_embeddings: FloatArray | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "sample_ids", check_sample_ids(self.sample_ids))
        if self.probabilities is not None:
            check_probabilities(self.probabilities)
        if self.sampled_probabilities is not None:
            check_sampled_probabilities(self.sampled_probabilities)
        width = None if self.embeddings is None else check_embeddings(self.embeddings).shape[1]
        if self.labelled_embeddings is not None:
            check_embeddings(self.labelled_embeddings, name="labelled_embeddings", width=width)
        for name in ("probabilities", "embeddings", "sampled_probabilities"):
            array = getattr(self, name)
            if array is not None and len(array) != len(self.sample_ids):
                raise InvalidArrayError(
                    f"{name} has {len(array)} rows for {len(self.sample_ids)} sample_ids; expected one row per id"
                )

    def __len__(self) -> int:
        return len(self.sample_ids)


@dataclass(frozen=True)
class Selection:
    """Which samples were chosen, in order of choice, and why.

    Args:
        sample_ids: K distinct ids of the pool.
        scores: per pick the strategy's score, higher = asked sooner; for k_center the distance to the nearest labelled
            or chosen sample at that moment; None where there is none (random picks of a strategy without scores, the
            first centre of all).
        reasons: per pick plain data for al_service.domain.reasons: {"code": ..., "between": [class_index, ...], ...}.
        facts: what the strategy says of the whole selection, JSON-able; of "auto": {"regime": ..., "why": ...}.
    """

    sample_ids: tuple[int, ...] | tuple[str, ...]
    scores: tuple[float | None, ...]
    reasons: tuple[dict[str, Any], ...]
    facts: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        # A score beside the wrong id is worse than none.
        assert len(self.sample_ids) == len(self.scores) == len(self.reasons)

    def __len__(self) -> int:
        return len(self.sample_ids)


def to_tensor(array: FloatArray, name: str) -> Tensor:
    """The array as a tensor on its own device; shares memory where it can and is never written to.

    Raises:
        InvalidArrayError: neither numpy nor torch, or its elements are not real numbers.
    """
    if isinstance(array, Tensor):
        if array.is_complex():
            raise InvalidArrayError(f"{name} has dtype {array.dtype}, expected real numbers")
        return array.detach()
    if not isinstance(array, np.ndarray):
        raise InvalidArrayError(f"{name} is a {type(array).__name__}, expected a numpy array or a torch tensor")
    if array.dtype.kind not in "fiub":
        raise InvalidArrayError(f"{name} has dtype {array.dtype}, expected real numbers")
    if not array.dtype.isnative:
        array = array.astype(array.dtype.newbyteorder("="))
    if any(stride < 0 for stride in array.strides):
        array = array.copy()  # torch refuses them
    with warnings.catch_warnings():
        # Nothing writes to it, so read-only memory is as good: a mapped file is not copied whole.
        warnings.filterwarnings("ignore", "The given NumPy array is not writ", UserWarning)
        return torch.from_numpy(array)


def in_kind_of(result: Tensor, array: FloatArray) -> Any:
    """The result as numpy where the input was numpy, as a tensor on the input's device where it was torch."""
    return result if isinstance(array, Tensor) else result.cpu().numpy()


def by_rows(function: Callable[[Tensor], Tensor], array: Tensor) -> Tensor:
    """Apply a function of rows, (n, ...) -> (n,), to chunks of float64 rows, so that memory stays flat.

    Returns:
        (N,) float64.
    """
    if not array.shape[0]:
        return torch.empty(0, dtype=torch.float64, device=array.device)
    return torch.cat([function(chunk.to(torch.float64)) for chunk in row_chunks(array)])


def row_chunks(array: Tensor, elements: int = CHUNK_ELEMENTS) -> tuple[Tensor, ...]:
    """The array cut along its rows into views of at most about `elements` elements."""
    return array.split(max(1, elements // max(1, array[:1].numel())))


def check_probabilities(probabilities: FloatArray, *, name: str = "probabilities", min_classes: int = 2) -> Tensor:
    """(N, C) probabilities as a tensor, once they are known to be such.

    Raises:
        InvalidArrayError: not (N, C), C < min_classes, NaN, a negative value, or a row that does not sum to 1 within
            1e-3.
    """
    tensor = to_tensor(probabilities, name)
    _check_shape(tensor, ("N", "C"), name)
    _check_distributions(tensor, name, min_classes)
    return tensor


def check_sampled_probabilities(
    sampled: FloatArray, *, name: str = "sampled_probabilities", min_classes: int = 2
) -> Tensor:
    """(N, M, C) probabilities of M stochastic passes, as a tensor. Raises as check_probabilities, and for M = 0."""
    tensor = to_tensor(sampled, name)
    _check_shape(tensor, ("N", "M", "C"), name)
    if tensor.shape[1] == 0:
        raise InvalidArrayError(f"{name} has no passes, shape {tuple(tensor.shape)}; expected M >= 1 in (N, M, C)")
    _check_distributions(tensor, name, min_classes)
    return tensor


def check_embeddings(embeddings: FloatArray, *, name: str = "embeddings", width: int | None = None) -> Tensor:
    """(N, D) finite embeddings, D >= 1, as a tensor; `width` is the D that another array prescribes.

    Raises:
        InvalidArrayError: not (N, D), a NaN or an infinity, or another width.
    """
    tensor = to_tensor(embeddings, name)
    _check_shape(tensor, ("N", "D"), name)
    if tensor.shape[1] == 0:
        raise InvalidArrayError(f"{name} has width 0, shape {tuple(tensor.shape)}; expected (N, D) with D >= 1")
    if width is not None and tensor.shape[1] != width:
        raise InvalidArrayError(f"{name} has width {tensor.shape[1]}, expected {width}: embed both with the same model")
    _check_finite(tensor, name)
    return tensor


def check_scores(scores: FloatArray, *, name: str = "scores") -> Tensor:
    """(N,) finite scores as a tensor.

    Raises:
        InvalidArrayError: not (N,), or a NaN or an infinity.
    """
    tensor = to_tensor(scores, name)
    _check_shape(tensor, ("N",), name)
    _check_finite(tensor, name)
    return tensor


def check_count(count: int, limit: int, *, name: str = "k") -> int:
    """A whole number between 0 and `limit`, as int.

    Raises:
        InvalidInputError: not a whole number, negative, or above the limit.
    """
    if isinstance(count, bool) or not isinstance(count, int | np.integer):
        raise InvalidInputError(f"{name} is {count!r}, expected a whole number")
    if not 0 <= count <= limit:
        raise InvalidInputError(f"{name} is {count}, expected 0 to {limit}: there are {limit} samples to choose from")
    return int(count)


def check_fraction(fraction: float, *, name: str) -> float:
    """A number in [0, 1], as float.

    Raises:
        InvalidInputError: anything else, NaN included.
    """
    if isinstance(fraction, bool) or not isinstance(fraction, int | float | np.floating) or not 0 <= fraction <= 1:
        raise InvalidInputError(f"{name} is {fraction!r}, expected a number from 0 to 1")
    return float(fraction)


def check_sample_ids(sample_ids: Sequence[int] | Sequence[str] | np.ndarray) -> tuple[int, ...] | tuple[str, ...]:
    """Distinct ids, all whole numbers or all text, as a tuple of plain int or str.

    Raises:
        InvalidArrayError: an id occurs twice, or ids are of another or of mixed types.
    """
    # Large pools come as arrays of whole numbers: no look at every id by itself.
    if isinstance(sample_ids, np.ndarray) and _are_distinct_whole_numbers(sample_ids):
        return tuple(sample_ids.tolist())
    ids = tuple(sample_ids.tolist() if isinstance(sample_ids, np.ndarray | Tensor) else sample_ids)
    plain = tuple(int(one) if isinstance(one, np.integer) else one for one in ids)
    kinds = {type(one) for one in plain}
    if len(kinds) > 1 or not kinds <= {int, str}:
        found = ", ".join(sorted(kind.__name__ for kind in kinds))
        raise InvalidArrayError(f"sample_ids hold {found}; expected whole numbers only, or text only")
    if len(set(plain)) != len(plain):
        repeated = Counter(plain).most_common(1)[0][0]
        raise InvalidArrayError(f"sample_ids hold {repeated!r} twice; every sample may be in the pool once")
    return plain


def _are_distinct_whole_numbers(ids: np.ndarray) -> bool:
    return ids.dtype.kind in "iu" and ids.ndim == 1 and len(np.unique(ids)) == len(ids)


def _check_shape(tensor: Tensor, axes: tuple[str, ...], name: str) -> None:
    if tensor.dim() != len(axes):
        expected = f"({', '.join(axes)}{',' if len(axes) == 1 else ''})"
        raise InvalidArrayError(f"{name} has shape {tuple(tensor.shape)}, expected {expected}")


def _check_finite(tensor: Tensor, name: str) -> None:
    if not tensor.is_floating_point():
        return
    start = 0
    for chunk in row_chunks(tensor):
        bad = ~torch.isfinite(chunk)
        if bool(bad.any()):
            row = int(bad.flatten(1).any(1).nonzero()[0]) if bad.dim() > 1 else int(bad.nonzero()[0])
            raise InvalidArrayError(f"{name}[{start + row}] holds NaN or infinity, shape {tuple(tensor.shape)}")
        start += chunk.shape[0]


def _check_distributions(tensor: Tensor, name: str, min_classes: int) -> None:
    classes = tensor.shape[-1]
    if classes < min_classes:
        raise InvalidArrayError(
            f"{name} has {classes} classes, shape {tuple(tensor.shape)}; expected at least {min_classes}"
        )
    _check_finite(tensor, name)
    start = 0
    for chunk in row_chunks(tensor):
        values = chunk.to(torch.float64)
        sums = values.sum(-1)  # (n, C) -> (n,) or (n, M, C) -> (n, M)
        bad = ((sums - 1).abs() > ROW_SUM_TOLERANCE) | (values < 0).any(-1)
        if bool(bad.any()):
            where = bad.nonzero()[0].tolist()
            at = ", ".join(str(index) for index in [start + where[0], *where[1:]])
            found = (
                "holds a negative value" if (values[tuple(where)] < 0).any() else f"sums to {sums[tuple(where)]:.3f}"
            )
            raise InvalidArrayError(
                f"{name}[{at}] {found}, expected values >= 0 that sum to 1 within {ROW_SUM_TOLERANCE}, "
                f"shape {tuple(tensor.shape)}. If these are logits, apply softmax first."
            )
        start += chunk.shape[0]

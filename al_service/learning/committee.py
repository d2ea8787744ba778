"""Committees: several heads over the same embeddings, and what each of them says.

A head here is a probe, and the backbone runs once for all of them: M heads are one matrix of M C rows, their answers
one product. Members differ because each sees another bootstrap sample of the labels. Draws from a posterior
(laplace.py) are a committee too. Several networks with outputs of their own are put side by side by `stack_members`.
Scores of disagreement (acquisition/committee_scores.py) read the (N, M, C) that comes out.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from al_service.errors import InvalidInputError
from al_service.learning.probe import InvalidProbeDataError, Probe, fit_probe

MEMBERS = 10
# Floats of one block of logits: 16 MB.
_BLOCK_FLOATS = 1 << 22


class InvalidCommitteeError(InvalidInputError):
    """Members that do not fit each other: other samples, classes that nobody knows, or none at all."""

    code = "invalid_committee"


@dataclass(frozen=True, eq=False)
class Committee:
    """M heads: logits of member m = embeddings @ weights[m].T + bias[m].

    Args:
        weights: (M, C, D) float32.
        bias: (M, C) float32.
    """

    weights: np.ndarray
    bias: np.ndarray

    def __len__(self) -> int:
        return len(self.weights)

    def sampled_probabilities(self, embeddings: Any, *, device: str | torch.device = "cpu") -> np.ndarray:
        """What every member says of every sample.

        Args:
            embeddings: (N, D) float array-like, sliced, so a memory map is never read as a whole; float16 is read as
                float32.
            device: where it is computed.

        Returns:
            (N, M, C) float32, rows sum to 1; member m is the same head for every sample.

        Raises:
            InvalidProbeDataError: embeddings of another width.

        Cost: one product of N D M C multiplications, in blocks of 16 MB.
        """
        members, classes, width = self.weights.shape
        shape = tuple(embeddings.shape)
        if len(shape) != 2 or shape[1] != width:
            raise InvalidProbeDataError(f"embeddings have shape {shape}, expected (N, {width})")
        heads = torch.from_numpy(self.weights).to(device).flatten(0, 1).T  # (D, M C)
        bias = torch.from_numpy(self.bias).to(device).flatten()
        found = np.empty((shape[0], members, classes), np.float32)
        rows = max(1, _BLOCK_FLOATS // max(width, members * classes))
        for start in range(0, shape[0], rows):
            part = torch.as_tensor(_numpy(embeddings[start : start + rows]).astype(np.float32)).to(device)
            logits = torch.addmm(bias, part, heads).unflatten(1, (members, classes))
            found[start : start + rows] = logits.softmax(2).cpu().numpy()
        return found


def fit_committee(
    embeddings: Any,
    class_indices: Any,
    class_count: int,
    *,
    members: int = MEMBERS,
    l2: float | None = None,
    seed: int = 0,
    start: Probe | None = None,
    device: str | torch.device = "cpu",
) -> Committee:
    """M probes, each fitted on a bootstrap sample of the labels.

    A bootstrap sample draws, within every class, as many labels as the class has, with replacement; so no class is ever
    lost, and a class with one label has it in every sample. It is given as weights: how often each label was drawn.

    Args:
        embeddings, class_indices, class_count, device: as in fit_probe; soft targets count for their likeliest class
            when they are drawn.
        members: M >= 1.
        l2: of every member; None takes the one that fit_probe chooses on all labels.
        seed: of the draws and the choice of l2.
        start: a probe of the same shape, e.g. the one in use; saves time and changes nothing else.

    Raises:
        InvalidProbeDataError, InvalidInputError: as fit_probe, or members < 1.

    Random: the draws, from seed. Member m is the same whatever M is.

    Cost: M + 1 fits (M with l2 and start given), each of about two thirds of the labels.

    Source: Breiman 1996 (bagging); for asking, Abe, Mamitsuka 1998 (query by bagging).
    """
    if members < 1:
        raise InvalidInputError(f"members is {members}, expected at least 1")
    if l2 is None or start is None:
        start = fit_probe(embeddings, class_indices, class_count, l2=l2, start=start, seed=seed, device=device)
        l2 = start.l2
    labels = _numpy(class_indices)
    labels = labels.argmax(1) if labels.ndim == 2 else labels
    fitted = [
        fit_probe(
            embeddings,
            class_indices,
            class_count,
            l2=l2,
            start=start,
            sample_weights=bootstrap_counts(labels, np.random.default_rng([seed, member])),
            device=device,
        )
        for member in range(members)
    ]
    return Committee(np.stack([one.weights for one in fitted]), np.stack([one.bias for one in fitted]))


def bootstrap_counts(class_indices: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(L,) whole numbers as float64: how often each label is drawn, within its class; they sum to L.

    Random: one draw for each class, in order of class.

    >>> bootstrap_counts(np.array([2, 0, 0]), np.random.default_rng(0))[0].item()
    1.0
    """
    counts = np.zeros(len(class_indices))
    for one in np.unique(class_indices):
        rows = np.flatnonzero(class_indices == one)
        counts[rows] = rng.multinomial(len(rows), np.full(len(rows), 1 / len(rows)))
    return counts


def stack_members(
    probabilities: Sequence[Any],
    class_names: Sequence[Sequence[Any]],
    all_class_names: Sequence[Any] | None = None,
) -> tuple[np.ndarray, tuple[Any, ...]]:
    """Outputs of M models over the same samples as one array, with classes matched by name and not by position.

    Args:
        probabilities: M arrays (N, C_m) of the members.
        class_names: the C_m class names of each member, in the order of its columns.
        all_class_names: the order wanted; None: every name that occurs, in order of first occurrence.

    Returns:
        (N, M, C) float32, and the C names. A class that a member does not know has probability 0 there.

    Raises:
        InvalidCommitteeError: no members, different N, names that do not fit their array or occur twice, or a name that
            all_class_names lacks.

    >>> stack_members([np.array([[0.9, 0.1]]), np.array([[1.0, 0.0]])], [["cat", "dog"], ["dog", "cat"]])[0].tolist()
    [[[0.8999999761581421, 0.10000000149011612], [0.0, 1.0]]]
    """
    arrays = [_numpy(one) for one in probabilities]
    if not arrays or len(arrays) != len(class_names):
        raise InvalidCommitteeError(f"{len(arrays)} members and {len(class_names)} lists of class names were given")
    if all_class_names is None:
        all_class_names = list(dict.fromkeys(name for names in class_names for name in names))
    column = {name: number for number, name in enumerate(all_class_names)}
    if len(column) != len(all_class_names):
        raise InvalidCommitteeError("all_class_names hold a name twice; expected each class once")
    found = np.zeros((len(arrays[0]), len(arrays), len(column)), np.float32)
    for member, (rows, names) in enumerate(zip(arrays, class_names, strict=True)):
        if rows.shape != (len(found), len(names)) or len(set(names)) != len(names):
            raise InvalidCommitteeError(
                f"member {member} has outputs of shape {rows.shape} for {len(set(names))} class names, expected "
                f"({len(found)}, {len(names)}) and distinct names"
            )
        unknown = [name for name in names if name not in column]
        if unknown:
            raise InvalidCommitteeError(f"member {member} knows the class {unknown[0]!r}, which all_class_names lack")
        found[:, member, [column[name] for name in names]] = rows
    return found, tuple(all_class_names)


def _numpy(values: Any) -> np.ndarray:
    return values.detach().cpu().numpy() if isinstance(values, Tensor) else np.asarray(values)

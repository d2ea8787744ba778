"""Making confidence mean what it says: one temperature for all logits, fitted on the random evaluation slice.

Networks tend to be too sure. Dividing all logits by one number T moves every confidence and changes no answer. T is the
one that makes the slice's labels likeliest. Fitted on samples that a strategy chose, it would describe those
and not the pool, so the slice must be random.

The idea in words: the mean negative log likelihood is convex in 1 / T, so its least value is found by Newton steps kept
inside a shrinking bracket. A few labels say little (three right answers would call for T = 0), so the fit holds
T near 1 with a prior that weighs as much as PRIOR_SAMPLES labels: a Gamma distribution of 1 / T with its mode at 1.

A metric measured on the labels that T was fitted on is too good. `calibrate` therefore cross-fits: T from four fifths
of the slice is measured on the last fifth, in turn. The temperature that it gives out is that of the whole slice.

Source: Guo, Pleiss, Sun, Weinberger 2017 (temperature); the prior is ours.
"""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from al_service.errors import InvalidInputError
from al_service.learning.evaluation import Evaluation, evaluate

TEMPERATURE_LOW, TEMPERATURE_HIGH = 0.05, 20.0
#: How many labels the belief that T is 1 weighs. On logits that were 1, 2 and 3 times too large, with 3 to 100 labels,
#: 2 to 5 lost least in all: less lets few labels run away with T, more holds it back when it ought to move.
PRIOR_SAMPLES = 5.0
FOLDS = 5
_STEPS_MAX = 100
_TOLERANCE = 1e-10


class InvalidCalibrationSetError(InvalidInputError):
    """Logits and labels that do not fit each other, or none at all."""

    code = "invalid_calibration_set"


@dataclass(frozen=True)
class Temperature:
    """What all logits are divided by, in TEMPERATURE_LOW..TEMPERATURE_HIGH; above 1 makes predictions less sure.

    Args:
        value: T.
        nll_before, nll_after: mean negative log likelihood in nats of the labels that T was fitted on, at 1 and at T;
            too good to be reported as a result, see `calibrate`. After is never above before.
        count: of those labels.
    """

    value: float
    nll_before: float
    nll_after: float
    count: int

    def probabilities(self, logits: Any) -> np.ndarray:
        """(N, C) logits -> (N, C) float32 probabilities at this temperature; their likeliest class stays."""
        return _tensor(logits).div(self.value).softmax(1).float().numpy()


@dataclass(frozen=True)
class Calibration:
    """A temperature and what it is worth.

    Args:
        temperature: from all labels; the one to use.
        before: at temperature 1.
        after: every label measured at a temperature that was fitted without it. Accuracy is that of before.
    """

    temperature: Temperature
    before: Evaluation
    after: Evaluation

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)


def fit_temperature(logits: Any, class_indices: Any) -> Temperature:
    """The temperature that makes the labels likeliest, held near 1 where they are few.

    Args:
        logits: (N, C) float array or tensor, N >= 1, finite.
        class_indices: (N,) whole numbers in [0, C).

    Raises:
        InvalidCalibrationSetError: shapes that do not fit, no samples, labels outside [0, C), or logits that are NaN or
            infinite.
    """
    rows, labels = _checked(logits, class_indices)
    value = _fitted(rows, labels)
    return Temperature(value, _nll(rows, labels, 1.0), _nll(rows, labels, value), len(rows))


def calibrate(logits: Any, class_indices: Any, seed: int = 0) -> Calibration:
    """Fit a temperature and say honestly what it changes.

    Args:
        logits, class_indices: as in fit_temperature, of a random slice that was not trained on.
        seed: of the five parts (as many parts as labels, where these are fewer).

    Raises:
        InvalidCalibrationSetError: as fit_temperature.

    Random: one permutation, from seed.
    """
    rows, labels = _checked(logits, class_indices)
    count = len(rows)
    after = torch.empty_like(rows)
    for part in np.array_split(np.random.default_rng(seed).permutation(count), min(FOLDS, count)):
        rest = np.setdiff1d(np.arange(count), part)
        # One label alone leaves none to fit on.
        value = _fitted(rows[rest], labels[rest]) if len(rest) else 1.0
        after[part] = (rows[part] / value).softmax(1)
    return Calibration(
        temperature=fit_temperature(rows, labels),
        before=evaluate(rows.softmax(1).numpy(), labels.numpy()),
        after=evaluate(after.numpy(), labels.numpy()),
    )


def _fitted(logits: Tensor, labels: Tensor) -> float:
    """T; the bracket is of sharpness b = 1 / T, where the loss plus prior is convex."""
    low, high = 1 / TEMPERATURE_HIGH, 1 / TEMPERATURE_LOW
    sharpness = 1.0
    for _ in range(_STEPS_MAX):
        slope, bend = _slope_and_bend(logits, labels, sharpness)
        if slope > 0:
            high = sharpness
        else:
            low = sharpness
        wanted = sharpness - slope / bend
        if not low <= wanted <= high:
            wanted = (low * high) ** 0.5
        if abs(wanted - sharpness) <= _TOLERANCE * sharpness:
            break
        sharpness = wanted
    return float(np.clip(1 / sharpness, TEMPERATURE_LOW, TEMPERATURE_HIGH))


def _slope_and_bend(logits: Tensor, labels: Tensor, sharpness: float) -> tuple[float, float]:
    """First and second derivative by b of the mean loss at logits b z, plus the prior's b - 1 - log b."""
    probabilities = (logits * sharpness).softmax(1)
    mean = (probabilities * logits).sum(1)  # (N, C) -> (N,)
    variance = (probabilities * (logits - mean[:, None]).square()).sum(1)
    of_label = logits.gather(1, labels[:, None])[:, 0]
    weight = PRIOR_SAMPLES / len(logits)
    slope = (mean - of_label).mean() + weight * (1 - 1 / sharpness)
    bend = variance.mean() + weight / sharpness**2
    return float(slope), float(bend)


def _nll(logits: Tensor, labels: Tensor, temperature: float) -> float:
    return float(torch.nn.functional.cross_entropy(logits / temperature, labels))


def _tensor(logits: Any) -> Tensor:
    return torch.as_tensor(logits).detach().cpu().double()


def _checked(logits: Any, class_indices: Any) -> tuple[Tensor, Tensor]:
    rows, labels = _tensor(logits), torch.as_tensor(class_indices).detach().cpu()
    whole = not (labels.is_floating_point() or labels.is_complex() or labels.dtype == torch.bool)
    if rows.ndim != 2 or labels.shape != rows.shape[:1] or len(rows) == 0 or not whole:
        raise InvalidCalibrationSetError(
            f"logits have shape {tuple(rows.shape)}, class_indices {tuple(labels.shape)} and dtype {labels.dtype}; "
            "expected (N, C) and (N,) whole numbers with N >= 1"
        )
    bad = torch.nonzero(~rows.isfinite().all(1)).flatten()
    if len(bad):
        raise InvalidCalibrationSetError(f"logits[{int(bad[0])}] holds NaN or infinity, expected finite numbers")
    outside = torch.nonzero((labels < 0) | (labels >= rows.shape[1])).flatten()
    if len(outside):
        row = int(outside[0])
        raise InvalidCalibrationSetError(
            f"class_indices[{row}] is {int(labels[row])}, expected 0 to {rows.shape[1] - 1}"
        )
    return rows, labels.long()

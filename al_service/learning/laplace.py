"""Last-layer Laplace: which other heads the labels would allow, as a normal distribution around the probe.

The probe minimises (mean cross-entropy) + l2 / 2 |W|^2 on scaled embeddings; times the number of labels L this is minus
the log of a posterior whose prior holds every weight with precision L l2, the bias free. Near its mode the posterior is
about normal, its precision the Hessian there: sum_i (diag(p_i) - p_i p_i') (x) x_i x_i' + L l2 (for a softmax the
Gauss-Newton matrix is the Hessian). Heads drawn from it make a committee: the same shape of answer as dropout passes or
bootstrap members, at the price of one matrix product, and no dropout layer is needed.

The idea in words: labels say something only about directions in which their embeddings differ. With fewer labels than
columns that is a small space, in which the precision is written down and factorised exactly (C (r + 1) up to 6,000
numbers, r = min(L, D)); outside of it the posterior is the prior, which needs no matrix. Where it is larger, the
precision is taken as a Kronecker product of a class part A = mean of diag(p) - p p' and an embedding part
S = mean of x x', as is usual; its eigenvectors are known from those of A and S, and the prior is added exactly.

A number added to the biases of all classes changes nothing. The sum of the biases is therefore held at that of the
probe.
"""

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from al_service.errors import InvalidInputError
from al_service.learning.committee import Committee
from al_service.learning.penalty_choice import ScaledFit
from al_service.learning.probe import InvalidProbeDataError, Probe

Form = Literal["exact", "kronecker"]
#: Rows of the precision up to which it is factorised as a whole: 288 MB in float64, and as much for the factor.
EXACT_ROWS_MAX = 6_000
_JITTERS = (0.0, 1e-12, 1e-10, 1e-8, 1e-6)


class PosteriorNotDefiniteError(InvalidInputError):
    """The precision of the posterior could not be factorised: l2 drowns in the rounding of the embeddings' part."""

    code = "posterior_not_definite"


@dataclass(frozen=True, eq=False)
class HeadPosterior:
    """A normal distribution over heads, around a probe. Get one with `fit_laplace`; draw with `sample`.

    Attributes:
        probe: its centre.
        form: "exact" or "kronecker".
        prior_precision: L l2, of every weight on scaled embeddings.
        jitter: what was added to the diagonal to factorise it, as a share of its mean; 0 as a rule.
    """

    probe: Probe
    form: Form
    prior_precision: float
    jitter: float
    _mean: Tensor
    _scale: Tensor
    _span: Tensor
    _factor: "_Cholesky | _Eigen"

    def sample(self, members: int, *, seed: int = 0) -> Committee:
        """M heads drawn from the posterior, for raw embeddings.

        Args:
            members: M >= 1.
            seed: equal seeds draw equal heads; member m is the same whatever M is.

        Raises:
            InvalidInputError: members < 1.

        Random: C (D + r + 1) normal numbers a member, from seed.
        """
        if members < 1:
            raise InvalidInputError(f"members is {members}, expected at least 1")
        centre = torch.from_numpy(self.probe.weights), torch.from_numpy(self.probe.bias)
        weights, bias = zip(
            *(self._deviation(np.random.default_rng([seed, one])) for one in range(members)), strict=True
        )
        return Committee(
            (torch.stack(weights) + centre[0].double()).float().numpy(),
            (torch.stack(bias) + centre[1].double()).float().numpy(),
        )

    def _deviation(self, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """(C, D) and (C,): from the probe, on raw embeddings."""
        classes, width = self.probe.weights.shape
        inside = self._factor.draw(rng)  # (C, r + 1)
        weights = inside[:, :-1] @ self._span
        if len(self._span) < width:
            free = torch.from_numpy(rng.standard_normal((classes, width))) / math.sqrt(self.prior_precision)
            weights = weights + free - (free @ self._span.T) @ self._span
        weights = weights / self._scale
        bias = inside[:, -1] - weights @ self._mean
        return weights, bias - bias.mean()


def fit_laplace(
    probe: Probe,
    embeddings: Any,
    *,
    l2: float | None = None,
    sample_weights: Any = None,
    form: Form | None = None,
) -> HeadPosterior:
    """The posterior of the head around a probe, from the labelled embeddings that the probe was fitted on.

    Their labels are not needed: the curvature of the cross-entropy depends on the predictions alone.

    Args:
        probe: fitted by fit_probe to its optimum on these embeddings; elsewhere the distribution has the wrong centre.
        embeddings: (L, D) float array or tensor, L >= 1.
        l2: of the probe; None takes probe.l2.
        sample_weights: (L,) at least 0, as they were given to fit_probe; their mean counts as one label.
        form: "exact" or "kronecker"; None takes the first where C (min(L, D) + 1) is at most 6,000.

    Raises:
        InvalidProbeDataError: embeddings or weights that do not fit the probe, or none.
        InvalidInputError: l2 not above 0 (a probe made of a stored head has 0: give it), or an unknown form.
        PosteriorNotDefiniteError: see there.

    Cost: exact, L (C r)^2 / 2 multiplications and (C r)^3 / 3 for the factorisation, r = min(L, D); kronecker, L D^2.

    Source: MacKay 1992; Ritter, Botev, Barber 2018 (Kronecker form); Daxberger et al. 2021 (2106.14806, last layer).
    """
    l2 = probe.l2 if l2 is None else l2
    if not 0 < l2 < math.inf:
        raise InvalidInputError(f"l2 is {l2}, expected above 0; a probe made of a stored head does not know its own")
    if form not in (None, "exact", "kronecker"):
        raise InvalidInputError(f"form is {form!r}, expected 'exact' or 'kronecker'")
    samples, weights = _checked(probe, embeddings, sample_weights)
    # One column of targets: only the centring, the scaling and the span of the samples are used.
    fit = ScaledFit(samples.clone(), torch.ones(len(samples), 1, dtype=torch.float64), weights)
    inside = fit.design.samples.double()
    span = fit.design.turned_back(torch.eye(inside.shape[1], dtype=torch.float64))  # (r, D)
    rows = torch.cat([inside, inside.new_ones(len(inside), 1)], 1)  # (L, r + 1)
    logits = samples @ torch.from_numpy(probe.weights).double().T + torch.from_numpy(probe.bias).double()
    shares = weights * (len(samples) / weights.sum())
    prior = l2 * len(samples)
    classes = len(probe.bias)
    if form is None:
        form = "exact" if classes * rows.shape[1] <= EXACT_ROWS_MAX else "kronecker"
    make = _Cholesky.of if form == "exact" else _Eigen.of
    factor, jitter = make(rows, logits.softmax(1), shares, prior)
    return HeadPosterior(probe, form, prior, jitter, fit.mean, fit.scale, span, factor)


@dataclass(frozen=True, eq=False)
class _Cholesky:
    """The whole precision of (C, r + 1) parameters, as the lower factor of it."""

    lower: Tensor
    classes: int

    @classmethod
    def of(cls, rows: Tensor, p: Tensor, shares: Tensor, prior: float) -> tuple["_Cholesky", float]:
        """The factor, and the jitter that it took."""
        classes, width = p.shape[1], rows.shape[1]
        precision = rows.new_zeros(classes, width, classes, width)
        for one in range(classes):
            for other in range(one + 1):
                curvature = shares * p[:, one] * (float(one == other) - p[:, other])
                block = rows.T @ (curvature[:, None] * rows)
                precision[one, :, other] = block
                precision[other, :, one] = block
            precision[one, :, one].diagonal()[:-1] += prior
        # Nothing is known of a number added to all biases, and `sample` takes it out again.
        precision[:, -1, :, -1] += float(shares.sum()) / classes
        matrix = precision.view(classes * width, classes * width)
        mean = float(matrix.diagonal().mean())
        for jitter in _JITTERS:
            matrix.diagonal().add_(jitter * mean)
            lower, failed = torch.linalg.cholesky_ex(matrix)
            if not int(failed):
                return cls(lower, classes), jitter
        raise PosteriorNotDefiniteError(
            f"the precision of {classes} x {width} parameters is not positive definite; fit the probe again with a "
            "larger l2"
        )

    def draw(self, rng: np.random.Generator) -> Tensor:
        """(C, r + 1)."""
        noise = torch.from_numpy(rng.standard_normal((len(self.lower), 1)))
        return torch.linalg.solve_triangular(self.lower.T, noise, upper=True).view(self.classes, -1)


@dataclass(frozen=True, eq=False)
class _Eigen:
    """Axes of the class part (C, C) and the embedding part (r + 1, r + 1), and deviations along their pairs."""

    class_axes: Tensor
    row_axes: Tensor
    deviations: Tensor

    @classmethod
    def of(cls, rows: Tensor, p: Tensor, shares: Tensor, prior: float) -> tuple["_Eigen", float]:
        """The factor; it takes no jitter."""
        count = shares.sum()
        mean_p = (shares @ p) / count
        class_values, class_axes = torch.linalg.eigh(mean_p.diag() - (p.T * shares) @ p / count)
        inside = rows[:, :-1]
        values, axes = torch.linalg.eigh((inside.T * shares) @ inside / count)
        # Rows are centred, so the bias is an axis of its own, with 1 as its mean square.
        row_axes = torch.block_diag(axes, axes.new_ones(1, 1))
        precision = count * class_values.clamp_min(0)[:, None] * torch.cat([values.clamp_min(0), values.new_ones(1)])
        precision[:, :-1] += prior
        # The direction in which all biases move alike has no curvature, and is held.
        curved = precision > count * 1e-12
        return cls(class_axes, row_axes, torch.where(curved, precision, torch.inf).rsqrt()), 0.0

    def draw(self, rng: np.random.Generator) -> Tensor:
        """(C, r + 1)."""
        noise = torch.from_numpy(rng.standard_normal(tuple(self.deviations.shape)))
        return self.class_axes @ (noise * self.deviations) @ self.row_axes.T


def _checked(probe: Probe, embeddings: Any, sample_weights: Any) -> tuple[Tensor, Tensor]:
    """(L, D) and (L,) float64, of the samples that count."""
    samples = torch.as_tensor(embeddings).detach().cpu().double()
    if samples.dim() != 2 or not len(samples) or samples.shape[1] != probe.weights.shape[1]:
        raise InvalidProbeDataError(
            f"embeddings have shape {tuple(samples.shape)}, expected (L, {probe.weights.shape[1]}) with L >= 1"
        )
    if not bool(torch.isfinite(samples).all()):
        raise InvalidProbeDataError("embeddings hold NaN or infinity; embed those samples again")
    if sample_weights is None:
        return samples, torch.ones(len(samples), dtype=torch.float64)
    weights = torch.as_tensor(sample_weights).detach().cpu().double()
    if weights.shape != (len(samples),) or not bool((weights >= 0).all()) or not bool((weights > 0).any()):
        raise InvalidProbeDataError(
            f"sample_weights have shape {tuple(weights.shape)}, expected ({len(samples)},), at least 0 and one above"
        )
    return samples[weights > 0], weights[weights > 0]

"""The solver of the probe: multinomial logistic regression to its optimum, by Newton steps.

The objective is (sum_i w_i CE(t_i, softmax(W x_i + b))) / (sum_i w_i) + l2 / 2 |W|^2, in nats, the bias free. It is
convex, so there is one optimum (for W; for b up to one number added to all classes, which is taken so that they sum to
0), and where the search starts changes only how long it takes.

The idea in words: each Newton step solves H d = -g by conjugate gradients, H never written down: H times a direction
costs two products with the samples. Conjugate gradients are quick where H is close to a multiple of the identity, so
they are preconditioned with what H would be if every sample had the same average uncertainty: this is diagonal in
the axes of the samples' scatter. With fewer samples than columns the optimum lies in the span of the samples; turned
into that span the problem is as small as the labelled set. A line search keeps every step downhill; logits are linear
along it, so it needs no product with the samples.

Inputs are trusted; probe.py checks them, centres and scales them, and chooses l2.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

#: Of the gradient at the optimum, as a share of its norm at zero.
GRADIENT_TOLERANCE = 1e-8
_NEWTON_STEPS_MAX = 100
_CG_STEPS_MAX = 250
_ARMIJO = 1e-4
_HALVINGS_MAX = 40
# Single precision gives the direction so far right; the gradient stays in double precision, so the optimum is exact.
_CG_EXACTNESS = 1e-4
_CG_EXACTNESS_GAP = 0.1
# An old head is too sure of new samples that it gets wrong; a part of it is a better start.
_START_SHARES = (1.0, 0.7, 0.5, 0.35, 0.25, 0.1)
# The axes of the scatter only precondition, so a part of the samples is enough to find them.
_SCATTER_SAMPLES_MAX = 4096


@dataclass(frozen=True, eq=False)
class Solution:
    """Where the search ended.

    Args:
        weights: (K, r), in the design's own axes.
        bias: (K,), sums to 0.
        objective: its value there.
        newton_steps, products: Newton steps, and products of H with a direction (the unit of cost).
        gradient_norm: of the whole gradient, as a share of its norm at W = 0, b = 0.
        converged: whether that is at most GRADIENT_TOLERANCE.
    """

    weights: Tensor
    bias: Tensor
    objective: float
    newton_steps: int
    products: int
    gradient_norm: float
    converged: bool


class Design:
    """The samples in the axes of their scatter, made once and used for every l2 and every part of the samples.

    Args:
        samples: (n, D) float64 or float32, about centred.

    Cost: n min(n, D)^2 + min(n, D)^3 multiplications; past 4,096 samples their scatter is that of a part of them.
    """

    def __init__(self, samples: Tensor) -> None:
        count, width = samples.shape
        span = None
        if count < width:
            # samples = turned @ span.T without loss: (n, D) -> (n, n)
            span, upper = torch.linalg.qr(samples.T)
            samples = upper.T
        part = samples[:: max(1, -(-count // _SCATTER_SAMPLES_MAX))]
        scatter, axes = torch.linalg.eigh((part.T @ part).double() / max(1, len(part)))
        self.scatter, axes = scatter.clamp_min(0).to(samples.dtype), axes.to(samples.dtype)
        if len(part) == count:
            samples, span = samples @ axes, axes if span is None else span @ axes
        self.samples = samples.contiguous()
        self._span = span
        #: In single precision: the samples, and what turns parameters into the axes of the scatter where the samples
        #: were too many to turn.
        self.quick_samples = self.samples.float()
        self.quick_axes = None if len(part) == count else axes.float()

    def turned(self, weights: Tensor) -> Tensor:
        """(K, D) weights as the design has them: (K, r). What is outside the span of the samples is lost."""
        return weights if self._span is None else weights @ self._span

    def turned_back(self, weights: Tensor) -> Tensor:
        """(K, r) -> (K, D)."""
        return weights if self._span is None else weights @ self._span.T

    def quick_part(self, rows: Tensor) -> "Design":
        """Some of the samples in the same axes, in single precision."""
        smaller = object.__new__(Design)
        smaller.samples = smaller.quick_samples = self.quick_samples[rows]
        smaller.scatter, smaller.quick_axes, smaller._span = self.scatter.float(), self.quick_axes, self._span
        return smaller


def solve(
    design: Design,
    targets: Tensor,
    sample_weights: Tensor,
    l2: float,
    start: tuple[Tensor, Tensor] | None = None,
    gap: float | None = None,
) -> Solution:
    """Minimise the objective.

    Args:
        design: of the samples.
        targets: (n, K), rows sum to 1, every column sums to more than 0; of the design's dtype, as all the rest.
        sample_weights: (n,), at least 0, sum to more than 0.
        l2: above 0.
        start: (K, r) weights and (K,) bias to start from; zeros otherwise.
        gap: stop once the objective is about this share of itself above its least value; None goes on to the optimum.
    """
    return _Search(design, targets, sample_weights / sample_weights.sum(), l2, start).run(gap)


@dataclass(frozen=True, eq=False)
class _Point:
    """A place of the search: parameters (K, r + 1), the bias last, with what follows from them."""

    parameters: Tensor
    logits: Tensor
    objective: float


class _Search:
    """Everything is (K, n) or (K, r): rows of classes keep the products with the samples quick."""

    def __init__(
        self, design: Design, targets: Tensor, shares: Tensor, l2: float, start: tuple[Tensor, Tensor] | None
    ) -> None:
        self.design, self.targets, self.shares, self.l2 = design, targets.T.contiguous(), shares, l2
        self.products = 0
        self.epsilon = torch.finfo(targets.dtype).eps
        zero = targets.new_zeros(targets.shape[1], design.samples.shape[1] + 1)
        self.point = self._point(zero, self._logits(zero))
        gradient = self._gradient(self.point, self.point.logits.softmax(0))
        self.gradient_at_zero = max(gradient.norm().item(), 1e-300)
        if start is not None:
            started = torch.cat([start[0], (start[1] - start[1].mean())[:, None]], 1)
            logits = self._logits(started)
            points = [self._point(share * started, share * logits) for share in _START_SHARES]
            self.point = min([*points, self.point], key=lambda point: point.objective)

    def run(self, gap: float | None) -> Solution:
        wanted = GRADIENT_TOLERANCE * self.gradient_at_zero
        steps, on = 0, True
        while True:
            probabilities = self.point.logits.softmax(0)
            gradient = self._gradient(self.point, probabilities)
            norm = gradient.norm().item()
            if norm <= wanted or steps == _NEWTON_STEPS_MAX or not on:
                break
            on = self._step(gradient, probabilities, norm, gap)
            steps += 1
        bias = self.point.parameters[:, -1]
        return Solution(
            weights=self.point.parameters[:, :-1],
            bias=bias - bias.mean(),
            objective=self.point.objective,
            newton_steps=steps,
            products=self.products,
            gradient_norm=norm / self.gradient_at_zero,
            converged=norm <= wanted,
        )

    def _step(self, gradient: Tensor, probabilities: Tensor, norm: float, gap: float | None) -> bool:
        """Go one Newton step; whether another one is worth while."""
        # Loose far from the optimum, ever closer near it, which keeps Newton's convergence fast.
        exactness = min(0.3, max(norm / self.gradient_at_zero, _CG_EXACTNESS if gap is None else _CG_EXACTNESS_GAP))
        direction = self._newton_direction(gradient, probabilities, exactness)
        slope = float((gradient * direction).sum())
        change = self._logits(direction)
        before = self.point
        size, rounding = 1.0, 4 * self.epsilon * max(1.0, abs(before.objective))
        for _ in range(_HALVINGS_MAX):
            moved = self._point(before.parameters + size * direction, before.logits + size * change)
            # Near the optimum the gain is below the rounding of the objective.
            if moved.objective <= before.objective + _ARMIJO * size * slope + rounding:
                self.point = moved
                # Half the slope is what a full Newton step gains: about the distance to the least value before it.
                near = gap is not None and size == 1 and -slope / 2 <= gap * before.objective
                return not near and not torch.equal(moved.parameters, before.parameters)
            size /= 2
        return False

    def _newton_direction(self, gradient: Tensor, probabilities: Tensor, exactness: float) -> Tensor:
        """Solve H d = -g by preconditioned conjugate gradients, to that share of the gradient."""
        # The mean of p (1 - p): the curvature that a sample has on average.
        curvature = float(((probabilities * (1 - probabilities)) @ self.shares).mean())
        curvature = max(curvature, self.epsilon)
        diagonal = 1 / (curvature * self.design.scatter + self.l2).float()
        probabilities, shares = probabilities.float(), self.shares.float()
        # To a length of 1: a small gradient must not fall below what single precision can hold.
        length = gradient.norm()
        residual = (-gradient / length).float()
        search = preconditioned = self._precondition(residual, diagonal, curvature)
        direction = torch.zeros_like(gradient)
        inner = first = float((residual * preconditioned).sum())
        for _ in range(_CG_STEPS_MAX):
            if inner <= first * exactness**2:
                break
            product = self._hessian_product(search, probabilities, shares)
            bend = float((search * product).sum())
            if bend <= 0:
                break
            direction += inner / bend * search
            residual -= inner / bend * product
            preconditioned = self._precondition(residual, diagonal, curvature)
            before, inner = inner, float((residual * preconditioned).sum())
            search = preconditioned + inner / before * search
        return direction.to(gradient.dtype) * length

    def _precondition(self, values: Tensor, diagonal: Tensor, curvature: float) -> Tensor:
        axes, weights, bias = self.design.quick_axes, values[:, :-1], values[:, -1:]
        weights = weights * diagonal if axes is None else (weights @ axes * diagonal) @ axes.T
        # A constant added to all biases changes nothing, and rounding must not build one up.
        return torch.cat([weights, (bias - bias.mean()) / curvature], 1)

    def _hessian_product(self, direction: Tensor, probabilities: Tensor, shares: Tensor) -> Tensor:
        """sum_i share_i (diag(p_i) - p_i p_i') (direction x_i) x_i' + l2 direction, without l2 for the bias."""
        self.products += 1
        samples = self.design.quick_samples
        weighted = probabilities * (direction[:, :-1] @ samples.T + direction[:, -1:])
        weighted = (weighted - probabilities * weighted.sum(0)) * shares
        return self._with_penalty(weighted, samples, direction)

    def _gradient(self, point: _Point, probabilities: Tensor) -> Tensor:
        excess = (probabilities - self.targets) * self.shares
        return self._with_penalty(excess, self.design.samples, point.parameters)

    def _with_penalty(self, of_samples: Tensor, samples: Tensor, parameters: Tensor) -> Tensor:
        """(K, n) -> (K, r + 1)."""
        weights = of_samples @ samples + self.l2 * parameters[:, :-1]
        return torch.cat([weights, of_samples.sum(1, keepdim=True)], 1)

    def _point(self, parameters: Tensor, logits: Tensor) -> _Point:
        losses = logits.logsumexp(0) - (self.targets * logits).sum(0)
        objective = float(self.shares @ losses + self.l2 / 2 * parameters[:, :-1].square().sum())
        return _Point(parameters, logits, objective if math.isfinite(objective) else math.inf)

    def _logits(self, parameters: Tensor) -> Tensor:
        """(K, r + 1) -> (K, n)."""
        return parameters[:, :-1] @ self.design.samples.T + parameters[:, -1:]

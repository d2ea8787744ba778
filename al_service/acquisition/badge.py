"""BADGE: diverse and uncertain samples, by k-means++ on the gradients that their own predictions would cause.

A sample's gradient in the last layer, taken with its likeliest class for the label, is g = (p - onehot) (x) h: C D
numbers, never written down. Inner products factorise, <g_i, g_j> = (d_i . d_j)(h_i . h_j) with d = p - onehot, and
distances follow from them.

The first pick has the longest gradient. Each next one is drawn with chances proportional to the squared distance to the
nearest pick so far. The draw is a race: sample i carries a clock E_i ~ Exp(1) that runs at the speed of its squared
distance w_i, and the first to run out is picked. The first of such clocks is i with probability w_i / sum w. When a
pick slows others down, what is left on their clocks is again Exp(1) (it has no memory), so the race goes on with them:
N random numbers serve all picks, and every pick is drawn as if anew.

Speeds only ever fall. A clock whose speed does not know the latest picks runs out too early, never too late: its time
is a bound, and only samples with early times need to be looked at (lazy_front.py). Most samples are looked at once, for
the length of their gradient. The picks are those of bringing every clock up after every pick.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from al_service.acquisition.arrays import (
    FloatArray,
    IntArray,
    InvalidArrayError,
    check_count,
    check_embeddings,
    check_probabilities,
    in_kind_of,
)
from al_service.acquisition.lazy_front import Front, leading_front

# Samples held exact: 16 MB of float64 at D = 512, so that a pick reads them from the cache.
_FRONT_PLACES = 4096
# Elements of one block: 8 MB of float64.
_BLOCK_ELEMENTS = 1 << 20
# Picks in one matrix product.
_PICKS_AT_ONCE = 1024
# float64 products leave noise of about 1e-15 where a distance is zero; gradients closer than a millionth of their
# lengths are copies of each other and must not be told apart by it.
_COPY = 1e-12
_FASTEST = torch.finfo(torch.float64).max


def badge(probabilities: FloatArray, embeddings: FloatArray, k: int, *, rng: np.random.Generator) -> IntArray:
    """k positions, uncertain and unlike each other: k-means++ on the gradients of the last layer.

    The first has the longest gradient |p - onehot(argmax p)| |h|. Each next one is drawn with chances proportional to
    the squared distance of its gradient to the nearest chosen one. Where no gradient differs from the chosen ones,
    all that are left are equally likely.

    Args:
        probabilities: (N, C) float, C >= 2, rows sum to 1 within 1e-3.
        embeddings: (N, D) float, finite, what the last layer sees. float16 is read as it is.
        k: 0 <= k <= N.

    Returns:
        (k,) int64 distinct positions.

    Raises:
        InvalidArrayError: an array that is not what its name says, or arrays of different lengths.
        InvalidInputError: k < 0 or k > N.

    Cost: O(k N (C + D)) time at worst; one read of both arrays and O(k (C + D)) for each of a few thousand samples
        where distances fall slowly from pick to pick. O(N) memory beside the input and a few blocks.

    Random: one exponential per sample from rng, in order of position, however large k is.

    Source: Ash, Zhang, Krishnamurthy, Langford, Agarwal 2020 (1906.03671); k-means++: Arthur, Vassilvitskii 2007. The
    race of clocks: Gibson, Bruck 2000 (next reaction method).

    >>> import numpy as np
    >>> certain_then_not = np.array([[1.0, 0.0], [0.5, 0.5], [0.4, 0.6]])
    >>> badge(certain_then_not, np.array([[9.0], [2.0], [-1.0]]), 2, rng=np.random.default_rng(0))
    array([1, 2])
    """
    outputs = check_probabilities(probabilities)
    points = check_embeddings(embeddings)
    if len(outputs) != len(points):
        raise InvalidArrayError(
            f"probabilities have {len(outputs)} rows and embeddings {len(points)}; expected one row each per sample"
        )
    k = check_count(k, len(points))
    positions, _, _ = diverse_gradients(outputs.to(points.device), points, k, rng)
    return in_kind_of(positions, embeddings)


def diverse_gradients(
    probabilities: Tensor,
    embeddings: Tensor,
    k: int,
    rng: np.random.Generator,
    *,
    places: int = _FRONT_PLACES,
    block_elements: int = _BLOCK_ELEMENTS,
) -> tuple[Tensor, Tensor, Tensor]:
    """As badge, for checked input on one device; also how long each pick's gradient is and how far from earlier picks.

    Args:
        places, block_elements: samples held exact at a time, and elements read at once; they change the time taken,
            never the picks.

    Returns:
        (k,) int64 positions; (k,) float64 lengths of the picks' gradients; (k,) float64 distances of these to the
        nearest of the earlier picks, infinite for the first.
    """
    clocks = _Clocks(probabilities, embeddings, k, rng, block_elements)
    while clocks.count < k:
        front = leading_front(clocks.sooner, clocks.bring_up, places)
        if not torch.isfinite(clocks.sooner[front.positions]).any():
            clocks.pick_at_random()
            break
        clocks.pick_from(front)
    return clocks.picked, clocks.lengths, clocks.squared.sqrt()


@dataclass(frozen=True, eq=False)
class _Gradients:
    """Gradients of some samples in product form, (n, C) and (n, D), and their squared lengths; float64."""

    errors: Tensor
    embeddings: Tensor
    squares: Tensor

    @classmethod
    def of(cls, probabilities: Tensor, embeddings: Tensor) -> "_Gradients":
        errors = probabilities.to(torch.float64, copy=True)
        likeliest = errors.argmax(1, keepdim=True)
        errors.scatter_add_(1, likeliest, torch.full_like(likeliest, -1, dtype=torch.float64))
        rows = embeddings.to(torch.float64)
        return cls(errors, rows, errors.square().sum(1) * rows.square().sum(1))

    def at(self, row: int) -> "_Gradients":
        """One of them."""
        return _Gradients(*(array[row : row + 1] for array in (self.errors, self.embeddings, self.squares)))

    def squared_to(self, others: "_Gradients") -> Tensor:
        """(n, m) squared distances; exactly 0 between copies."""
        products = (self.errors @ others.errors.T) * (self.embeddings @ others.embeddings.T)
        sums = self.squares[:, None] + others.squares
        squared = sums - 2 * products
        squared.masked_fill_(squared <= _COPY * sums, 0)
        return squared.nan_to_num_(nan=_FASTEST, posinf=_FASTEST)  # only where squares overflow


class _Clocks:
    """The race: what is left on each sample's clock and its speed, both as of the first `seen` of the picks.

    sooner: minus the time at which a clock runs out, as far as is known; -inf where never, and for picked samples.
    times: [c] is when the c-th pick was made, [0] and [1] are the start.
    """

    def __init__(
        self, probabilities: Tensor, embeddings: Tensor, k: int, rng: np.random.Generator, block_elements: int
    ) -> None:
        n, device = len(embeddings), embeddings.device
        self.probabilities, self.embeddings = probabilities, embeddings
        self.block_rows = max(1, block_elements // (probabilities.shape[1] + embeddings.shape[1]))
        self.count = 0
        self.picked = torch.empty(k, dtype=torch.int64, device=device)
        self.lengths = torch.empty(k, dtype=torch.float64, device=device)
        self.squared = torch.empty(k, dtype=torch.float64, device=device)
        self.times = torch.zeros(k + 1, dtype=torch.float64, device=device)
        self.left = torch.from_numpy(rng.standard_exponential(n)).to(device)
        self.seen = torch.zeros(n, dtype=torch.int32, device=device)
        if k:
            self._pick_longest()

    def bring_up(self, positions: Tensor) -> None:
        """Let these samples' clocks run, at the speeds they had, through the picks they have missed."""
        stale = positions[self.seen[positions] < self.count]
        seen = self.seen[stale]
        for since in seen.unique().tolist():
            same = stale[seen == since]
            for start in range(since, self.count, _PICKS_AT_ONCE):
                self._run(same, start, min(self.count, start + _PICKS_AT_ONCE))
        self.seen[stale] = self.count

    def pick_from(self, front: Front) -> None:
        """Pick the first clock to run out, and again, while it is one of the front's."""
        rows = self._gradients(front.positions)
        left, speed, sooner = (array[front.positions] for array in (self.left, self.speed, self.sooner))
        while self.count < len(self.picked):
            first = int(sooner.argmax())
            value, position = float(sooner[first]), int(front.positions[first])
            if value == -torch.inf or not front.holds_next(value, position):
                break
            left = (left - speed * (-value - self.times[self.count])).clamp_(min=0)
            self._note(position, rows.squares[first], speed[first], -value)
            speed = torch.minimum(speed, rows.squared_to(rows.at(first))[:, 0])
            speed[first], left[first] = 0, torch.inf
            sooner = self._runs_out(left, speed)
        self.left[front.positions], self.speed[front.positions], self.sooner[front.positions] = left, speed, sooner
        self.seen[front.positions] = self.count

    def pick_at_random(self) -> None:
        """Pick all that remain to be picked, once every clock stands still: what is left on them is in random order."""
        for position in self.left.argsort(stable=True)[: len(self.picked) - self.count]:
            self._note(int(position), self._gradients(position[None]).squares[0], 0, torch.inf)

    def _pick_longest(self) -> None:
        # Into one array: small results kept from block to block would lie between the large ones that are freed, and
        # memory would grow to a copy of the pool.
        squares = torch.empty(len(self.embeddings), dtype=torch.float64, device=self.embeddings.device)
        arrays = (self.probabilities, self.embeddings, squares)
        for outputs, rows, lengths in zip(*(array.split(self.block_rows) for array in arrays), strict=True):
            lengths.copy_(_Gradients.of(outputs, rows).squares)
        first = int(squares.argmax())
        self._note(first, squares[first], torch.inf, 0)
        # No clock runs faster than at this speed: |g - g_first| <= |g| + |g_first|.
        self.speed = (squares.sqrt() + squares[first].sqrt()).square_().mul_(1 + 1e-9).clamp_(max=_FASTEST)
        self.speed[first], self.left[first] = 0, torch.inf
        self.sooner = self._runs_out(self.left, self.speed)

    def _run(self, positions: Tensor, start: int, stop: int) -> None:
        picks = self._gradients(self.picked[start:stop])
        durations = self.times[start + 1 : stop + 1] - self.times[start:stop]
        for block in positions.split(self.block_rows):
            squared = self._gradients(block).squared_to(picks)
            # Speeds after `start` picks, and one more, up to `stop`: (n, m + 1); each but the last for its duration.
            speeds = torch.cat([self.speed[block, None], squared], 1).cummin(1).values
            self.left[block] = (self.left[block] - speeds[:, :-1] @ durations).clamp_(min=0)
            self.speed[block] = speeds[:, -1]
            self.sooner[block] = self._runs_out(self.left[block], self.speed[block], stop)

    def _runs_out(self, left: Tensor, speed: Tensor, count: int | None = None) -> Tensor:
        now = self.times[self.count if count is None else count]
        return torch.where(speed > 0, -(now + left / speed), -torch.inf)

    def _note(self, position: int, square: Tensor, squared: Tensor | float, time: float) -> None:
        self.picked[self.count] = position
        self.lengths[self.count] = square.sqrt()
        self.squared[self.count] = squared
        self.count += 1
        self.times[self.count] = time

    def _gradients(self, positions: Tensor) -> _Gradients:
        return _Gradients.of(self.probabilities[positions], self.embeddings[positions])

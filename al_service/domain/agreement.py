"""How far people agree beyond chance: Cohen's and Fleiss' kappa, Krippendorff's alpha, and the plain share.

Only samples with at least two answers say anything. Each figure is 1 - (how often two people differ) / (how often they
would differ by chance); the figures differ in what chance means. Where chance would never differ (one person, one class
everywhere) a figure is undefined, and its value is None: neither 0 nor 1 would be true.

Intervals leave out one sample at a time (jackknife), because answers to one sample hang together and samples do not.
By class and by person: `agreement_tables`. Agreement of models, on arrays: `al_service.learning.agreement`.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from al_service.domain.jackknife import RATIO, SHARE, Estimate, LeftOut, Scale, estimate_of
from al_service.errors import InvalidInputError

#: What one sample was given: (class_id, how many people said so), by class_id.
Pattern = tuple[tuple[int, int], ...]


class Vote(NamedTuple):
    """One person's class for one sample. A plain tuple in this order does as well."""

    sample_id: int
    user_id: int
    class_id: int


@dataclass(frozen=True)
class Agreement:
    """The figures of one set of answers.

    Attributes:
        samples: with at least two answers; all figures rest on these alone.
        answers: to these samples.
        observed: as `observed_agreement`.
        fleiss: as `fleiss_kappa`.
        alpha: as `krippendorff_alpha`.
    """

    samples: int
    answers: int
    observed: Estimate
    fleiss: Estimate
    alpha: Estimate


def agreement_of(votes: Iterable[tuple[int, int, int]]) -> Agreement:
    """All figures that any number of people can have, in one pass. Cost: linear in votes.

    Args:
        votes: (sample_id, user_id, class_id); at most one per person and sample.

    Raises:
        InvalidInputError: two votes of one person on one sample.
    """
    return agreement_of_patterns(patterns_of(by_sample(votes)))


def observed_agreement(votes: Iterable[tuple[int, int, int]]) -> Estimate:
    """How often two people give a sample the same class, in [0, 1]; not corrected for chance.

    For each sample the share of its pairs of answers that are the same, then the mean over samples: a sample with many
    answers counts no more than another. None when no sample has two answers.

    >>> observed_agreement([(1, 1, 7), (1, 2, 7), (2, 1, 7), (2, 2, 9)]).value
    0.5
    """
    return agreement_of(votes).observed


def fleiss_kappa(votes: Iterable[tuple[int, int, int]]) -> Estimate:
    """Fleiss' kappa: 1 = all agree, 0 = as by chance, < 0 = less than by chance.

    Chance: answers drawn from the shares that the classes have in all answers together, whoever gave them. Fleiss asks
    for the same number of answers on every sample. Here numbers may differ: a sample with one answer is left out, every
    other counts alike, and classes' shares are of all answers to these. With equal numbers that is Fleiss 1971 exactly.
    None when no sample has two answers, or all answers are one class.

    Source: Fleiss 1971, Measuring nominal scale agreement among many raters.
    """
    return agreement_of(votes).fleiss


def krippendorff_alpha(votes: Iterable[tuple[int, int, int]]) -> Estimate:
    """Krippendorff's alpha for classes without an order: 1 = all agree, 0 = as by chance, < 0 = less than by chance.

    As Fleiss' kappa, but made for missing answers: a sample counts by how many answers it has, and chance is drawing
    two of the answers at hand without putting the first one back, so that few samples are not flattered.
    None when no sample has two answers, or all answers are one class.

    Source: Krippendorff 2011, Computing Krippendorff's alpha-reliability.
    """
    return agreement_of(votes).alpha


def cohen_kappa(votes: Iterable[tuple[int, int, int]], first: int, second: int) -> Estimate:
    """Cohen's kappa of two people on the samples that both answered: 1 = the same, 0 = as by chance.

    Chance: each draws from the shares that the classes have in their own answers, so that a taste for one class is not
    taken for disagreement. None when they share no sample, or both give one and the same class to all that they share.

    Raises:
        InvalidInputError: first is second, or as `agreement_of`.

    Source: Cohen 1960, A coefficient of agreement for nominal scales.

    >>> cohen_kappa([(1, 1, 7), (1, 2, 7), (2, 1, 9), (2, 2, 9)], 1, 2).value
    1.0
    """
    if first == second:
        raise InvalidInputError(f"user {first} twice; agreement needs two people", user=first)
    answers = by_sample(votes).values()
    return cohen_of_pairs(Counter((one[first], one[second]) for one in answers if first in one and second in one))


def by_sample(votes: Iterable[tuple[int, int, int]]) -> dict[int, dict[int, int]]:
    """Votes as sample_id -> user_id -> class_id. Raises as `agreement_of`."""
    found: dict[int, dict[int, int]] = {}
    for sample_id, user_id, class_id in votes:
        answers = found.setdefault(sample_id, {})
        if user_id in answers:
            raise InvalidInputError(
                f"user {user_id} has two votes on sample {sample_id}; pass one, the latest",
                sample=sample_id,
                user=user_id,
            )
        answers[user_id] = class_id
    return found


def patterns_of(answers: Mapping[int, Mapping[int, int]]) -> Counter[Pattern]:
    """How many samples were given what, those with one answer left out. Many samples share few patterns."""
    return Counter(pattern_of(given.values()) for given in answers.values() if len(given) > 1)


def pattern_of(class_ids: Iterable[int]) -> Pattern:
    """The classes that one sample was given, counted."""
    return tuple(sorted(Counter(class_ids).items()))


@dataclass(frozen=True)
class Sums:
    """All that the figures need of a set of samples: whole numbers, so that adding and leaving out are exact.

    Attributes:
        samples: answers per sample -> how many samples have so many.
        differences: answers per sample -> ordered pairs of their answers that differ.
        squares: sum over classes of (answers that name it) squared.
    """

    samples: Mapping[int, int]
    differences: Mapping[int, int]
    squares: int

    @property
    def sample_count(self) -> int:
        """Samples with at least two answers."""
        return sum(self.samples.values())

    @property
    def answer_count(self) -> int:
        """Answers to these samples."""
        return sum(count * times for count, times in self.samples.items())

    def observed(self) -> float | None:
        """Mean share of a sample's pairs that differ."""
        return self._mean_share() if self.sample_count else None

    def fleiss(self) -> float | None:
        """The same by what chance would give."""
        answers = self.answer_count
        chance = answers**2 - self.squares
        return self._mean_share() * answers**2 / chance if chance else None

    def alpha(self) -> float | None:
        """Difference by what chance would give, each sample counted by its answers."""
        answers = self.answer_count
        chance = answers**2 - self.squares
        apart = math.fsum(pairs / (count - 1) for count, pairs in self.differences.items())
        return apart * (answers - 1) / chance if chance else None

    def _mean_share(self) -> float:
        # fsum rounds once, so the order of the sizes changes nothing.
        return math.fsum(pairs / (count * (count - 1)) for count, pairs in self.differences.items()) / self.sample_count

    def without(self, pattern: Pattern, named: Mapping[int, int]) -> "Sums":
        """These sums with one sample of that pattern left out; named: answers per class, that sample included."""
        count = answers_in(pattern)
        return Sums(
            {**self.samples, count: self.samples[count] - 1},
            {**self.differences, count: self.differences[count] - differences(pattern)},
            self.squares - sum((2 * named[class_id] - given) * given for class_id, given in pattern),
        )


def sums_of(patterns: Mapping[Pattern, int]) -> Sums:
    """The sums of that many samples of each pattern."""
    samples: Counter[int] = Counter()
    apart: Counter[int] = Counter()
    for pattern, times in patterns.items():
        count = answers_in(pattern)
        samples[count] += times
        apart[count] += differences(pattern) * times
    return Sums(samples, apart, sum(count**2 for count in answers_by_class(patterns).values()))


def agreement_of_patterns(patterns: Mapping[Pattern, int]) -> Agreement:
    """The figures of that many samples of each pattern. Cost: linear in patterns."""
    sums, named = sums_of(patterns), answers_by_class(patterns)
    differing = sum(times for pattern, times in patterns.items() if len(pattern) > 1)
    left_out = [(sums.without(pattern, named), times) for pattern, times in patterns.items()]

    def estimate(figure: Callable[[Sums], float | None], scale: Scale) -> Estimate:
        return estimate_of(figure(sums), ((figure(rest), times) for rest, times in left_out), differing, scale)

    return Agreement(
        sums.sample_count,
        sums.answer_count,
        observed=estimate(Sums.observed, SHARE),
        fleiss=estimate(Sums.fleiss, RATIO),
        alpha=estimate(Sums.alpha, RATIO),
    )


def answers_by_class(patterns: Mapping[Pattern, int]) -> Counter[int]:
    """How many answers name each class."""
    named: Counter[int] = Counter()
    for pattern, times in patterns.items():
        for class_id, given in pattern:
            named[class_id] += given * times
    return named


def answers_in(pattern: Pattern) -> int:
    """How many answers a sample of this pattern has."""
    return sum(given for _, given in pattern)


def differences(pattern: Pattern) -> int:
    """Ordered pairs of a sample's answers that differ: 0 when all are the same, m (m - 1) when no two are."""
    count = answers_in(pattern)
    return sum(given * (count - given) for _, given in pattern)


def cohen_of_pairs(pairs: Mapping[tuple[int, int], int]) -> Estimate:
    """Cohen's kappa of two people; pairs: (class of the one, class of the other) -> how many samples."""
    rows: Counter[int] = Counter()
    columns: Counter[int] = Counter()
    for (row, column), times in pairs.items():
        rows[row] += times
        columns[column] += times
    count = sum(pairs.values())
    differing = sum(times for (row, column), times in pairs.items() if row != column)
    together = sum(rows[class_id] * columns[class_id] for class_id in rows)

    def ratio(count: int, differing: int, together: int) -> float | None:
        chance = count**2 - together
        return differing * count / chance if chance else None

    def left_out() -> LeftOut:
        for (row, column), times in pairs.items():
            is_same = row == column
            yield ratio(count - 1, differing - (not is_same), together - columns[row] - rows[column] + is_same), times

    return estimate_of(ratio(count, differing, together), left_out(), differing, RATIO)

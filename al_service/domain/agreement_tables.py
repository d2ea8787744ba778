"""Agreement by class, by person and by pair of people, and which classes are taken for each other.

One pass over the votes each; figures and their conventions are those of `agreement`.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations

from al_service.domain.agreement import (
    Agreement,
    Pattern,
    Sums,
    agreement_of_patterns,
    answers_by_class,
    answers_in,
    by_sample,
    cohen_of_pairs,
    differences,
    pattern_of,
    patterns_of,
    sums_of,
)
from al_service.domain.jackknife import SHARE, Estimate, LeftOut, estimate_of


@dataclass(frozen=True)
class ClassAgreement:
    """How far people agree on one class.

    Attributes:
        answers: that name the class, on samples with at least two answers.
        agreement: of the question "this class or another?". Its plain share is high for any rare class, because people
            agree where it is not; the figures that correct for chance are not.
        repeated: when one person names the class, how often does another name it too, in [0, 1].
    """

    answers: int
    agreement: Agreement
    repeated: Estimate


@dataclass(frozen=True)
class PairAgreement:
    """Two people on the samples that both answered; `same` of these got the same class from both. first < second."""

    first: int
    second: int
    samples: int
    same: int
    kappa: Estimate

    @property
    def observed(self) -> float:
        """The share of their samples to which they gave the same class."""
        return self.same / self.samples


@dataclass(frozen=True)
class PersonAgreement:
    """One person against the others.

    No interval: the pairs behind one person's mean share samples and are not independent.

    Attributes:
        samples: of this person that somebody else answered too.
        comparisons: with another's answer to the same sample.
        observed: share of comparisons with the same class; None without any.
        kappa: mean of Cohen's kappas with each other person, weighted by shared samples; pairs whose kappa is undefined
            are left out. None when that leaves no pair.
        alpha_with, alpha_without: Krippendorff's alpha of everybody, with this person's answers and without. Where it
            rises without them, this person answers unlike the others.
    """

    user_id: int
    samples: int
    comparisons: int
    observed: float | None
    kappa: float | None
    alpha_with: float | None
    alpha_without: float | None


@dataclass(frozen=True)
class Confusion:
    """On how many samples one person gave the one class and another person the other; first < second."""

    first: int
    second: int
    samples: int


@dataclass(frozen=True)
class AgreementTables:
    """Everything that votes say about agreement; classes, people and pairs by id, confusions by count."""

    overall: Agreement
    classes: dict[int, ClassAgreement]
    people: dict[int, PersonAgreement]
    pairs: tuple[PairAgreement, ...]
    confusions: tuple[Confusion, ...]


def agreement_tables(votes: Iterable[tuple[int, int, int]]) -> AgreementTables:
    """All tables in one. Cost: votes, plus pairs of answers to one sample, plus people times distinct patterns.

    Raises:
        InvalidInputError: as `agreement.agreement_of`.
    """
    answers = by_sample(votes)
    patterns = patterns_of(answers)
    overall = agreement_of_patterns(patterns)
    pairs = tuple(_pairs(answers))
    return AgreementTables(
        overall=overall,
        classes=_classes(patterns),
        people=_people(answers, patterns, pairs),
        pairs=pairs,
        confusions=tuple(_confusions(patterns)),
    )


def _classes(patterns: Mapping[Pattern, int]) -> dict[int, ClassAgreement]:
    by_size: Counter[int] = Counter()
    with_class: defaultdict[int, Counter[tuple[int, int]]] = defaultdict(Counter)
    for pattern, times in patterns.items():
        count = answers_in(pattern)
        by_size[count] += times
        for class_id, given in pattern:
            with_class[class_id][count, given] += times
    return {class_id: _one_class(with_class[class_id], by_size) for class_id in sorted(with_class)}


def _one_class(given: Counter[tuple[int, int]], by_size: Counter[int]) -> ClassAgreement:
    """given: (answers to the sample, those that name the class) -> samples; by_size: answers -> samples, of all."""
    against_rest: Counter[Pattern] = Counter()
    elsewhere = Counter(by_size)
    for (count, named), times in given.items():
        against_rest[((0, count - named), (1, named)) if named < count else ((1, count),)] += times
        elsewhere[count] -= times
    for count, times in elsewhere.items():
        if times:
            against_rest[((0, count),)] += times
    return ClassAgreement(
        answers=sum(named * times for (_, named), times in given.items()),
        agreement=agreement_of_patterns(against_rest),
        repeated=_repeated(given),
    )


def _repeated(given: Counter[tuple[int, int]]) -> Estimate:
    """The share of comparisons with an answer of this class in which the other answer is this class too.

    Source: Cicchetti and Feinstein 1990 (specific agreement).
    """
    apart = sum(named * (count - named) * times for (count, named), times in given.items())
    compared = sum(named * (count - 1) * times for (count, named), times in given.items())
    differing = sum(times for (count, named), times in given.items() if named < count)

    def left_out() -> LeftOut:
        for (count, named), times in given.items():
            rest = compared - named * (count - 1)
            yield ((apart - named * (count - named)) / rest if rest else None), times

    return estimate_of(apart / compared, left_out(), differing, SHARE)


def _pairs(answers: Mapping[int, Mapping[int, int]]) -> Iterator[PairAgreement]:
    together: defaultdict[tuple[int, int], Counter[tuple[int, int]]] = defaultdict(Counter)
    for given in answers.values():
        for (first, one), (second, other) in combinations(sorted(given.items()), 2):
            together[first, second][one, other] += 1
    for (first, second), counts in sorted(together.items()):
        samples = sum(counts.values())
        same = sum(times for (one, other), times in counts.items() if one == other)
        yield PairAgreement(first, second, samples, same, cohen_of_pairs(counts))


def _people(
    answers: Mapping[int, Mapping[int, int]],
    patterns: Mapping[Pattern, int],
    pairs: Iterable[PairAgreement],
) -> dict[int, PersonAgreement]:
    shared: defaultdict[int, list[Mapping[int, int]]] = defaultdict(list)
    for given in answers.values():
        for user_id in given:
            # Whoever shares no sample with anybody is in the table too, with an empty list.
            shared[user_id] += [given] if len(given) > 1 else []
    of_person: defaultdict[int, list[PairAgreement]] = defaultdict(list)
    for pair in pairs:
        of_person[pair.first].append(pair)
        of_person[pair.second].append(pair)
    sums, named = sums_of(patterns), answers_by_class(patterns)
    return {user_id: _person(user_id, shared[user_id], of_person[user_id], sums, named) for user_id in sorted(shared)}


def _person(
    user_id: int,
    shared: list[Mapping[int, int]],
    pairs: list[PairAgreement],
    sums: Sums,
    named: Counter[int],
) -> PersonAgreement:
    comparisons = sum(pair.samples for pair in pairs)
    kappas = [(pair.kappa.value, pair.samples) for pair in pairs if pair.kappa.value is not None]
    weight = sum(samples for _, samples in kappas)
    return PersonAgreement(
        user_id=user_id,
        samples=len(shared),
        comparisons=comparisons,
        observed=sum(pair.same for pair in pairs) / comparisons if comparisons else None,
        kappa=sum(kappa * samples for kappa, samples in kappas) / weight if weight else None,
        alpha_with=_alpha(sums),
        alpha_without=_alpha_without(user_id, shared, sums, named),
    )


def _alpha_without(
    user_id: int, shared: list[Mapping[int, int]], everything: Sums, named: Counter[int]
) -> float | None:
    """Alpha after taking this person's answers out of the sums, sample by sample."""
    left = Counter(named)
    samples, apart = Counter(everything.samples), Counter(everything.differences)
    for given in shared:
        before = pattern_of(given.values())
        after = pattern_of(class_id for other, class_id in given.items() if other != user_id)
        for pattern, sign in ((before, -1), (after, 1)):
            count = answers_in(pattern)
            if count > 1:
                samples[count] += sign
                apart[count] += sign * differences(pattern)
                for class_id, times in pattern:
                    left[class_id] += sign * times
    return _alpha(Sums(samples, apart, sum(times**2 for times in left.values())))


def _alpha(sums: Sums) -> float | None:
    apart = sums.alpha()
    return None if apart is None else 1 - apart


def _confusions(patterns: Mapping[Pattern, int]) -> list[Confusion]:
    found: Counter[tuple[int, int]] = Counter()
    for pattern, times in patterns.items():
        for (first, _), (second, _) in combinations(pattern, 2):
            found[first, second] += times
    return [
        Confusion(*classes, samples) for classes, samples in sorted(found.items(), key=lambda one: (-one[1], one[0]))
    ]

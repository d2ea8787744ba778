"""People's skills from their votes alone: Dawid and Skene's EM, and its one-coin variant for few votes.

The idea: if the true classes were known, each person's confusion matrix would be a count; if the matrices were known,
so would be how likely each class is for each sample (Bayes). So start from the shares of the votes and do the one and
the other in turn. Each turn raises the likelihood of the votes, until nothing moves.

Two models of a person:

- **confusion**: for each true class, a chance for every answer. Tells who takes a finch for a sparrow, on many votes.
- **one coin**: one chance to be right, all wrong classes alike. Stands on few votes.

Both are smoothed (maximum a posteriori): each row of a confusion matrix, and each coin, begins with `PRIOR_ANSWERS`
answers of which `PRIOR_CORRECT` are right and the others spread evenly, and classes' shares with as many samples spread
evenly. That keeps chances off 0 and 1, and tells "right" from "consistently wrong" when votes alone cannot.

Samples with one vote and no known class say nothing of a skill and are left out. Samples with the same votes of the
same people are computed once. Nothing is drawn at random. The models are in `skill_models`.

Source: Dawid and Skene 1979, Maximum likelihood estimation of observer error-rates using the EM algorithm.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from al_service.domain.annotator_skill import Skill
from al_service.domain.skill_models import PRIOR_ANSWERS, Coins, Confusions, Given, People
from al_service.errors import InvalidInputError

#: A turn that gains less than this per vote ends the estimate.
GAIN_MIN = 1e-6
TURNS_MAX = 100
#: Confusion matrices are tried from so many votes per person and class on; with fewer they never pay ...
VOTES_PER_ROW = 10
#: ... and for at most so many classes: a turn costs votes times classes.
CONFUSION_CLASSES_MAX = 20


@dataclass(frozen=True)
class Estimated:
    """What the votes say.

    Attributes:
        skills: by user_id.
        class_shares: class_id -> share of the samples, by what is believed; sums to 1.
        posteriors: sample_id -> class_id -> chance, for samples that say something of skills. By one coin only classes
            that somebody gave or that are known are listed, and the rest up to 1 is spread over the others.
        objectives: after each turn, never falling: log-likelihood of the votes plus log-density of the smoothing.
    """

    skills: dict[int, Skill]
    class_shares: dict[int, float]
    posteriors: dict[int, dict[int, float]]
    objectives: tuple[float, ...]


def estimate_skills(
    votes: Iterable[tuple[int, int, int]],
    *,
    known: Mapping[int, int] | None = None,
    class_ids: Collection[int] = (),
    by_confusion: bool | None = None,
    prior_answers: float = PRIOR_ANSWERS,
    gain_min: float = GAIN_MIN,
    turns_max: int = TURNS_MAX,
) -> Estimated:
    """Everybody's skill, and how likely each class is for each sample.

    Cost: a turn is linear in distinct sets of votes on a sample, times the classes where confusion matrices are
    estimated. The same votes in any order give the same result.

    Args:
        votes: (sample_id, user_id, class_id). Several votes of one person on one sample count as independent ones.
        known: sample_id -> class_id that is certain (gold answers); such a sample needs one vote only.
        class_ids: further classes that somebody could have given; a project's classes.
        by_confusion: confusion matrices or one coin each; None: matrices where they explain the votes better by more
            than one unit of log-likelihood for each number that they have more (Akaike's criterion).
        prior_answers: weight of the smoothing in answers; 0 = maximum likelihood, as in the paper.
        gain_min: of the objective per vote; turns_max: whichever comes first.

    Raises:
        InvalidInputError: fewer than two classes.
    """
    truths = known or {}
    answers = _shared_votes(votes, truths)
    classes = sorted({vote for given in answers.values() for _, vote in given} | {*truths.values()} | {*class_ids})
    if len(classes) < 2:
        raise InvalidInputError(f"{len(classes)} classes; a skill is about telling at least two apart")
    index = {class_id: position for position, class_id in enumerate(classes)}
    of_sample: dict[int, Given] = {
        sample_id: (
            tuple(sorted((user_id, index[vote]) for user_id, vote in given)),
            index[truths[sample_id]] if sample_id in truths else None,
        )
        for sample_id, given in answers.items()
    }
    # Sorted, so that sums do not depend on the order of the votes; a class that is not known comes before any.
    groups = dict(sorted(Counter(of_sample.values()).items(), key=lambda one: (one[0][0], _order(one[0][1]))))
    counts = Counter(user_id for given in answers.values() for user_id, _ in given)
    models: list[type[Confusions] | type[Coins]] = [Confusions] if by_confusion else [Coins]
    if by_confusion is None and _may_pay(counts, len(classes)):
        models = [Coins, Confusions]
    turned = [
        _turned(model(len(classes), prior_answers), groups, gain_min * counts.total(), turns_max) for model in models
    ]
    # The first of equals: one coin is the simpler story.
    people, objectives = max(turned, key=lambda one: _worth(one[0], groups, len(counts)))
    posteriors = {
        given: {classes[position]: chance for position, chance in people.posterior(given)[0].items()}
        for given in groups
    }
    return Estimated(
        skills={user_id: people.skill(user_id, counts[user_id], classes) for user_id in sorted(counts)},
        class_shares=dict(zip(classes, people.shares, strict=True)),
        posteriors={sample_id: posteriors[given] for sample_id, given in of_sample.items()},
        objectives=objectives,
    )


def _shared_votes(votes: Iterable[tuple[int, int, int]], known: Mapping[int, int]) -> dict[int, list[tuple[int, int]]]:
    """sample_id -> (user_id, class_id) of samples that say something of skills."""
    found: defaultdict[int, list[tuple[int, int]]] = defaultdict(list)
    for sample_id, user_id, class_id in votes:
        found[sample_id].append((user_id, class_id))
    return {sample_id: given for sample_id, given in found.items() if len(given) > 1 or sample_id in known}


def _order(position: int | None) -> int:
    return -1 if position is None else position


def _may_pay(votes: Counter[int], class_count: int) -> bool:
    """votes: user_id -> how many."""
    return class_count <= CONFUSION_CLASSES_MAX and votes.total() >= VOTES_PER_ROW * len(votes) * class_count


def _worth(people: People, groups: Mapping[Given, int], person_count: int) -> float:
    """Log-likelihood of the votes less the numbers that describe people.

    Source: Akaike 1974, A new look at the statistical model identification.
    """
    log_likelihood = math.fsum(people.posterior(given)[1] * times for given, times in groups.items())
    return log_likelihood - people.numbers_each * person_count


def _turned(
    people: People, groups: Mapping[Given, int], gain_min: float, turns_max: int
) -> tuple[People, tuple[float, ...]]:
    """The model after its turns, and the objective after each."""
    for given, times in groups.items():
        people.count(given, _vote_shares(given), times)
    objectives: list[float] = []
    for _ in range(turns_max):
        terms = [people.maximise()]
        for given, times in groups.items():
            posterior, log_likelihood = people.posterior(given)
            people.count(given, posterior, times)
            terms.append(log_likelihood * times)
        objectives.append(math.fsum(terms))
        if len(objectives) > 1 and objectives[-1] - objectives[-2] < gain_min:
            break
    return people, tuple(objectives)


def _vote_shares(given: Given) -> dict[int, float]:
    """Where the turns start: the majority, as shares; or the class that is known."""
    votes, known = given
    if known is not None:
        return {known: 1.0}
    return {vote: count / len(votes) for vote, count in sorted(Counter(vote for _, vote in votes).items())}

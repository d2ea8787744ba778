"""How well each person answers, and the class that follows when votes are weighed by it.

`dawid_skene` estimates skills; here is what a skill is, how it is stored, and `weighted_vote`, used whenever somebody
answers a sample of which several people were asked.
"""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from al_service.errors import InvalidInputError

#: A person's skill counts once it stands on so many votes; until then they count as the average of those who have one.
ANSWERS_MIN = 20


@dataclass(frozen=True)
class Skill:
    """How one person answers.

    Attributes:
        accuracy: chance of the right class, on classes as frequent as among the samples it was estimated on; > 0, < 1.
        answers: votes that it stands on: to samples that somebody else answered too, or whose class is known.
        confusion: true class_id -> answered class_id -> chance; rows sum to 1. Empty where votes were too few to tell
            classes apart: then every class is right with chance `accuracy`, and all wrong ones are alike.
    """

    accuracy: float
    answers: int
    confusion: Mapping[int, Mapping[int, float]] = field(default_factory=dict)

    def chance(self, answered: int, true: int, class_count: int) -> float:
        """How likely this person answers that class when the other is true.

        Classes that came after the estimate are judged by the accuracy alone.
        """
        row = self.confusion.get(true, {})
        if answered in row:
            return row[answered]
        return self.accuracy if answered == true else (1 - self.accuracy) / (class_count - 1)


def weighted_vote(
    votes: Sequence[tuple[int, int]], skills: Mapping[int, Skill], class_ids: Collection[int]
) -> tuple[int, float | None]:
    """The likeliest of the classes that people gave, and how likely it is among all classes.

    Each class's log-odds are the sum over people of log P(their answer | class). All classes are equally likely
    beforehand: the loop asks for rare ones on purpose, so how frequent a class is among labels says little of the next
    sample. Whoever has no skill yet (`ANSWERS_MIN`) counts as the average of those who have. While nobody has one, this
    is the majority and its chance is None. A tie goes to the class given first.

    Args:
        votes: (user_id, class_id) of one sample, oldest first, at least one.
        skills: by user_id.
        class_ids: of the project.

    Raises:
        InvalidInputError: no votes, or a vote for a class that is not one of the project's.

    Source: Dawid and Skene 1979, equation 2.5, with even class shares.

    >>> weighted_vote([(1, 7), (2, 8), (3, 8)], {1: Skill(0.95, 90), 2: Skill(0.6, 90), 3: Skill(0.6, 90)}, [7, 8])
    (7, 0.8941176470588235)
    """
    _check_votes(votes, class_ids)
    given = list(dict.fromkeys(class_id for _, class_id in votes))
    known = {user_id: skill for user_id, skill in skills.items() if skill.answers >= ANSWERS_MIN}
    if not known:
        counts = {class_id: sum(vote == class_id for _, vote in votes) for class_id in given}
        return max(given, key=lambda class_id: counts[class_id]), None
    if len(class_ids) == 1:
        return given[0], 1.0
    average = Skill(math.fsum(skill.accuracy for skill in known.values()) / len(known), 0)
    people = [(known.get(user_id, average), class_id) for user_id, class_id in votes]
    odds = {true: _log_chance(people, true, len(class_ids)) for true in class_ids}
    best = max(given, key=lambda class_id: odds[class_id])
    top = max(odds.values())
    return best, math.exp(odds[best] - top) / math.fsum(math.exp(one - top) for one in odds.values())


def _check_votes(votes: Sequence[tuple[int, int]], class_ids: Collection[int]) -> None:
    if not votes:
        raise InvalidInputError("no votes; a weighted vote needs at least one")
    unknown = next((class_id for _, class_id in votes if class_id not in class_ids), None)
    if unknown is not None:
        raise InvalidInputError(
            f"a vote for class {unknown}, which is not one of {sorted(class_ids)}", class_id=unknown
        )


def _log_chance(people: Sequence[tuple[Skill, int]], true: int, class_count: int) -> float:
    # fsum: the same votes in another order are the same sum, so that a tie is a tie.
    return math.fsum(math.log(skill.chance(answered, true, class_count)) for skill, answered in people)


def skill_to_json(skill: Skill) -> dict[str, Any]:
    """A skill as JSON, chances rounded to 6 digits; `skill_from_json` reads it."""
    class_ids = sorted(skill.confusion)
    rows = [[_rounded(skill.confusion[true][answered]) for answered in class_ids] for true in class_ids]
    return {
        "accuracy": _rounded(skill.accuracy),
        "answers": skill.answers,
        "class_ids": class_ids,
        "confusion": rows,
    }


def _rounded(chance: float) -> float:
    """Never 0 or 1, whose logarithms no vote could make up for."""
    return min(max(round(chance, 6), 1e-6), 1 - 1e-6)


def skill_from_json(stored: Mapping[str, Any]) -> Skill:
    """What `skill_to_json` wrote."""
    class_ids = stored["class_ids"]
    confusion = {
        true: dict(zip(class_ids, row, strict=True)) for true, row in zip(class_ids, stored["confusion"], strict=True)
    }
    return Skill(stored["accuracy"], stored["answers"], confusion)

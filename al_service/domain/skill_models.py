"""Two ways to describe how people answer, each with the two steps of EM: `dawid_skene` takes them in turn.

Classes are indices from 0 here. A posterior lists the classes that the model tells apart.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Protocol

from al_service.domain.annotator_skill import Skill

PRIOR_ANSWERS = 2.0
PRIOR_CORRECT = 0.8

#: The votes of one sample, (user_id, class index) in order, and the index of its class where that is known.
Given = tuple[tuple[tuple[int, int], ...], int | None]

#: Stands for all classes that nobody gave.
_ELSEWHERE = -1


class People(Protocol):
    """One way to describe people, as its turns need it. Classes are indices; posteriors list what can be told apart."""

    shares: list[float]
    #: How many free numbers describe one person.
    numbers_each: int

    def count(self, given: Given, posterior: Mapping[int, float], times: int) -> None:
        """Add that many samples of these votes to what the next `maximise` counts."""

    def maximise(self) -> float:
        """Skills and class shares from the counts, which begin anew; their log-density under the smoothing."""

    def posterior(self, given: Given) -> tuple[dict[int, float], float]:
        """How likely each class is for these votes, and the log-likelihood of the votes."""

    def skill(self, user_id: int, answers: int, class_ids: Sequence[int]) -> Skill:
        """This person as the last `maximise` left them."""


class Confusions:
    """People as confusion matrices."""

    def __init__(self, class_count: int, prior_answers: float) -> None:
        self._size = class_count
        self._prior = prior_answers
        self.numbers_each = class_count * (class_count - 1)
        self.shares = [1 / class_count] * class_count
        self._log_shares = [0.0] * class_count
        self._class_counts = [0.0] * class_count
        #: user -> answer -> true class -> expected count; only answers that the person gave.
        self._counts: dict[int, dict[int, list[float]]] = {}
        self._chances: dict[int, list[list[float]]] = {}
        #: The same as logarithms, by answer: what a vote adds to each true class.
        self._log_columns: dict[int, list[list[float]]] = {}

    def count(self, given: Given, posterior: Mapping[int, float], times: int) -> None:
        """As in `People`."""
        columns = [
            self._counts.setdefault(user_id, {}).setdefault(vote, [0.0] * self._size) for user_id, vote in given[0]
        ]
        for true, chance in posterior.items():
            self._class_counts[true] += chance * times
            for column in columns:
                column[true] += chance * times

    def maximise(self) -> float:
        """As in `People`."""
        each = self._prior / self._size
        self.shares = _shares([count + each for count in self._class_counts])
        self._log_shares = [_log(share) for share in self.shares]
        density = [each * one for one in self._log_shares if each]
        for user_id, counts in self._counts.items():
            matrix = [self._row(true, counts) for true in range(self._size)]
            self._chances[user_id] = matrix
            logs = [[_log(chance) for chance in row] for row in matrix]
            self._log_columns[user_id] = [list(column) for column in zip(*logs, strict=True)]
            if self._prior:
                density += [
                    self._prior_count(true, answered) * one
                    for true, row in enumerate(logs)
                    for answered, one in enumerate(row)
                ]
        self._counts, self._class_counts = {}, [0.0] * self._size
        return math.fsum(density)

    def _row(self, true: int, counts: Mapping[int, Sequence[float]]) -> list[float]:
        row = [self._prior_count(true, answered) for answered in range(self._size)]
        for answered, column in counts.items():
            row[answered] += column[true]
        if not math.fsum(row):
            # Without smoothing a class that nothing is believed to be has no row of its own.
            return [_prior_chance(true == answered, self._size) for answered in range(self._size)]
        return _shares(row)

    def _prior_count(self, true: int, answered: int) -> float:
        return self._prior * _prior_chance(true == answered, self._size)

    def posterior(self, given: Given) -> tuple[dict[int, float], float]:
        """As in `People`."""
        votes, known = given
        columns = [self._log_shares, *(self._log_columns[user_id][vote] for user_id, vote in votes)]
        return _normalised(dict(enumerate(map(sum, zip(*columns, strict=True)))), known)

    def skill(self, user_id: int, answers: int, class_ids: Sequence[int]) -> Skill:
        """As in `People`."""
        matrix = self._chances[user_id]
        accuracy = math.fsum(share * matrix[true][true] for true, share in enumerate(self.shares))
        confusion = {true: dict(zip(class_ids, row, strict=True)) for true, row in zip(class_ids, matrix, strict=True)}
        return Skill(accuracy, answers, confusion)


class Coins:
    """People as one chance each to be right. A turn does not grow with the classes."""

    def __init__(self, class_count: int, prior_answers: float) -> None:
        self._size = class_count
        self._prior = prior_answers
        self.numbers_each = 1
        self.shares = [1 / class_count] * class_count
        self._class_counts = [0.0] * class_count
        #: Expected samples of classes that nobody gave, per unit of those classes' shares.
        self._elsewhere = 0.0
        self._right: defaultdict[int, float] = defaultdict(float)
        self._answers: Counter[int] = Counter()
        self._accuracy: dict[int, float] = {}

    def count(self, given: Given, posterior: Mapping[int, float], times: int) -> None:
        """As in `People`."""
        for true, chance in posterior.items():
            self._class_counts[true] += chance * times
        self._count_elsewhere(posterior, times)
        for user_id, vote in given[0]:
            self._answers[user_id] += times
            self._right[user_id] += posterior.get(vote, 0.0) * times

    def _count_elsewhere(self, posterior: Mapping[int, float], times: int) -> None:
        """What the posterior leaves for classes that it does not list goes to these by their shares."""
        listed = math.fsum(self.shares[true] for true in posterior)
        rest = 1 - math.fsum(posterior.values())
        if rest > 0 and listed < 1:
            per_share = rest * times / (1 - listed)
            self._elsewhere += per_share
            for true in posterior:
                self._class_counts[true] -= per_share * self.shares[true]

    def maximise(self) -> float:
        """As in `People`."""
        each = self._prior / self._size
        counts = [
            max(0.0, count + self._elsewhere * share)
            for count, share in zip(self._class_counts, self.shares, strict=True)
        ]
        self.shares = _shares([count + each for count in counts])
        density = [each * _log(share) for share in self.shares if each]
        right, wrong = self._prior * PRIOR_CORRECT, self._prior * (1 - PRIOR_CORRECT)
        for user_id, answers in self._answers.items():
            accuracy = (self._right[user_id] + right) / (answers + self._prior)
            self._accuracy[user_id] = accuracy
            if self._prior:
                density += [right * _log(accuracy), wrong * _log((1 - accuracy) / (self._size - 1))]
        self._class_counts, self._elsewhere = [0.0] * self._size, 0.0
        self._right, self._answers = defaultdict(float), Counter()
        return math.fsum(density)

    def posterior(self, given: Given) -> tuple[dict[int, float], float]:
        """As in `People`."""
        votes, known = given
        rights = {user_id: _log(self._accuracy[user_id]) for user_id, _ in votes}
        wrongs = {user_id: _log((1 - self._accuracy[user_id]) / (self._size - 1)) for user_id, _ in votes}
        listed = sorted({vote for _, vote in votes} | ({known} if known is not None else set()))
        log_chances = {
            true: _log(self.shares[true])
            + sum(rights[user_id] if vote == true else wrongs[user_id] for user_id, vote in votes)
            for true in listed
        }
        others = max(0.0, 1 - math.fsum(self.shares[true] for true in listed)) if len(listed) < self._size else 0.0
        # One entry for all classes that nobody gave: every answer is wrong there.
        log_chances[_ELSEWHERE] = _log(others) + sum(wrongs[user_id] for user_id, _ in votes)
        chances, log_likelihood = _normalised(log_chances, known)
        chances.pop(_ELSEWHERE, None)
        return chances, log_likelihood

    def skill(self, user_id: int, answers: int, class_ids: Sequence[int]) -> Skill:
        """As in `People`."""
        return Skill(self._accuracy[user_id], answers)


def _log(chance: float) -> float:
    return math.log(chance) if chance > 0 else -math.inf


def _normalised(log_chances: Mapping[int, float], known: int | None) -> tuple[dict[int, float], float]:
    """Chances that sum to 1, and the logarithm of what they summed to; only the known class where there is one."""
    if known is not None:
        return {known: 1.0}, log_chances[known]
    top = max(log_chances.values())
    chances = {position: math.exp(one - top) for position, one in log_chances.items()}
    total = math.fsum(chances.values())
    return {position: chance / total for position, chance in chances.items()}, top + math.log(total)


def _prior_chance(is_right: bool, class_count: int) -> float:
    return PRIOR_CORRECT if is_right else (1 - PRIOR_CORRECT) / (class_count - 1)


def _shares(counts: Sequence[float]) -> list[float]:
    total = math.fsum(counts)
    return [count / total for count in counts]

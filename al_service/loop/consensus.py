"""What the project believes of a sample, recomputed from its answers every time one is added or taken back."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from al_service.domain.annotator_skill import Skill, weighted_vote
from al_service.domain.records import Annotation, Project
from al_service.domain.states import AnnotationKind, SampleState, SelectionState
from al_service.loop.ports import Transaction


@dataclass(frozen=True)
class Belief:
    """State and class of a sample; `votes` counts the answers that name the class."""

    state: SampleState
    class_name: str | None
    votes: int

    @property
    def selection_state(self) -> SelectionState:
        """Where this leaves the selection that asked."""
        return {
            SampleState.LABELLED: SelectionState.DONE,
            SampleState.FLAGGED: SelectionState.FLAGGED,
            SampleState.SKIPPED: SelectionState.SKIPPED,
            SampleState.UNLABELLED: SelectionState.OPEN,
        }[self.state]


@dataclass(frozen=True)
class Rules:
    """What several people's votes make of a sample.

    Attributes:
        consensus: as the project's setting of that name.
        skills: by user_id; for `weighted`.
        class_ids: class_id by name, of the project's classes; for `weighted`.
    """

    consensus: str = "majority"
    skills: Mapping[int, Skill] = field(default_factory=dict)
    class_ids: Mapping[str, int] = field(default_factory=dict)


MAJORITY = Rules()


def rules_for(tx: Transaction, project_id: int, answers: Sequence[Annotation]) -> Rules:
    """The project's rules. No statement where one vote decides: all rules make the same of it."""
    if len({answer.user_id for answer in answers if answer.kind is AnnotationKind.LABEL}) < 2:
        return MAJORITY
    return rules_of(tx, tx.projects.get(project_id))


def rules_of(tx: Transaction, project: Project) -> Rules:
    """The project's rules, with people's skills as they are now."""
    if project.config.consensus != "weighted":
        return Rules(project.config.consensus)
    class_ids = {info.name: info.id for info in project.classes}
    return Rules("weighted", tx.skills.all(project.id), class_ids)


def believe(answers: Sequence[Annotation], *, overlap: int, max_skips: int, rules: Rules = MAJORITY) -> Belief:
    """One class once `overlap` people gave one, by the rules.

    - majority: the class that most named; a tie goes to the class named first.
    - weighted: the likeliest class given how well each person answers (`annotator_skill.weighted_vote`); the majority
      while nobody's skill is known.
    - review: the class that all named. Where they differ the sample is set aside until a reviewer decides.

    Several labels of one person are one vote, the latest; a reviewer's verdict, the latest, counts more than any votes.
    Below `overlap` a single flag sends the sample to the flag lane, and `max_skips` skips take it out of the queue;
    neither takes back a label that the same person gave (undo does).

    Args:
        answers: answers that are not undone, oldest first.
        overlap: votes that are asked for, >= 1.
        max_skips: >= 1.
    """
    latest = {answer.user_id: answer for answer in answers if answer.kind is AnnotationKind.LABEL}
    voters = sorted(latest.values(), key=lambda answer: answer.id)
    votes = [(answer.user_id, answer.class_name) for answer in voters if answer.class_name]
    verdict = next((answer.class_name for answer in reversed(answers) if answer.is_review), None)
    if verdict is not None:
        return _labelled(verdict, votes)
    if len(votes) >= overlap:
        return _agreed(votes, rules)
    if any(answer.kind is AnnotationKind.FLAG for answer in answers):
        return Belief(SampleState.FLAGGED, None, 0)
    # The same lease skipped several times (a page that tried again) is one skip.
    skips = {answer.assignment_id or -answer.id for answer in answers if answer.kind is AnnotationKind.SKIP}
    if len(skips) >= max_skips:
        return Belief(SampleState.SKIPPED, None, 0)
    return Belief(SampleState.UNLABELLED, None, 0)


def _agreed(votes: Sequence[tuple[int, str]], rules: Rules) -> Belief:
    # Counter keeps the order of first appearance, and most_common is stable: the class named first wins a tie.
    counts = Counter(name for _, name in votes)
    if rules.consensus == "review" and len(counts) > 1:
        return Belief(SampleState.FLAGGED, None, 0)
    if rules.consensus == "weighted" and len(votes) > 1:
        return _labelled(_weighed(votes, rules), votes)
    return _labelled(counts.most_common(1)[0][0], votes)


def _labelled(class_name: str, votes: Sequence[tuple[int, str]]) -> Belief:
    return Belief(SampleState.LABELLED, class_name, sum(name == class_name for _, name in votes))


def _weighed(votes: Sequence[tuple[int, str]], rules: Rules) -> str:
    """The likeliest of the classes named. One that the project no longer has is a class as well, unknown to skills."""
    class_ids = dict(rules.class_ids)
    for _, name in votes:
        class_ids.setdefault(name, -1 - len(class_ids))
    best, _ = weighted_vote([(user_id, class_ids[name]) for user_id, name in votes], rules.skills, class_ids.values())
    return next(name for name, class_id in class_ids.items() if class_id == best)

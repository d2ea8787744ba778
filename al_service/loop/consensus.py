"""What the project believes of a sample, recomputed from its answers every time one is added or taken back."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from al_service.domain.records import Annotation
from al_service.domain.states import AnnotationKind, SampleState, SelectionState


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


def believe(answers: Sequence[Annotation], *, overlap: int, max_skips: int) -> Belief:
    """Majority of the votes once `overlap` people gave one; a tie goes to the class named first.

    Several labels of one person are one vote, the latest; a reviewer's verdict, the latest, counts more than any votes.
    Below `overlap` a single flag sends the sample to the flag lane, and `max_skips` skips take it out of the queue;
    neither takes back a label that the same person gave (undo does).

    Args:
        answers: answers that are not undone, oldest first.
        overlap: votes that are asked for, >= 1.
        max_skips: >= 1.
    """
    latest = {answer.user_id: answer for answer in answers if answer.kind is AnnotationKind.LABEL}
    votes = [answer.class_name for answer in sorted(latest.values(), key=lambda answer: answer.id) if answer.class_name]
    verdict = next((answer.class_name for answer in reversed(answers) if answer.is_review), None)
    if verdict is not None:
        return Belief(SampleState.LABELLED, verdict, votes.count(verdict))
    if len(votes) >= overlap:
        # Counter keeps the order of first appearance, and most_common is stable: the class named first wins a tie.
        class_name, count = Counter(votes).most_common(1)[0]
        return Belief(SampleState.LABELLED, class_name, count)
    if any(answer.kind is AnnotationKind.FLAG for answer in answers):
        return Belief(SampleState.FLAGGED, None, 0)
    if sum(answer.kind is AnnotationKind.SKIP for answer in answers) >= max_skips:
        return Belief(SampleState.SKIPPED, None, 0)
    return Belief(SampleState.UNLABELLED, None, 0)

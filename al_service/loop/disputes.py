"""How far people disagree about a sample, stored beside what the project believes of it, for reviewers to decide."""

from collections import Counter
from collections.abc import Sequence
from datetime import datetime

from al_service.domain.records import Annotation, Sample
from al_service.domain.states import AnnotationKind, SampleState
from al_service.loop.consensus import Belief
from al_service.loop.ports import Transaction


def store_belief(
    tx: Transaction, sample: Sample, belief: Belief, cause_id: int, answers: Sequence[Annotation], now: datetime
) -> None:
    """Make that what the project believes of the sample, which was read in this transaction.

    Args:
        cause_id: the annotation that the label rests on where its class changes.
        answers: those it follows from, as in `consensus.believe`.
    """
    tx.samples.set_label(
        sample,
        belief.class_name,
        votes=belief.votes,
        annotation_id=cause_id,
        state=belief.state,
        now=now,
        dissent=dissent_of(belief, answers),
        is_reviewed=is_reviewed(answers),
    )


def is_reviewed(answers: Sequence[Annotation]) -> bool:
    """Whether a reviewer has decided; answers: those that are not undone."""
    return any(answer.is_review for answer in answers)


def dissent_of(belief: Belief, answers: Sequence[Annotation]) -> int:
    """Per cent of the people who name another class than is believed, or than most name where nothing is; 0 to 100.

    0 where they agree, where a reviewer has decided, and while more of them are asked. Rounded half up, but at least 1
    where anybody disagrees.

    Args:
        answers: answers that are not undone, oldest first.
    """
    if belief.state not in (SampleState.LABELLED, SampleState.FLAGGED) or is_reviewed(answers):
        return 0
    latest = {answer.user_id: answer.class_name for answer in answers if answer.kind is AnnotationKind.LABEL}
    votes = Counter(latest.values())
    if len(votes) < 2 and belief.class_name in (None, *votes):
        return 0
    count = votes.total()
    against = count - (votes[belief.class_name] if belief.class_name is not None else max(votes.values()))
    return max(1, (200 * against + count) // (2 * count))

"""What a change of classes would do, in numbers, before anybody does it."""

from collections.abc import Collection
from dataclasses import dataclass, replace

from al_service.domain.class_book import ClassBook, KnownClass
from al_service.domain.model_kinds import ModelKind
from al_service.domain.records import AskedAgain, Project
from al_service.domain.states import Split
from al_service.loop.class_change_kinds import AddClasses, Change, MergeClass, SplitClass, class_called
from al_service.loop.ports import Transaction

MODELS_LOOKED_AT = 1000


@dataclass(frozen=True)
class Preview:
    """What a change does, or did, in numbers.

    Attributes:
        change: what was asked for, names stripped.
        version: of the classes that it was made for; who applies it sends it back.
        labels: labelled images of the class (of a merge: of the one that goes), by split.
        into_labels: of a merge: those of the class that stays.
        votes: people's answers for the class, further votes on the same image included.
        gold: images that are gold of the class. A split takes that away from them; otherwise they stay gold.
        recounted: images whose votes are counted anew, as some were for the class and some for another.
        asked_again: of a split: images that lose their label and are asked again.
        holders: who has images in hand now, with the old classes on their screen -> how many.
        running_round: number of the round that works with the old classes, or None.
        models: how many models know the class; is_promoted: the project's own is one of them.
        positions: of the new classes, in order.
        settled: of a split: the images that these numbers count.
    """

    change: Change
    version: str
    labels: dict[Split, int]
    into_labels: dict[Split, int]
    votes: int
    gold: int
    recounted: int
    asked_again: int
    holders: dict[str, int]
    running_round: int | None
    models: int
    is_promoted: bool
    positions: tuple[int, ...]
    settled: tuple[AskedAgain, ...] = ()


def measure(tx: Transaction, project: Project, book: ClassBook, change: Change) -> Preview:
    open_round = tx.rounds.find_open(project.id)
    nothing = Preview(
        change=change,
        version=project.classes_version,
        labels={},
        into_labels={},
        votes=0,
        gold=0,
        recounted=0,
        asked_again=0,
        holders=tx.queue.holders(project.id),
        running_round=None if open_round is None else open_round.number,
        models=0,
        is_promoted=False,
        positions=tuple(range(len(book.classes), len(book.classes) + _new_count(change))),
    )
    if isinstance(change, AddClasses):
        return nothing
    known = class_called(project, book, change.class_name)
    ids = ids_meaning(book, known)
    counts = tx.classes.label_counts(project.id)
    models, is_promoted = _models_that_know(tx, project, book, known)
    found = replace(
        nothing,
        labels=counts.get(known.id, {}),
        votes=tx.classes.vote_count(project.id, ids),
        gold=tx.classes.gold_count(known.id),
        models=models,
        is_promoted=is_promoted,
    )
    if isinstance(change, MergeClass):
        target = class_called(project, book, change.into)
        both = tx.classes.settled_with_votes_of_both(project.id, ids, ids_meaning(book, target))
        return replace(found, into_labels=counts.get(target.id, {}), recounted=len(both))
    if isinstance(change, SplitClass):
        settled = tx.classes.settled_by(project.id, ids)
        mixed = sum(one.is_mixed for one in settled)
        return replace(found, recounted=mixed, asked_again=len(settled) - mixed, settled=tuple(settled))
    return found


def _new_count(change: Change) -> int:
    if isinstance(change, AddClasses):
        return len(change.names)
    return len(change.parts) if isinstance(change, SplitClass) else 0


def ids_meaning(book: ClassBook, known: KnownClass) -> tuple[int, ...]:
    """Ids that answers may carry which mean this class: its own, and those merged into it."""
    return (known.id, *(one.id for one in book.merged_into(known.id)))


def _models_that_know(tx: Transaction, project: Project, book: ClassBook, known: KnownClass) -> tuple[int, bool]:
    def knows(names: Collection[str]) -> bool:
        found = (book.named(name) for name in names)
        return any(one is not None and one.id == known.id for one in found)

    models = [one for one in tx.models.all(project.id, limit=MODELS_LOOKED_AT) if one.kind is not ModelKind.BACKBONE]
    promoted = tx.models.find_promoted(project.id)
    return sum(knows(one.class_names) for one in models), promoted is not None and knows(promoted.class_names)

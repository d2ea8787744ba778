"""Classes that change while people work: add, rename, merge two into one, split one into several.

A change is one transaction under the project's lock. Nothing that people said is lost or rewritten: their answers keep
the class that they named, and what that means today is looked up. Positions, and with them keys and colours, never
move: a merged or split class leaves its key empty, so that a habit cannot give a wrong label.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from al_service.domain.class_book import ClassBook, KnownClass
from al_service.domain.records import AskedAgain, Project, Relabelling, User
from al_service.domain.states import Role, SampleState, Split
from al_service.errors import ConflictError
from al_service.loop.accounts import CLASS_CHANGE_USER
from al_service.loop.annotations import VOTES_NEEDED, settle_again
from al_service.loop.assignments import active_project, locked_project
from al_service.loop.batches import skips_asked
from al_service.loop.class_change_kinds import (
    AddClasses,
    Change,
    MergeClass,
    RenameClass,
    SplitClass,
    checked,
    class_called,
)
from al_service.loop.class_previews import Preview, ids_meaning, measure
from al_service.loop.ports import Store, Transaction

#: In whose name votes are taken back where nobody is signed in (the command line). Cannot sign in.
#: Of selections that ask again; stored, so it never changes.
SPLIT_CODE = "class_split"


class ClassesChangedError(ConflictError):
    """Somebody changed the classes since the preview was made; nothing was changed."""

    code = "classes_changed"


@dataclass(frozen=True)
class ClassState:
    """One class as it stands: labelled images by split, old names, what it was split into and how far that is."""

    known: KnownClass
    labels: dict[Split, int]
    old_names: tuple[str, ...]
    merged: tuple[KnownClass, ...]
    parts: tuple[KnownClass, ...]
    relabelling: Relabelling | None


@dataclass(frozen=True)
class Overview:
    """All classes of a project, retired ones too, by position."""

    project: Project
    book: ClassBook
    classes: tuple[ClassState, ...]


class ClassChanges:
    """List, preview, apply."""

    def __init__(self, store: Store, clock: Callable[[], datetime]) -> None:
        self._store = store
        self._clock = clock

    def overview(self, project_name: str) -> Overview:
        """Every class of the project, with its counts."""
        with self._store.read() as tx:
            project = active_project(tx, project_name)
            book = tx.projects.class_book(project.id)
            counts = tx.classes.label_counts(project.id)
            is_any_split = any(known.is_split for known in book.classes)
            asked = tx.classes.relabelling(project.id) if is_any_split else {}
        return Overview(
            project,
            book,
            tuple(
                ClassState(
                    known,
                    counts.get(known.id, {}),
                    book.old_names(known.id),
                    book.merged_into(known.id),
                    book.parts_of(known.id),
                    asked.get(known.id, Relabelling(0, 0)) if known.is_split else None,
                )
                for known in book.classes
            ),
        )

    def preview(self, project_name: str, change: Change) -> Preview:
        """What the change would do now; changes nothing.

        Raises:
            As `apply`, without ClassesChangedError.
        """
        with self._store.read() as tx:
            project = active_project(tx, project_name)
            book = tx.projects.class_book(project.id)
            return measure(tx, project, book, checked(project, book, change))

    def apply(self, project_name: str, change: Change, user: User | None, *, version: str | None = None) -> Preview:
        """Do it, all or nothing; what it did in numbers.

        Args:
            user: who does it; None: somebody at the command line.
            version: of the preview that they saw. Numbers may have moved since, as people go on labelling: a change is
                about classes, and it is refused only if these are not the ones they saw.

        Raises:
            ClassesChangedError: somebody changed the classes since the preview.
            ClassNameTakenError: a new name belongs, or belonged, to another class.
            NotFoundError: no class of today has the name.
            InvalidInputError: bad or repeated names, too many classes, a class merged into itself.
        """
        now = self._clock()
        with self._store.write() as tx:
            project = locked_project(tx, project_name)
            if version is not None and version != project.classes_version:
                raise ClassesChangedError(
                    f"the classes of {project.name} have changed since you looked; look again, then decide",
                    version=project.classes_version,
                )
            book = tx.projects.class_book(project.id)
            change = checked(project, book, change)
            found = measure(tx, project, book, change)
            _apply(tx, project, book, found, user, now)
            details = {**asdict(change), "asked_again": found.asked_again, "votes": found.votes}
            tx.accounts.add_audit(
                user_id=None if user is None else user.id,
                action=f"class.{change.op}",
                subject=project.name,
                details=details,
                now=now,
            )
        return found


def _apply(
    tx: Transaction, project: Project, book: ClassBook, found: Preview, user: User | None, now: datetime
) -> None:
    match found.change:
        case AddClasses(names):
            tx.projects.add_classes(project.id, names)
        case RenameClass(class_name, new_name):
            known = class_called(project, book, class_name)
            tx.classes.rename(project.id, known.id, known.name, new_name)
        case MergeClass(class_name, into):
            _merge(tx, project, book, class_called(project, book, class_name), class_called(project, book, into), now)
        case SplitClass(class_name, parts):
            split = class_called(project, book, class_name)
            _split(tx, project, split, ids_meaning(book, split), parts, found.settled, user, now)


def _merge(
    tx: Transaction, project: Project, book: ClassBook, source: KnownClass, target: KnownClass, now: datetime
) -> None:
    recounted = tx.classes.settled_with_votes_of_both(project.id, ids_meaning(book, source), ids_meaning(book, target))
    tx.classes.retire(source.id, now, into_id=target.id)
    tx.classes.move_labels(project.id, source.id, target.id, now)
    tx.classes.forget_skills(project.id)
    # Two votes that differed are one opinion now, which may win against a third.
    for sample_id in recounted:
        settle_again(tx, tx.samples.get(sample_id), now)


def _split(
    tx: Transaction,
    project: Project,
    known: KnownClass,
    ids: Sequence[int],
    parts: tuple[str, ...],
    settled: Sequence[AskedAgain],
    user: User | None,
    now: datetime,
) -> None:
    by = user.id if user is not None else _nobody(tx, now)
    tx.classes.take_back_votes(project.id, ids, by, now)
    tx.classes.drop_gold(project.id, known.id)
    tx.classes.forget_skills(project.id)
    tx.classes.retire(known.id, now)
    tx.projects.add_classes(project.id, parts, split_from_id=known.id)
    tx.classes.unlabel([one.sample_id for one in settled if not one.is_mixed])
    rows, max_skips = [], skips_asked(tx, project.config)
    for one in settled:
        # Where other votes stand they may be enough, or as many people are asked as are missing.
        votes = _votes_left(tx, one, now) if one.is_mixed else 0
        if votes is not None:
            rows.append(_row(project, known, one, votes, max_skips))
    tx.classes.ask_again(project.id, rows)


def _votes_left(tx: Transaction, one: AskedAgain, now: datetime) -> int | None:
    """How many people's votes an image still has that must be asked again; None where it need not."""
    state, votes = settle_again(tx, tx.samples.get(one.sample_id), now)
    return votes if state is SampleState.UNLABELLED else None


def _row(project: Project, split: KnownClass, one: AskedAgain, votes: int, max_skips: int) -> dict[str, Any]:
    needed = max(project.config.overlap_of(one.sha256), votes + 1)
    return {
        "sample_id": one.sample_id,
        "reason": {"code": SPLIT_CODE, "class": split.name, "class_id": split.id, VOTES_NEEDED: needed},
        "overlap": needed - votes,
        "max_skips": max_skips,
    }


def _nobody(tx: Transaction, now: datetime) -> int:
    known = tx.accounts.find_user(CLASS_CHANGE_USER)
    if known is None:
        known = tx.accounts.add_user(CLASS_CHANGE_USER, Role.VIEWER, None, now)
        tx.accounts.set_user(known.id, is_active=False)
    return known.id

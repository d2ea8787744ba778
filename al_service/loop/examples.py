"""Example images of classes: what people see beside the guidelines when they are unsure."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from al_service.domain.records import Example, Sample, User
from al_service.errors import ConflictError, InvalidInputError, NotFoundError
from al_service.loop.assignments import active_project
from al_service.loop.ports import Store, Transaction
from al_service.loop.reviews import locked_sample

NOTE_LENGTH_MAX = 300
#: More of one class nobody looks at.
PER_CLASS_MAX = 12


@dataclass(frozen=True)
class Wanted:
    """A sample to show as an example, and one line on what to look at."""

    sample_id: int
    class_name: str
    note: str = ""

    def __post_init__(self) -> None:
        if len(self.note) > NOTE_LENGTH_MAX:
            raise InvalidInputError(f"note has {len(self.note)} characters, at most {NOTE_LENGTH_MAX} fit")


class Examples:
    """Show, set, remove."""

    def __init__(self, store: Store, clock: Callable[[], datetime]) -> None:
        self._store = store
        self._clock = clock

    def all(self, project_name: str) -> list[Example]:
        """A project's examples in class order, the oldest first; one that somebody is asked about waits until it is
        answered.
        """
        with self._store.read() as tx:
            return tx.examples.shown(active_project(tx, project_name).id)

    def set(self, wanted: Wanted, user: User) -> None:
        """Show a sample to everybody as an example of a class; a second time changes class and note.

        Raises:
            NotFoundError: no such sample, or it is kept aside to measure the model: nobody may learn from it.
            ConflictError: it is gold, which would not be hidden any more; or somebody is asked about it now, and would
                read the answer; or the class has enough examples.
            InvalidInputError: no such class.
        """
        now = self._clock()
        with self._store.write() as tx:
            sample = locked_sample(tx, wanted.sample_id, evaluation=False)
            if tx.lanes.is_gold(sample.id):
                raise ConflictError(
                    f"sample {sample.id} is gold; as an example it would not be hidden. Remove it from gold first",
                    sample=sample.id,
                )
            if _is_asked(tx, sample):
                raise ConflictError(
                    f"people are asked about sample {sample.id} now; as an example it would tell them the answer. "
                    "Choose another one, or wait until it is answered",
                    sample=sample.id,
                )
            _check_room(tx, sample, wanted.class_name)
            tx.examples.set(sample, wanted.class_name, wanted.note.strip(), user.id, now)
            _note(tx, sample, user, "example.set", {"class_name": wanted.class_name}, now)

    def remove(self, sample_id: int, user: User) -> None:
        """Show it no more.

        Raises:
            NotFoundError: it is no example.
        """
        now = self._clock()
        with self._store.write() as tx:
            sample = locked_sample(tx, sample_id, evaluation=False)
            if not tx.examples.remove(sample_id):
                raise NotFoundError(f"sample {sample_id} is no example", sample=sample_id)
            _note(tx, sample, user, "example.remove", {}, now)


def _is_asked(tx: Transaction, sample: Sample) -> bool:
    """Somebody is asked about it in any lane, or holds it by a question that is over: such an answer is welcome too."""
    is_open = bool(tx.lanes.with_secret_class([sample.id]))
    return is_open or sample.id in tx.queue.held_sample_ids(sample.project_id)


def _check_room(tx: Transaction, sample: Sample, class_name: str) -> None:
    of_class = [one.sample.id for one in tx.examples.all(sample.project_id) if one.class_name == class_name]
    # A class that others were merged into may have more; their notes can still be changed.
    if sample.id not in of_class and len(of_class) >= PER_CLASS_MAX:
        raise ConflictError(
            f"{class_name!r} has {PER_CLASS_MAX} examples already; remove one first", class_name=class_name
        )


def _note(tx: Transaction, sample: Sample, user: User, action: str, details: dict[str, Any], now: datetime) -> None:
    subject = tx.projects.get(sample.project_id).name
    details = {"sample": sample.id, **details}
    tx.accounts.add_audit(user_id=user.id, action=action, subject=subject, details=details, now=now)

"""What the model thinks of an image, for the person who asks; blind until then, and for some images in any case."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from al_service.domain.class_book import ClassBook
from al_service.domain.draws import is_drawn
from al_service.domain.pull import Pull, pull_of
from al_service.domain.records import Assignment, Likely, Project, User
from al_service.domain.states import Lane
from al_service.loop.assignments import active_project, own_assignment
from al_service.loop.ports import Store


@dataclass(frozen=True)
class Suggestion:
    """What a person is told.

    Attributes:
        likely: (class name, probability) of the likeliest classes, likeliest first; empty: the model has no opinion, or
            the image is kept blind.
        is_blind: nobody is told anything of this image, to see what people answer without.
    """

    likely: tuple[tuple[str, float], ...]
    is_blind: bool


class Suggestions:
    """Tell a person what the model thinks, keep in mind that they know, and measure what it does to them."""

    def __init__(self, store: Store, clock: Callable[[], datetime]) -> None:
        self._store = store
        self._clock = clock

    def ask(self, assignment_id: int, user: User) -> Suggestion:
        """What the model thinks of the image that this person holds; asking again says the same.

        Raises:
            NotFoundError: no such assignment of this person.
        """
        now = self._clock()
        with self._store.write() as tx:
            tx.projects.lock(own_assignment(tx, assignment_id, user).sample.project_id)
            assignment = own_assignment(tx, assignment_id, user)
            project = tx.projects.get(assignment.sample.project_id)
            suggestion = _suggestion(tx.projects.class_book(project.id), project, assignment, user)
            # Where there was nothing to tell, nothing was kept from anybody either.
            asked_at = assignment.suggestion_asked_at or now
            if suggestion.likely and assignment.suggestion_seen_at is None:
                tx.queue.mark_suggestion(assignment_id, asked_at=asked_at, seen_at=now)
            elif suggestion.is_blind and assignment.suggestion_asked_at is None:
                tx.queue.mark_suggestion(assignment_id, asked_at=asked_at, seen_at=None)
        return suggestion

    def pull(self, project_name: str) -> Pull:
        """How much suggestions sway the people of a project."""
        with self._store.read() as tx:
            return pull_of(tx.queue.suggestion_counts(active_project(tx, project_name).id))


def is_blind(project: Project, assignment: Assignment, user: User) -> bool:
    """Whether this person is told nothing of what the model thinks of that image, however they ask."""
    selection, config = assignment.selection, project.config
    key = f"{user.id}:{selection.id}"
    if selection.lane is Lane.GOLD and selection.reason.get("blind", True):
        return True  # the model's opinion is not known, and its neighbours have one
    return is_drawn("blind", key, share=config.blind_share, seed=config.seed)


def likely_today(book: ClassBook, likely: Likely | None) -> tuple[tuple[str, float], ...]:
    """What a model thought in the classes of today, likeliest first: chances of classes that are one by now add up, and
    those of split ones are left out.
    """
    chances: dict[str, float] = {}
    for class_id, chance in likely or ():
        known = book.today(class_id)
        if known is not None:
            chances[known.name] = min(1.0, chances.get(known.name, 0.0) + chance)
    return tuple(sorted(chances.items(), key=lambda entry: -entry[1]))


def _suggestion(book: ClassBook, project: Project, assignment: Assignment, user: User) -> Suggestion:
    if is_blind(project, assignment, user):
        return Suggestion((), True)
    return Suggestion(likely_today(book, assignment.selection.likely), False)

"""Lists of samples for reviewers: what people said, what is believed, where they differ, and what was set aside."""

from dataclasses import dataclass, replace

from al_service.domain.class_book import ClassBook
from al_service.domain.records import Project
from al_service.domain.review import (
    Place,
    ReviewFacets,
    ReviewFilter,
    ReviewKind,
    ReviewPage,
    ReviewRow,
    Said,
)
from al_service.domain.states import Split
from al_service.errors import InvalidInputError, NotFoundError
from al_service.loop.assignments import active_project
from al_service.loop.ports import Store, Transaction
from al_service.loop.suggestions import likely_today


@dataclass(frozen=True)
class ReviewQuestion:
    """A filter in the words of people; None: any."""

    kind: ReviewKind = ReviewKind.ANSWERED
    class_name: str | None = None
    user_name: str | None = None
    round_number: int | None = None

    @property
    def place_length(self) -> int:
        """As `ReviewFilter.place_length`."""
        return ReviewFilter(self.kind).place_length


class ReviewList:
    """Pages of samples, what there is to filter by, and the log of one sample.

    `evaluation` everywhere: this person may see the samples kept aside to measure the model.
    """

    def __init__(self, store: Store) -> None:
        self._store = store

    def page(
        self,
        project_name: str,
        question: ReviewQuestion,
        *,
        after: Place | None = None,
        limit: int = 60,
        evaluation: bool = False,
    ) -> ReviewPage:
        """At most `limit` samples behind that place of an earlier page.

        Raises:
            NotFoundError: no such project, or no such person or round.
            InvalidInputError: a class that the project does not have.
        """
        with self._store.read() as tx:
            project = active_project(tx, project_name)
            wanted = _filter(tx, project, question)
            page = tx.review_list.page(project.id, wanted, _splits(evaluation), after=after, limit=limit)
            if not any(row.likely for row in page.rows):
                return page
            book = tx.projects.class_book(project.id)
            return replace(page, rows=tuple(_with_opinion(row, book) for row in page.rows))

    def facets(self, project_name: str, *, evaluation: bool = False) -> ReviewFacets:
        """What there is to filter by."""
        with self._store.read() as tx:
            project = active_project(tx, project_name)
            last = tx.rounds.find_last(project.id)
            return ReviewFacets(
                counts=tx.review_list.counts(project.id, _splits(evaluation)),
                people=tuple(tx.review_list.people(project)),
                last_round=None if last is None else last.number,
            )

    def log(self, sample_id: int, *, evaluation: bool = False) -> list[Said]:
        """Everything that was ever said of a sample, what was taken back included, oldest first.

        Raises:
            NotFoundError: no such sample, or not for this person.
        """
        with self._store.read() as tx:
            sample = tx.samples.get(sample_id)
            if sample.split is Split.EVALUATION and not evaluation:
                raise NotFoundError(f"no sample with id {sample_id}", sample=sample_id)
            return tx.review_list.log(sample_id)


def _with_opinion(row: ReviewRow, book: ClassBook) -> ReviewRow:
    return replace(row, opinion=next(iter(likely_today(book, row.likely)), None))


def _splits(evaluation: bool) -> tuple[Split, ...]:
    return tuple(Split) if evaluation else (Split.POOL, Split.TRAIN)


def _filter(tx: Transaction, project: Project, question: ReviewQuestion) -> ReviewFilter:
    return ReviewFilter(
        kind=question.kind,
        class_id=None if question.class_name is None else _class_id(project, question.class_name),
        user_id=None if question.user_name is None else _user_id(tx, question.user_name),
        round_id=None if question.round_number is None else _round_id(tx, project, question.round_number),
    )


def _class_id(project: Project, name: str) -> int:
    found = project.find_class(name)
    if found is None:
        raise InvalidInputError(
            f"{name!r} is not a class of {project.name}; classes: {', '.join(project.class_names)}", class_name=name
        )
    return found.id


def _user_id(tx: Transaction, name: str) -> int:
    found = tx.accounts.find_user(name)
    if found is None:
        raise NotFoundError(f"no person {name!r}", user=name)
    return found.id


def _round_id(tx: Transaction, project: Project, number: int) -> int:
    found = tx.rounds.find(project.id, number)
    if found is None:
        raise NotFoundError(f"no round {number} in {project.name}", round=number)
    return found.id

"""Rows of samples and of what was said about them, as the loop needs them; each is a part of `ports.Transaction`."""

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Protocol

from al_service.domain.records import (
    Annotation,
    Example,
    LabelledImage,
    NewAnnotation,
    NewSample,
    PoolCounts,
    Project,
    RejectedRow,
    Sample,
)
from al_service.domain.review import Place, ReviewFilter, ReviewKind, ReviewPage, Said
from al_service.domain.states import (
    SampleState,
    Split,
)


class SampleRows(Protocol):
    """Images of a project and what is believed about them."""

    def add_many(self, project_id: int, samples: Sequence[NewSample], now: datetime) -> list[int | None]:
        """Store what is new; in order of input the new id, or None where external id or content hash was known."""

    def find_by_external_ids(self, project_id: int, external_ids: Sequence[str]) -> dict[str, Sample]:
        """Known samples by external id."""

    def get(self, sample_id: int) -> Sample:
        """The sample, or NotFoundError."""

    def get_many(self, sample_ids: Iterable[int]) -> dict[int, Sample]:
        """The samples by id, or NotFoundError naming the smallest id that is missing."""

    def state_counts(self, project_id: int) -> Counter[tuple[Split, SampleState]]:
        """How many samples of each split are in which state; at the same price for any pool and any queue."""

    def counts(self, project_id: int) -> PoolCounts:
        """Counts by state, consistent with each other (one statement)."""

    def class_counts(self, project_id: int) -> dict[str, int]:
        """Labelled pool and train samples by class name (0 for classes without any)."""

    def in_state(
        self, project_id: int, state: SampleState, splits: Sequence[Split], *, after: int, limit: int
    ) -> list[Sample]:
        """Samples of these splits in that state with an id above `after`, by id, at most `limit`."""

    def selectable(
        self, project_id: int, first_id: int | None = None, last_id: int | None = None
    ) -> list[tuple[int, str]]:
        """(sample_id, sha256) of unlabelled pool samples, by id. Samples with an open selection are included.

        With first_id or last_id only those of this range, both ends included.
        """

    def selectable_ranges(self, project_id: int, size: int) -> list[tuple[int, int, int]]:
        """(first id, last id, how many) of consecutive stretches of `selectable`, each of `size` samples, the last one
        of what is left. Memory does not grow with the pool.
        """

    def newest_selectable_at(self, project_id: int) -> datetime | None:
        """When the newest of the `selectable` samples was stored; None when there is none."""

    def flag_unreadable(self, sample_ids: Sequence[int]) -> int:
        """Flag those of the samples that are unlabelled and that no open selection asks for; how many.

        Their images cannot be read, so no round could ever score them."""

    def unlabelled_evaluation_ids(self, project_id: int) -> list[int]:
        """Evaluation samples without label that are not in the queue, by id."""

    def training_set(self, project_id: int, watermark: int) -> list[LabelledImage]:
        """Labelled pool and train samples whose label rests on annotations with id <= watermark, by sample id."""

    def evaluation_set(self, project_id: int) -> list[LabelledImage]:
        """Labelled evaluation samples, by sample id."""

    def image_sizes(self, project_id: int, limit: int) -> list[tuple[int, int]]:
        """(width, height) of the first `limit` samples, for choosing image_px."""

    def set_label(
        self,
        sample: Sample,
        class_name: str | None,
        *,
        votes: int,
        annotation_id: int,
        state: SampleState,
        now: datetime,
        dissent: int = 0,
        is_reviewed: bool = False,
    ) -> None:
        """What the project now believes of the sample, which was read in this transaction: class (None: no label), how
        many votes, resting on which annotation, how far people disagree, whether a reviewer decided. A label whose
        class stays the same keeps the annotation it rests on.
        """

    def add_rejections(self, job_id: int, rows: Sequence[RejectedRow]) -> None:
        """Rows of an import that became no sample. The same (job, external id) again changes nothing."""

    def rejections(self, job_id: int, limit: int) -> list[RejectedRow]:
        """Rejected rows of one import, in order."""


class AnnotationRows(Protocol):
    """The append-only log of answers."""

    def add(self, annotation: NewAnnotation, now: datetime) -> Annotation:
        """Append. Raises ConflictError when (user, client_key) or undoes_id is there already."""

    def add_if_new(self, annotation: NewAnnotation, class_id: int | None, now: datetime) -> Annotation | None:
        """Append; None when (user, client_key) or undoes_id is there already. The caller has locked the project and
        knows the id of the class.
        """

    def add_as(self, annotation_id: int, annotation: NewAnnotation, class_id: int | None, now: datetime) -> Annotation:
        """As `add_if_new`, under an id that was kept for it with the knowledge that its key is new (`Asked`)."""

    def add_labels(
        self, project_id: int, user_id: int, labels: Sequence[tuple[int, str]], client_key_prefix: str, now: datetime
    ) -> None:
        """Append one `label` annotation for each (sample_id, class_name) and set the samples' labels (imports;
        idempotent by key).
        """

    def find_by_key(self, user_id: int, client_key: str) -> Annotation | None:
        """The annotation that this person's client made under that key, or None."""

    def get(self, annotation_id: int) -> Annotation:
        """The annotation, or NotFoundError."""

    def active_of_sample(self, sample_id: int) -> list[Annotation]:
        """Answers (label, skip, flag) of a sample that are not undone, oldest first."""

    def active_of_selection(self, sample_id: int, selection_id: int) -> list[Annotation]:
        """Answers to that selection of the sample that are not undone, oldest first."""

    def with_labels(self, sample_ids: Sequence[int]) -> set[int]:
        """Those of the samples that have an answer with a class that is not undone."""

    def latest_flags(self, sample_ids: Sequence[int]) -> dict[int, Annotation]:
        """The newest flag of each of the samples that is not undone; samples without one are left out."""

    def recent_of_user(self, project_id: int, user_id: int, limit: int) -> list[Annotation]:
        """This person's answers that are not undone, newest first."""

    def latest_id(self, project_id: int) -> int:
        """Highest annotation id of the project, 0 when there is none: the watermark of a round that starts now."""

    def new_label_count(self, project_id: int, watermark: int) -> int:
        """Labelled pool and train samples whose label changed after that watermark."""

    def labels_since(self, project_id: int, since: datetime) -> int:
        """Label annotations by people (not imports) since then, for labels per minute."""


class ReviewListRows(Protocol):
    """What reviewers look through; never more than a bounded number of rows at a time."""

    def page(
        self, project_id: int, wanted: ReviewFilter, splits: Sequence[Split], *, after: Place | None, limit: int
    ) -> ReviewPage:
        """At most `limit` samples of these splits behind that place."""

    def log(self, sample_id: int) -> list[Said]:
        """Everything that was ever said of a sample, what was taken back included, oldest first."""

    def counts(self, project_id: int, splits: Sequence[Split]) -> dict[ReviewKind, int]:
        """Samples of each kind but `answered`; those that are not kept as numbers up to COUNT_MAX + 1."""

    def people(self, project: Project) -> list[str]:
        """Names of who gave answers in the project, in order."""


class ExampleRows(Protocol):
    """Samples that everybody is shown as examples of a class."""

    def all(self, project_id: int) -> list[Example]:
        """A project's examples in class order, the oldest first, also those that are not shown now."""

    def shown(self, project_id: int) -> list[Example]:
        """As `all`, without those that somebody is asked about or holds."""

    def set(self, sample: Sample, class_name: str, note: str, user_id: int, now: datetime) -> None:
        """Show this sample as an example of that class. Raises InvalidInputError for a class the project does not
        have."""

    def remove(self, sample_id: int) -> bool:
        """Show it no more; False when it was none."""

    def is_one(self, sample_id: int) -> bool:
        """Whether people are shown this sample as an example."""

    def shown_count(self, project_id: int) -> int:
        """How many `shown` brings."""

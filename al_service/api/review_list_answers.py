"""What reviewers look through, as models."""

from datetime import datetime

from al_service.api.answers import AnnotationFields, Answer
from al_service.domain.states import AnnotationKind


class VoteFields(Answer):
    """An answer that counts: who said what, when, after how many seconds.

    is_review: a reviewer's verdict, which decides; is_import: it came with the images.
    """

    annotation_id: int
    by: str
    kind: AnnotationKind
    class_name: str | None
    at: datetime
    lead_time: float | None
    is_extra_vote: bool
    is_review: bool
    is_import: bool


class OpinionFields(Answer):
    """A class and the chance that the model gave it."""

    class_name: str
    chance: float


class ReviewFields(Answer):
    """A sample as reviewers see it.

    Attributes:
        external_id: what it is called where it came from, e.g. the file.
        class_name: what is believed; null where nothing is.
        label_version: what a verdict has to name; 0 where there is no label.
        dissent: per cent of the people who name another class; 0 once a reviewer has decided.
        gold_class: where its class is known for sure.
        is_asked: people are asked about it at present.
        round, rank, reason: of what was asked last; null where nobody was asked.
        votes: the answers that count, oldest first.
        opinion: what the model that chose the sample found likeliest; null where it had no opinion.
    """

    sample_id: int
    external_id: str
    image_url: str
    width: int
    height: int
    state: str
    split: str
    class_name: str | None
    label_version: int
    dissent: int
    is_reviewed: bool
    gold_class: str | None
    is_asked: bool
    round: int | None
    rank: int | None
    reason: str | None
    votes: list[VoteFields]
    opinion: OpinionFields | None


class FacetFields(Answer):
    """What there is to filter by.

    counts: samples of each kind but `answered` and `suspicious`; those of disputed, reviewed and gold go up to
    count_max + 1, which says "more than count_max". people: who gave answers. last_round: number of the newest round.
    """

    counts: dict[str, int]
    count_max: int
    people: list[str]
    last_round: int | None


class ReviewAnswer(Answer):
    """Some samples.

    next: what to ask for as `after` next, null at the end; a page may be short, or empty, though more follow.
    facets: on the first page only.
    """

    samples: list[ReviewFields]
    next: str | None
    facets: FacetFields | None


class LogFields(AnnotationFields):
    """As AnnotationFields, of anybody; undoes: the annotation that this row takes back."""

    is_review: bool
    is_import: bool
    undoes: int | None


class LogAnswer(Answer):
    """Everything that was ever said of a sample, what was taken back included, oldest first."""

    log: list[LogFields]

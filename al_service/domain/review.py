"""What reviewers look through: which samples, in which order, and what people said of each."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from al_service.domain.records import Annotation, Likely, Sample
from al_service.errors import InvalidInputError


class ReviewKind(StrEnum):
    """Which samples.

    answered: anybody said anything of them; labelled: believed to be of a class; disputed: the votes of different
    people differ and no reviewer has decided yet; suspicious: the model was sure (SURE) of another class than people
    named, and no reviewer has decided yet; reviewed: a reviewer has decided; flagged, skipped: set aside; gold: known
    for sure. The most disputed come first; in all other lists what changed last.
    """

    ANSWERED = "answered"
    LABELLED = "labelled"
    DISPUTED = "disputed"
    SUSPICIOUS = "suspicious"
    REVIEWED = "reviewed"
    FLAGGED = "flagged"
    SKIPPED = "skipped"
    GOLD = "gold"


#: The chance that a model gives the class that it is sure of, at least.
SURE = 0.8
#: No list is counted further than this.
COUNT_MAX = 1000
#: Where a page ends: what its list goes by. (dissent, sample id) where it is disputed, else an annotation or sample id.
Place = tuple[int, ...]


@dataclass(frozen=True)
class ReviewFilter:
    """Which samples of a project; None: any.

    Attributes:
        class_id: of the class that is believed.
        user_id: who gave an answer.
        round_id: which chose the sample.
    """

    kind: ReviewKind = ReviewKind.ANSWERED
    class_id: int | None = None
    user_id: int | None = None
    round_id: int | None = None

    @property
    def place_length(self) -> int:
        """How many numbers a `Place` in this list has."""
        return 2 if self.kind is ReviewKind.DISPUTED else 1


@dataclass(frozen=True)
class Said:
    """A row of the log of a sample with the name of who it is from; is_import: it came with the images."""

    annotation: Annotation
    by: str
    is_import: bool


@dataclass(frozen=True)
class ReviewRow:
    """A sample as reviewers see it.

    Attributes:
        is_reviewed: a reviewer has decided.
        gold_class: where its class is known for sure.
        is_asked: people are asked about it at present.
        round_number, rank, round_id, reason: of the selection that was answered last; None where nobody was asked.
        votes: the answers that count, oldest first.
        likely: what the model that chose the sample thought of it; None where it had no opinion.
        opinion: the likeliest class of that under its name of today, and its chance.
    """

    sample: Sample
    is_reviewed: bool
    gold_class: str | None
    is_asked: bool
    round_id: int | None
    round_number: int | None
    rank: int | None
    reason: dict[str, Any] | None
    votes: tuple[Said, ...]
    likely: Likely | None = None
    opinion: tuple[str, float] | None = None


@dataclass(frozen=True)
class ReviewFacets:
    """What there is to filter by.

    Attributes:
        counts: samples of each kind but `answered`; no count of what is found in an index exceeds COUNT_MAX + 1, which
            says "more than COUNT_MAX".
        people: names of who gave answers in the project.
        last_round: number of the newest round; None: there is none.
    """

    counts: dict[ReviewKind, int]
    people: tuple[str, ...]
    last_round: int | None


@dataclass(frozen=True)
class ReviewPage:
    """Some samples, and where the next page begins (None: this is the last one).

    A page may be short, or empty, though more follow: only so many rows are looked at for each.
    """

    rows: tuple[ReviewRow, ...]
    next_after: Place | None


def text_of_place(place: Place) -> str:
    """A place as callers keep it.

    >>> text_of_place((50, 1204))
    '50-1204'
    """
    return "-".join(map(str, place))


def place_of_text(text: str, length: int) -> Place:
    """The place that `text_of_place` wrote.

    Raises:
        InvalidInputError: it is none, or one of another order.
    """
    words = text.split("-")
    if len(words) != length or not all(word.isascii() and word.isdecimal() and len(word) < 20 for word in words):
        raise InvalidInputError(f"after={text[:60]!r} is no place in this list; take `next` of the answer before")
    return tuple(min(int(word), 2**63 - 1) for word in words)

"""What callers get of a project's classes and of changes of them, as models."""

from datetime import datetime
from typing import Literal

from al_service.api.answers import Answer


class SplitCounts(Answer):
    """Labelled images by split; evaluation: kept aside to measure the model."""

    pool: int
    train: int
    evaluation: int


class RelabellingFields(Answer):
    """Images of a split class: how many were asked again, and how many of these still wait."""

    asked: int
    waiting: int


class ClassStateFields(Answer):
    """One class, of today or retired.

    position: fixes key and colour; retired_at: when it was merged (merged_into) or split (split_into); old_names: what
    it was called before; merged: classes that belong to it; relabelling: of a split class.
    """

    id: int
    name: str
    position: int
    labels: SplitCounts
    old_names: list[str]
    merged: list[str]
    retired_at: datetime | None
    merged_into: str | None
    split_into: list[str]
    relabelling: RelabellingFields | None


class ClassesAnswer(Answer):
    """Every class that the project has or had, by position; version: changes with them."""

    version: str
    classes: list[ClassStateFields]


class ClassChangeAnswer(Answer):
    """What a change does (or did): in words, and in numbers as of this moment. version: of the classes it was made for;
    send it along with the change, and it is refused where somebody has changed them meanwhile.
    """

    op: Literal["add", "rename", "merge", "split"]
    version: str
    words: list[str]
    labels: SplitCounts
    into_labels: SplitCounts
    votes: int
    gold: int
    recounted: int
    asked_again: int
    holders: dict[str, int]
    running_round: int | None
    models: int
    is_promoted: bool
    positions: list[int]

"""What names of classes mean after renames, merges and splits."""

from datetime import UTC, datetime

import pytest

from al_service.domain.class_book import ClassBook, KnownClass

THEN = datetime(2026, 1, 2, tzinfo=UTC)
#: 1 cat; 2 puppy merged into 3 dog, once hound; 4 bird split into 6 owl and 7 wren, with 5 parrot merged into it.
BOOK = ClassBook(
    (
        KnownClass(1, "cat", 0),
        KnownClass(2, "puppy", 1, THEN, 3),
        KnownClass(3, "dog", 2),
        KnownClass(4, "bird", 3, THEN),
        KnownClass(5, "parrot", 4, THEN, 4),
        KnownClass(6, "owl", 5, split_from_id=4),
        KnownClass(7, "wren", 6, split_from_id=4),
    ),
    {"hound": 3, "fowl": 4},
)


@pytest.mark.parametrize(
    ("name", "today"),
    [("cat", "cat"), ("puppy", "dog"), ("hound", "dog"), ("owl", "owl"), ("bird", None), ("parrot", None), ("?", None)],
)
def test_what_a_name_means_today(name: str, today: str | None) -> None:
    found = BOOK.meant(name)
    assert (None if found is None else found.name) == today


@pytest.mark.parametrize(("name", "split"), [("bird", "bird"), ("fowl", "bird"), ("parrot", "bird"), ("puppy", None)])
def test_which_split_class_a_name_stands_for(name: str, split: str | None) -> None:
    found = BOOK.split_of(name)
    assert (None if found is None else found.name) == split


def test_classes_of_today_and_what_became_of_the_others() -> None:
    assert [known.name for known in BOOK.active] == ["cat", "dog", "owl", "wren"]
    assert [part.name for part in BOOK.parts_of(4)] == ["owl", "wren"]
    assert [known.name for known in BOOK.merged_into(3)] == ["puppy"]
    assert BOOK.old_names(3) == ("hound",)
    assert [known.is_split for known in BOOK.classes] == [False, False, False, True, False, False, False]
    assert BOOK.today(999) is None
    with pytest.raises(KeyError):
        BOOK.get(999)


def test_the_classes_of_an_older_model_by_id() -> None:
    """A model knows cat, puppy and hound; the round asks about cat, dog (once hound), owl, and one it cannot name."""
    assert BOOK.translated(["cat", "puppy", "hound"], [1, 3, 6, None]) == ("cat", "hound", None, None)
    assert BOOK.translated([], [1]) == (None,)

"""Every class that a project ever had, and what each of its names means today.

A name belongs to one class for good: a class that was renamed keeps its old names, one that was merged means what it
was merged into, and one that was split means nothing any more.
"""

import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property


def plain_name(name: str) -> str:
    """The name in the one form that its letters have on a keyboard: folders of some systems write an accent as a
    character of its own, which looks the same.

    >>> plain_name("cafe\\N{COMBINING ACUTE ACCENT}") == "caf\\N{LATIN SMALL LETTER E WITH ACUTE}"
    True
    """
    return unicodedata.normalize("NFC", name)


@dataclass(frozen=True)
class KnownClass:
    """One class, of today or retired.

    Attributes:
        position: fixes key and colour for good; that of a retired class stays empty.
        retired_at: when it was merged or split; None: it is one of today's.
        merged_into_id: the class of today that it belongs to, or a split one, however often that was merged on.
        split_from_id: the split class that it is a part of.
    """

    id: int
    name: str
    position: int
    retired_at: datetime | None = None
    merged_into_id: int | None = None
    split_from_id: int | None = None

    @property
    def is_split(self) -> bool:
        """True when other classes took its place and nobody's answer means it any more."""
        return self.retired_at is not None and self.merged_into_id is None


@dataclass(frozen=True)
class ClassBook:
    """All classes of a project by position, and the old names of those that were renamed.

    >>> from datetime import UTC, datetime
    >>> then = datetime(2026, 1, 1, tzinfo=UTC)
    >>> car, van, auto = KnownClass(1, "car", 0), KnownClass(2, "van", 1, then, 1), KnownClass(3, "auto", 2, then)
    >>> book = ClassBook((car, van, auto), {"motor": 1})
    >>> [found.name if (found := book.meant(name)) else None for name in ("car", "motor", "van", "auto", "tree")]
    ['car', 'car', 'car', None, None]
    """

    classes: tuple[KnownClass, ...]
    aliases: Mapping[str, int]

    @cached_property
    def _by_id(self) -> dict[int, KnownClass]:
        return {known.id: known for known in self.classes}

    @cached_property
    def _ids(self) -> dict[str, int]:
        names = {**self.aliases, **{known.name: known.id for known in self.classes}}
        return {plain_name(name): class_id for name, class_id in names.items()}

    @property
    def active(self) -> tuple[KnownClass, ...]:
        """The classes of today, by position."""
        return tuple(known for known in self.classes if known.retired_at is None)

    def named(self, name: str) -> KnownClass | None:
        """The class that has or had this name, retired ones too; None: no class ever had it."""
        class_id = self._ids.get(plain_name(name))
        return None if class_id is None else self._by_id[class_id]

    def get(self, class_id: int) -> KnownClass:
        """The class of that id, also a retired one; KeyError where it is another project's."""
        return self._by_id[class_id]

    def today(self, class_id: int) -> KnownClass | None:
        """What that class is today; None when it was split, or is of another project."""
        known = self._by_id.get(class_id)
        if known is not None and known.merged_into_id is not None:
            known = self._by_id[known.merged_into_id]
        return None if known is None or known.retired_at is not None else known

    def meant(self, name: str) -> KnownClass | None:
        """The class of today that the name means; None when there is none."""
        class_id = self._ids.get(plain_name(name))
        return None if class_id is None else self.today(class_id)

    def split_of(self, name: str) -> KnownClass | None:
        """The split class that the name stands for, also by way of a merge; None when it stands for no such one."""
        known = self.named(name)
        if known is not None and known.merged_into_id is not None:
            known = self._by_id[known.merged_into_id]
        return known if known is not None and known.is_split else None

    def parts_of(self, class_id: int) -> tuple[KnownClass, ...]:
        """The classes that took the place of a split one, by position."""
        return tuple(known for known in self.classes if known.split_from_id == class_id)

    def merged_into(self, class_id: int) -> tuple[KnownClass, ...]:
        """The retired classes that belong to that one, by position."""
        return tuple(known for known in self.classes if known.merged_into_id == class_id)

    def old_names(self, class_id: int) -> tuple[str, ...]:
        """Names that this class had before, sorted; not those of classes merged into it."""
        return tuple(sorted(name for name, other in self.aliases.items() if other == class_id))

    def translated(self, class_names: Sequence[str], class_ids: Sequence[int | None]) -> tuple[str | None, ...]:
        """For each of the classes the one of `class_names` that it is, or None.

        It is what a model of before (class_names, in the order of its outputs) calls classes that may have another name
        by now. A class that others were merged into is what it was itself.
        """
        own = {known.id: name for name in class_names if (known := self.named(name)) is not None}
        return tuple(None if class_id is None else own.get(class_id) for class_id in class_ids)

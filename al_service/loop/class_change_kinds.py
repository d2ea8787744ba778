"""The changes of classes that can be asked for, and whether one can be done: names are free, classes are there."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import ClassVar, Literal

from al_service.domain.class_book import ClassBook, KnownClass
from al_service.domain.records import Project
from al_service.errors import ConflictError, InvalidInputError, NotFoundError
from al_service.loop.projects import CLASSES_MAX, check_class_names

PARTS_MIN = 2


class ClassNameTakenError(ConflictError):
    """The name belongs, or belonged, to another class of the project: it would mean two things."""

    code = "class_name_taken"


@dataclass(frozen=True)
class AddClasses:
    """New classes, on the next keys."""

    names: tuple[str, ...]
    op: ClassVar[Literal["add"]] = "add"


@dataclass(frozen=True)
class RenameClass:
    """Another name for the same class: key, colour, labels and models stay; the old name goes on to mean it."""

    class_name: str
    new_name: str
    op: ClassVar[Literal["rename"]] = "rename"


@dataclass(frozen=True)
class MergeClass:
    """One class becomes part of another: whatever named it means the other from now on."""

    class_name: str
    into: str
    op: ClassVar[Literal["merge"]] = "merge"


@dataclass(frozen=True)
class SplitClass:
    """One class becomes several new ones: votes for it count no more, and its images are asked again."""

    class_name: str
    parts: tuple[str, ...]
    op: ClassVar[Literal["split"]] = "split"


Change = AddClasses | RenameClass | MergeClass | SplitClass


def checked(project: Project, book: ClassBook, change: Change) -> Change:
    """The change with its names stripped, if it can be done."""
    match change:
        case AddClasses(names):
            return AddClasses(_new_names(project, book, names, least=1))
        case RenameClass(class_name, new_name):
            known = class_called(project, book, class_name)
            (name,) = check_class_names([new_name])
            _check_free(book, name, for_class=known)
            if name == known.name:
                raise InvalidInputError(f"the class is called {name!r} already")
            return RenameClass(known.name, name)
        case MergeClass(class_name, into):
            source, target = class_called(project, book, class_name), class_called(project, book, into)
            if source.id == target.id:
                raise InvalidInputError(f"{source.name!r} cannot be merged into itself; name another class")
            return MergeClass(source.name, target.name)
        case SplitClass(class_name, parts):
            known = class_called(project, book, class_name)
            return SplitClass(known.name, _new_names(project, book, parts, least=PARTS_MIN))


def _new_names(project: Project, book: ClassBook, names: Collection[str], *, least: int) -> tuple[str, ...]:
    found = tuple(check_class_names(list(names)))
    if len(found) < least:
        raise InvalidInputError(f"{len(found)} names; at least {least} are needed")
    if len(project.classes) + len(found) > CLASSES_MAX:
        raise InvalidInputError(f"{len(project.classes) + len(found)} classes; at most {CLASSES_MAX} are supported")
    for name in found:
        _check_free(book, name, for_class=None)
    return found


def _check_free(book: ClassBook, name: str, *, for_class: KnownClass | None) -> None:
    """ClassNameTakenError unless the name is new, or means this very class already."""
    known = book.named(name)
    if known is None:
        return
    today = book.today(known.id)
    if for_class is not None and today is not None and today.id == for_class.id:
        return
    if today is None:
        why = "was split, and answers that still say so must not mean something else"
    elif today.id != known.id:
        why = f"was merged into {today.name!r}, and answers that say {name!r} mean that"
    elif known.name != name:
        why = f"is an old name of {known.name!r}, and answers that say so mean that"
    else:
        why = "is a class already"
    raise ClassNameTakenError(f"{name!r} {why}; choose another name", class_name=name)


def class_called(project: Project, book: ClassBook, name: str) -> KnownClass:
    """The class of today that has this very name."""
    stripped = name.strip()
    known = book.named(stripped)
    if known is not None and known.retired_at is None and known.name == stripped:
        return known
    today = book.meant(stripped)
    hint = "" if today is None else f"; it is {today.name!r} now"
    raise NotFoundError(f"{project.name} has no class {stripped!r}{hint}", class_name=stripped)

"""What a class's name means today, for everybody who is told one: pages with old buttons, reviewers, gold, imports."""

from al_service.domain.class_book import ClassBook, KnownClass
from al_service.domain.records import Project
from al_service.errors import ConflictError, InvalidInputError

NAMES_SHOWN = 20


class ClassWasSplitError(ConflictError):
    """The class that was named is no more: it was split, and somebody has to look which part it is."""

    code = "class_was_split"


class UnknownClassError(InvalidInputError):
    """The project never had a class of that name."""

    code = "unknown_class"


def class_meant(project: Project, book: ClassBook, name: str) -> KnownClass:
    """The class of today that the name means, also by an old name.

    Raises:
        ClassWasSplitError: it was split; names its parts.
        UnknownClassError: no class ever had that name.
    """
    found = book.meant(name)
    if found is not None:
        return found
    split = book.split_of(name)
    if split is None:
        shown = ", ".join(project.class_names[:NAMES_SHOWN])
        more = len(project.class_names) - NAMES_SHOWN
        raise UnknownClassError(
            f"{name!r} is not a class of {project.name}; classes: {shown}{f' and {more} more' if more > 0 else ''}",
            class_name=name,
        )
    parts = [part.name for part in book.parts_of(split.id)]
    raise ClassWasSplitError(
        f"{name!r} was split into {' and '.join(map(repr, parts))}; look at the image again and choose anew",
        class_name=name,
        parts=parts,
    )

"""What callers send to change classes: one body, told apart by `op`."""

from typing import Annotated, Literal

from pydantic import Field, RootModel

from al_service.api.requests import Body
from al_service.loop.class_change_kinds import AddClasses, Change, MergeClass, RenameClass, SplitClass
from al_service.loop.projects import CLASSES_MAX

Names = Annotated[list[str], Field(max_length=CLASSES_MAX)]
Version = Annotated[str | None, Field(description="of the preview that was seen; 409 when the classes changed since")]


class AddClassesBody(Body):
    """New classes, on the next keys."""

    op: Literal["add"]
    names: Names
    version: Version = None

    def change(self) -> Change:
        """As the use case takes it."""
        return AddClasses(tuple(self.names))


class RenameClassBody(Body):
    """Another name for a class; the old one goes on to mean it."""

    op: Literal["rename"]
    class_name: str
    new_name: str
    version: Version = None

    def change(self) -> Change:
        """As the use case takes it."""
        return RenameClass(self.class_name, self.new_name)


class MergeClassBody(Body):
    """A class becomes part of another one."""

    op: Literal["merge"]
    class_name: str
    into: str
    version: Version = None

    def change(self) -> Change:
        """As the use case takes it."""
        return MergeClass(self.class_name, self.into)


class SplitClassBody(Body):
    """A class becomes two or more new ones; its images are asked again."""

    op: Literal["split"]
    class_name: str
    parts: Names
    version: Version = None

    def change(self) -> Change:
        """As the use case takes it."""
        return SplitClass(self.class_name, tuple(self.parts))


class ClassChangeBody(
    RootModel[
        Annotated[
            AddClassesBody | RenameClassBody | MergeClassBody | SplitClassBody,
            Field(discriminator="op"),
        ]
    ]
):
    """A change of classes: add, rename, merge or split."""

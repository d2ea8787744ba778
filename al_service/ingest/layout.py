"""Where a path says split and class: folder names only, no files. Called with all image paths of a folder or archive.

In words: step over folders that hold everything (an archive's wrapping folder); then a level whose names are all splits
(train, test, val, ...) is the split level, above or below the classes; what is left is the class. Without being told,
a folder counts as classes only if every image lies directly in one of at least two of them; a nested photo archive
does not.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from al_service.ingest.names import printable_name, split_name
from al_service.ingest.rows import InvalidSourceError, Labels

_Folders = set[tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class Place:
    """What one path says: class name, canonical split, and the split in the source's own word."""

    label: str | None = None
    split: str | None = None
    split_word: str | None = None


@dataclass(frozen=True, slots=True)
class Layout:
    """Which levels of folders mean what; None: no level does. `top` is the depth below all wrapping folders."""

    top: int = 0
    split_level: int | None = None
    class_level: int | None = None

    def place(self, path: str) -> Place:
        """Return class and split of one image path."""
        folders = path.split("/")[:-1]
        word = _at(folders, self.split_level)
        label = _at(folders, self.class_level)
        return Place(printable_name(label) if label else None, split_name(word) if word else None, word)


def detect_layout(paths: Iterable[str], labels: Labels) -> Layout:
    """Return the layout of these image paths; labels "folder" insists on classes, "none" and "column" look for none.

    Raises:
        InvalidSourceError: labels is "folder" and no image lies in a class folder.

    >>> detect_layout(["c/train/cat/1.jpg", "c/train/dog/1.jpg", "c/val/cat/1.jpg"], "auto").place("c/val/cat/1.jpg")
    Place(label='cat', split='test', split_word='val')
    """
    folders: _Folders = {tuple(path.split("/")[:-1]) for path in paths}
    top = wrapping_depth(folders, keep_last=labels == "folder")
    split_level, class_level = _levels(folders, top)
    if labels == "folder":
        if not any(len(parts) > class_level for parts in folders):
            raise InvalidSourceError(
                'labels="folder" expects class folders such as cat/1.jpg or train/cat/1.jpg; '
                'no image lies in one: choose labels="none"'
            )
    elif labels != "auto" or not _are_classes(folders, split_level, class_level):
        return Layout(top, split_level if split_level == top else None, None)
    return Layout(top, split_level, class_level)


def wrapping_depth(folders: _Folders, *, keep_last: bool = False) -> int:
    """Return how many folders from the top hold everything; a folder named like a split is none of them.

    keep_last: do not step over the last folder above the images, it may be the only class.
    """
    depth = 0
    while folders and all(len(parts) > depth for parts in folders):
        names = {parts[depth] for parts in folders}
        if len(names) > 1 or split_name(next(iter(names))):
            break
        if keep_last and not any(len(parts) > depth + 1 for parts in folders):
            break
        depth += 1
    return depth


def _levels(folders: _Folders, top: int) -> tuple[int | None, int]:
    """Return split level (None without) and class level."""
    for split_level, class_level in ((top, top + 1), (top + 1, top)):
        if folders and all(split_name(_at(parts, split_level) or "") for parts in folders):
            return split_level, class_level
    return None, top


def _are_classes(folders: _Folders, split_level: int | None, class_level: int) -> bool:
    depth = max(class_level, split_level or 0) + 1
    lowest = class_level if split_level is not None and split_level < class_level else depth
    right_depth = all(lowest <= len(parts) <= depth for parts in folders)  # test/1.jpg beside train/cat/1.jpg is fine
    return right_depth and len({parts[class_level] for parts in folders if len(parts) > class_level}) > 1


def _at(folders: tuple[str, ...] | list[str], level: int | None) -> str | None:
    return folders[level] if level is not None and level < len(folders) else None

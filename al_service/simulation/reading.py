"""From a location to an image set: whatever an import can read, decoded once into one file of pixels.

In words: open the source (and the source of --test), look at the sizes of the first images to choose the side, then go
through all rows in order: read, hash, leave out what has no label, cannot be decoded or was seen before, append the
pixels to a file. A content that comes as training image and as test image counts as a test image, so that nothing is
measured on what was learned. Pixels from an earlier start are used again where the contents are the same.
"""

import contextlib
import hashlib
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import numpy as np

from al_service import images
from al_service.domain.project_config import ProjectConfig
from al_service.errors import InvalidInputError
from al_service.ingest.rows import Limits, RejectedRow, Source, SourceRow
from al_service.ingest.sources import open_source
from al_service.learning.image_side import SIZES_LOOKED_AT, choose_image_px
from al_service.simulation.files import no_room
from al_service.simulation.image_set import FACTS, PIXELS, ImageSet, InvalidImageSetError, find_set, mapped_pixels

OnProgress = Callable[[int, int, str], None]
_CHUNK = 256
_THREADS = 4
#: Reasons why rows are not taken, as the result counts them.
NO_LABEL, UNREADABLE, DUPLICATE = "no label", "unreadable", "duplicate"
OTHER_TEST, UNKNOWN_CLASS = "test image beside --test", "class that only the test images have"


@dataclass(frozen=True, slots=True)
class _Labelled:
    row: SourceRow
    label: str
    is_test: bool


@dataclass
class _Found:
    """Rows taken so far."""

    labels: list[str] = field(default_factory=list)
    hashes: list[str] = field(default_factory=list)
    sample_ids: list[str] = field(default_factory=list)
    is_test: list[bool] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)
    position: dict[str, int] = field(default_factory=dict)

    def takes(self, sha256: str, item: _Labelled) -> bool:
        """Note the row; whether its pixels are wanted (a content seen before is a duplicate)."""
        known = self.position.get(sha256)
        if known is not None:
            self.left_out[DUPLICATE] += 1
            if item.is_test and not self.is_test[known]:
                self.is_test[known], self.labels[known] = True, item.label
            return False
        self.position[sha256] = len(self.hashes)
        self.hashes.append(sha256)
        self.labels.append(item.label)
        self.sample_ids.append(item.row.external_id)
        self.is_test.append(item.is_test)
        return True


def read_images(
    location: str,
    folder: Path,
    config: ProjectConfig,
    *,
    test_location: str | None = None,
    on_progress: OnProgress | None = None,
) -> ImageSet:
    """The labelled images behind a location (and a second one with test images), kept in the folder.

    Raises:
        InvalidSourceError, UnavailableError: as `open_source`.
        InvalidImageSetError: fewer than two classes, or test images of other classes altogether.
        NoRoomError: the pixels cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise no_room(folder, error) from error
    before = find_set(folder)
    with contextlib.ExitStack() as stack:
        sources = [
            stack.enter_context(open_source(place, scratch=folder, limits=Limits(allow_absolute_paths=True)))
            for place in (location, test_location)
            if place is not None
        ]
        found = _Found()
        image_px = choose_image_px(config, _sizes(_labelled(sources, Counter())))
        total = sum(source.count for source in sources)
        rows = _labelled(sources, found.left_out)
        if before is not None and _same_contents(rows, before, found, image_px, total, on_progress):
            return _checked(_image_set(location, found, before.pixels), folder)
        found = _Found()
        _decode(_labelled(sources, found.left_out), folder, image_px, found, total, on_progress)
    if not found.hashes:
        raise InvalidImageSetError(f"{location} has no labelled image that can be read ({_words(found.left_out)})")
    return _checked(_image_set(location, found, mapped_pixels(folder, len(found.hashes), image_px)), folder)


def _labelled(sources: list[Source], left_out: Counter[str]) -> Iterator[_Labelled]:
    """Rows with a label, in order; others are counted. A second source holds test images and nothing else."""
    for number, source in enumerate(sources):
        for row in source:
            if isinstance(row, RejectedRow):
                left_out[UNREADABLE] += 1
            elif row.label is None:
                left_out[NO_LABEL] += 1
            elif len(sources) == 2 and number == 0 and row.split == "test":
                left_out[OTHER_TEST] += 1
            else:
                yield _Labelled(row, row.label, number == 1 or row.split == "test")


def _sizes(rows: Iterator[_Labelled]) -> list[tuple[int, int]]:
    """Of the first images that can be read."""
    sizes = []
    for item in islice(rows, SIZES_LOOKED_AT):
        with contextlib.suppress(InvalidInputError):
            facts = images.verify(item.row.read())
            sizes.append((facts.width, facts.height))
    return sizes


def _same_contents(
    rows: Iterator[_Labelled],
    before: ImageSet,
    found: _Found,
    image_px: int,
    total: int,
    on_progress: OnProgress | None,
) -> bool:
    """Whether the rows are those of an earlier start, so that its pixels are right; `found` gets them."""
    if before.image_px != image_px:
        return False
    known = set(before.hashes)
    for number, item in enumerate(rows):
        data = _load(item)
        if data is None:
            found.left_out[UNREADABLE] += 1
            continue
        sha256 = hashlib.sha256(data).hexdigest()
        if sha256 in known:
            found.takes(sha256, item)
        elif _square(data, image_px) is None:
            found.left_out[UNREADABLE] += 1
        else:
            return False
        _tell(on_progress, number + 1, total, "looking at images")
    return tuple(found.hashes) == before.hashes


def _decode(
    rows: Iterator[_Labelled], folder: Path, image_px: int, found: _Found, total: int, on_progress: OnProgress | None
) -> None:
    path = folder / PIXELS
    try:
        (folder / FACTS).unlink(missing_ok=True)  # they describe other pixels from here on
        with path.open("wb") as file, ThreadPoolExecutor(_THREADS) as pool:
            done = 0
            while chunk := list(islice(rows, _CHUNK)):
                # Bytes are read here, in order (an archive is a stream); decoding releases Python's lock.
                loaded = [(item, _load(item)) for item in chunk]
                decoded = pool.map(lambda pair: None if pair[1] is None else _square(pair[1], image_px), loaded)
                for (item, data), pixels in zip(loaded, decoded, strict=True):
                    if data is None or pixels is None:
                        found.left_out[UNREADABLE] += 1
                    elif found.takes(hashlib.sha256(data).hexdigest(), item):
                        file.write(pixels.tobytes())
                done += len(chunk)
                _tell(on_progress, done, total, "decoding images")
    except OSError as error:
        raise no_room(path, error) from error


def _load(item: _Labelled) -> bytes | None:
    try:
        return item.row.read()
    except InvalidInputError:
        return None


def _square(data: bytes, image_px: int) -> "np.ndarray | None":
    try:
        return images.square_pixels(data, image_px)
    except InvalidInputError:
        return None


def _image_set(location: str, found: _Found, pixels: np.ndarray) -> ImageSet:
    names = sorted({label for label, test in zip(found.labels, found.is_test, strict=True) if not test})
    index = {name: number for number, name in enumerate(names)}
    known = [position for position, label in enumerate(found.labels) if label in index]
    left_out = dict(found.left_out)
    if len(known) < len(found.labels):
        if not any(found.is_test[position] for position in known):
            others = ", ".join(sorted(set(found.labels) - set(names))[:5])
            raise InvalidImageSetError(
                f"the test images have classes ({others}) that the others have not ({', '.join(names[:5])}): "
                "give both the same class names"
            )
        left_out[UNKNOWN_CLASS] = len(found.labels) - len(known)
    return ImageSet(
        name=location,
        pixels=pixels,
        class_indices=np.array([index.get(label, -1) for label in found.labels], np.int64),
        class_names=tuple(names),
        hashes=tuple(found.hashes),
        sample_ids=tuple(found.sample_ids),
        is_test=np.array(found.is_test, bool),
        left_out=left_out,
    )


def _checked(data: ImageSet, folder: Path) -> ImageSet:
    if data.class_count < 2:
        found = data.class_names[0] if data.class_names else "none"
        raise InvalidImageSetError(
            f"{data.name} has {data.class_count} class ({found}), and a study needs two or more. Labels come from "
            "class folders (cat/1.jpg, dog/2.jpg) or a table's label column"
        )
    data.write_facts(folder)
    return data


def _words(left_out: Counter[str]) -> str:
    return ", ".join(f"{reason}: {count}" for reason, count in left_out.items()) or "nothing was found"


def _tell(on_progress: OnProgress | None, done: int, total: int, words: str) -> None:
    if on_progress is not None:
        on_progress(done, total, words)

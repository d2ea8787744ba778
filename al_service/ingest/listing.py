"""Rows of a folder or archive whose labels, if any, stand in folder names."""

from collections.abc import Iterator

from al_service.ingest.containers import Container, Entry, Listing, reader, shown_id
from al_service.ingest.layout import Layout, Place, detect_layout
from al_service.ingest.rows import Content, Labels, Limits, RejectedRow, Row, SourceRow


def list_images(listing: Listing, labels: Labels, limits: Limits) -> Content:
    """Return every image of the container as a row, labelled by its class folder where there are any.

    Raises:
        InvalidSourceError: as `detect_layout`.
    """
    layout = detect_layout(listing.sound_paths(), labels)

    def rows() -> Iterator[Row]:
        return (image_row(listing.container, entry, layout, limits) for entry in listing.images)

    return Content(
        kind=listing.container.kind,
        rows=rows,
        count=len(listing.images),
        classes=tuple(sorted(layout_classes(listing, layout))),
        skipped_count=listing.skipped_count + len(listing.tables),
    )


def image_row(container: Container, entry: Entry, layout: Layout, limits: Limits) -> Row:
    """Return the row of one listed file."""
    if entry.problem is not None:
        return RejectedRow(shown_id(entry), entry.problem)
    place = layout.place(entry.path)
    return SourceRow(shown_id(entry), reader(container, entry, limits), place.label, place.split, split_note(place))


def split_note(place: Place) -> dict[str, str]:
    """Return the metadata that keeps the source's own word for a split, where it is not ours."""
    return {} if place.split_word in (None, place.split) else {"split": place.split_word or ""}


def layout_classes(listing: Listing, layout: Layout) -> set[str]:
    """Return the class names that the layout finds in the paths of sound images."""
    return {label for path in listing.sound_paths() if (label := layout.place(path).label) is not None}

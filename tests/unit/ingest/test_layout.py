"""Folder names: where class and split stand, and where there is neither."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from al_service.ingest.layout import Place, detect_layout
from al_service.ingest.rows import InvalidSourceError


def places(paths: list[str], labels: str = "auto") -> list[tuple[str | None, str | None]]:
    layout = detect_layout(paths, labels)
    return [(place.label, place.split) for place in map(layout.place, paths)]


@pytest.mark.parametrize(
    ("paths", "expected"),
    [
        (["1.jpg", "2.jpg"], [(None, None)] * 2),
        (["cat/1.jpg", "dog/1.jpg"], [("cat", None), ("dog", None)]),
        (["train/cat/1.jpg", "val/dog/1.jpg"], [("cat", "train"), ("dog", "test")]),
        (["cat/train/1.jpg", "dog/test/1.jpg"], [("cat", "train"), ("dog", "test")]),
        (["Train/Bart/1.png", "Valid/Homer/1.png"], [("Bart", "train"), ("Homer", "test")]),
        (["w/train/cat/1.jpg", "w/train/dog/1.jpg"], [("cat", "train"), ("dog", "train")]),
        (["a/b/cat/1.jpg", "a/b/dog/1.jpg"], [("cat", None), ("dog", None)]),
        (["test/cat/1.jpg", "test/dog/1.jpg"], [("cat", "test"), ("dog", "test")]),
        (["train/1.jpg", "test/2.jpg"], [(None, "train"), (None, "test")]),
        (["train/cat/1.jpg", "train/dog/1.jpg", "test/9.jpg"], [("cat", "train"), ("dog", "train"), (None, "test")]),
        (["photos/1.jpg", "photos/2.jpg"], [(None, None)] * 2),
        (["cat/1.jpg", "dog/1.jpg", "loose.jpg"], [(None, None)] * 3),
        (["2023/may/1.jpg", "2023/june/2.jpg", "2024/may/1.jpg"], [(None, None)] * 3),
        (["house/train/cat/1.jpg", "plant/cat/1.jpg"], [(None, None)] * 2),
    ],
)
def test_without_being_told(paths, expected):
    assert places(paths) == expected


def test_told_folder_takes_the_first_level_however_deep_and_even_one_class():
    assert places(["cat/1.jpg"], "folder") == [("cat", None)]
    assert places(["w/cat/1.jpg"], "folder") == [("cat", None)]
    assert places(["cat/1.jpg", "dog/deep/1.jpg", "loose.jpg"], "folder") == [
        ("cat", None),
        ("dog", None),
        (None, None),
    ]
    assert places(["train/cat/x/1.jpg", "test/dog/1.jpg"], "folder") == [("cat", "train"), ("dog", "test")]


@pytest.mark.parametrize("paths", [["1.jpg"], ["train/1.jpg", "test/1.jpg"]])
def test_told_folder_where_there_is_none_is_refused(paths):
    with pytest.raises(InvalidSourceError, match="expects class folders"):
        detect_layout(paths, "folder")


@pytest.mark.parametrize("labels", ["none", "column"])
def test_told_no_folders_keeps_the_split(labels):
    assert places(["train/cat/1.jpg", "test/dog/1.jpg"], labels) == [(None, "train"), (None, "test")]


def test_the_sources_own_word_for_the_split_is_kept():
    assert detect_layout(["val/cat/1.jpg", "val/dog/1.jpg"], "auto").place("val/cat/1.jpg") == Place(
        "cat", "test", "val"
    )


_names = st.sampled_from(["train", "val", "cat", "dog", "a", "1"])
_paths = st.lists(st.builds(lambda folders: "/".join([*folders, "x.jpg"]), st.lists(_names, max_size=4)), max_size=8)


@given(_paths, st.randoms())
def test_order_of_paths_does_not_matter_and_every_path_has_a_place(paths, chance):
    shuffled = list(paths)
    chance.shuffle(shuffled)
    assert detect_layout(paths, "auto") == detect_layout(shuffled, "auto")
    for path in paths:
        place = detect_layout(paths, "auto").place(path)
        assert place.label is None or place.label in path.split("/")
        assert place.split in (None, "train", "test")

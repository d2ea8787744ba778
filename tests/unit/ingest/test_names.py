"""Names: ids that can be printed and stay apart, paths that cannot climb out."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from al_service.ingest.names import is_hidden, printable_name, relative_path, split_name, storable_text, unsafe_reason


@pytest.mark.parametrize(
    "name", ["cat/1.jpg", "é à 日本語.png", "Screenshot 9.00\u202fAM.png", "a\\b.jpg", "👩\u200d🔬.jpg"]
)
def test_clean_names_stay(name):
    assert printable_name(name) == name


def test_odd_names_become_printable_and_stay_apart():
    odd = ["a\udcff.jpg", "a\udcfe.jpg", "a\\xff.jpg", "a\n.jpg", "a\\x0a.jpg", "a\0.jpg", "x\u202egpj.exe", "x\u2028y"]
    shown = [printable_name(name) for name in odd]
    assert len(set(shown)) == len(odd)
    assert shown[0].startswith("a\\xff.jpg~")
    for name in shown:
        name.encode("utf-8")
        assert not set(name) & set("\n\0\u202e\u2028")


@given(st.text(st.characters(), max_size=20), st.text(st.characters(), max_size=20))
def test_two_names_are_never_shown_alike(one, other):
    assert (printable_name(one) == printable_name(other)) == (one == other)
    printable_name(one).encode("utf-8")


@given(st.binary(max_size=20))
def test_any_bytes_of_a_file_system_can_be_shown_and_stored(raw):
    name = raw.decode("utf-8", "surrogateescape")
    printable_name(name).encode("utf-8")
    assert "\0" not in storable_text(name).encode("utf-8").decode("utf-8")


@pytest.mark.parametrize(
    "name",
    [
        "/etc/passwd",
        "\\windows\\x",
        "C:\\x.jpg",
        "c:/x.jpg",
        "../x.jpg",
        "a/../../x.jpg",
        "a\\..\\x.jpg",
        "",
        ".",
        "./",
    ],
)
def test_unsafe(name):
    assert unsafe_reason(name)


@pytest.mark.parametrize("name", ["a.jpg", "./a/b.jpg", "a..b/c.jpg", "...jpg"])
def test_safe(name):
    assert unsafe_reason(name) is None


def test_parts():
    assert relative_path(".//a/./b.jpg") == "a/b.jpg"
    assert [is_hidden(path) for path in ("a/.b/c.jpg", "__MACOSX/a.jpg", "a/._b.jpg", "a/b.jpg")] == [
        True,
        True,
        True,
        False,
    ]
    assert [split_name(word) for word in (" Train", "VAL", "eval", "testing", "cat", "")] == [
        "train", "test", "test", "test", None, None,
    ]  # fmt: skip

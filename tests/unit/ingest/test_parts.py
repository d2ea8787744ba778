"""A file in parts reads as the file would, whatever is asked for in which order."""

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from al_service.ingest.parts import PARTS_HELD, PartsFile, open_parts


def reader(data: bytes, part_bytes: int):
    return lambda number: data[number * part_bytes : (number + 1) * part_bytes]


@given(
    data=st.binary(min_size=1, max_size=300),
    part_bytes=st.integers(1, 64),
    steps=st.lists(st.tuples(st.integers(0, 320), st.integers(0, 320)), max_size=20),
)
def test_every_seek_and_read_gives_what_the_file_gives(data, part_bytes, steps):
    whole = io.BytesIO(data)
    with open_parts(reader(data, part_bytes), len(data), part_bytes) as parts:
        for offset, count in steps:
            assert parts.seek(offset) == whole.seek(offset)
            assert parts.read(count) == whole.read(count)
            assert parts.tell() == whole.tell()
        assert parts.seek(-1, io.SEEK_END) == len(data) - 1
        assert parts.read() == data[-1:]
        parts.seek(0)
        assert parts.read() == data


def test_each_part_is_fetched_once_when_read_in_order_and_few_are_held():
    data = bytes(range(200))
    fetched = []

    def read_part(number: int) -> bytes:
        fetched.append(number)
        return reader(data, 10)(number)

    file = PartsFile(read_part, 200, 10)
    buffered = io.BufferedReader(file, 16)
    assert buffered.read() == data
    assert fetched == list(range(20))
    assert len(file._held) == PARTS_HELD
    buffered.seek(0)
    buffered.read(1)
    assert fetched[-1] == 0


def test_a_seek_before_the_beginning_is_refused():
    with pytest.raises(ValueError, match="before the beginning"):
        PartsFile(reader(b"abc", 2), 3, 2).seek(-1)

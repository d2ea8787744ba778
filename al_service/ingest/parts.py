"""A file whose bytes lie in parts of one size somewhere else, read as if it were here; parts come when they are needed.

So an archive that was sent in parts is imported without being put together first: a zip is read through its directory,
a tar from its beginning, and either touches one part at a time.
"""

import io
from collections import OrderedDict
from collections.abc import Callable
from typing import IO, Any, cast

#: A zip's directory is read beside its members, and threads read members side by side.
PARTS_HELD = 4


class PartsFile(io.RawIOBase):
    """Seekable, read-only. Not for several threads at once (archives lock around their file).

    Args:
        read_part: the bytes of the part with that number, from 0.
        byte_count: of the whole file.
        part_bytes: of every part but the last.
    """

    def __init__(self, read_part: Callable[[int], bytes], byte_count: int, part_bytes: int) -> None:
        self._read_part = read_part
        self._byte_count = byte_count
        self._part_bytes = part_bytes
        self._held: OrderedDict[int, bytes] = OrderedDict()
        self._at = 0

    def readable(self) -> bool:
        """Yes."""
        return True

    def seekable(self) -> bool:
        """Yes."""
        return True

    def tell(self) -> int:
        """Where the next read begins."""
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        """As in io."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._byte_count}[whence]
        if base + offset < 0:
            raise ValueError(f"seek to {base + offset}, before the beginning")
        self._at = base + offset
        return self._at

    def readinto(self, buffer: Any, /) -> int:
        """Fill the buffer as far as the current part reaches; 0 at the end."""
        view = memoryview(buffer).cast("B")
        if self._at >= self._byte_count:
            return 0
        number, offset = divmod(self._at, self._part_bytes)
        piece = self._part(number)[offset : offset + len(view)]
        view[: len(piece)] = piece
        self._at += len(piece)
        return len(piece)

    def close(self) -> None:
        """Forget the parts."""
        self._held.clear()
        super().close()

    def _part(self, number: int) -> bytes:
        if number not in self._held:
            self._held[number] = self._read_part(number)
            while len(self._held) > PARTS_HELD:
                self._held.popitem(last=False)
        self._held.move_to_end(number)
        return self._held[number]


def open_parts(read_part: Callable[[int], bytes], byte_count: int, part_bytes: int) -> IO[bytes]:
    """A file over these parts whose `read(n)` gives n bytes unless the file ends before."""
    return cast(IO[bytes], io.BufferedReader(PartsFile(read_part, byte_count, part_bytes), 2**16))

"""Stored images to pixels, by several cores. Called by workers when pixels are not in the row store yet.

Pillow unpacks outside Python's lock, so for photos threads use all cores. A file of a kilobyte is unpacked in the time
that Python needs around it: there threads only wait for the lock, and processes take over. They are started once for a
`Decoder`, load Pillow and numpy alone, and end with it.

Files from far away are waited for longer than they are unpacked, so more threads may read than decode.
"""

import logging
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from queue import SimpleQueue
from types import TracebackType

import numpy as np

from al_service.errors import InvalidInputError, NotFoundError
from al_service.images import PIXELS_MAX, UnreadableImageError
from al_service.learning.decoding_process import Refusal, pixels_of

Read = Callable[[str], bytes]
OnProgress = Callable[[int, int], None]

log = logging.getLogger(__name__)

#: Files read and decoded by one thread at a time.
_BLOCK = 64
#: The same where processes decode small files: a block is sent to them and back, so it should be worth the way.
_PROCESS_BLOCK = 256
#: The same where many threads read: they hold what they have read until it is their turn to decode.
_FAR_BLOCK = 8
#: Starting processes takes a third of a second; below this many files that is not earned back.
PROCESSES_FROM = 4000
#: Files above this are unpacked for so long that threads are as good.
SMALL_FILE_BYTES = 8192


@dataclass(frozen=True, eq=False)
class Failure:
    """A file that is left out: its position among the keys, and why (no such file, or no readable image)."""

    position: int
    error: NotFoundError | UnreadableImageError


@dataclass(frozen=True, eq=False)
class Decoded:
    """What came of the keys.

    Args:
        pixels: (n, image_px, image_px, 3) uint8, of the files that could be decoded, in the order of their keys.
        failures: the others, by position.
    """

    pixels: np.ndarray
    failures: tuple[Failure, ...]


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def decode_pixels(
    read: Read,
    keys: Sequence[str],
    image_px: int,
    workers: int | None = None,
    on_progress: OnProgress | None = None,
    *,
    pixels_max: int = PIXELS_MAX,
) -> np.ndarray:
    """The images as one array, in the order of the keys; equal to `images.square_pixels` of each.

    Args:
        read, keys, on_progress: as in `Decoder.decode`.
        image_px, workers, pixels_max: as in `Decoder`.

    Returns:
        (N, image_px, image_px, 3) uint8.

    Raises:
        UnreadableImageError: an image cannot be decoded; its details hold the key.
        InvalidInputError: workers or image_px below 1.
        NotFoundError, and whatever else `read` raises: passes through.
    """
    with Decoder(image_px, workers=workers, pixels_max=pixels_max) as decoder:
        decoded = decoder.decode(read, keys, on_progress)
    for failure in decoded.failures[:1]:
        raise failure.error
    return decoded.pixels


class Decoder:
    """Decodes files part by part; a context manager, whose processes serve all parts.

    Args:
        image_px: side of the squares.
        workers: how many decode at a time; None: one a core that this process may use.
        readers: threads that read; None: as many as decode. More are worth their while for storage far away.
        pixels_max: images with more pixels are refused before they are unpacked.
        expected_count: files that all parts hold together, which tells whether processes pay; None: those of a part.

    Raises:
        InvalidInputError: a number below 1.
    """

    def __init__(
        self,
        image_px: int,
        *,
        workers: int | None = None,
        readers: int | None = None,
        pixels_max: int = PIXELS_MAX,
        expected_count: int | None = None,
    ) -> None:
        self._workers = cores() if workers is None else workers
        self._readers = self._workers if readers is None else max(readers, self._workers)
        if self._workers < 1 or image_px < 1 or (readers is not None and readers < 1):
            raise InvalidInputError(
                f"workers is {workers}, readers {readers} and image_px {image_px}, expected at least 1"
            )
        self._image_px, self._pixels_max, self._expected_count = image_px, pixels_max, expected_count
        self._turns = threading.Semaphore(self._workers)
        self._processes: SimpleQueue[Connection | None] | None = None
        self._stack = ExitStack()

    def __enter__(self) -> "Decoder":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._processes = None
        self._stack.close()

    def decode(self, read: Read, keys: Sequence[str], on_progress: OnProgress | None = None) -> Decoded:
        """The images; a file that is not there or cannot be decoded is left out, and the answer says why.

        Args:
            read: gives an image file's bytes for a key; called from several threads. NotFoundError leaves the file out,
                whatever else it raises stops the work and passes through.
            keys: of the images.
            on_progress: called in this thread with (done, N); what it raises stops the work.
        """
        pixels = np.empty((len(keys), self._image_px, self._image_px, 3), np.uint8)
        if self._processes is None and self._pays_processes(read, keys):
            self._processes = SimpleQueue()
            for _ in range(self._workers):
                self._processes.put(self._stack.enter_context(decoding_process()))
        near = _BLOCK if self._processes is None else _PROCESS_BLOCK
        block = _FAR_BLOCK if self._readers > self._workers else near

        def fill(start: int) -> tuple[int, list[Failure]]:
            return self._fill(read, keys[start : start + block], start, pixels)

        failures = self._in_order(fill, range(0, len(keys), block), len(keys), on_progress)
        if failures:
            pixels = np.delete(pixels, [failure.position for failure in failures], axis=0)
        return Decoded(pixels, tuple(failures))

    def _fill(self, read: Read, keys: Sequence[str], start: int, pixels: np.ndarray) -> tuple[int, list[Failure]]:
        """Read a block, then decode it into its rows; how many keys that were, and what failed, by position."""
        failures: list[Failure] = []
        files: list[bytes] = []
        at: list[int] = []
        for position, key in enumerate(keys, start):
            try:
                files.append(read(key))
                at.append(position)
            except NotFoundError as error:
                failures.append(Failure(position, error))
        if len(files) == len(keys):
            refused = self._decode(files, pixels[start : start + len(keys)])
        else:
            into = np.empty((len(files), *pixels.shape[1:]), np.uint8)
            refused = self._decode(files, into) if files else []
            pixels[at] = into
        failures += [Failure(at[one], _unreadable(keys[at[one] - start], *why)) for one, *why in refused]
        return len(keys), sorted(failures, key=lambda failure: failure.position)

    def _in_order(
        self,
        fill: Callable[[int], tuple[int, list[Failure]]],
        starts: range,
        count: int,
        on_progress: OnProgress | None,
    ) -> list[Failure]:
        """Fill all blocks by threads; an error or a stop leaves what has begun to finish and begins no more."""
        done, failures = 0, []
        with ThreadPoolExecutor(self._readers, "decode") as pool:
            waiting = [pool.submit(fill, start) for start in starts]
            try:
                for one in waiting:
                    filled, failed = one.result()
                    done += filled
                    failures += failed
                    if on_progress is not None:
                        on_progress(done, count)
            finally:
                for one in waiting:
                    one.cancel()
        return failures

    # -- who decodes ---------------------------------------------------------------------------------------------------

    def _pays_processes(self, read: Read, keys: Sequence[str]) -> bool:
        """Whether so many files are worth starting processes for, by the size of the first."""
        count = len(keys) if self._expected_count is None else self._expected_count
        if self._workers < 2 or count < PROCESSES_FROM or not keys:
            return False
        try:
            return len(read(keys[0])) <= SMALL_FILE_BYTES
        except NotFoundError:
            return False

    def _decode(self, files: list[bytes], into: np.ndarray) -> list[Refusal]:
        """Fill the rows with the pixels of the files, and tell which could not; never more at a time than workers."""
        if self._processes is not None:
            return self._decode_there(self._processes, files, into)
        with self._turns:
            return self._decode_here(files, into)

    def _decode_here(self, files: list[bytes], into: np.ndarray) -> list[Refusal]:
        refused: list[Refusal] = []
        for position, data in enumerate(files):
            try:
                decoded = pixels_of(data, self._image_px, self._pixels_max)
            except UnreadableImageError as error:
                refused.append((position, error.reason, error.message))
            else:
                into[position] = np.frombuffer(decoded, np.uint8).reshape(into.shape[1:])
        return refused

    def _decode_there(
        self, free: "SimpleQueue[Connection | None]", files: list[bytes], into: np.ndarray
    ) -> list[Refusal]:
        """By processes, each used by one thread at a time; one that is killed is done without."""
        connection = free.get()
        try:
            refused = None
            if connection is not None:
                refused = decode_there(connection, files, into, self._image_px, self._pixels_max)
            if refused is None:
                connection = None
                refused = self._decode_here(files, into)
            return refused
        finally:
            free.put(connection)


def _unreadable(key: str, reason: str, message: str) -> UnreadableImageError:
    error = UnreadableImageError(reason, message)
    error.details["key"] = key
    error.add_note(f"image {key}")
    return error


@contextmanager
def decoding_process() -> Iterator[Connection]:
    """A process that decodes, and the connection to it."""
    ours, theirs = socket.socketpair()
    command = [sys.executable, "-m", "al_service.learning.decoding_process", str(theirs.fileno())]
    path = os.pathsep.join(part for part in sys.path if part)
    with theirs:
        child = subprocess.Popen(
            command,
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": path},
            start_new_session=True,  # Ctrl-C is for us; the process ends with the connection
        )
    connection: Connection = Connection(ours.detach())
    try:
        yield connection
    finally:
        connection.close()  # and the process ends
        child.wait()


def decode_there(
    connection: Connection, files: list[bytes], into: np.ndarray, image_px: int, pixels_max: int = PIXELS_MAX
) -> list[Refusal] | None:
    """What the process could not decode; None where it has ended."""
    try:
        connection.send((image_px, pixels_max, files))
        refused: list[Refusal] = connection.recv()
        connection.recv_bytes_into(into.data.cast("B"))
    except (EOFError, OSError) as error:
        log.warning("a decoding process ended (%s); its images are decoded here", error)
        return None
    return refused

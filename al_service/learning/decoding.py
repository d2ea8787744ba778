"""Stored images to pixels, by several cores. Called by workers when pixels are not in the row store yet.

Pillow unpacks outside Python's lock, so for photos threads use all cores. A file of a kilobyte is unpacked in the time
that Python needs around it: there threads only wait for the lock, and processes take over. They are started for one
call, load Pillow and numpy alone, and end with it.
"""

import logging
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from multiprocessing.connection import Connection
from queue import SimpleQueue

import numpy as np

from al_service.errors import InvalidInputError
from al_service.images import UnreadableImageError
from al_service.learning.decoding_process import pixels_of

OnProgress = Callable[[int, int], None]
Decode = Callable[[list[bytes], np.ndarray], None]

log = logging.getLogger(__name__)

#: Files decoded by one worker at a time.
_BLOCK = 64
#: Starting processes takes a third of a second; below this many files that is not earned back.
PROCESSES_FROM = 4000
#: Files above this are unpacked for so long that threads are as good.
SMALL_FILE_BYTES = 8192


class _UnreadableFileError(Exception):
    """The position in a block, reason and message of a file that cannot be decoded."""


def decode_pixels(
    read: Callable[[str], bytes],
    keys: Sequence[str],
    image_px: int,
    workers: int | None = None,
    on_progress: OnProgress | None = None,
) -> np.ndarray:
    """The images as one array, in the order of the keys; equal to `images.square_pixels` of each.

    Args:
        read: gives an image file's bytes for a key; called from several threads.
        keys: of the images.
        image_px: side of the squares.
        workers: how many decode at a time; None: one a core.
        on_progress: called in this thread with (done, N); what it raises stops the work.

    Returns:
        (N, image_px, image_px, 3) uint8.

    Raises:
        UnreadableImageError: an image cannot be decoded; its details hold the key. What `read` raises passes through.
        InvalidInputError: workers or image_px below 1.
    """
    workers = (os.cpu_count() or 1) if workers is None else workers
    if workers < 1 or image_px < 1:
        raise InvalidInputError(f"workers is {workers} and image_px is {image_px}, expected at least 1")
    pixels = np.empty((len(keys), image_px, image_px, 3), np.uint8)
    if not len(keys):
        return pixels
    small = workers > 1 and len(keys) >= PROCESSES_FROM and len(read(keys[0])) <= SMALL_FILE_BYTES
    with _processes(workers, image_px) if small else _threads(image_px) as decode:

        def fill(start: int) -> int:
            block = keys[start : start + _BLOCK]
            try:
                decode([read(key) for key in block], pixels[start : start + _BLOCK])
            except _UnreadableFileError as error:
                position, reason, message = error.args
                raise _unreadable(block[position], reason, message) from error
            return len(block)

        _in_order(fill, range(0, len(keys), _BLOCK), workers, len(keys), on_progress)
    return pixels


def _in_order(
    fill: Callable[[int], int], starts: range, workers: int, count: int, on_progress: OnProgress | None
) -> None:
    """Fill all blocks by threads; an error or a stop leaves what has begun to finish and begins no more."""
    done = 0
    with ThreadPoolExecutor(workers, "decode") as pool:
        waiting = [pool.submit(fill, start) for start in starts]
        try:
            for one in waiting:
                done += one.result()
                if on_progress is not None:
                    on_progress(done, count)
        finally:
            for one in waiting:
                one.cancel()


def _unreadable(key: str, reason: str, message: str) -> UnreadableImageError:
    error = UnreadableImageError(reason, message)
    error.details["key"] = key
    error.add_note(f"image {key}")
    return error


@contextmanager
def _threads(image_px: int) -> Iterator[Decode]:
    yield lambda files, into: _decode_here(files, into, image_px)


def _decode_here(files: list[bytes], into: np.ndarray, image_px: int) -> None:
    for position, data in enumerate(files):
        try:
            decoded = pixels_of(data, image_px)
        except UnreadableImageError as error:
            raise _UnreadableFileError(position, error.reason, error.message) from error
        into[position] = np.frombuffer(decoded, np.uint8).reshape(into.shape[1:])


@contextmanager
def _processes(workers: int, image_px: int) -> Iterator[Decode]:
    """Decoding by that many processes, each used by one thread at a time; one that is killed is done without."""
    free: SimpleQueue[Connection | None] = SimpleQueue()

    def decode(files: list[bytes], into: np.ndarray) -> None:
        connection = free.get()
        try:
            if connection is None or not decode_there(connection, files, into, image_px):
                connection = None
                _decode_here(files, into, image_px)
        finally:
            free.put(connection)

    with ExitStack() as stack:
        for _ in range(workers):
            free.put(stack.enter_context(decoding_process()))
        yield decode


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


def decode_there(connection: Connection, files: list[bytes], into: np.ndarray, image_px: int) -> bool:
    """Whether the process did it."""
    try:
        connection.send((image_px, files))
        refused = connection.recv()
        if refused is None:
            connection.recv_bytes_into(into.data.cast("B"))
    except (EOFError, OSError) as error:
        log.warning("a decoding process ended (%s); its images are decoded here", error)
        return False
    if refused is not None:
        raise _UnreadableFileError(*refused)
    return True

"""Processes that run curves side by side, each in one thread, and a door through which they say how far they are.

A crew of our own instead of a pool of the standard library: it tells progress within a piece of work, it sees at once
when a process dies (and says so instead of waiting for ever), and it can be sent home in the middle of everything.
Processes end with their parent, however that ends.
"""

import contextlib
import multiprocessing
import os
import pickle
import signal
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any

import torch

from al_service.errors import AlServiceError, UnavailableError

Tell = Callable[[Any], None]
#: What a process does: (shared, one piece of work, tell) -> its result. Found by name in the child, so at module level.
Work = Callable[[Any, Any, Tell], Any]
_STOP_S = 5.0


class ProcessLostError(UnavailableError):
    """A process of the crew died without a word, most often for want of memory."""

    code = "process_lost"


class WorkFailedError(RuntimeError):
    """A bug in a process of the crew; carries its traceback."""


@dataclass(frozen=True)
class Told:
    """A word on the way."""

    piece: int
    what: Any


@dataclass(frozen=True)
class Done:
    """A piece of work is over."""

    piece: int
    result: Any


def work_through(
    work: Work, shared: Any, pieces: Sequence[Any], processes: int, on_news: Callable[[Told | Done], None]
) -> None:
    """Do all pieces, in this process where one is enough, and give news as they come. What `on_news` raises, and
    Ctrl-C, end everything at once.

    Raises:
        AlServiceError: of a piece, as it was raised.
        ProcessLostError, WorkFailedError: see there.
    """
    if processes <= 1 or len(pieces) <= 1:
        _here(work, shared, pieces, on_news)
        return
    # Not forked: torch's threads do not survive a fork.
    context = multiprocessing.get_context("spawn")
    members: dict[Connection, BaseProcess] = {}
    try:
        with _one_thread_each():
            for _ in range(min(processes, len(pieces))):
                ours, theirs = context.Pipe()
                members[ours] = context.Process(target=_member, args=(theirs, work, shared), daemon=True)
                members[ours].start()
                theirs.close()
        _share_out(members, pieces, on_news)
    finally:
        for connection, process in members.items():
            if process.pid is not None:
                process.terminate()
            connection.close()
        members = {connection: process for connection, process in members.items() if process.pid is not None}
        for process in members.values():
            process.join(_STOP_S)
            if process.is_alive():
                process.kill()


def _here(work: Work, shared: Any, pieces: Sequence[Any], on_news: Callable[[Told | Done], None]) -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as in a crew, so that figures do not depend on how many run at a time
    try:
        for number, piece in enumerate(pieces):

            def tell(what: Any, number: int = number) -> None:
                on_news(Told(number, what))

            on_news(Done(number, work(shared, piece, tell)))
    finally:
        torch.set_num_threads(threads)


def _share_out(
    members: dict[Connection, BaseProcess], pieces: Sequence[Any], on_news: Callable[[Told | Done], None]
) -> None:
    coming = iter(enumerate(pieces))
    busy: dict[Connection, int] = {}
    for connection in members:
        _give(connection, coming, busy)
    while busy:
        for ready in wait(list(busy)):
            assert isinstance(ready, Connection)
            try:
                kind, value = ready.recv()
            except (EOFError, ConnectionResetError) as error:
                members[ready].join(_STOP_S)
                raise ProcessLostError(
                    f"a process that ran a curve is gone (exit code {members[ready].exitcode}), most often for want of "
                    "memory. Finished runs are kept: the same command with fewer --processes goes on"
                ) from error
            if kind == "error":
                raise value
            if kind == "told":
                on_news(Told(busy[ready], value))
                continue
            piece = busy.pop(ready)
            _give(ready, coming, busy)
            on_news(Done(piece, value))


def _give(connection: Connection, coming: Iterator[tuple[int, Any]], busy: dict[Connection, int]) -> None:
    following = next(coming, None)
    if following is not None:
        busy[connection] = following[0]
        connection.send(following[1])


def _member(connection: Connection, work: Work, shared: Any) -> None:
    """What a process of the crew does until nobody sends anything more."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent decides
    threading.Thread(target=_end_with_parent, daemon=True).start()
    torch.set_num_threads(1)
    with contextlib.suppress(EOFError, BrokenPipeError, ConnectionResetError):  # nobody is left to tell
        while True:
            piece = connection.recv()
            try:
                news = ("done", work(shared, piece, lambda what: connection.send(("told", what))))
            except (BrokenPipeError, ConnectionResetError):
                raise
            except Exception as error:  # noqa: BLE001 - told to the parent, which raises it
                news = ("error", _sendable(error))
            connection.send(news)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _sendable(error: Exception) -> Exception:
    """Own errors as they are where they survive the way, anything else as its traceback."""
    with contextlib.suppress(Exception):
        if isinstance(error, AlServiceError) and pickle.loads(pickle.dumps(error)).message == error.message:  # noqa: S301
            return error
    return WorkFailedError("".join(traceback.format_exception(error)))


@contextlib.contextmanager
def _one_thread_each() -> Iterator[None]:
    """Libraries that read their number of threads when they are loaded find one in processes started here."""
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    before = {name: os.environ.get(name) for name in names}
    os.environ.update(dict.fromkeys(names, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value

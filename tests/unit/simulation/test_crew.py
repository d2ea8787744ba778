"""Processes side by side: every piece once, words on the way, deaths told, nobody left behind.

This module imports little, since every process of a crew imports it too.
"""

import os
import time
from pathlib import Path

import pytest

from al_service.errors import InvalidInputError
from al_service.simulation import crew


def square(shared: int, piece: int, tell: crew.Tell) -> int:
    tell(f"{piece} is coming")
    return piece**2 + shared


def die(shared: Path, piece: int, tell: crew.Tell) -> int:
    os._exit(9)


def refuse(shared: Path, piece: int, tell: crew.Tell) -> int:
    raise InvalidInputError(f"piece {piece} is of no use", piece=piece)


def outlive(shared: Path, piece: int, tell: crew.Tell) -> int:
    tell(os.getpid())
    while True:
        time.sleep(0.01)


@pytest.mark.parametrize("processes", [1, 2])
def test_every_piece_is_done_once_and_told(processes: int) -> None:
    news: list[crew.Told | crew.Done] = []
    crew.work_through(square, 1, [2, 3, 4], processes, news.append)
    assert sorted((one.piece, one.result) for one in news if isinstance(one, crew.Done)) == [(0, 5), (1, 10), (2, 17)]
    assert sorted(one.what for one in news if isinstance(one, crew.Told)) == [
        "2 is coming", "3 is coming", "4 is coming",
    ]  # fmt: skip


def test_a_process_that_dies_is_told_in_words(tmp_path: Path) -> None:
    with pytest.raises(crew.ProcessLostError, match=r"exit code 9.*fewer --processes"):
        crew.work_through(die, tmp_path, [1, 2], 2, lambda news: None)


def test_errors_come_home_as_they_are(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match=r"piece \d is of no use") as caught:
        crew.work_through(refuse, tmp_path, [1, 2], 2, lambda news: None)
    assert caught.value.details["piece"] in (1, 2)
    with pytest.raises(crew.WorkFailedError, match=r"(?s)Traceback.*TypeError: unsupported operand"):
        crew.work_through(square, None, [1, 2], 2, lambda news: None)


def test_a_crew_that_is_sent_home_leaves_nobody_behind(tmp_path: Path) -> None:
    found: list[int] = []

    def enough(news: crew.Told | crew.Done) -> None:
        assert isinstance(news, crew.Told)
        found.append(news.what)
        if len(found) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        crew.work_through(outlive, tmp_path, [1, 2], 2, enough)
    for process_id in found:
        with pytest.raises(ProcessLookupError):
            os.kill(process_id, 0)

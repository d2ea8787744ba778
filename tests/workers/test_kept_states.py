"""What a killed attempt leaves for the next one, among real artifacts."""

import logging
from pathlib import Path

import pytest

from al_service.errors import UnavailableError
from al_service.storage.artifacts import FileArtifacts
from workers.training_states import KeptStates

FIRST = ["b" * 64, "a" * 64]


class FullDisk(FileArtifacts):
    """Reads as ever and takes nothing more."""

    def put(self, name: str, data: bytes) -> None:
        raise UnavailableError(f"{name} cannot be written: no space left on device")


def fresh() -> list[str]:
    return list(FIRST)


def never() -> list[str]:
    raise AssertionError("the list of the first attempt is there")


def test_every_attempt_has_the_list_of_the_first_in_its_order(tmp_path: Path) -> None:
    artifacts = FileArtifacts(tmp_path)
    assert KeptStates(artifacts, "rounds/7/training-").first_list("unlabelled", fresh) == FIRST
    assert KeptStates(artifacts, "rounds/7/training-").first_list("unlabelled", never) == FIRST
    assert KeptStates(artifacts, "rounds/8/training-").first_list("unlabelled", list) == []
    assert KeptStates(artifacts, "rounds/8/training-").first_list("unlabelled", never) == []


def test_the_list_goes_with_the_states_and_those_of_other_rounds_stay(tmp_path: Path) -> None:
    artifacts = FileArtifacts(tmp_path)
    for number in (1, 2):
        states = KeptStates(artifacts, f"rounds/{number}/training-")
        states.first_list("unlabelled", fresh)
        assert states.keep("main", b"state")
    KeptStates(artifacts, "rounds/1/training-").clear()
    assert artifacts.names("rounds/1/") == []
    assert len(artifacts.names("rounds/2/")) == 2
    assert KeptStates(artifacts, "rounds/1/training-").find("main") is None


@pytest.mark.parametrize(
    "damaged",
    [
        b"", b'["aaaa', b"\xff\xfe\x00", b"7", b"null", b'"aaaa"', b'{"aaaa": "bbbb"}', b'["aaaa", 7]', b'[["aaaa"]]',
        pytest.param(b"[" * 100_000, id="nested too deep"),
        pytest.param(b"[" * 100_000 + b"]" * 100_000, id="valid and nested too deep"),
    ],
)  # fmt: skip
def test_a_damaged_list_is_made_again_and_kept(
    tmp_path: Path, damaged: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    artifacts = FileArtifacts(tmp_path)
    states = KeptStates(artifacts, "rounds/7/training-")
    artifacts.put("rounds/7/training-unlabelled.json", damaged)
    with caplog.at_level(logging.WARNING):
        assert states.first_list("unlabelled", fresh) == FIRST
    assert "rounds/7/training-unlabelled.json is damaged" in caplog.text
    assert states.first_list("unlabelled", never) == FIRST


def test_a_list_or_state_that_cannot_be_kept_stops_no_training(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    states = KeptStates(FullDisk(tmp_path), "rounds/7/training-")
    with caplog.at_level(logging.WARNING):
        assert states.first_list("unlabelled", fresh) == FIRST
        assert not states.keep("main", b"state")
    assert caplog.text.count("no space left") == 2

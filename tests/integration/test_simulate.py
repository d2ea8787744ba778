"""`al simulate` as people run it: digits on disk, the real command, the files it leaves, and what becomes of it when
it is killed, stopped, or has no room.
"""

import base64
import io
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from PIL import Image

from al_service.cli.main import cli
from al_service.errors import AlServiceError
from al_service.ingest.digits import write_digits

QUICK = ("--set", "training_mode=probe", "--set", "probe_l2=0.01")
SMALL = ("--strategies", "margin", "--initial", "20", "--batch", "20", "--budget", "60", "--seeds", "2")


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every fourth of scikit-learn's digits."""
    folder = tmp_path_factory.mktemp("digits")
    write_digits(folder)
    for number, path in enumerate(sorted(folder.glob("*/*.png"))):
        if number % 4:
            path.unlink()
    return folder


def simulate(images: Path, out: Path, *words: str) -> Result:
    return CliRunner().invoke(cli, ["simulate", str(images), "--out", str(out), "--processes", "1", *QUICK, *words])


def command(images: Path, out: Path, *words: str) -> list[str]:
    return [sys.executable, "-m", "al_service", "simulate", str(images), "--out", str(out), *QUICK, *words]


def result_in(out: Path) -> dict[str, Any]:
    return json.loads((out / "result.json").read_text())


def refusal(ran: Result) -> str:
    assert isinstance(ran.exception, AlServiceError), ran.output
    return ran.exception.message


@pytest.fixture(scope="module")
def study(digits: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished study."""
    out = tmp_path_factory.mktemp("studies") / "study"
    ran = simulate(digits, out, *SMALL)
    assert ran.exit_code == 0, ran.output
    return out


def test_the_result_file_holds_what_programs_read(study: Path, digits: Path) -> None:
    result = result_in(study)
    assert (result["dataset"]["images"], result["dataset"]["classes"]) == (450, list("0123456789"))
    assert {key: result["config"][key] for key in ("initial", "batch", "budget", "seeds")} == {
        "initial": 20, "batch": 20, "budget": 60, "seeds": [0, 1],
    }  # fmt: skip
    assert [(run["strategy"], run["seed"]) for run in result["runs"]] == [
        ("random", 0), ("random", 1), ("margin", 0), ("margin", 1),
    ]  # fmt: skip
    for run in result["runs"]:
        assert [point["labels"] for point in run["points"]] == [20, 40, 60]
        for point in run["points"]:
            assert set(point["seconds"]) == {"train", "score", "select"}
            assert 0 < point["accuracy"] <= 1
            assert 0 < point["macro_f1"] <= 1
            assert sum(point["selected_per_class"].values()) == point["labels"]
    first, second = (run["points"][0] for run in result["runs"] if run["seed"] == 0)
    assert (first["accuracy"], first["selected_per_class"]) == (second["accuracy"], second["selected_per_class"])
    for one in result["summary"]:
        assert one["aubc_ci95"][0] <= one["aubc"] <= one["aubc_ci95"][1]
        assert one["label_savings_vs_random"] > 0


def test_picture_and_page_are_there(study: Path) -> None:
    with Image.open(study / "curves.png") as picture:
        assert picture.format == "PNG"
    page = (study / "report.html").read_text()
    assert page.startswith("<!doctype html>")
    assert page.count("data:image/jpeg;base64,") == len(result_in(study)["gallery"]["images"]) > 0
    jpeg = base64.b64decode(result_in(study)["gallery"]["images"][0]["jpeg"])
    assert Image.open(io.BytesIO(jpeg)).format == "JPEG"


def test_people_read_a_sentence_and_programs_json(study: Path, digits: Path) -> None:
    again = simulate(digits, study, *SMALL)
    assert again.exit_code == 0
    assert "margin" in again.stdout.splitlines()[0]
    assert str(study / "report.html") in again.stdout
    facts = simulate(digits, study, *SMALL, "--json")
    assert json.loads(facts.stdout) == result_in(study)


def test_the_same_command_gives_the_same_figures(study: Path, digits: Path, tmp_path: Path) -> None:
    assert simulate(digits, tmp_path / "again", *SMALL).exit_code == 0
    ours, theirs = result_in(study), result_in(tmp_path / "again")
    assert ours["summary"] == theirs["summary"]
    assert ours["gallery"] == theirs["gallery"]


def test_other_settings_are_refused_and_nothing_is_lost(study: Path, digits: Path) -> None:
    before = (study / "result.json").read_bytes()
    words = refusal(simulate(digits, study, *SMALL[:-4], "--budget", "80", "--seeds", "2"))
    assert "budget was 60, now 80" in words
    assert "another --out" in words
    assert "augment was 'shift', now 'none'" in refusal(simulate(digits, study, *SMALL, "--set", "augment=none"))
    assert (study / "result.json").read_bytes() == before


def test_an_empty_start_and_a_budget_above_the_pool(digits: Path, tmp_path: Path) -> None:
    few = tmp_path / "few"
    for name in "01":
        (few / name).mkdir(parents=True)
        for path in sorted((digits / name).iterdir())[:15]:
            shutil.copy(path, few / name)
    (few / "1" / "broken.png").write_bytes(b"no image")
    ran = simulate(few, tmp_path / "out", "--initial", "0", "--batch", "10", "--budget", "500", "--seeds", "2")
    assert ran.exit_code == 0, ran.output
    result = result_in(tmp_path / "out")
    pool = min(result["dataset"]["pool_images"])
    assert [point["labels"] for point in result["runs"][0]["points"]] == [*range(10, pool, 10), pool]
    assert f"the budget is cut from 500 to the {pool} images of the pool" in ran.stderr
    assert "1 images left out: unreadable" in ran.stderr


def test_images_to_measure_on_are_taken_as_given(digits: Path, tmp_path: Path) -> None:
    test = tmp_path / "test"
    for name in "0123456789":
        (test / name).mkdir(parents=True)
        for path in sorted((digits / name).iterdir())[:4]:
            shutil.copy(path, test / name)
    ran = simulate(digits, tmp_path / "out", *SMALL, "--test", str(test))
    assert ran.exit_code == 0, ran.output
    data = result_in(tmp_path / "out")["dataset"]
    assert (data["test"], data["pool_images"], data["test_images"]) == ("given", [410], [40])
    assert data["left_out"] == {"duplicate": 40}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--strategies", "magic"), "unknown strategy 'magic'"),
        (("--initial", "9", "--budget", "5"), "initial is 9, more than the budget"),
        (("--set", "strategy=margin"), "a study takes --strategies"),
        (("--set", "colour"), "is not KEY=VALUE"),
        (("--test", "/nowhere/at/all"), "/nowhere/at/all is not there"),
        (("--device", "abacus"), "device 'abacus' is unknown"),
        (("--set", "weights=/nowhere.pt"), "/nowhere.pt"),
    ],
)
def test_what_cannot_be_done_is_said_in_words(
    digits: Path, tmp_path: Path, words: tuple[str, ...], message: str
) -> None:
    assert message in refusal(simulate(digits, tmp_path / "out", *words))


def test_images_of_one_class_are_refused(digits: Path, tmp_path: Path) -> None:
    shutil.copytree(digits / "3", tmp_path / "one" / "3")
    (tmp_path / "one" / "4").mkdir()
    (tmp_path / "one" / "4" / "broken.png").write_bytes(b"no image")
    assert "1 class (3)" in refusal(simulate(tmp_path / "one", tmp_path / "out"))


# -- interrupted -------------------------------------------------------------------------------------------------


@pytest.fixture
def seeds() -> int:
    """How many; tests that want a study without an end parametrize this name."""
    return 6


@pytest.fixture
def long_words(seeds: int) -> tuple[str, ...]:
    """A study of a dozen runs, or more."""
    return ("--strategies", "margin", "--initial", "20", "--batch", "20", "--budget", "80", "--seeds", str(seeds))


@pytest.fixture
def started(digits: Path, tmp_path: Path, long_words: tuple[str, ...]) -> Iterator[subprocess.Popen[str]]:
    """Such a study under way in two processes, with a finished run or more."""
    words = command(digits, tmp_path / "out", *long_words, "--processes", "2")

    def hears_ctrl_c() -> None:
        """Whoever is started in a shell's background, as tests may be, ignores it, and so would all it starts."""
        signal.signal(signal.SIGINT, signal.SIG_DFL)

    process = subprocess.Popen(
        words, stderr=subprocess.PIPE, text=True, start_new_session=True, preexec_fn=hears_ctrl_c
    )
    assert process.stderr is not None
    for line in process.stderr:
        if ": accuracy " in line:
            break
    yield process
    if process.poll() is None:
        process.kill()
    process.stderr.close()
    process.wait()


def members_of(process: subprocess.Popen[str]) -> list[str]:
    """Command lines of all living processes of its session."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            fields = (path / "stat").read_text().rsplit(")", 1)[1].split()
            # Without a command line it has given back its memory and is on its way out, though no zombie yet.
            line = (path / "cmdline").read_text()
            if line and fields[0] != "Z" and int(fields[3]) == process.pid:
                found.append(line)
        except OSError:
            continue
    return found


def wait_until_alone(process: subprocess.Popen[str]) -> None:
    """Until no process of its session is left; the stderr that all of them share ends with the last."""
    assert process.stderr is not None
    process.stderr.read()
    process.wait()
    assert members_of(process) == []


def test_after_kill_9_the_same_command_does_what_is_missing(
    started: subprocess.Popen[str], digits: Path, tmp_path: Path, long_words: tuple[str, ...]
) -> None:
    out = tmp_path / "out"
    started.send_signal(signal.SIGKILL)
    wait_until_alone(started)
    kept = {path: path.stat().st_mtime_ns for path in (out / "runs").glob("*.json")}
    assert 0 < len(kept) < 12
    assert not (out / "result.json").exists()
    ran = simulate(digits, out, *long_words)
    assert ran.exit_code == 0, ran.output
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    assert ran.stderr.count(": accuracy ") == 12 - len(kept)
    assert len(result_in(out)["runs"]) == 12
    assert simulate(digits, tmp_path / "whole", *long_words).exit_code == 0
    assert result_in(out)["summary"] == result_in(tmp_path / "whole")["summary"]


@pytest.mark.parametrize("seeds", [500])
def test_one_command_has_the_folder_and_ctrl_c_ends_it_cleanly(
    started: subprocess.Popen[str], digits: Path, tmp_path: Path, long_words: tuple[str, ...]
) -> None:
    assert "another `al simulate` works in" in refusal(simulate(digits, tmp_path / "out", *long_words))
    os.killpg(started.pid, signal.SIGINT)
    assert started.stderr is not None
    told = started.stderr.read()
    assert started.wait() == 130
    assert "the same command goes on with what is missing" in told
    assert "Traceback" not in told
    assert members_of(started) == []
    assert list((tmp_path / "out" / "runs").glob("*.json"))


def test_no_room_is_said_in_words_and_finished_runs_are_kept(study: Path, digits: Path, tmp_path: Path) -> None:
    """A limit on the size of files is the nearest to a full disk that every machine has."""
    out = tmp_path / "out"
    shutil.copytree(study, out)
    (out / "result.json").unlink()
    runs = sorted((out / "runs").iterdir())
    limit = 20_000
    assert max(path.stat().st_size for path in runs) < limit < (study / "result.json").stat().st_size

    def little_room() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    ran = subprocess.run(
        command(digits, out, *SMALL), capture_output=True, text=True, preexec_fn=little_room, check=False
    )
    assert ran.returncode == 6, ran.stderr
    assert "cannot write" in ran.stderr
    assert "Finished runs are kept" in ran.stderr
    assert "Traceback" not in ran.stderr
    assert sorted((out / "runs").iterdir()) == runs
    assert simulate(digits, out, *SMALL).exit_code == 0
    assert result_in(out)["summary"] == result_in(study)["summary"]

"""The command line on a real data folder: what people type, what they read, and the exit codes programs see."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from al_service.cli.main import cli
from al_service.cli.processes import free_port
from al_service.errors import AlServiceError


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("AL_DATA_DIR", "AL_DATABASE_URL", "AL_REDIS_URL"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path / "data"


def al(folder: Path, *words: str, text: str | None = None) -> Result:
    return CliRunner().invoke(cli, ["--data", str(folder), *words], input=text)


def test_a_project_from_creation_to_archive(folder: Path) -> None:
    created = al(folder, "project", "create", "pets", "--classes", "cat,dog", "--set", "labels_per_round=7")
    assert created.stdout == "project pets is there; next: `al ingest pets PATH`\n"
    assert al(folder, "project", "set", "pets", "strategy=entropy").exit_code == 0
    shown = json.loads(al(folder, "project", "show", "pets", "--json").stdout)
    assert (shown["classes"], shown["settings"]["labels_per_round"]) == (["cat", "dog"], 7)
    assert shown["settings"]["strategy"] == "entropy"
    assert [item["name"] for item in json.loads(al(folder, "project", "list", "--json").stdout)] == ["pets"]
    assert al(folder, "project", "archive", "pets").exit_code == 0
    assert json.loads(al(folder, "project", "list", "--json").stdout) == []


def test_people_and_tokens(folder: Path) -> None:
    added = al(folder, "user", "add", "mia", "--role", "labeler", "--password-stdin", text="a long password\n")
    assert added.stdout == "mia can sign in as labeler\n"
    made = json.loads(al(folder, "token", "create", "mia", "--days", "2", "--json").stdout)
    assert made["token"].startswith("al_")
    assert made["role"] == "labeler"
    listed = json.loads(al(folder, "token", "list", "--json").stdout)
    assert [item["id"] for item in listed] == [made["id"]]
    assert made["token"] not in json.dumps(listed)
    wanted_more = al(folder, "token", "create", "mia", "--role", "admin")
    assert isinstance(wanted_more.exception, AlServiceError)


def test_status_of_an_empty_project_says_what_is_missing(folder: Path) -> None:
    al(folder, "project", "create", "pets", "--classes", "cat,dog")
    text = al(folder, "status", "pets").stdout
    assert "pool        0 samples" in text
    assert "round       none yet" in text
    assert "the broker does not answer" in text
    facts = json.loads(al(folder, "status", "pets", "--json").stdout)
    assert (facts["counts"]["total"], facts["round"], facts["workers"]) == (0, None, None)


def test_a_round_can_be_started_listed_and_cancelled(folder: Path) -> None:
    al(folder, "project", "create", "pets", "--classes", "cat,dog")
    started = json.loads(al(folder, "round", "start", "pets", "--json").stdout)
    assert (started["started"], started["round"]["number"]) == (True, 1)
    assert json.loads(al(folder, "round", "start", "pets", "--json").stdout)["started"] is False
    assert json.loads(al(folder, "round", "list", "pets", "--json").stdout)[0]["state"] == "running"
    assert al(folder, "round", "cancel", "pets", "1").stdout == "round 1 is cancelled\n"
    jobs = json.loads(al(folder, "job", "list", "--json").stdout)
    assert [(item["kind"], item["state"]) for item in jobs] == [("train", "cancelled")]


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["project", "show", "nothing"], 4, "al: no project 'nothing'; there are: none yet"),
        (["project", "create", "a b"], 2, "al: project name 'a b': use 1 to 64 letters"),
        (["project", "create", "pets", "--set", "colour=red"], 2, "al: unknown project setting 'colour'"),
        (["project", "create", "pets", "--set", "colour"], 2, "al: 'colour' is not KEY=VALUE"),
        (["job", "retry", "5"], 4, "al: no job"),
        (["round", "show", "nothing", "1"], 4, "al: no project"),
        (["--nonsense"], 2, "No such option"),
    ],
)
def test_exit_codes_and_one_line_errors(folder: Path, words: list[str], code: int, message: str) -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "al_service", "--data", str(folder), *words],
        capture_output=True,
        text=True,
        cwd=folder.parent,
        check=False,
    )
    assert ran.returncode == code, ran.stderr
    assert message in ran.stderr
    assert "Traceback" not in ran.stderr


def test_a_taken_port_gives_the_next_free_one() -> None:
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert free_port("127.0.0.1", port) > port


def test_the_demo_never_empties_a_folder_that_is_not_its_own(folder: Path) -> None:
    folder.mkdir()
    (folder / "thesis.txt").write_text("ten years of work")
    ran = al(folder, "demo", "--rounds", "1", "--exit")
    assert isinstance(ran.exception, AlServiceError)
    assert "was not made by `al demo`" in ran.exception.message
    assert (folder / "thesis.txt").read_text() == "ten years of work"


def test_classes_are_changed_with_the_preview_first(folder: Path) -> None:
    al(folder, "project", "create", "pets", "--classes", "cat,dog")
    assert "Adds “fish”" in al(folder, "classes", "pets", "add", "fish", "--dry-run").stdout
    assert [item["name"] for item in json.loads(al(folder, "classes", "pets", "list", "--json").stdout)] == [
        "cat",
        "dog",
    ]
    asked = al(folder, "classes", "pets", "add", "fish", text="n\n")
    assert (asked.exit_code, "Do it?" in asked.stdout) == (1, True)
    assert al(folder, "classes", "pets", "add", "fish", text="y\n").stdout.endswith("done\n")
    assert al(folder, "classes", "pets", "rename", "dog", "hound", "--yes").exit_code == 0
    assert al(folder, "classes", "pets", "merge", "fish", "cat", "--yes").exit_code == 0
    assert al(folder, "classes", "pets", "split", "hound", "poodle", "husky", "--yes").exit_code == 0
    shown = al(folder, "classes", "pets", "list").stdout
    assert "merged into cat" in shown and "split into poodle, husky; 0 of 0" in shown
    taken = al(folder, "classes", "pets", "add", "dog", "--yes")
    assert isinstance(taken.exception, AlServiceError) and "'dog' was split" in taken.exception.message
    listed = json.loads(al(folder, "classes", "pets", "list", "--json").stdout)
    assert [(item["name"], item["position"]) for item in listed if item["retired_at"] is None] == [
        ("cat", 0),
        ("poodle", 3),
        ("husky", 4),
    ]

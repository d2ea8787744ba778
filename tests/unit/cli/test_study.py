"""`al study` on a real data folder: what is queued, and what is refused before."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from al_service.bootstrap import open_services
from al_service.cli.main import cli
from al_service.domain.records import NewSample
from al_service.domain.states import Role, Split
from al_service.errors import AlServiceError
from al_service.loop.services import Services
from al_service.settings import Settings


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("AL_DATA_DIR", "AL_DATABASE_URL", "AL_REDIS_URL"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path / "data"


@pytest.fixture
def services(folder: Path) -> Services:
    """A project `pets` with forty labelled images, of which only the records are there."""
    found = open_services(Settings(data_dir=folder))
    project = found.projects.create("pets", ["cat", "dog"])
    mia, now = found.accounts.ensure_user("mia", Role.LABELER), found.clock()
    samples = [NewSample(str(number), f"{number:064x}", 8, 8, "PNG", 9, Split.POOL) for number in range(40)]
    with found.store.write() as tx:
        ids = [one for one in tx.samples.add_many(project.id, samples, now) if one is not None]
        labels = [(one, ("cat", "dog")[one % 2]) for one in ids]
        tx.annotations.add_labels(project.id, mia.id, labels, "known", now)
    return found


def al(folder: Path, *words: str) -> Result:
    return CliRunner().invoke(cli, ["--data", str(folder), *words])


def test_a_study_is_queued_as_asked_and_only_once(folder: Path, services: Services) -> None:
    words = ("study", "pets", "--strategies", "margin, badge", "--seeds", "2", "--batch", "4", "--budget", "12")
    begun = json.loads(al(folder, *words, "--no-wait", "--json").stdout)
    assert (begun["started"], begun["job"]["kind"], begun["job"]["state"]) == (True, "simulate", "queued")
    [job] = services.studies.all("pets")
    assert job.payload["strategies"] == ["random", "margin", "badge"]
    assert [job.payload[name] for name in ("seeds", "initial", "batch", "budget", "random_budget")] == [2, 4, 4, 12, 12]
    again = al(folder, "study", "pets", "--no-wait")
    assert again.stdout == f"study {job.id} is queued, 18 models; `al job show {job.id}` follows it\n"
    assert "is queued already" in again.stderr


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--strategies", "magic"), "unknown strategy 'magic'"),
        (("--strategies", "random"), "name at least one other"),
        (("--batch", "30"), "needs 34: choose smaller ones"),
    ],
)
def test_what_cannot_be_is_refused(folder: Path, services: Services, words: tuple[str, ...], message: str) -> None:
    refused = al(folder, "study", "pets", *words)
    assert isinstance(refused.exception, AlServiceError)
    assert message in refused.exception.message
    assert refused.exception.exit_code == 2
    assert services.studies.all("pets") == []

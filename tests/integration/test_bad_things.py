"""Bad things that must end well: vanished images, a loss that is no number, too few labels, a full disk."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from al_service.domain.records import User
from al_service.domain.states import JobState, RoundState, Stage, StageState
from al_service.errors import InvalidInputError
from al_service.learning.training import TrainingDivergedError
from al_service.loop.ports import image_name
from al_service.storage.artifacts import ArtifactStorageError
from tests.integration.conftest import DIGITS, Loop, truth_of

pytestmark = pytest.mark.parametrize("database_kind", ["sqlite"])


def image_path(loop: Loop, sha256: str) -> Path:
    return loop.settings.artifact_dir / image_name(sha256)


def with_images_that_nobody_has_read(loop: Loop) -> None:
    """First batches are drawn at random: `auto` would look at the images, and keep what it saw in the cache."""
    loop.services.projects.change("digits", {"strategy": "margin+k_center"})
    loop.work()


def label_unread(loop: Loop, user: User, count: int) -> list[str]:
    """Label `count` images of the pool that no round has looked at; their hashes."""
    with loop.services.store.write() as tx:
        project = loop.services.projects.get("digits")
        asked = {item.sample_id for record in tx.rounds.all(project.id) for item in tx.queue.selections(record.id)}
        free = [row for row in tx.samples.selectable(project.id) if row[0] not in asked]
        free = free[:: len(free) // count][:count]  # of every class
        labels = [(sample_id, loop.truth[sha256]) for sample_id, sha256 in free]
        tx.annotations.add_labels(project.id, user.id, labels, "unread-", loop.clock())
    return [sha256 for _, sha256 in free]


def answer_some(loop: Loop, user: User, count: int, class_name: str | None = None) -> list[str]:
    """Answer `count` images; their hashes."""
    hashes = []
    for assignment in loop.services.assignments.lease_next("digits", user, count).assignments:
        loop.answer(assignment, user, class_name)
        hashes.append(assignment.sample.sha256)
    return hashes


def test_images_that_vanished_from_disk_are_left_out_and_named(digits_loop: Loop, mia: User) -> None:
    loop = digits_loop
    with_images_that_nobody_has_read(loop)
    labelled = label_unread(loop, mia, 30)
    with loop.services.store.read() as tx:
        project = loop.services.projects.get("digits")
        asked = {item.sample_id for record in tx.rounds.all(project.id) for item in tx.queue.selections(record.id)}
        pool = [sha256 for sample_id, sha256 in tx.samples.selectable(project.id) if sample_id not in asked]
        evaluation = [row.sha256 for row in tx.samples.evaluation_set(project.id)]
    image_path(loop, labelled[0]).unlink()
    image_path(loop, pool[0]).unlink()
    image_path(loop, pool[1]).write_bytes(b"\x89PNG\r\n\x1a\n damaged on the disk")
    image_path(loop, evaluation[0]).unlink()
    loop.work()
    record = loop.services.rounds.get("digits", 2)
    assert record.state is RoundState.ANNOTATING
    train, score = record.stage_record(Stage.TRAIN).result, record.stage_record(Stage.SCORE).result
    assert train["labels"] == 29
    assert train["unreadable"] == 1
    assert score["unreadable"] == 2
    assert record.metrics["evaluation_samples"] == len(evaluation) - 1
    with loop.services.store.read() as tx:
        asked = {tx.samples.get(item.sample_id).sha256 for item in tx.queue.selections(record.id)}
    assert not asked & {pool[0], pool[1]}
    assert loop.services.projects.summary("digits").counts.flagged == 2


def test_a_pool_of_which_one_image_vanished_comes_to_rest(loop: Loop, digits: Path, mia: User, tmp_path: Path) -> None:
    for path in sorted(digits.glob("*/*.png"))[::300]:
        (tmp_path / "few" / path.parent.name).mkdir(parents=True, exist_ok=True)
        shutil.copy(path, tmp_path / "few" / path.parent.name)
    loop.truth = truth_of(digits)
    settings = {
        "labels_per_round": 3,
        "trigger_labels": 3,
        "epochs_max": 2,
        "holdout_fraction": 0.0,
        "reserve_factor": 0.0,
        "strategy": "margin+k_center",
    }
    loop.services.projects.create("digits", DIGITS, settings)
    loop.services.projects.import_images("digits", str(tmp_path / "few"), labels="none")
    loop.work()
    answer_some(loop, mia, 1)
    with loop.services.store.read() as tx:
        left = tx.samples.selectable(loop.services.projects.get("digits").id)
    image_path(loop, left[-1][1]).unlink()
    for _ in range(6):
        loop.answer_all("digits", mia)
        loop.work()
    assert len(loop.services.rounds.all("digits")) < 8


def test_all_labelled_images_gone_says_so_and_keeps_the_labels(digits_loop: Loop, mia: User) -> None:
    loop = digits_loop
    with_images_that_nobody_has_read(loop)
    for sha256 in label_unread(loop, mia, 30):
        image_path(loop, sha256).unlink()
    with pytest.raises(InvalidInputError, match=r"none of the 30 labelled images can be read"):
        loop.work()
    assert loop.services.rounds.get("digits", 2).state is RoundState.FAILED
    assert loop.services.projects.summary("digits").counts.labelled == 30


def test_a_loss_that_is_no_number_fails_the_round_and_the_last_good_model_stays(digits_loop: Loop, mia: User) -> None:
    loop = digits_loop
    loop.work()
    loop.answer_all("digits", mia)
    loop.work()
    good = loop.services.models.find("digits", "promoted")
    loop.services.projects.change("digits", {"learning_rate": 10.0, "weight_decay": 1.0})
    loop.answer_all("digits", mia)
    with pytest.raises(TrainingDivergedError):
        loop.work()
    failed = loop.services.rounds.get("digits", 3)
    assert failed.state is RoundState.FAILED
    assert "learning_rate" in (failed.error or "")
    assert loop.services.models.find("digits", "promoted") == good
    loop.services.projects.change("digits", {"learning_rate": 0.002, "weight_decay": 0.01})
    loop.services.rounds.start("digits")
    loop.work()
    assert loop.services.rounds.get("digits", 4).state is RoundState.ANNOTATING


@pytest.mark.parametrize(("strategy", "state"), [("auto", StageState.DONE), ("margin", StageState.SKIPPED)])
def test_labels_of_one_class_only_ask_for_more(digits_loop: Loop, mia: User, strategy: str, state: StageState) -> None:
    loop = digits_loop
    loop.services.projects.change("digits", {"strategy": strategy})
    loop.work()
    answer_some(loop, mia, 30, class_name="3")
    loop.work()
    record = loop.services.rounds.get("digits", 2)
    assert record.state is RoundState.ANNOTATING
    assert "30 labels of 1 class" in record.stage_record(Stage.TRAIN).result["skipped"]
    assert record.stage_record(Stage.SCORE).state is state


@pytest.mark.parametrize("mode", ["finetune", "probe"])
def test_two_labels_and_eight_classes_without_any_are_enough_for_a_round(
    loop: Loop, digits: Path, mia: User, mode: str
) -> None:
    loop.truth = truth_of(digits)
    settings = {"labels_per_round": 2, "trigger_labels": 2, "epochs_max": 3, "training_mode": mode}
    loop.services.projects.create("digits", DIGITS, settings)
    loop.services.projects.import_images("digits", str(digits), use_labels="evaluation")
    loop.work()
    first, second = loop.services.assignments.lease_next("digits", mia, 2).assignments
    loop.answer(first, mia, "0")
    loop.answer(second, mia, "7")
    loop.work()
    record = loop.services.rounds.get("digits", 2)
    assert record.state is RoundState.ANNOTATING
    assert 0 < record.metrics["accuracy"] < 0.6
    assert record.metrics["per_class"]["4"]["recall"] == 0


def test_a_project_of_one_image(loop: Loop, digits: Path, mia: User, tmp_path: Path) -> None:
    only = next(digits.glob("5/*.png"))
    (tmp_path / "one" / "5").mkdir(parents=True)
    shutil.copy(only, tmp_path / "one" / "5" / only.name)
    loop.truth = truth_of(digits)
    loop.services.projects.create("digits", DIGITS, {"holdout_fraction": 0.0})
    loop.services.projects.import_images("digits", str(tmp_path / "one"), labels="none")
    loop.work()
    assert loop.answer_all("digits", mia) == 1
    loop.work()
    last = loop.services.rounds.all("digits")[-1]
    assert last.state is RoundState.CLOSED
    assert loop.services.projects.summary("digits").counts.labelled == 1


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of twelve megabytes."""
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=12m", "tmpfs", str(folder)], capture_output=True)
    if mounted.returncode != 0:
        pytest.skip("mounting a small file system needs root")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


class TestFullDisk:
    """Artifacts and caches on a disk that fills up in the middle of a round."""

    @pytest.fixture
    def settings_values(self, small_disk: Path) -> dict[str, Any]:
        return {"storage_url": f"file://{small_disk / 'artifacts'}", "job_attempts_max": 1}

    def test_the_round_fails_in_words_and_goes_on_when_there_is_room(
        self, digits_loop: Loop, mia: User, small_disk: Path
    ) -> None:
        loop = digits_loop
        loop.work()
        loop.answer_all("digits", mia)
        before = loop.services.projects.summary("digits").counts
        filler = small_disk / "filler"
        free = shutil.disk_usage(small_disk).free
        filler.write_bytes(os.urandom(max(0, free - 64 * 1024)))
        with pytest.raises(ArtifactStorageError, match="no room for"):
            loop.work()
        loop.clock.advance(3600)
        assert loop.services.projects.summary("digits").counts == before
        filler.unlink()
        with loop.services.store.read() as tx:
            [job] = [item for item in tx.jobs.all() if item.state in (JobState.QUEUED, JobState.FAILED)]
        assert "no room" in (job.error or "")
        if job.state is JobState.FAILED:
            loop.services.jobs.retry(job.id)
        loop.work()
        assert loop.services.rounds.get("digits", 2).state is RoundState.ANNOTATING

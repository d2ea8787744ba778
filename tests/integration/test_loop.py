"""The loop closes by itself: images in, rounds out, each a record that can be replayed."""

from pathlib import Path

import pytest

from al_service.bootstrap import replay_round
from al_service.domain.states import JobKind, JobState, RoundState, Stage, StageState
from tests.integration.conftest import Loop


def test_rounds_follow_each_other_and_accuracy_rises(digits_loop: Loop) -> None:
    loop, mia = digits_loop, digits_loop.person("mia")
    for _ in range(4):
        loop.work()
        loop.answer_all("digits", mia)
    loop.work()
    rounds = loop.services.rounds.all("digits")
    assert [item.number for item in rounds] == [1, 2, 3, 4, 5]
    assert [item.state for item in rounds] == [RoundState.CLOSED] * 4 + [RoundState.ANNOTATING]
    assert [item.trigger for item in rounds] == ["first", "labels", "labels", "labels", "labels"]
    assert [item.label_count for item in rounds] == [0, 30, 60, 90, 120]
    assert rounds[0].stage_record(Stage.TRAIN).state is StageState.SKIPPED
    accuracies = [item.metrics["accuracy"] for item in rounds[1:]]
    assert accuracies[-1] > accuracies[0]
    assert accuracies[-1] > 0.7
    evaluation = loop.services.projects.summary("digits").counts.evaluation_labelled
    assert all(item.metrics["evaluation_samples"] == evaluation for item in rounds[1:])


def test_a_round_is_a_record_that_replays_the_same_ids(digits_loop: Loop) -> None:
    loop = digits_loop
    loop.work()
    loop.answer_all("digits", loop.person("mia"))
    loop.work()
    for number in (1, 2):
        replay = replay_round(loop.services, "digits", number)
        assert replay["identical"]
        assert len(replay["recorded"]) == len(set(replay["recorded"])) == 30
    second = loop.services.rounds.get("digits", 2)
    assert second.model_hash is not None
    assert second.data_fingerprint is not None
    with loop.services.store.read() as tx:
        model = tx.models.find_of_round(second.id)
        selections = tx.queue.selections(second.id)
    assert model is not None
    assert model.model_hash == second.model_hash
    assert loop.services.artifacts.has(model.artifact)
    codes = [item.reason["code"] for item in selections]
    assert codes.count("random") == 3
    assert set(codes) == {"random", "margin+typical"}


def test_evaluation_samples_are_never_selected(digits_loop: Loop) -> None:
    loop, mia = digits_loop, digits_loop.person("mia")
    for _ in range(2):
        loop.work()
        loop.answer_all("digits", mia)
    with loop.services.store.read() as tx:
        project = loop.services.projects.get("digits")
        protected = {row.sample_id for row in tx.samples.evaluation_set(project.id)}
        chosen = {item.sample_id for record in tx.rounds.all(project.id) for item in tx.queue.selections(record.id)}
        trained_on = {
            row.sample_id for row in tx.samples.training_set(project.id, tx.annotations.latest_id(project.id))
        }
    assert 250 < len(protected) < 470
    assert not protected & chosen
    assert not protected & trained_on
    assert trained_on <= chosen


def test_labelers_go_on_while_a_round_trains(digits_loop: Loop) -> None:
    loop, mia, tom = digits_loop, digits_loop.person("mia"), digits_loop.person("tom")
    loop.services.projects.change("digits", {"trigger_labels": 20})
    loop.work()
    held = loop.services.assignments.lease_next("digits", tom, 5).assignments
    while len(leased := loop.services.assignments.lease_next("digits", mia, 1).assignments) == 1:
        loop.answer(leased[0], mia)
        if loop.services.projects.summary("digits").new_labels == 20:
            break
    loop.scheduler.tick()
    running = loop.services.rounds.get("digits", 2)
    assert running.state is RoundState.RUNNING
    more = loop.services.assignments.lease_next("digits", mia, 3).assignments
    assert len(more) == 3
    for assignment in more:
        loop.answer(assignment, mia)
    loop.work()
    record = loop.services.rounds.get("digits", 2)
    assert record.state is RoundState.ANNOTATING
    assert record.label_count == 20
    with loop.services.store.read() as tx:
        asked_again = {item.sample_id for item in tx.queue.selections(record.id) if item.state == "open"}
    answered = {assignment.sample.id for assignment in more}
    assert not asked_again & answered
    assert not asked_again & {assignment.sample.id for assignment in held}
    for assignment in held:
        loop.answer(assignment, tom)


def test_an_unlabelled_folder_gets_its_evaluation_labels_from_people(loop: Loop, digits: Path) -> None:
    from tests.integration.conftest import DIGITS, truth_of

    loop.truth = truth_of(digits)
    loop.services.projects.create("plain", DIGITS, {"labels_per_round": 20, "epochs_max": 5, "evaluation_labels": 15})
    loop.services.projects.import_images("plain", str(digits), labels="none")
    mia = loop.person("mia")
    loop.work()
    asked = loop.services.assignments.lease_next("plain", mia, 100).assignments
    assert sum(item.selection.reason["code"] == "evaluation" for item in asked) == 10
    assert len(asked) == 30
    for _ in range(3):
        loop.answer_all("plain", mia)
        loop.work()
    rounds = loop.services.rounds.all("plain")
    assert [item.metrics.get("evaluation_samples") for item in rounds[1:]] == [10, 15, 15]
    assert [item.label_count for item in rounds] == [0, 20, 40, 60]


def test_a_superseded_attempt_stores_nothing(digits_loop: Loop) -> None:
    """The job is lost and given away while its worker still computes; the late result must not count."""
    from workers import jobs

    loop = digits_loop
    loop.work()
    loop.answer_all("digits", loop.person("mia"))
    loop.scheduler.tick()
    with loop.services.store.read() as tx:
        job = next(item for item in tx.jobs.all(states=["queued"]) if item.kind is JobKind.TRAIN)
    claimed = loop.services.jobs.claim(job.id, 1, "worker that falls silent")
    assert claimed is not None
    loop.clock.advance(60)
    loop.scheduler.tick()
    assert loop.services.jobs.get(job.id).attempt == 2
    jobs.train(job.id, 1)
    assert loop.services.jobs.get(job.id).state is JobState.QUEUED
    with loop.services.store.read() as tx:
        assert tx.models.find_of_round(claimed.round_id or 0) is None
    loop.work()
    assert loop.services.rounds.get("digits", 2).state is RoundState.ANNOTATING
    assert loop.services.rounds.get("digits", 2).stage_record(Stage.TRAIN).attempt == 2


def test_a_failing_stage_becomes_visible_and_can_be_retried(digits_loop: Loop) -> None:
    loop = digits_loop
    loop.work()
    loop.answer_all("digits", loop.person("mia"))
    loop.services.projects.change("digits", {"weights": "/nowhere/weights.safetensors"})
    with pytest.raises(Exception, match="weights"):
        loop.work()
    failed = loop.services.rounds.get("digits", 2)
    assert failed.state is RoundState.FAILED
    assert "/nowhere/weights.safetensors" in (failed.error or "")
    summary = loop.services.projects.summary("digits")
    assert [job.kind for job in summary.failed_jobs] == [JobKind.TRAIN]
    loop.scheduler.tick()
    assert loop.services.rounds.all("digits")[-1].number == 2, "a failed round must not restart by itself"
    record, is_new = loop.services.rounds.start("digits")
    assert is_new
    assert record.number == 3


def test_import_twice_changes_nothing(digits_loop: Loop, digits: Path) -> None:
    loop = digits_loop
    loop.work()
    before = loop.services.projects.summary("digits").counts
    job = loop.services.projects.import_images("digits", str(digits), use_labels="evaluation")
    loop.work()
    result = loop.services.jobs.get(job.id).result
    assert (result["added"], result["already_there"]) == (0, before.total + before.evaluation_total)
    assert loop.services.projects.summary("digits").counts == before

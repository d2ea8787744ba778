"""Classes that change while a round trains, and between two rounds: what was learned stays with its class."""

from pathlib import Path
from typing import Any

import pytest

from al_service.domain.model_kinds import ModelKind
from al_service.domain.records import Round
from al_service.domain.states import JobKind, RoundState, Stage
from al_service.errors import InvalidInputError
from al_service.loop.class_change_kinds import AddClasses, Change, MergeClass, RenameClass, SplitClass
from tests.integration.conftest import DIGITS, Loop, truth_of
from workers import context
from workers.models import find_last_head, starting_network
from workers.round_inputs import read_round_inputs
from workers.running import Interrupts, JobRun

pytestmark = pytest.mark.parametrize("database_kind", ["sqlite"])


def labelled_digits(loop: Loop, digits: Path, **settings: Any) -> Loop:
    """A project `digits` in which every image has its label."""
    loop.truth = truth_of(digits)
    values = {"labels_per_round": 10, "epochs_max": 2, "network": "small_cnn", "auto_start": False, **settings}
    loop.services.projects.create("digits", DIGITS, values)
    loop.services.projects.import_images("digits", str(digits), use_labels="all")
    loop.work()
    return loop


def change(loop: Loop, what: Change) -> None:
    loop.services.classes.apply("digits", what, None)


def a_round(loop: Loop, *changes: Change) -> Round:
    """The next round; classes change after it has started and before a worker begins."""
    record, is_new = loop.services.rounds.start("digits", trigger="test")
    assert is_new
    for one in changes:
        change(loop, one)
    loop.work()
    done = loop.services.rounds.get("digits", record.number)
    assert done.state in (RoundState.ANNOTATING, RoundState.CLOSED), done.error
    return done


def support(record: Round) -> dict[str, int]:
    """Evaluation images by class, as the round counted them."""
    found = record.metrics["confusion"]
    return {name: sum(row) for name, row in zip(found["classes"], found["counts"], strict=True)}


def test_a_round_at_work_loses_nothing_by_a_rename_and_counts_what_was_merged(loop: Loop, digits: Path) -> None:
    labelled_digits(loop, digits)
    with loop.services.store.read() as tx:
        project = tx.projects.find("digits")
        assert project is not None
        ids = {info.name: info.id for info in project.classes}
        before = {name: sum(tx.classes.label_counts(project.id)[ids[name]].values()) for name in DIGITS}
        measured = {row.class_name for row in tx.samples.evaluation_set(project.id)}
        kept = {name: sum(row.class_name == name for row in tx.samples.evaluation_set(project.id)) for name in DIGITS}
    assert measured == set(DIGITS)
    changes = (
        RenameClass("3", "three"),
        MergeClass("9", "4"),
        AddClasses(("new",)),
        MergeClass("7", "new"),
        SplitClass("5", ("five", "cinq")),
    )
    record = a_round(loop, *changes)
    assert record.class_names == DIGITS
    expected = {**kept, "4": kept["4"] + kept["9"], "9": 0, "5": 0}
    assert support(record) == expected
    labels = record.stage_record(Stage.TRAIN).result["labels"]
    assert labels == sum(before.values()) - before["5"] - (sum(kept.values()) - kept["5"])


def test_a_warm_start_knows_a_renamed_class_and_takes_no_output_for_another(loop: Loop, digits: Path) -> None:
    labelled_digits(loop, digits, warm_start="previous")
    a_round(loop)
    change(loop, RenameClass("3", "three"))
    change(loop, MergeClass("9", "4"))
    change(loop, AddClasses(("ten",)))
    loop.services.projects.change("digits", {"epochs_max": 3})
    record = _next_round(loop)
    assert record.class_names == ("0", "1", "2", "three", "4", "5", "6", "7", "8", "ten")
    facts = record.stage_record(Stage.TRAIN).result
    assert facts["classes_taken"] == 9  # all but the new one


def test_the_last_head_is_found_again_after_a_rename_and_not_after_a_split(loop: Loop, digits: Path) -> None:
    labelled_digits(loop, digits, training_mode="probe")
    a_round(loop)
    change(loop, RenameClass("3", "three"))
    assert _has_last_head(loop)
    change(loop, SplitClass("5", ("five", "cinq")))
    assert not _has_last_head(loop)


def test_a_model_with_a_renamed_class_is_promotable_and_one_with_a_class_that_is_no_more_is_not(
    loop: Loop, digits: Path
) -> None:
    labelled_digits(loop, digits, promote="never")
    record = a_round(loop)
    with loop.services.store.read() as tx:
        model = tx.models.find_newest(record.project_id, ModelKind.ROUND)
    assert model is not None
    change(loop, RenameClass("3", "three"))
    loop.services.models.promote(model.id)
    preview = loop.services.classes.preview("digits", MergeClass("three", "4"))
    assert (preview.models, preview.is_promoted) == (1, True)
    change(loop, MergeClass("three", "4"))
    with pytest.raises(InvalidInputError, match="'3'"):
        loop.services.models.promote(model.id)


def test_an_import_follows_old_names_and_rejects_those_of_split_classes(loop: Loop, digits: Path) -> None:
    loop.services.projects.create("digits", DIGITS, {"auto_start": False})
    for one in (RenameClass("3", "three"), MergeClass("9", "4"), SplitClass("5", ("five", "cinq"))):
        change(loop, one)
    job = loop.services.projects.import_images("digits", str(digits), use_labels="all")
    loop.work()
    done = loop.services.jobs.get(job.id)
    named = [path.parent.name for path in digits.glob("*/*.png")]
    assert (done.result["rejected"], done.result["labels_added"]) == (
        named.count("5"),
        len(named) - named.count("5"),
    )
    with loop.services.store.read() as tx:
        rejected = tx.samples.rejections(job.id, 1)
        project = tx.projects.find("digits")
        assert project is not None
        ids = {info.name: info.id for info in project.classes}
        counts = {name: sum(tx.classes.label_counts(project.id).get(one, {}).values()) for name, one in ids.items()}
    assert rejected[0].reason == "label '5' is not a class of this project"
    assert (counts["three"], counts["4"]) == (named.count("3"), named.count("4") + named.count("9"))
    assert (counts["five"], counts["cinq"]) == (0, 0)


def _next_round(loop: Loop) -> Round:
    """One more round, after a person has answered something, so that there is something to learn."""
    mia = loop.person("mia")
    last = loop.services.rounds.all("digits")[-1]
    if last.state is RoundState.ANNOTATING:
        for assignment in loop.services.assignments.lease_next("digits", mia, 1).assignments:
            loop.answer(assignment, mia, "0")
    return a_round(loop)


def _has_last_head(loop: Loop) -> bool:
    record, _ = loop.services.rounds.start("digits", trigger="test")
    with loop.services.store.read() as tx:
        [job] = tx.jobs.of_round(record.id, JobKind.TRAIN)
    claimed = loop.services.jobs.claim(job.id, job.attempt, "test")
    assert claimed is not None
    worker = context.current()
    inputs = read_round_inputs(worker, JobRun(claimed, loop.services.jobs, 60.0, Interrupts()))
    found = find_last_head(worker, inputs, starting_network(worker, inputs))
    loop.services.rounds.cancel("digits", record.number)
    return found is not None

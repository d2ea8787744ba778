"""The append-only log of answers, on both databases."""

from dataclasses import replace
from datetime import timedelta

import pytest

from al_service.domain.project_config import ProjectConfig
from al_service.domain.records import NewAnnotation
from al_service.domain.states import AnnotationKind, SampleState, Split
from al_service.errors import ConflictError, InvalidInputError
from tests.contract.store_world import NOW, World


class TestAnnotations:
    def test_what_is_stored_comes_back(self, world: World) -> None:
        (sample_id,) = world.add_samples(1)
        world.add_round([sample_id])
        with world.store.write() as tx:
            (lease,) = world.lease(tx, world.ann)
            new = NewAnnotation(
                project_id=world.project.id,
                sample_id=sample_id,
                user_id=world.ann.id,
                assignment_id=lease.id,
                kind=AnnotationKind.LABEL,
                class_name="wren",
                client_key="🗝",
                lead_time_s=1.25,
                model_version="round-1",
                is_extra_vote=True,
            )
            made = tx.annotations.add(new, NOW)
        with world.store.read() as tx:
            assert tx.annotations.get(made.id) == tx.annotations.find_by_key(world.ann.id, "🗝") == made
            assert tx.annotations.find_by_key(world.bob.id, "🗝") is None
        stored = {name: getattr(made, name) for name in NewAnnotation.__dataclass_fields__}
        assert NewAnnotation(**stored) == new
        assert (made.is_undone, made.created_at) == (False, NOW)

    def test_a_client_key_counts_once_per_person(self, world: World) -> None:
        first, second = world.add_samples(2)
        with world.store.write() as tx:
            made = world.answer(tx, first, world.ann)
            new = NewAnnotation(
                world.project.id, second, world.ann.id, None, AnnotationKind.SKIP, None, made.client_key
            )
            with pytest.raises(ConflictError, match=rf"{made.client_key}.*annotation {made.id}"):
                tx.annotations.add(new, NOW)
            tx.annotations.add(replace(new, user_id=world.bob.id), NOW)
            assert [found.user_id for found in tx.annotations.active_of_sample(second)] == [world.bob.id]

    def test_an_answer_is_taken_back_once(self, world: World) -> None:
        (sample_id,) = world.add_samples(1)
        with world.store.write() as tx:
            made = world.answer(tx, sample_id, world.ann)
            undo = world.undo(tx, made)
            assert undo.undoes_id == made.id
            with pytest.raises(ConflictError, match=rf"annotation {made.id} was taken back"):
                tx.annotations.add(
                    NewAnnotation(
                        world.project.id,
                        sample_id,
                        world.bob.id,
                        None,
                        AnnotationKind.UNDO,
                        None,
                        "k",
                        undoes_id=made.id,
                    ),
                    NOW,
                )
            assert tx.annotations.get(made.id) == replace(made, is_undone=True)
            assert tx.annotations.active_of_sample(sample_id) == []

    @pytest.mark.parametrize(
        ("kind", "class_name", "undoes"),
        [("label", None, False), ("label", "crow", False), ("undo", None, False), ("skip", None, True)],
    )
    def test_half_answers_are_refused(self, world: World, kind: str, class_name: str | None, undoes: bool) -> None:
        (sample_id,) = world.add_samples(1)
        with world.store.write() as tx:
            other = world.answer(tx, sample_id, world.ann)
            new = NewAnnotation(
                world.project.id, sample_id, world.ann.id, None, AnnotationKind(kind), class_name, "key",
                undoes_id=other.id if undoes else None,
            )  # fmt: skip
            with pytest.raises(InvalidInputError):
                tx.annotations.add(new, NOW)

    def test_active_answers_oldest_first_and_recent_ones_newest_first(self, world: World) -> None:
        first, second = world.add_samples(2)
        with world.store.write() as tx:
            label = world.answer(tx, first, world.ann)
            skip = world.answer(tx, second, world.ann, kind=AnnotationKind.SKIP)
            flag = world.answer(tx, first, world.bob, kind=AnnotationKind.FLAG)
            gone = world.answer(tx, first, world.ann, "wren")
            world.undo(tx, gone)
            assert tx.annotations.active_of_sample(first) == [label, flag]
            assert tx.annotations.recent_of_user(world.project.id, world.ann.id, 10) == [skip, label]
            assert tx.annotations.recent_of_user(world.project.id, world.ann.id, 1) == [skip]
            other = tx.projects.add("fish", [], ProjectConfig(), NOW)
            assert tx.annotations.recent_of_user(other.id, world.ann.id, 10) == []

    def test_latest_id_is_the_projects_own(self, world: World) -> None:
        (sample_id,) = world.add_samples(1)
        with world.store.write() as tx:
            other = tx.projects.add("fish", [], ProjectConfig(), NOW)
            assert tx.annotations.latest_id(world.project.id) == 0
            made = world.answer(tx, sample_id, world.ann)
            assert tx.annotations.latest_id(world.project.id) == made.id
            assert tx.annotations.latest_id(other.id) == 0

    def test_new_labels_are_those_after_the_watermark(self, world: World) -> None:
        pool = world.add_samples(3)
        (train,) = world.add_samples(1, Split.TRAIN)
        (evaluation,) = world.add_samples(1, Split.EVALUATION)
        with world.store.write() as tx:
            world.label(tx, pool[0], world.ann)
            watermark = tx.annotations.latest_id(world.project.id)
            for sample_id in (pool[1], train, evaluation):
                world.label(tx, sample_id, world.ann)
            assert tx.annotations.new_label_count(world.project.id, watermark) == 2
            world.label(tx, pool[0], world.bob, "wren")
            assert tx.annotations.new_label_count(world.project.id, watermark) == 3
            assert tx.annotations.new_label_count(world.project.id, tx.annotations.latest_id(world.project.id)) == 0

    def test_labels_since_counts_labels_by_people(self, world: World) -> None:
        first, second = world.add_samples(2)
        with world.store.write() as tx:
            world.answer(tx, first, world.ann, now=NOW - timedelta(minutes=10))
            world.answer(tx, first, world.ann)
            world.answer(tx, first, world.ann, kind=AnnotationKind.SKIP)
            tx.annotations.add_labels(world.project.id, world.ann.id, [(second, "owl")], "import-", NOW)
            assert tx.annotations.labels_since(world.project.id, NOW - timedelta(minutes=5)) == 1
            assert tx.annotations.labels_since(world.project.id, NOW - timedelta(minutes=15)) == 2


class TestImportedLabels:
    def test_they_label_their_samples(self, world: World) -> None:
        ids = world.add_samples(2500)
        wanted = [(sample_id, ("owl", "wren")[sample_id % 2]) for sample_id in ids]
        with world.store.write() as tx:
            tx.annotations.add_labels(world.project.id, world.ann.id, wanted, "import-1-", NOW)
        with world.store.read() as tx:
            rows = tx.samples.training_set(world.project.id, tx.annotations.latest_id(world.project.id))
            assert [(row.sample_id, row.class_name) for row in rows] == wanted
            assert tx.samples.counts(world.project.id).labelled == 2500
            found = tx.annotations.find_by_key(world.ann.id, f"import-1-{ids[7]}")
        assert found is not None
        assert (found.sample_id, found.class_name, found.created_at) == (ids[7], wanted[7][1], NOW)

    def test_the_same_import_again_changes_nothing(self, world: World) -> None:
        first, second = world.add_samples(2)
        with world.store.write() as tx:
            tx.annotations.add_labels(world.project.id, world.ann.id, [(first, "owl")], "import-1-", NOW)
            corrected = world.answer(tx, first, world.bob, "wren")
            world.believe(tx, corrected, SampleState.LABELLED)
            again = [(first, "owl"), (second, "owl"), (second, "wren")]
            tx.annotations.add_labels(world.project.id, world.ann.id, again, "import-1-", NOW)
            assert (tx.samples.get(first).class_name, tx.samples.get(second).class_name) == ("wren", "owl")
            assert [len(tx.annotations.active_of_sample(sample_id)) for sample_id in (first, second)] == [2, 1]

    def test_another_import_labels_anew(self, world: World) -> None:
        (sample_id,) = world.add_samples(1)
        with world.store.write() as tx:
            for number, name in enumerate(("owl", "wren")):
                tx.annotations.add_labels(world.project.id, world.ann.id, [(sample_id, name)], f"import-{number}-", NOW)
            assert tx.samples.get(sample_id).class_name == "wren"

    def test_nothing_is_stored_when_a_class_or_a_sample_is_unknown(self, world: World) -> None:
        (sample_id,) = world.add_samples(1)
        for labels, message in (
            ([(sample_id, "owl"), (sample_id, "crow")], "'crow' is not a class"),
            ([(sample_id, "owl"), (999, "owl")], "sample 999 is not in project"),
        ):
            with world.store.write() as tx:
                with pytest.raises(InvalidInputError, match=message):
                    tx.annotations.add_labels(world.project.id, world.ann.id, labels, "import-", NOW)
                assert tx.annotations.latest_id(world.project.id) == 0

    def test_no_labels_at_all(self, world: World) -> None:
        with world.store.write() as tx:
            tx.annotations.add_labels(world.project.id, world.ann.id, [], "import-", NOW)

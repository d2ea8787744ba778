"""Classes change while people work: nothing that was said is lost, nothing counts for a class that is no more, and what
has to be asked again is asked again; on both databases.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest

from al_service.domain.records import Annotation, Assignment, NewSample, Selection, User
from al_service.domain.states import AnnotationKind, AssignmentState, Lane, Role, SampleState, SelectionState, Split
from al_service.errors import ConflictError, InvalidInputError, NotFoundError
from al_service.loop.annotations import ClientKeyReusedError
from al_service.loop.class_change_kinds import (
    AddClasses,
    Change,
    ClassNameTakenError,
    MergeClass,
    RenameClass,
    SplitClass,
)
from al_service.loop.class_changes import ClassesChangedError
from al_service.loop.class_names import ClassWasSplitError
from al_service.loop.class_previews import Preview
from al_service.loop.reviews import Verdict
from tests.integration.conftest import Loop
from tests.integration.pets import ask, fill, label, lease, sample_state, say

pytestmark = pytest.mark.parametrize("database_kind", ["sqlite", "postgresql"])

LABELLED, UNLABELLED = SampleState.LABELLED, SampleState.UNLABELLED
DOG_IN_TWO = SplitClass("dog", ("poodle", "husky"))


@pytest.fixture
def eve(loop: Loop) -> User:
    return loop.person("eve", Role.ENGINEER)


@pytest.fixture
def ann(loop: Loop) -> User:
    return loop.person("ann")


def change(loop: Loop, what: Change, user: User | None = None, version: str | None = None) -> Preview:
    return loop.services.classes.apply("pets", what, user, version=version)


def label_all(loop: Loop, user: User, names: Sequence[str]) -> list[Assignment]:
    held = lease(loop, user, len(names))
    for assignment, name in zip(held, names, strict=True):
        label(loop, assignment, user, name)
    return held


def tasks(loop: Loop) -> list[Selection]:
    with loop.services.store.read() as tx:
        project = tx.projects.find("pets")
        assert project is not None
        return [offer.selection for offer in tx.lanes.by_hand(project.id, after=0, limit=1000)]


def project_id(loop: Loop) -> int:
    return loop.services.projects.get("pets").id


class TestAdding:
    def test_new_classes_take_the_next_positions(self, loop: Loop, eve: User) -> None:
        fill(loop)
        done = change(loop, AddClasses((" fish ", "newt")), eve)
        assert done.positions == (3, 4)
        infos = [(info.name, info.position) for info in loop.services.projects.get("pets").classes]
        assert infos == [("cat", 0), ("dog", 1), ("bird", 2), ("fish", 3), ("newt", 4)]

    def test_a_new_class_can_be_answered_at_once(self, loop: Loop, mia: User, eve: User) -> None:
        ids = fill(loop)
        [held] = lease(loop, mia)
        change(loop, AddClasses(("fish",)), eve)
        label(loop, held, mia, "fish")
        assert sample_state(loop, ids[0]) == (LABELLED, "fish")

    @pytest.mark.parametrize("names", [(), ("",), ("fish", "fish"), ("a" * 101,), ("two\nlines",)])
    def test_names_that_are_none(self, loop: Loop, names: tuple[str, ...]) -> None:
        fill(loop)
        with pytest.raises(InvalidInputError):
            change(loop, AddClasses(names))

    def test_a_name_that_is_there(self, loop: Loop) -> None:
        fill(loop)
        with pytest.raises(ClassNameTakenError, match="'dog' is a class already"):
            change(loop, AddClasses(("fish", "dog")))
        assert loop.services.projects.get("pets").class_names == ("cat", "dog", "bird")


class TestRenaming:
    def test_labels_and_position_stay_and_the_old_name_means_the_class(self, loop: Loop, mia: User, eve: User) -> None:
        ids = fill(loop)
        label_all(loop, mia, ["dog", "cat"])
        done = change(loop, RenameClass("dog", "hound"), eve)
        assert (done.labels, done.votes) == ({Split.POOL: 1}, 1)
        assert [sample_state(loop, one) for one in ids[:2]] == [(LABELLED, "hound"), (LABELLED, "cat")]
        assert [info.name for info in loop.services.projects.get("pets").classes] == ["cat", "hound", "bird"]
        [held] = lease(loop, mia)
        assert label(loop, held, mia, "dog").class_name == "hound"
        assert sample_state(loop, ids[2]) == (LABELLED, "hound")

    def test_an_answer_that_is_sent_again_after_it_is_the_same(self, loop: Loop, mia: User, eve: User) -> None:
        fill(loop)
        [held] = lease(loop, mia)
        first = label(loop, held, mia, "dog", key="k")
        change(loop, RenameClass("dog", "hound"), eve)
        again = label(loop, held, mia, "dog", key="k")
        assert (again.id, again.class_name) == (first.id, "hound")
        assert label(loop, held, mia, "hound", key="k").id == first.id
        with pytest.raises(ClientKeyReusedError):
            label(loop, held, mia, "cat", key="k")

    def test_there_and_back(self, loop: Loop, mia: User, eve: User) -> None:
        ids = fill(loop)
        for before, after in (("dog", "hound"), ("hound", "dog"), ("dog", "hound")):
            change(loop, RenameClass(before, after), eve)
        label_all(loop, mia, ["dog", "hound"])
        assert [sample_state(loop, one)[1] for one in ids[:2]] == ["hound", "hound"]

    def test_an_old_name_is_nobody_elses(self, loop: Loop, eve: User) -> None:
        fill(loop)
        change(loop, RenameClass("dog", "hound"), eve)
        for wanted in (AddClasses(("dog",)), RenameClass("cat", "dog"), SplitClass("cat", ("dog", "lion"))):
            with pytest.raises(ClassNameTakenError, match="'dog' is an old name of 'hound'"):
                change(loop, wanted, eve)

    def test_a_class_is_called_by_its_name_of_today(self, loop: Loop, eve: User) -> None:
        fill(loop)
        change(loop, RenameClass("dog", "hound"), eve)
        with pytest.raises(NotFoundError, match="has no class 'dog'; it is 'hound' now"):
            change(loop, RenameClass("dog", "poodle"), eve)
        with pytest.raises(NotFoundError, match=r"has no class 'fish'$"):
            change(loop, MergeClass("fish", "cat"), eve)
        with pytest.raises(InvalidInputError, match="called 'hound' already"):
            change(loop, RenameClass("hound", " hound "), eve)

    def test_a_merged_name_can_become_the_name_of_what_it_was_merged_into(
        self, loop: Loop, mia: User, eve: User
    ) -> None:
        ids = fill(loop)
        label_all(loop, mia, ["dog", "bird"])
        change(loop, MergeClass("dog", "bird"), eve)
        change(loop, RenameClass("bird", "dog"), eve)
        assert [sample_state(loop, one)[1] for one in ids[:2]] == ["dog", "dog"]
        label_all(loop, mia, ["bird"])
        assert sample_state(loop, ids[2]) == (LABELLED, "dog")
        infos = [(info.name, info.position) for info in loop.services.projects.get("pets").classes]
        assert infos == [("cat", 0), ("dog", 2)]


class TestMerging:
    def test_labels_votes_and_late_answers_mean_the_other(self, loop: Loop, mia: User, tom: User, eve: User) -> None:
        ids = fill(loop)
        label_all(loop, mia, ["dog", "cat", "bird"])
        [late] = lease(loop, tom)
        done = change(loop, MergeClass("dog", "cat"), eve)
        assert (done.labels, done.into_labels, done.holders) == ({Split.POOL: 1}, {Split.POOL: 1}, {"tom": 1})
        assert [sample_state(loop, one)[1] for one in ids[:3]] == ["cat", "cat", "bird"]
        assert label(loop, late, tom, "dog").class_name == "cat"
        infos = [(info.name, info.position) for info in loop.services.projects.get("pets").classes]
        assert infos == [("cat", 0), ("bird", 2)]
        with loop.services.store.read() as tx:
            assert tx.samples.class_counts(project_id(loop)) == {"cat": 3, "bird": 1}
            assert [one.class_name for one in tx.annotations.active_of_sample(ids[0])] == ["cat"]

    def test_one_after_the_other(self, loop: Loop, mia: User, eve: User) -> None:
        ids = fill(loop)
        label_all(loop, mia, ["dog", "cat"])
        change(loop, MergeClass("dog", "cat"), eve)
        change(loop, MergeClass("cat", "bird"), eve)
        label_all(loop, mia, ["dog", "cat"])
        assert [sample_state(loop, one)[1] for one in ids[:4]] == ["bird"] * 4
        assert loop.services.classes.preview("pets", RenameClass("bird", "animal")).votes == 4

    def test_two_votes_that_differed_outvote_a_third(
        self, loop: Loop, mia: User, tom: User, ann: User, eve: User
    ) -> None:
        ids = fill(loop, overlap=3)
        for user, name in ((mia, "bird"), (tom, "dog"), (ann, "cat")):
            label_all(loop, user, [name])
        assert sample_state(loop, ids[0]) == (LABELLED, "bird")
        assert change(loop, MergeClass("dog", "cat"), eve).recounted == 1
        assert sample_state(loop, ids[0]) == (LABELLED, "cat")

    def test_what_was_set_aside_because_votes_differed_is_settled(
        self, loop: Loop, mia: User, tom: User, eve: User
    ) -> None:
        ids = fill(loop, overlap=2, consensus="review")
        for user, name in ((mia, "dog"), (tom, "cat")):
            label_all(loop, user, [name])
        assert sample_state(loop, ids[0])[0] is SampleState.FLAGGED
        change(loop, MergeClass("dog", "cat"), eve)
        assert sample_state(loop, ids[0]) == (LABELLED, "cat")
        with loop.services.store.read() as tx:
            standing = tx.queue.find_standing_selection(ids[0])
            assert standing is not None and standing.state is SelectionState.DONE

    def test_it_is_no_new_label_for_a_round_that_is_training(self, loop: Loop, mia: User, eve: User) -> None:
        ids = fill(loop)
        label_all(loop, mia, ["dog", "cat"])
        record, _ = loop.services.rounds.start("pets")
        change(loop, MergeClass("dog", "cat"), eve)
        with loop.services.store.read() as tx:
            rows = tx.samples.training_set(record.project_id, record.watermark)
            assert [(row.sample_id, row.class_name) for row in rows] == [(ids[0], "cat"), (ids[1], "cat")]
            assert tx.annotations.new_label_count(record.project_id, record.watermark) == 0

    def test_a_vote_from_before_can_be_taken_back(self, loop: Loop, mia: User, eve: User) -> None:
        ids = fill(loop)
        [held] = lease(loop, mia)
        said = label(loop, held, mia, "dog")
        change(loop, MergeClass("dog", "cat"), eve)
        _, again = loop.services.annotations.undo(said.id, mia)
        assert sample_state(loop, ids[0]) == (UNLABELLED, None)
        assert again is not None
        label(loop, again, mia, "cat")
        assert sample_state(loop, ids[0]) == (LABELLED, "cat")

    def test_gold_follows_and_people_who_were_right_stay_right(self, loop: Loop, mia: User, eve: User) -> None:
        ids = fill(loop, gold_share=0.5)
        loop.services.reviews.set_gold(Verdict(ids[8], "dog", 0, "gold"), eve)
        golds = [one for one in lease(loop, mia, 6) if one.selection.lane is Lane.GOLD]
        assert [one.sample.id for one in golds] == [ids[8]]
        label(loop, golds[0], mia, "dog")
        assert change(loop, MergeClass("dog", "cat"), eve).gold == 1
        with loop.services.store.read() as tx:
            assert [gold.class_name for gold in tx.lanes.golds(project_id(loop))] == ["cat"]
            [result] = tx.lanes.gold_results(project_id(loop))
        assert (result.answered, result.right) == (1, 1)

    def test_into_itself(self, loop: Loop, eve: User) -> None:
        fill(loop)
        with pytest.raises(InvalidInputError, match="into itself"):
            change(loop, MergeClass("dog", "dog"), eve)

    def test_its_name_is_nobody_elses(self, loop: Loop, eve: User) -> None:
        fill(loop)
        change(loop, MergeClass("dog", "cat"), eve)
        with pytest.raises(ClassNameTakenError, match="'dog' was merged into 'cat'"):
            change(loop, AddClasses(("dog",)), eve)


class TestSplitting:
    def test_images_lose_their_label_and_are_asked_again_before_the_batch(
        self, loop: Loop, mia: User, tom: User, eve: User
    ) -> None:
        ids = fill(loop)
        label_all(loop, mia, ["dog", "cat", "dog"])
        done = change(loop, DOG_IN_TWO, eve)
        assert (done.asked_again, done.votes, done.positions) == (2, 2, (3, 4))
        assert [sample_state(loop, one) for one in ids[:3]] == [
            (UNLABELLED, None),
            (LABELLED, "cat"),
            (UNLABELLED, None),
        ]
        infos = [(info.name, info.position) for info in loop.services.projects.get("pets").classes]
        assert infos == [("cat", 0), ("bird", 2), ("poodle", 3), ("husky", 4)]
        held = lease(loop, tom, 3)
        assert {one.sample.id for one in held[:2]} == {ids[0], ids[2]}
        assert held[2].sample.id == ids[3]
        for assignment, name in zip(held, ("poodle", "husky", "cat"), strict=True):
            label(loop, assignment, tom, name)
        assert {sample_state(loop, one)[1] for one in (ids[0], ids[2])} == {"poodle", "husky"}
        overview = loop.services.classes.overview("pets")
        [split] = [state for state in overview.classes if state.known.name == "dog"]
        assert split.relabelling is not None
        assert (split.relabelling.asked, split.relabelling.waiting) == (2, 0)
        assert [part.name for part in split.parts] == ["poodle", "husky"]

    def test_who_answered_before_may_answer_again(self, loop: Loop, mia: User, eve: User) -> None:
        ids = fill(loop)
        label_all(loop, mia, ["dog"])
        change(loop, DOG_IN_TWO, eve)
        [again] = lease(loop, mia)
        assert (again.sample.id, again.selection.reason["class"]) == (ids[0], "dog")
        label(loop, again, mia, "poodle")
        assert sample_state(loop, ids[0]) == (LABELLED, "poodle")

    def test_an_answer_on_its_way_is_refused_in_words_and_the_image_stays_in_hand(
        self, loop: Loop, mia: User, eve: User
    ) -> None:
        ids = fill(loop)
        [held] = lease(loop, mia)
        change(loop, DOG_IN_TWO, eve)
        with pytest.raises(ClassWasSplitError, match="'dog' was split into 'poodle' and 'husky'"):
            label(loop, held, mia, "dog", key="k")
        assert [one.id for one in lease(loop, mia)] == [held.id]
        label(loop, held, mia, "husky", key="other")
        assert sample_state(loop, ids[0]) == (LABELLED, "husky")

    def test_an_answer_that_was_stored_before_is_not_refused_when_sent_again(
        self, loop: Loop, mia: User, eve: User
    ) -> None:
        ids = fill(loop)
        [held] = lease(loop, mia)
        first = label(loop, held, mia, "dog", key="k")
        change(loop, RenameClass("dog", "hound"), eve)
        change(loop, SplitClass("hound", ("poodle", "husky")), eve)
        for name in ("dog", "hound"):
            assert label(loop, held, mia, name, key="k").id == first.id
        with pytest.raises(ClientKeyReusedError):
            label(loop, held, mia, "husky", key="k")
        assert sample_state(loop, ids[0]) == (UNLABELLED, None)

    def test_names_that_meant_the_class_mean_nothing_any_more(self, loop: Loop, mia: User, eve: User) -> None:
        fill(loop)
        [held] = lease(loop, mia)
        change(loop, MergeClass("bird", "dog"), eve)
        change(loop, RenameClass("dog", "pet"), eve)
        label_all(loop, mia, ["bird"])
        [held] = lease(loop, mia)
        assert change(loop, SplitClass("pet", ("poodle", "parrot")), eve).asked_again == 1
        for name in ("bird", "dog", "pet"):
            with pytest.raises(ClassWasSplitError, match="'poodle' and 'parrot'"):
                label(loop, held, mia, name)
        with pytest.raises(ClassNameTakenError, match="'dog' was split"):
            change(loop, AddClasses(("dog",)), eve)

    def test_votes_for_other_classes_stand_and_as_many_are_asked_as_are_missing(
        self, loop: Loop, mia: User, tom: User, ann: User, eve: User
    ) -> None:
        ids = fill(loop, overlap=3)
        for user, names in ((mia, ["cat", "dog"]), (tom, ["dog", "dog"]), (ann, ["dog", "dog"])):
            label_all(loop, user, names)
        assert sample_state(loop, ids[0]) == (LABELLED, "dog")
        done = change(loop, DOG_IN_TWO, eve)
        assert (done.asked_again, done.recounted) == (1, 1)
        assert {one.sample_id: one.overlap for one in tasks(loop)} == {ids[0]: 2, ids[1]: 3}
        assert [one.sample.id for one in lease(loop, mia, 2)][:1] == [ids[1]]  # mia's vote on the first one stands
        for user in (tom, ann):
            held = {one.sample.id: one for one in lease(loop, user, 2)}
            assert sample_state(loop, ids[0])[0] is UNLABELLED
            label(loop, held[ids[0]], user, "poodle")
        assert sample_state(loop, ids[0]) == (LABELLED, "poodle")

    def test_a_label_that_has_votes_enough_without_it_stands(self, loop: Loop, mia: User, tom: User, eve: User) -> None:
        ids = fill(loop)
        [mias] = lease(loop, mia)
        loop.clock.advance(301)
        label(loop, lease(loop, tom)[0], tom, "cat")
        label(loop, mias, mia, "dog")
        change(loop, DOG_IN_TWO, eve)
        assert sample_state(loop, ids[0]) == (LABELLED, "cat")
        assert tasks(loop) == []

    def test_an_open_batch_goes_on_asking_itself(self, loop: Loop, mia: User, tom: User, ann: User, eve: User) -> None:
        ids = fill(loop, overlap=2)
        label_all(loop, mia, ["dog"])
        change(loop, DOG_IN_TWO, eve)
        assert tasks(loop) == []
        for user in (mia, tom):
            [held] = lease(loop, user)
            assert (held.sample.id, held.selection.lane) == (ids[0], Lane.BATCH)
            label(loop, held, user, "husky")
        assert sample_state(loop, ids[0]) == (LABELLED, "husky")

    def test_a_late_answer_settles_it_and_nobody_is_asked_twice(
        self, loop: Loop, mia: User, tom: User, eve: User
    ) -> None:
        ids = fill(loop)
        [mias] = lease(loop, mia)
        loop.clock.advance(301)
        label(loop, lease(loop, tom)[0], tom, "dog")
        change(loop, DOG_IN_TWO, eve)
        label(loop, mias, mia, "husky")
        assert sample_state(loop, ids[0]) == (LABELLED, "husky")
        assert tasks(loop) == []

    def test_a_lease_that_asks_nobody_any_more_is_given_back(self, loop: Loop, mia: User, tom: User, eve: User) -> None:
        ids = fill(loop)
        [mias] = lease(loop, mia)
        loop.clock.advance(301)
        [toms] = lease(loop, tom)
        label(loop, mias, mia, "dog")
        assert [one.id for one in lease(loop, tom)] == [toms.id]
        change(loop, DOG_IN_TWO, eve)
        with loop.services.store.read() as tx:
            assert tx.queue.get_assignment(toms.id).state is AssignmentState.RELEASED
        held = [one.sample.id for user in (mia, tom) for one in lease(loop, user, 3)]
        assert held.count(ids[0]) == 1

    def test_taking_back_an_answer_to_what_was_asked_again_gives_it_back(
        self, loop: Loop, mia: User, eve: User
    ) -> None:
        ids = fill(loop)
        label_all(loop, mia, ["dog"])
        change(loop, DOG_IN_TWO, eve)
        [again] = lease(loop, mia)
        said = label(loop, again, mia, "poodle")
        _, fresh = loop.services.annotations.undo(said.id, mia)
        assert fresh is not None and fresh.selection.id == again.selection.id
        assert sample_state(loop, ids[0]) == (UNLABELLED, None)
        label(loop, fresh, mia, "husky")
        assert sample_state(loop, ids[0]) == (LABELLED, "husky")

    def test_an_answer_from_before_cannot_be_taken_back_again(self, loop: Loop, mia: User, eve: User) -> None:
        fill(loop)
        [held] = lease(loop, mia)
        said = label(loop, held, mia, "dog")
        change(loop, DOG_IN_TWO, eve)
        with pytest.raises(ConflictError, match="taken back already"):
            loop.services.annotations.undo(said.id, mia)
        assert loop.services.annotations.recent("pets", mia) == []

    def test_skips_and_flags_count_as_in_a_batch(self, loop: Loop, mia: User, tom: User, eve: User) -> None:
        ids = fill(loop, max_skips=2)
        label_all(loop, mia, ["dog", "dog"])
        change(loop, DOG_IN_TWO, eve)
        first, second = lease(loop, mia, 2)
        say(loop, first, mia, AnnotationKind.SKIP)
        say(loop, second, mia, AnnotationKind.FLAG)
        assert sample_state(loop, second.sample.id)[0] is SampleState.FLAGGED
        # Others get what mia skipped first, and mia herself only when there is nothing else.
        assert lease(loop, mia, 4)[-1].sample.id != first.sample.id
        assert lease(loop, tom, 1)[0].sample.id == first.sample.id
        say(loop, lease(loop, tom, 1)[0], tom, AnnotationKind.SKIP)
        assert sample_state(loop, first.sample.id)[0] is SampleState.SKIPPED
        assert {ids[0], ids[1]} == {first.sample.id, second.sample.id}

    def test_alone_one_gets_again_what_one_skipped(self, loop: Loop, mia: User, eve: User) -> None:
        ids = fill(loop, batch=1, max_skips=3)
        label_all(loop, mia, ["dog"])
        change(loop, DOG_IN_TWO, eve)
        say(loop, lease(loop, mia)[0], mia, AnnotationKind.SKIP)
        [again] = lease(loop, mia)
        assert again.sample.id == ids[0]

    def test_imported_evaluation_and_training_images_are_asked_again_too(
        self, loop: Loop, mia: User, eve: User
    ) -> None:
        fill(loop)
        samples = [
            NewSample(f"x{n}.png", f"{n + 100:064x}", 8, 8, "PNG", 100, split)
            for n, split in enumerate((Split.TRAIN, Split.EVALUATION))
        ]
        importer = loop.person("importer")
        with loop.services.store.write() as tx:
            ids = [one for one in tx.samples.add_many(project_id(loop), samples, loop.clock()) if one is not None]
            labels = [(one, "dog") for one in ids]
            tx.annotations.add_labels(project_id(loop), importer.id, labels, "al:import-1-", loop.clock())
        done = change(loop, DOG_IN_TWO, eve)
        assert done.labels == {Split.TRAIN: 1, Split.EVALUATION: 1}
        held = lease(loop, mia, 2)
        assert {one.sample.id for one in held} == set(ids)
        for assignment in held:
            label(loop, assignment, mia, "husky")
        with loop.services.store.read() as tx:
            latest = tx.annotations.latest_id(project_id(loop))
            assert [row.class_name for row in tx.samples.training_set(project_id(loop), latest)] == ["husky"]
            assert [row.class_name for row in tx.samples.evaluation_set(project_id(loop))] == ["husky"]

    def test_gold_of_it_is_none_any_more(self, loop: Loop, mia: User, eve: User) -> None:
        ids = fill(loop, gold_share=0.5)
        loop.services.reviews.set_gold(Verdict(ids[8], "dog", 0, "gold"), eve)
        golds = [one for one in lease(loop, mia, 6) if one.selection.lane is Lane.GOLD]
        assert change(loop, DOG_IN_TWO, eve).gold == 1
        with loop.services.store.read() as tx:
            assert tx.lanes.golds(project_id(loop)) == []
            assert tx.queue.get_selection(golds[0].selection.id).state is SelectionState.RETIRED
        assert sample_state(loop, ids[8]) == (UNLABELLED, None)
        assert [one.sample_id for one in tasks(loop)] == [ids[8]]

    def test_what_a_reviewer_decided_stands_whatever_votes_are_gone(self, loop: Loop, mia: User, eve: User) -> None:
        ids = fill(loop)
        label_all(loop, mia, ["dog"])
        loop.services.reviews.label(Verdict(ids[0], "cat", 1, "verdict"), eve)
        change(loop, DOG_IN_TWO, eve)
        assert sample_state(loop, ids[0]) == (LABELLED, "cat")
        assert tasks(loop) == []

    def test_an_excluded_image_stays_excluded(self, loop: Loop, mia: User, tom: User, eve: User) -> None:
        ids = fill(loop, overlap=2)
        label_all(loop, mia, ["dog"])
        [held] = lease(loop, tom)
        say(loop, held, tom, AnnotationKind.FLAG)
        loop.services.lanes.exclude(ids[0], eve)
        change(loop, DOG_IN_TWO, eve)
        assert sample_state(loop, ids[0]) == (SampleState.SKIPPED, None)
        assert tasks(loop) == []

    def test_the_queue_outlives_the_next_rounds_hand_over(self, loop: Loop, mia: User, eve: User) -> None:
        ids = fill(loop)
        label_all(loop, mia, ["dog", "cat"])
        change(loop, DOG_IN_TWO, eve)
        ask(loop, [ids[0], ids[7]])
        held = lease(loop, mia, 2)
        assert [(one.sample.id, one.selection.lane) for one in held] == [(ids[0], Lane.TASK), (ids[7], Lane.BATCH)]

    def test_one_needs_two_parts_with_new_names(self, loop: Loop, eve: User) -> None:
        fill(loop)
        with pytest.raises(InvalidInputError, match="at least 2"):
            change(loop, SplitClass("dog", ("poodle",)), eve)
        with pytest.raises(ClassNameTakenError, match="'dog' is a class already"):
            change(loop, SplitClass("dog", ("dog", "wolf")), eve)
        assert loop.services.projects.get("pets").class_names == ("cat", "dog", "bird")

    def test_at_the_command_line_nobody_is_signed_in(self, loop: Loop, mia: User) -> None:
        fill(loop)
        label_all(loop, mia, ["dog"])
        assert change(loop, DOG_IN_TWO).asked_again == 1
        with loop.services.store.read() as tx:
            [entry] = tx.accounts.audit(1)
        assert (entry["user"], entry["action"], entry["subject"]) == (None, "class.split", "pets")
        assert entry["details"]["parts"] == ["poodle", "husky"]


class TestThePreview:
    def test_it_changes_nothing_and_says_what_the_change_does(self, loop: Loop, mia: User, eve: User) -> None:
        fill(loop)
        label_all(loop, mia, ["dog", "cat", "dog"])
        before = loop.services.classes.overview("pets")
        seen = loop.services.classes.preview("pets", DOG_IN_TWO)
        assert loop.services.classes.overview("pets") == before
        assert change(loop, DOG_IN_TWO, eve, seen.version) == seen

    def test_labels_given_meanwhile_are_no_reason_to_refuse_but_other_classes_are(
        self, loop: Loop, mia: User, eve: User
    ) -> None:
        fill(loop)
        seen = loop.services.classes.preview("pets", DOG_IN_TWO)
        label_all(loop, mia, ["dog"])
        change(loop, AddClasses(("fish",)), eve)
        with pytest.raises(ClassesChangedError):
            change(loop, DOG_IN_TWO, eve, seen.version)
        fresh = loop.services.classes.preview("pets", DOG_IN_TWO)
        label_all(loop, mia, ["dog"])
        assert change(loop, DOG_IN_TWO, eve, fresh.version).asked_again == 2


def test_people_label_while_classes_change_and_nothing_is_lost(loop: Loop, eve: User) -> None:
    """Four people answer twelve images three times over, with whatever names they know, while classes change."""
    people = [loop.person(f"person-{number}") for number in range(4)]
    fill(loop, batch=12, overlap=3)
    together = Barrier(5)

    def work(user: User) -> tuple[list[Annotation], int]:
        together.wait()
        said, refused = [], 0
        for turn in range(40):
            for held in lease(loop, user, 2):
                name = ("cat", "dog", "bird", "hound")[(turn + held.sample.id) % 4]
                try:
                    said.append(label(loop, held, user, name, key=f"{user.name}-{turn}-{held.id}"))
                except (ClassWasSplitError, InvalidInputError):
                    refused += 1
        return said, refused

    def engineer() -> None:
        together.wait()
        change(loop, RenameClass("dog", "hound"), eve)
        change(loop, MergeClass("bird", "cat"), eve)
        change(loop, SplitClass("hound", ("poodle", "husky")), eve)

    with ThreadPoolExecutor(5) as pool:
        changing = pool.submit(engineer)
        done = list(pool.map(work, people))
        changing.result()
    said = [annotation for answers, _ in done for annotation in answers]
    assert said
    with loop.services.store.read() as tx:
        stored = {one.id for one in said if tx.annotations.get(one.id).client_key == one.client_key}
        names = tx.projects.get(project_id(loop)).class_names
        counts = tx.classes.label_counts(project_id(loop))
        active = {info.id for info in tx.projects.get(project_id(loop)).classes}
        book = tx.projects.class_book(project_id(loop))
        standing = [
            one.class_name
            for sample in {one.sample_id for one in said}
            for one in tx.annotations.active_of_sample(sample)
            if one.kind is AnnotationKind.LABEL
        ]
    assert stored == {one.id for one in said}
    assert names == ("cat", "poodle", "husky")
    assert set(counts) <= active
    assert set(standing) <= set(names)
    assert [known.name for known in book.classes if known.is_split] == ["hound"]

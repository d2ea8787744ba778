"""Lists for reviewers on both databases: who is in them, in which order, page by page, and what they cost."""

from typing import Any

import pytest

from al_service.domain.records import Annotation, NewAnnotation, User
from al_service.domain.review import Place, ReviewFilter, ReviewKind
from al_service.domain.states import AnnotationKind, SampleState, Split
from al_service.loop.consensus import Rules, believe
from al_service.loop.disputes import store_belief
from al_service.loop.ports import Transaction
from al_service.storage.review_list import candidates
from al_service.storage.store import SqlStore
from tests.contract.store_world import NOW, World, new_sample

SPLITS = (Split.POOL, Split.TRAIN)


def say(
    world: World, tx: Transaction, sample_id: int, user: User, word: str, *, review: bool = False, overlap: int = 1
) -> Annotation:
    """An answer of that person with what follows from it; `word` is a class, skip or flag."""
    world._keys += 1
    kinds = {"skip": AnnotationKind.SKIP, "flag": AnnotationKind.FLAG}
    kind = kinds.get(word, AnnotationKind.LABEL)
    name = word if kind is AnnotationKind.LABEL else None
    key = f"said-{world._keys}"
    new = NewAnnotation(world.project.id, sample_id, user.id, None, kind, name, key, is_review=review)
    said = tx.annotations.add(new, NOW)
    settle(tx, said, overlap)
    return said


def settle(tx: Transaction, cause: Annotation, overlap: int = 1) -> None:
    sample = tx.samples.get(cause.sample_id)
    answers = tx.annotations.active_of_sample(sample.id)
    store_belief(tx, sample, believe(answers, overlap=overlap, max_skips=1), cause.id, answers, NOW)


def found(
    tx: Transaction, world: World, *, splits: tuple[Split, ...] = SPLITS, limit: int = 100, **wanted: Any
) -> list[int]:
    """The samples of the list, over as many pages as it takes."""
    wanted_filter = ReviewFilter(**wanted)
    ids: list[int] = []
    after: Place | None = None
    while True:
        page = tx.review_list.page(world.project.id, wanted_filter, splits, after=after, limit=limit)
        assert len(page.rows) <= limit
        ids += [row.sample.id for row in page.rows]
        after = page.next_after
        if after is None:
            return ids


#: Kinds whose samples are not counted, and the one of which there are four.
UNCOUNTED = (ReviewKind.ANSWERED, ReviewKind.SUSPICIOUS, ReviewKind.LABELLED)


class TestSuspicious:
    def test_labels_of_which_the_model_was_sure_that_they_are_of_another_class(self, world: World) -> None:
        owl, wren = (info.id for info in world.project.classes)
        opinions = [
            ((wren, 0.8), (owl, 0.2)),  # sure, and contradicted
            ((wren, 0.79), (owl, 0.21)),  # not sure
            ((owl, 0.99), (wren, 0.01)),  # sure, and right
            ((wren, 0.95), (owl, 0.05)),  # decided by a reviewer
            None,
            ((wren, 1.0),),  # flagged
            ((wren, 1.0),),
        ]
        ids = world.add_samples(len(opinions))
        record = world.add_round(ids, likely=opinions)
        with world.store.write() as tx:
            leases = world.lease(tx, world.ann, len(ids))
            for held in leases:
                is_flag = held.selection.sample_id == ids[5]
                world.settle(tx, held, None if is_flag else "owl")
            verdict = world.answer(tx, ids[3], world.bob, "owl")
            tx.samples.set_label(
                tx.samples.get(ids[3]),
                "owl",
                votes=1,
                annotation_id=verdict.id,
                state=SampleState.LABELLED,
                now=NOW,
                is_reviewed=True,
            )
        with world.store.read() as tx:
            assert found(tx, world, kind=ReviewKind.SUSPICIOUS, limit=1) == [ids[6], ids[0]]
            assert found(tx, world, kind=ReviewKind.SUSPICIOUS, class_id=wren) == []
            assert found(tx, world, kind=ReviewKind.SUSPICIOUS, class_id=owl, user_id=world.ann.id) == [ids[6], ids[0]]
            assert found(tx, world, kind=ReviewKind.SUSPICIOUS, round_id=record.id, user_id=world.bob.id) == []
        with world.store.write() as tx:
            tx.classes.retire(wren, NOW, into_id=owl)
        with world.store.read() as tx:
            assert found(tx, world, kind=ReviewKind.SUSPICIOUS) == [], "the two are one class by now"


class TestKinds:
    def test_each_list_holds_its_samples_newest_first(self, world: World) -> None:
        plain, disputed, settled, flagged, skipped, waiting, golden = world.add_samples(7)
        with world.store.write() as tx:
            for sample_id in (plain, golden):
                say(world, tx, sample_id, world.ann, "owl")
            for sample_id in (disputed, settled):
                say(world, tx, sample_id, world.ann, "owl")
                say(world, tx, sample_id, world.bob, "wren")
            say(world, tx, settled, world.cat, "wren", review=True)
            say(world, tx, flagged, world.ann, "flag")
            say(world, tx, skipped, world.ann, "skip")
            say(world, tx, waiting, world.bob, "owl", overlap=2)
            tx.lanes.set_gold(tx.samples.get(golden), "owl", world.cat.id, NOW)
        with world.store.read() as tx:
            assert found(tx, world) == [waiting, skipped, flagged, settled, disputed, golden, plain]
            # By the annotation that a label rests on: one that agrees with it is no change.
            assert found(tx, world, kind=ReviewKind.LABELLED) == [settled, disputed, golden, plain]
            assert found(tx, world, kind=ReviewKind.DISPUTED) == [disputed]
            assert found(tx, world, kind=ReviewKind.REVIEWED) == [settled]
            assert found(tx, world, kind=ReviewKind.FLAGGED) == [flagged]
            assert found(tx, world, kind=ReviewKind.SKIPPED) == [skipped]
            assert found(tx, world, kind=ReviewKind.GOLD) == [golden]
            counts = tx.review_list.counts(world.project.id, SPLITS)
            assert {kind: number for kind, number in counts.items() if kind is not ReviewKind.LABELLED} == {
                kind: 1 for kind in ReviewKind if kind not in UNCOUNTED
            }
            assert counts[ReviewKind.LABELLED] == 4
            assert tx.review_list.people(world.project) == ["ann", "bob", "cat"]

    def test_the_most_disputed_come_first(self, world: World) -> None:
        third, half, two_thirds, agreed = world.add_samples(4)
        votes = {third: "owl owl wren", half: "owl wren", two_thirds: "owl wren crow", agreed: "owl owl"}
        with world.store.write() as tx:
            tx.projects.add_classes(world.project.id, ["crow"])
            for sample_id, words in votes.items():
                for user, word in zip((world.ann, world.bob, world.cat), words.split(), strict=False):
                    say(world, tx, sample_id, user, word)
        with world.store.read() as tx:
            assert found(tx, world, kind=ReviewKind.DISPUTED) == [two_thirds, half, third]
            assert found(tx, world, kind=ReviewKind.DISPUTED, limit=1) == [two_thirds, half, third]
            wanted = ReviewFilter(ReviewKind.DISPUTED)
            page = tx.review_list.page(world.project.id, wanted, SPLITS, after=None, limit=9)
            assert [row.sample.dissent for row in page.rows] == [67, 50, 33]

    def test_a_vote_that_is_taken_back_or_changed_ends_the_dispute(self, world: World) -> None:
        back, changed = world.add_samples(2)
        with world.store.write() as tx:
            for sample_id in (back, changed):
                say(world, tx, sample_id, world.ann, "owl")
            against = say(world, tx, back, world.bob, "wren")
            say(world, tx, changed, world.bob, "wren")
            assert found(tx, world, kind=ReviewKind.DISPUTED) == [changed, back]
            settle(tx, world.undo(tx, against))
            say(world, tx, changed, world.bob, "owl")
            assert found(tx, world, kind=ReviewKind.DISPUTED) == []

    def test_people_who_differ_about_what_waits_for_a_reviewer_are_in_dispute_too(self, world: World) -> None:
        """Where the project's rule is `review`, such a sample has no label and is set aside."""
        (sample_id,) = world.add_samples(1)
        with world.store.write() as tx:
            first = say(world, tx, sample_id, world.ann, "owl")
            world.answer(tx, sample_id, world.bob, "wren")
            answers = tx.annotations.active_of_sample(sample_id)
            belief = believe(answers, overlap=2, max_skips=1, rules=Rules("review"))
            store_belief(tx, tx.samples.get(sample_id), belief, first.id, answers, NOW)
            assert tx.samples.get(sample_id).class_name is None
            assert (
                found(tx, world, kind=ReviewKind.DISPUTED) == found(tx, world, kind=ReviewKind.FLAGGED) == [sample_id]
            )

    def test_a_verdict_that_is_taken_back_brings_the_dispute_back(self, world: World) -> None:
        (sample_id,) = world.add_samples(1)
        with world.store.write() as tx:
            say(world, tx, sample_id, world.ann, "owl")
            say(world, tx, sample_id, world.bob, "wren")
            verdict = say(world, tx, sample_id, world.cat, "wren", review=True)
            assert found(tx, world, kind=ReviewKind.DISPUTED) == []
            settle(tx, world.undo(tx, verdict))
            assert (found(tx, world, kind=ReviewKind.DISPUTED), found(tx, world, kind=ReviewKind.REVIEWED)) == (
                [sample_id],
                [],
            )

    def test_samples_kept_to_measure_the_model_are_for_those_who_may_see_them(self, world: World) -> None:
        (kept,) = world.add_samples(1, Split.EVALUATION)
        (flagged,) = world.add_samples(1, Split.EVALUATION)
        (plain,) = world.add_samples(1)
        with world.store.write() as tx:
            for sample_id in (kept, plain):
                say(world, tx, sample_id, world.ann, "owl")
                say(world, tx, sample_id, world.bob, "wren")
                tx.lanes.set_gold(tx.samples.get(sample_id), "owl", world.cat.id, NOW)
            say(world, tx, flagged, world.ann, "flag")
        with world.store.read() as tx:
            assert found(tx, world) == [plain]
            assert found(tx, world, kind=ReviewKind.FLAGGED) == []
            assert found(tx, world, kind=ReviewKind.GOLD) == [plain]
            assert found(tx, world, kind=ReviewKind.DISPUTED) == [plain]
            assert found(tx, world, user_id=world.ann.id) == [plain]
            assert found(tx, world, splits=tuple(Split)) == [flagged, plain, kept]
            assert found(tx, world, kind=ReviewKind.FLAGGED, splits=tuple(Split)) == [flagged]
            few, all_ = (tx.review_list.counts(world.project.id, splits) for splits in (SPLITS, tuple(Split)))
            for kind in (ReviewKind.DISPUTED, ReviewKind.GOLD, ReviewKind.LABELLED):
                assert (few[kind], all_[kind]) == (1, 2), kind
            assert (few[ReviewKind.FLAGGED], all_[ReviewKind.FLAGGED]) == (0, 1)


class TestFilters:
    def test_class_person_and_round_narrow_each_other(self, world: World) -> None:
        ids = world.add_samples(6)
        first = world.add_round(ids[:4])
        with world.store.write() as tx:
            classes = {info.name: info.id for info in tx.projects.get(world.project.id).classes}
            for sample_id, user, word in zip(
                ids, (world.ann, world.bob) * 3, ("owl", "owl", "wren", "wren", "owl", "owl"), strict=True
            ):
                say(world, tx, sample_id, user, word)
            say(world, tx, ids[3], world.ann, "skip")
            owl, ann, bob = classes["owl"], world.ann.id, world.bob.id
            assert found(tx, world, class_id=owl) == [ids[5], ids[4], ids[1], ids[0]]
            assert found(tx, world, user_id=ann) == [ids[3], ids[4], ids[2], ids[0]]
            assert found(tx, world, round_id=first.id) == [ids[3], ids[2], ids[1], ids[0]]
            assert found(tx, world, class_id=owl, user_id=bob, limit=1) == [ids[5], ids[1]]
            assert found(tx, world, class_id=owl, round_id=first.id) == [ids[1], ids[0]]
            assert found(tx, world, user_id=ann, round_id=first.id, limit=1) == [ids[3], ids[2], ids[0]]
            assert found(tx, world, class_id=owl, user_id=ann, round_id=first.id) == [ids[0]]
            assert found(tx, world, kind=ReviewKind.LABELLED, user_id=ann, class_id=classes["wren"]) == [ids[3], ids[2]]
            assert found(tx, world, class_id=owl, user_id=world.cat.id) == []

    def test_several_answers_of_one_person_are_one_sample(self, world: World) -> None:
        first, second = world.add_samples(2)
        with world.store.write() as tx:
            for sample_id in (first, second, first):
                say(world, tx, sample_id, world.ann, "owl")
            last = say(world, tx, first, world.ann, "wren")
            assert found(tx, world, user_id=world.ann.id, limit=1) == found(tx, world, limit=1) == [first, second]
            settle(tx, world.undo(tx, last))
            settle(tx, world.undo(tx, say(world, tx, second, world.bob, "owl")))
            assert found(tx, world, user_id=world.bob.id) == []
            assert found(tx, world) == [first, second]

    def test_a_page_that_passes_over_many_says_where_to_go_on(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The rarest thing in a long list is found all the same, over several short pages."""
        monkeypatch.setattr("al_service.storage.review_list.LOOKED_MAX", 8)
        ids = world.add_samples(40)
        with world.store.write() as tx:
            for sample_id in ids:
                say(world, tx, sample_id, world.ann, "wren" if sample_id == ids[0] else "owl")
            classes = {info.name: info.id for info in tx.projects.get(world.project.id).classes}
            wanted = ReviewFilter(class_id=classes["wren"], user_id=world.ann.id)
            page = tx.review_list.page(world.project.id, wanted, SPLITS, after=None, limit=2)
            assert (page.rows, page.next_after is None) == ((), False)
            assert found(tx, world, class_id=classes["wren"], user_id=world.ann.id, limit=2) == [ids[0]]


class TestRows:
    def test_a_row_tells_who_said_what_and_what_asked_for_it(self, world: World) -> None:
        (sample_id,) = world.add_samples(1)
        made = world.add_round([sample_id])
        with world.store.write() as tx:
            (lease,) = world.lease(tx, world.ann)
            world._keys += 1
            kind = AnnotationKind.LABEL
            new = NewAnnotation(world.project.id, sample_id, world.ann.id, lease.id, kind, "owl", "k", lead_time_s=2.5)
            settle(tx, tx.annotations.add(new, NOW))
            gone = say(world, tx, sample_id, world.bob, "owl")
            settle(tx, world.undo(tx, gone))
            say(world, tx, sample_id, world.cat, "wren", review=True)
            tx.lanes.set_gold(tx.samples.get(sample_id), "wren", world.cat.id, NOW)
            [row] = tx.review_list.page(world.project.id, ReviewFilter(), SPLITS, after=None, limit=9).rows
            assert [(vote.by, vote.annotation.class_name, vote.annotation.is_review) for vote in row.votes] == [
                ("ann", "owl", False),
                ("cat", "wren", True),
            ]
            assert row.votes[0].annotation.lead_time_s == 2.5
            assert (row.sample.class_name, row.sample.label_version) == ("wren", 4)
            assert (row.sample.dissent, row.is_reviewed, row.gold_class) == (0, True, "wren")
            assert (row.round_id, row.round_number, row.rank, row.reason) == (made.id, 1, 0, {"code": "random"})
            assert row.is_asked, "nobody told the selection that it is over"
            log = tx.review_list.log(sample_id)
            assert [(item.by, item.annotation.kind, item.annotation.is_undone) for item in log] == [
                ("ann", AnnotationKind.LABEL, False),
                ("bob", AnnotationKind.LABEL, True),
                ("bob", AnnotationKind.UNDO, False),
                ("cat", AnnotationKind.LABEL, False),
            ]

    def test_labels_that_came_with_the_images_say_so(self, world: World) -> None:
        (sample_id,) = world.add_samples(1)
        with world.store.write() as tx:
            tx.annotations.add_labels(world.project.id, world.ann.id, [(sample_id, "owl")], "import-", NOW)
            [row] = tx.review_list.page(world.project.id, ReviewFilter(), SPLITS, after=None, limit=9).rows
        assert [vote.is_import for vote in row.votes] == [True]
        assert (row.round_id, row.sample.dissent, row.is_reviewed) == (None, 0, False)


def plan_of(store: SqlStore, statement: Any) -> str:
    with store._writing() as connection:
        sql = str(statement.compile(connection, compile_kwargs={"literal_binds": True}))
        explain = "EXPLAIN QUERY PLAN" if connection.dialect.name == "sqlite" else "EXPLAIN"
        return "\n".join(str(row[-1]) for row in connection.exec_driver_sql(f"{explain} {sql}"))


WALKS: list[tuple[str, dict[str, Any], Place]] = [
    ("ix_annotations_by_project", {}, (500,)),
    ("ix_labels_by_annotation", {"kind": ReviewKind.LABELLED}, (500,)),
    ("ix_labels_by_annotation", {"kind": ReviewKind.SUSPICIOUS}, (500,)),
    ("ix_labels_by_class", {"class_id": 1}, (500,)),
    ("ix_annotations_by_user", {"user_id": 1}, (500,)),
    ("round_id", {"round_id": 1}, (500,)),
    ("ix_samples_disputed", {"kind": ReviewKind.DISPUTED}, (50, 500)),
    ("ix_labels_reviewed", {"kind": ReviewKind.REVIEWED}, (500,)),
    ("ix_gold_project_id", {"kind": ReviewKind.GOLD}, (500,)),
    ("ix_samples_by_state", {"kind": ReviewKind.FLAGGED}, (500,)),
]


@pytest.fixture
def crowded(world: World, database_kind: str) -> World:
    """Enough labels for a planner to think about what it reads, of which every tenth is disputed or reviewed; more are
    of another project.
    """
    ids = world.add_samples(1500)
    world.add_round(ids[:700])
    with world.store.write() as tx:
        other = tx.projects.add("trees", ["oak"], world.config, NOW)
        others = tx.samples.add_many(other.id, [new_sample(number) for number in range(4000)], NOW)
        for part in (others[:2000], others[2000:]):
            oaks = [(sample_id, "oak") for sample_id in part if sample_id is not None]
            tx.annotations.add_labels(other.id, world.cat.id, oaks, "trees", NOW)
            rows = [(sample_id, "owl" if sample_id % 2 else "wren") for sample_id in ids[:1200]]
            user = world.ann if part[0] == others[0] else world.bob
            tx.annotations.add_labels(world.project.id, user.id, rows, "birds", NOW)
        for sample_id in ids[:1200:10]:
            say(world, tx, sample_id, world.cat, "wren" if sample_id % 2 else "owl", review=sample_id % 20 == 1)
        for sample_id in ids[:1200:2]:
            tx.lanes.set_gold(tx.samples.get(sample_id), "owl", world.cat.id, NOW)
        for sample_id in ids[1300:]:
            say(world, tx, sample_id, world.ann, "flag")
    if database_kind == "postgresql":  # which does so by itself; nobody does on SQLite
        with world.store._writing() as connection:
            connection.exec_driver_sql("ANALYZE")
    return world


class TestCost:
    def test_every_list_begins_with_a_walk_along_its_index(self, crowded: World) -> None:
        """However many labels there are, a page reads its rows and no others: nothing is sorted but what was found."""
        for index, wanted, after in WALKS:
            statement = candidates(crowded.project.id, ReviewFilter(**wanted), SPLITS, after, 61)
            plan = plan_of(crowded.store, statement)
            assert index in plan, f"{index}\n{plan}"
            read = [line for line in plan.splitlines() if "SCAN" in line or "Seq Scan" in line]
            # `candidate` and its parts are what the walk found. PostgreSQL reads small tables as a whole; there is no
            # lease here, and there are three classes.
            fine = ("candidate", "anon_", " on samples", " on assignments", " on classes")
            of_all = [line for line in read if not any(word in line for word in fine)]
            assert of_all == [], f"{index}\n{plan}"

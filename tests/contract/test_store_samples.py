"""Projects, classes and samples, on both databases."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from al_service.domain.project_config import ProjectConfig
from al_service.domain.records import LabelledImage, RejectedRow
from al_service.domain.states import JobKind, SampleState, Split
from al_service.errors import ConflictError, InvalidInputError, NotFoundError
from al_service.storage.store import SqlStore
from tests.contract.store_world import NOW, World, new_sample

#: Everything but NUL and lone surrogates, which no PostgreSQL text can hold.
TEXT = st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"]), max_size=200)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)
FEW = settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


class TestProjects:
    def test_added_and_found(self, store: SqlStore) -> None:
        with store.write() as tx:
            made = tx.projects.add("birds", ["owl", "wren"], ProjectConfig(overlap=2), NOW)
        with store.read() as tx:
            assert tx.projects.get(made.id) == tx.projects.find("birds") == made
            assert tx.projects.find("fish") is None
        assert (made.class_names, [info.position for info in made.classes]) == (("owl", "wren"), [0, 1])
        assert (made.config.overlap, made.created_at, made.archived_at) == (2, NOW, None)

    def test_names_are_unique(self, world: World) -> None:
        with pytest.raises(ConflictError, match="birds"), world.store.write() as tx:
            tx.projects.add("birds", [], ProjectConfig(), NOW)

    def test_all_are_in_code_point_order(self, store: SqlStore) -> None:
        with store.write() as tx:
            for name in ("b", "B", "a", "é", "_"):
                tx.projects.add(name, [], ProjectConfig(), NOW)
        with store.read() as tx:
            assert [project.name for project in tx.projects.all()] == ["B", "_", "a", "b", "é"]

    def test_archive_and_bring_back(self, world: World) -> None:
        with world.store.write() as tx:
            tx.projects.set_archived(world.project.id, NOW)
            assert tx.projects.all() == []
            assert [project.archived_at for project in tx.projects.all(archived=True)] == [NOW]
            tx.projects.set_archived(world.project.id, None)
            assert [project.archived_at for project in tx.projects.all()] == [None]

    def test_classes_are_appended_and_never_move(self, world: World) -> None:
        with world.store.write() as tx:
            tx.projects.add_classes(world.project.id, ["wren", "kite", "owl", "crow", "kite"])
            found = tx.projects.get(world.project.id)
        assert [(info.name, info.position) for info in found.classes] == [
            ("owl", 0),
            ("wren", 1),
            ("kite", 2),
            ("crow", 3),
        ]
        assert found.classes[:2] == world.project.classes

    def test_settings_are_replaced(self, world: World) -> None:
        with world.store.write() as tx:
            tx.projects.set_config(world.project.id, ProjectConfig(seed=5, guidelines="look twice"))
            assert tx.projects.get(world.project.id).config == ProjectConfig(seed=5, guidelines="look twice")


class TestSamples:
    def test_what_is_stored_comes_back(self, world: World) -> None:
        new = new_sample(1, Split.TRAIN)
        with world.store.write() as tx:
            (sample_id,) = tx.samples.add_many(world.project.id, [new], NOW)
            assert sample_id is not None
            found = tx.samples.get(sample_id)
        for name in ("external_id", "sha256", "width", "height", "format", "byte_count", "split", "metadata"):
            assert getattr(found, name) == getattr(new, name)
        assert (found.project_id, found.state, found.class_name, found.created_at) == (
            world.project.id,
            SampleState.UNLABELLED,
            None,
            NOW,
        )

    @FEW
    @given(text=TEXT, data=st.dictionaries(TEXT, JSON, max_size=3))
    def test_any_text_and_json_comes_back(self, world: World, text: str, data: dict[str, object]) -> None:
        world._samples += 1
        new = new_sample(world._samples, external_id=f"{world._samples}/{text}", format=text, metadata=data)
        with world.store.write() as tx:
            (sample_id,) = tx.samples.add_many(world.project.id, [new], NOW)
        with world.store.read() as tx:
            found = tx.samples.find_by_external_ids(world.project.id, [new.external_id])[new.external_id]
        assert (found.id, found.format, found.metadata) == (sample_id, text, data)
        assert list(found.metadata) == list(data)

    @pytest.mark.parametrize(
        "changes",
        [
            {"external_id": "a\x00b"},
            {"external_id": "a\ud800b"},
            {"external_id": "x" * 2001},
            {"metadata": {"a": float("nan")}},
            {"metadata": {"a": ["b\x00"]}},
            {"metadata": {"a": "\udfff"}},
            {"metadata": {"a": {1, 2}}},
        ],
    )
    def test_what_could_not_come_back_is_refused(self, world: World, changes: dict[str, object]) -> None:
        with pytest.raises(InvalidInputError), world.store.write() as tx:
            tx.samples.add_many(world.project.id, [new_sample(1, **changes)], NOW)

    def test_an_escaped_nul_is_harmless(self, world: World) -> None:
        with world.store.write() as tx:
            (sample_id,) = tx.samples.add_many(world.project.id, [new_sample(1, metadata={"a": "\\u0000"})], NOW)
            assert tx.samples.get(sample_id or 0).metadata == {"a": "\\u0000"}

    @FEW
    @given(moment=st.datetimes(timezones=st.sampled_from([UTC, timezone(timedelta(hours=5, minutes=45))])))
    def test_any_aware_time_comes_back_as_utc(self, world: World, moment: datetime) -> None:
        with world.store.write() as tx:
            try:
                utc = moment.astimezone(UTC)
            except OverflowError:
                return
            tx.projects.set_archived(world.project.id, moment)
            found = tx.projects.get(world.project.id).archived_at
        assert found == utc
        assert found is not None and found.utcoffset() == timedelta(0)

    def test_naive_times_are_refused(self, world: World) -> None:
        with pytest.raises(InvalidInputError, match="time zone"), world.store.write() as tx:
            tx.projects.set_archived(world.project.id, datetime(2026, 1, 1))

    def test_known_ids_and_hashes_give_none_in_order_of_input(self, world: World) -> None:
        with world.store.write() as tx:
            first = tx.samples.add_many(world.project.id, [new_sample(1), new_sample(2)], NOW)
            second = tx.samples.add_many(
                world.project.id,
                [
                    new_sample(3),
                    new_sample(1),
                    new_sample(2, external_id="other name, known hash"),
                    new_sample(4, external_id="images/1.png"),
                    new_sample(5),
                    new_sample(5),
                    new_sample(6, sha256=f"{5:064x}"),
                ],
                NOW,
            )
        assert None not in first
        assert [made is not None for made in second] == [True, False, False, False, True, False, False]
        with world.store.read() as tx:
            assert [tx.samples.get(made).external_id for made in second if made] == ["images/3.png", "images/5.png"]

    def test_the_same_image_may_be_in_two_projects(self, world: World) -> None:
        with world.store.write() as tx:
            other = tx.projects.add("fish", [], ProjectConfig(), NOW)
            ids = [tx.samples.add_many(project, [new_sample(1)], NOW)[0] for project in (world.project.id, other.id)]
            assert None not in ids
            name = new_sample(1).external_id
            assert tx.samples.find_by_external_ids(other.id, [name])[name].id == ids[1]

    def test_thousands_at_once(self, world: World) -> None:
        ids = world.add_samples(3500)
        assert sorted(set(ids)) == ids
        names = [new_sample(i).external_id for i in range(3500)]
        with world.store.read() as tx:
            by_name = tx.samples.find_by_external_ids(world.project.id, [*names, "unknown"])
        assert [by_name[name].id for name in names] == ids
        assert "unknown" not in by_name

    def test_many_are_found_by_id_or_none(self, world: World) -> None:
        ids = world.add_samples(1203)
        with world.store.write() as tx:
            world.label(tx, ids[1], world.ann)
            assert tx.samples.get_many([]) == {}
            few = tx.samples.get_many([ids[2], ids[1], ids[2]])
            assert few == {sample_id: tx.samples.get(sample_id) for sample_id in ids[1:3]}
            assert set(tx.samples.get_many(iter(ids))) == set(ids)
            with pytest.raises(NotFoundError, match="no sample with id 888888"):
                tx.samples.get_many([ids[0], 999999, 888888])

    def test_nothing_at_once(self, world: World) -> None:
        with world.store.write() as tx:
            assert tx.samples.add_many(world.project.id, [], NOW) == []
            assert tx.samples.find_by_external_ids(world.project.id, []) == {}

    def test_image_sizes_stop_at_the_limit(self, world: World) -> None:
        world.add_samples(5)
        with world.store.read() as tx:
            assert tx.samples.image_sizes(world.project.id, 3) == [(32, 24)] * 3

    def test_sets_for_selecting_training_and_evaluating(self, world: World) -> None:
        pool, train, evaluation = (world.add_samples(3, split) for split in (Split.POOL, Split.TRAIN, Split.EVALUATION))
        world.add_round([pool[0], evaluation[0]])
        with world.store.write() as tx:
            first = world.label(tx, pool[1], world.ann, "wren")
            world.label(tx, train[1], world.ann, "owl")
            world.label(tx, evaluation[1], world.ann, "owl")
        with world.store.read() as tx:
            shas = {known: tx.samples.get(known).sha256 for known in (*pool, *train, *evaluation)}
            ids = {info.name: info.id for info in world.project.classes}
            assert tx.samples.selectable(world.project.id) == [(pool[0], shas[pool[0]]), (pool[2], shas[pool[2]])]
            assert tx.samples.unlabelled_evaluation_ids(world.project.id) == [evaluation[2]]
            later = tx.annotations.latest_id(world.project.id)
            assert tx.samples.training_set(world.project.id, later) == [
                LabelledImage(pool[1], shas[pool[1]], "wren", ids["wren"]),
                LabelledImage(train[1], shas[train[1]], "owl", ids["owl"]),
            ]
            assert [row.sample_id for row in tx.samples.training_set(world.project.id, first.id)] == [pool[1]]
            assert tx.samples.evaluation_set(world.project.id) == [
                LabelledImage(evaluation[1], shas[evaluation[1]], "owl", ids["owl"])
            ]
            assert tx.samples.class_counts(world.project.id) == {"owl": 1, "wren": 1}

    @pytest.mark.parametrize(("samples", "size"), [(0, 3), (1, 3), (6, 3), (7, 3), (7, 1), (7, 100)])
    def test_ranges_cover_what_is_selectable_once(self, world: World, samples: int, size: int) -> None:
        """With holes: labelled ones, other splits and other projects' samples lie between."""
        pool = [(world.add_samples(1)[0], world.add_samples(1)[0], world.add_samples(1, Split.TRAIN)[0])
                for _ in range(samples)]  # fmt: skip
        with world.store.write() as tx:
            for _, labelled, _ in pool:
                world.label(tx, labelled, world.ann)
        with world.store.read() as tx:
            ranges = tx.samples.selectable_ranges(world.project.id, size)
            parts = [tx.samples.selectable(world.project.id, first, last) for first, last, _ in ranges]
            assert [len(part) for part in parts] == [count for _, _, count in ranges]
            assert [row for part in parts for row in part] == tx.samples.selectable(world.project.id)
            assert [(part[0][0], part[-1][0]) for part in parts] == [(first, last) for first, last, _ in ranges]
            assert [count for _, _, count in ranges] == [size] * (samples // size) + [samples % size] * (
                samples % size > 0
            )
            assert tx.samples.selectable_ranges(999, size) == []

    def test_the_newest_selectable_one_tells_when_it_came(self, world: World) -> None:
        later = NOW + timedelta(seconds=5)
        with world.store.write() as tx:
            assert tx.samples.newest_selectable_at(world.project.id) is None
            tx.samples.add_many(world.project.id, [new_sample(0)], NOW)
            tx.samples.add_many(world.project.id, [new_sample(1, Split.EVALUATION)], later)
            assert tx.samples.newest_selectable_at(world.project.id) == NOW
            [newest] = tx.samples.add_many(world.project.id, [new_sample(2)], later)
            assert tx.samples.newest_selectable_at(world.project.id) == later
            tx.samples.flag_unreadable([newest or 0])
            assert tx.samples.newest_selectable_at(world.project.id) == NOW

    def test_unreadable_ones_are_flagged_once_and_nothing_else_is(self, world: World) -> None:
        ids = world.add_samples(4)
        world.add_round(ids[:1])
        with world.store.write() as tx:
            assert tx.samples.flag_unreadable([]) == 0
            assert tx.samples.flag_unreadable([ids[0], ids[1], ids[2], 10_000]) == 2
            assert tx.samples.flag_unreadable(ids[:3]) == 0
            found = tx.samples.get_many(ids)
            counts = tx.samples.counts(world.project.id)
        assert [found[sample_id].state for sample_id in ids] == [
            SampleState.UNLABELLED,
            SampleState.FLAGGED,
            SampleState.FLAGGED,
            SampleState.UNLABELLED,
        ]
        assert (counts.flagged, counts.free, counts.not_queued) == (2, 1, 1)

    def test_one_end_of_a_range_is_enough(self, world: World) -> None:
        ids = world.add_samples(4)
        with world.store.read() as tx:
            assert [row[0] for row in tx.samples.selectable(world.project.id, first_id=ids[2])] == ids[2:]
            assert [row[0] for row in tx.samples.selectable(world.project.id, last_id=ids[1])] == ids[:2]
            with pytest.raises(InvalidInputError, match="size=0: a range holds at least 1 sample"):
                tx.samples.selectable_ranges(world.project.id, 0)

    def test_a_label_is_set_changed_and_removed(self, world: World) -> None:
        (sample_id,) = world.add_samples(1)
        with world.store.write() as tx:
            for name, state in (
                ("owl", SampleState.LABELLED),
                ("wren", SampleState.LABELLED),
                (None, SampleState.FLAGGED),
            ):
                cause = world.answer(tx, sample_id, world.ann)
                sample = tx.samples.get(sample_id)
                tx.samples.set_label(sample, name, votes=1, annotation_id=cause.id, state=state, now=NOW)
                found = tx.samples.get(sample_id)
                assert (found.class_name, found.state) == (name, state)
                assert tx.samples.class_counts(world.project.id) == {
                    "owl": int(name == "owl"),
                    "wren": int(name == "wren"),
                }

    def test_a_label_must_name_a_class_of_the_project(self, world: World) -> None:
        (sample_id,) = world.add_samples(1)
        with pytest.raises(InvalidInputError, match=r"'crow' is not a class of the project"), world.store.write() as tx:
            sample = tx.samples.get(sample_id)
            tx.samples.set_label(sample, "crow", votes=1, annotation_id=1, state=SampleState.LABELLED, now=NOW)

    def test_rejections_are_kept_once_and_in_order(self, world: World) -> None:
        rows = [RejectedRow("b.png", "broken"), RejectedRow("a.png", "too large"), RejectedRow("b.png", "again")]
        with world.store.write() as tx:
            job = tx.jobs.add(
                project_id=world.project.id, round_id=None, kind=JobKind.INGEST, payload={}, attempts_max=1, now=NOW
            )
            for _ in range(2):
                tx.samples.add_rejections(job.id, rows)
            assert tx.samples.rejections(job.id, 10) == rows[:2]
            assert tx.samples.rejections(job.id, 1) == rows[:1]
            assert tx.samples.counts(world.project.id).rejected == 2

    def test_a_name_that_is_no_text_can_still_be_reported(self, world: World) -> None:
        with world.store.write() as tx:
            job = tx.jobs.add(
                project_id=world.project.id, round_id=None, kind=JobKind.INGEST, payload={}, attempts_max=1, now=NOW
            )
            tx.samples.add_rejections(job.id, [RejectedRow("a\udcff\x00.png", "é" * 3000)])
            (found,) = tx.samples.rejections(job.id, 10)
        assert found == RejectedRow("a\\udcff\\x00.png", "é" * 1000)

"""Votes of several people, classes known for sure, and skills, on both databases."""

from dataclasses import replace
from datetime import timedelta

import pytest

from al_service.domain.annotator_skill import Skill
from al_service.domain.records import NewAnnotation
from al_service.domain.states import AnnotationKind
from al_service.loop.ports import Transaction
from tests.contract.store_world import NOW, World

MANY = 1000


@pytest.fixture
def class_ids(world: World) -> dict[str, int]:
    return {info.name: info.id for info in world.project.classes}


def judge(tx: Transaction, world: World, sample_id: int, class_name: str) -> None:
    """A reviewer's verdict by cat."""
    verdict = NewAnnotation(
        project_id=world.project.id,
        sample_id=sample_id,
        user_id=world.cat.id,
        assignment_id=None,
        kind=AnnotationKind.LABEL,
        class_name=class_name,
        client_key=f"verdict-{sample_id}-{class_name}",
        is_review=True,
    )
    tx.annotations.add(verdict, NOW)


class TestVotes:
    def test_only_samples_that_two_people_labelled_and_of_each_person_the_latest(
        self, world: World, class_ids: dict[str, int]
    ) -> None:
        shared, alone, skipped, undone = world.add_samples(4)
        owl, wren = class_ids["owl"], class_ids["wren"]
        with world.store.write() as tx:
            world.answer(tx, shared, world.ann, "owl")
            world.answer(tx, alone, world.ann, "owl")
            world.answer(tx, alone, world.ann, "wren")
            world.answer(tx, skipped, world.ann, "owl")
            world.answer(tx, skipped, world.bob, kind=AnnotationKind.SKIP)
            world.answer(tx, undone, world.ann, "owl")
            taken_back = world.answer(tx, undone, world.bob, "owl")
            world.answer(tx, shared, world.bob, "owl")
            world.answer(tx, shared, world.ann, "wren")
            undo = NewAnnotation(
                world.project.id, undone, world.bob.id, None, AnnotationKind.UNDO, None, "undo", undoes_id=taken_back.id
            )
            tx.annotations.add(undo, NOW)
        with world.store.read() as tx:
            assert tx.skills.votes(world.project.id, MANY) == [
                (shared, world.bob.id, owl),
                (shared, world.ann.id, wren),
            ]
            assert tx.skills.votes(world.project.id + 1, MANY) == []
            assert tx.skills.known(world.project.id, MANY) == {}

    def test_imports_and_verdicts_are_no_votes_but_a_verdict_makes_one_vote_enough(
        self, world: World, class_ids: dict[str, int]
    ) -> None:
        imported, judged = world.add_samples(2)
        with world.store.write() as tx:
            tx.annotations.add_labels(world.project.id, world.cat.id, [(imported, "owl")], "import-", NOW)
            world.answer(tx, imported, world.ann, "owl")
            world.answer(tx, judged, world.ann, "owl")
            judge(tx, world, judged, "owl")
            judge(tx, world, judged, "wren")
        with world.store.read() as tx:
            assert tx.skills.votes(world.project.id, MANY) == [(judged, world.ann.id, class_ids["owl"])]
            assert tx.skills.known(world.project.id, MANY) == {judged: class_ids["wren"]}

    def test_gold_is_known_and_counts_more_than_a_verdict(self, world: World, class_ids: dict[str, int]) -> None:
        first, second = world.add_samples(2)
        with world.store.write() as tx:
            judge(tx, world, first, "owl")
            for sample_id in (first, second):
                tx.lanes.set_gold(tx.samples.get(sample_id), "wren", world.cat.id, NOW)
            world.answer(tx, second, world.ann, "owl")
        with world.store.read() as tx:
            assert tx.skills.known(world.project.id, MANY) == dict.fromkeys((first, second), class_ids["wren"])
            assert tx.skills.votes(world.project.id, MANY) == [(second, world.ann.id, class_ids["owl"])]

    def test_only_the_newest_answers_are_looked_at(self, world: World) -> None:
        ids = world.add_samples(3)
        with world.store.write() as tx:
            for sample_id in ids:
                for user in (world.ann, world.bob):
                    world.answer(tx, sample_id, user)
            judge(tx, world, ids[0], "owl")
        with world.store.read() as tx:
            votes = tx.skills.votes(world.project.id, 4)
            assert {sample_id for sample_id, _, _ in votes} == {ids[2]}
            assert len(tx.skills.votes(world.project.id, MANY)) == 6
            assert tx.skills.known(world.project.id, 1).keys() == {ids[0]}


class TestSkills:
    def test_what_is_stored_comes_back_and_replaces_what_was_there(
        self, world: World, class_ids: dict[str, int]
    ) -> None:
        owl, wren = class_ids["owl"], class_ids["wren"]
        coin = Skill(0.75, 12)
        matrix = Skill(0.9, 400, {owl: {owl: 0.875, wren: 0.125}, wren: {owl: 0.25, wren: 0.75}})
        with world.store.write() as tx:
            assert (tx.skills.all(world.project.id), tx.skills.updated_at(world.project.id)) == ({}, None)
            tx.skills.replace(world.project.id, {world.ann.id: coin, world.bob.id: matrix}, NOW)
        with world.store.read() as tx:
            assert tx.skills.all(world.project.id) == {world.ann.id: coin, world.bob.id: matrix}
            assert tx.skills.updated_at(world.project.id) == NOW
        later = NOW + timedelta(seconds=1)
        with world.store.write() as tx:
            tx.skills.replace(world.project.id, {world.ann.id: replace(coin, answers=13)}, later)
            assert tx.skills.all(world.project.id) == {world.ann.id: replace(coin, answers=13)}
            assert tx.skills.updated_at(world.project.id) == later
            other = tx.projects.add("fish", ["eel", "cod"], world.config, NOW)
            assert tx.skills.all(other.id) == {}
            tx.skills.replace(world.project.id, {}, later)
            assert tx.skills.updated_at(world.project.id) is None

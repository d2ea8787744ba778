"""Near-copies, look-alikes, likely classes and similar images of real rounds, from the select job to the queue."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from al_service.domain.records import Assignment, Selection, User
from al_service.domain.states import Stage
from tests.integration.conftest import DIGITS, Loop, truth_of

SCENES, COPIED = 12, 3


@pytest.fixture
def album(tmp_path: Path) -> Path:
    """Twelve pictures, three of them a second time as a smaller JPEG."""
    folder = tmp_path / "album"
    folder.mkdir()
    rng = np.random.default_rng(5)
    for number in range(SCENES):
        coarse = Image.fromarray(rng.integers(0, 256, (5, 5, 3), np.uint8))
        picture = coarse.resize((48, 48), Image.Resampling.BICUBIC)
        picture.save(folder / f"{number}.png")
        if number < COPIED:
            picture.resize((40, 40)).save(folder / f"{number}-copy.jpg", quality=60)
    return folder


@pytest.fixture
def album_loop(loop: Loop, album: Path) -> Loop:
    """A first round at random that asks for all of them."""
    settings = {"labels_per_round": 30, "strategy": "random", "holdout_fraction": 0.0, "network": "small_cnn"}
    loop.services.projects.create("album", ["a", "b"], settings)
    loop.services.projects.import_images("album", str(album))
    loop.work()
    return loop


def batch_of(loop: Loop, project: str, number: int = 1) -> tuple[list[Selection], list[Selection]]:
    record = loop.services.rounds.get(project, number)
    with loop.services.store.read() as tx:
        return tx.queue.selections(record.id), tx.queue.reserve_selections(record.id)


def names_of(loop: Loop, sample_ids: list[int]) -> list[str]:
    with loop.services.store.read() as tx:
        found = tx.samples.get_many(sample_ids)
    return [Path(found[sample_id].external_id).stem for sample_id in sample_ids]


def order_for(loop: Loop, user: User) -> list[str]:
    """What this person would get from now on, in order; given back at once."""
    leased = loop.services.assignments.lease_next("album", user, 30).assignments
    for assignment in leased:
        loop.services.assignments.release(assignment.id, user)
    return names_of(loop, [assignment.sample.id for assignment in leased])


def twin(name: str) -> str:
    return name.removesuffix("-copy") if name.endswith("-copy") else f"{name}-copy"


def test_pictures_and_their_copies_share_a_number_and_nothing_else_does(album_loop: Loop) -> None:
    batch, _ = batch_of(album_loop, "album")
    names = names_of(album_loop, [pick.sample_id for pick in batch])
    group_of = dict(zip(names, [pick.copy_group for pick in batch], strict=True))
    assert {name for name, group in group_of.items() if group is not None} == {
        name for number in range(COPIED) for name in (f"{number}", f"{number}-copy")
    }
    assert all(group_of[f"{number}"] == group_of[f"{number}-copy"] for number in range(COPIED))
    assert len(set(group_of.values()) - {None}) == COPIED


def test_the_copy_of_what_was_labelled_comes_last_until_the_label_is_taken_back(
    album_loop: Loop, mia: User, tom: User
) -> None:
    before = order_for(album_loop, tom)
    first = next(name for name in before if twin(name) in before)
    waiting = album_loop.services.assignments.lease_next("album", mia, 30).assignments
    names = names_of(album_loop, [assignment.sample.id for assignment in waiting])
    chosen = waiting[names.index(first)]
    album_loop.truth[chosen.sample.sha256] = "a"
    for assignment in waiting:
        if assignment is not chosen:
            album_loop.services.assignments.release(assignment.id, mia)
    album_loop.answer(chosen, mia)
    rest = [name for name in before if name not in (first, twin(first))]
    assert order_for(album_loop, tom) == [*rest, twin(first)]
    [said] = album_loop.services.annotations.recent("album", mia)
    _, fresh = album_loop.services.annotations.undo(said.id, mia)
    assert isinstance(fresh, Assignment)
    album_loop.services.assignments.release(fresh.id, mia)
    assert order_for(album_loop, tom) == before


def test_a_strategy_without_embeddings_groups_nothing_and_knows_no_similar_images(album_loop: Loop) -> None:
    batch, _ = batch_of(album_loop, "album")
    assert {pick.look_alike for pick in batch} == {None}
    assert {pick.likely for pick in batch} == {None}
    facts = album_loop.services.rounds.get("album", 1).stage_record(Stage.SELECT).result
    assert "similar_artifact" not in facts


class TestWithAModel:
    @pytest.fixture
    def second_round(self, loop: Loop, digits: Path, mia: User) -> Loop:
        """The handwritten digits, one batch answered, the next one chosen with a model's embeddings."""
        loop.truth = truth_of(digits)
        settings = {"labels_per_round": 40, "strategy": "margin+k_center", "epochs_max": 5, "network": "small_cnn"}
        loop.services.projects.create("digits", DIGITS, settings)
        loop.services.projects.import_images("digits", str(digits), use_labels="evaluation")
        loop.work()
        loop.answer_all("digits", mia)
        loop.work()
        return loop

    def test_batch_and_reserve_are_in_groups_of_a_screen_each_of_its_own(self, second_round: Loop) -> None:
        batch, reserve = batch_of(second_round, "digits", 2)
        groups = [{pick.look_alike for pick in picks} for picks in (batch, reserve)]
        assert groups[0] and groups[1] and not groups[0] & groups[1]
        assert sorted(groups[0] | groups[1]) == list(range(len(groups[0] | groups[1])))
        for picks in (batch, reserve):
            for group in {pick.look_alike for pick in picks}:
                assert 8 <= sum(pick.look_alike == group for pick in picks) <= 24

    def test_the_likeliest_classes_are_those_of_the_stored_probabilities(self, second_round: Loop) -> None:
        project = second_round.services.projects.get("digits")
        names = {info.id: info.name for info in project.classes}
        batch, _ = batch_of(second_round, "digits", 2)
        for pick in batch:
            assert pick.likely is not None and len(pick.likely) == 5
            chances = [chance for _, chance in pick.likely]
            assert chances == sorted(chances, reverse=True) and 0.5 < sum(chances) <= 1.001
            if pick.reason["code"] == "margin":
                first, second = (project.class_names[index] for index in pick.reason["between"])
                assert {names[class_id] for class_id, _ in pick.likely[:2]} == {first, second}

    def test_similar_images_are_the_nearest_of_pool_and_labelled_ones_never_of_the_evaluation_set(
        self, second_round: Loop
    ) -> None:
        services = second_round.services
        record = services.rounds.get("digits", 2)
        similar = json.loads(services.artifacts.get(record.stage_record(Stage.SELECT).result["similar_artifact"]))
        batch, reserve = batch_of(second_round, "digits", 2)
        assert set(similar) == {str(pick.sample_id) for pick in (*batch, *reserve)}
        with services.store.read() as tx:
            samples = tx.samples.get_many({found for pairs in similar.values() for found, _ in pairs})
        assert {sample.split.value for sample in samples.values()} == {"pool"}
        assert any(sample.class_name is not None for sample in samples.values())
        for own, pairs in similar.items():
            ids, distances = zip(*pairs, strict=True)
            assert len(set(ids)) == 20 and int(own) not in ids
            assert list(distances) == sorted(distances)
        # Digits that look alike are mostly the same digit: chance would be one in ten.
        with services.store.read() as tx:
            own_samples = tx.samples.get_many(int(own) for own in similar)
        agree = [
            second_round.truth[samples[found].sha256] == second_round.truth[own_samples[int(own)].sha256]
            for own, pairs in similar.items()
            for found, _ in pairs[:5]
        ]
        assert np.mean(agree) > 0.4

"""Heat maps: of real rounds, and who is shown them when; what was seen counts as a suggestion, on both databases."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from al_service import images
from al_service.domain.heat_maps import HeatMap, HeatMapsOf, heat_maps_from_bytes, heat_maps_to_bytes
from al_service.domain.records import Chosen, SuggestionCount, User
from al_service.domain.states import JobKind, Role, Stage
from al_service.errors import NotFoundError
from al_service.insight.explanation import evidence_maps
from al_service.learning import checkpoints
from al_service.loop.heat_maps import KeptBlindError, NoHeatMapError, NotInHandError
from al_service.loop.ports import image_name
from al_service.loop.reviews import Verdict
from al_service.loop.rounds import StageResult
from tests.integration.conftest import DIGITS, Loop, truth_of
from tests.integration.pets import fill, label, lease

TOKENS = """
import torch

class Flat(torch.nn.Module):
    width = 12

    def __init__(self, px):
        super().__init__()
        self.flat = torch.nn.Linear(3 * px * px, 12)

    def forward(self, images):
        return self.flat(images.flatten(1))

def build(class_count, image_px):
    return Flat(image_px)
"""


class TestOfRealRounds:
    @pytest.fixture(params=["finetune", "probe"])
    def second_round(self, request: pytest.FixtureRequest, loop: Loop, digits: Path, mia: User) -> Loop:
        """Forty digits answered, of which some measure the model; the second batch chosen by a model."""
        start(loop, digits, mia, training_mode=request.param)
        return loop

    def test_batch_and_reserve_have_maps_of_the_three_likeliest_classes(self, second_round: Loop) -> None:
        facts, maps = stored(second_round)
        picks = picks_of(second_round)
        known = {pick.sample_id: pick for pick in picks if pick.likely}
        assert set(maps) == set(known)
        assert (facts["images"], facts["of"]) == (len(known), len(known))
        for sample_id, found in maps.items():
            assert [one.class_id for one in found] == [class_id for class_id, _ in known[sample_id].likely[:3]]
            assert max(max(one.cells) for one in found) == 255
            assert {len(one.cells) for one in found} == {found[0].width * found[0].height}

    def test_what_measures_the_model_has_none(self, second_round: Loop) -> None:
        _, maps = stored(second_round)
        measuring = {pick.sample_id for pick in picks_of(second_round) if pick.reason["code"] == "evaluation"}
        assert measuring
        assert not measuring & set(maps)

    def test_they_are_what_the_stored_model_says_of_the_image(self, second_round: Loop) -> None:
        services = second_round.services
        _, maps = stored(second_round)
        record = services.rounds.get("digits", 2)
        with services.store.read() as tx:
            model = tx.models.find_of_round(record.id)
            sample_ids = sorted(maps)[:5]
            samples = tx.samples.get_many(sample_ids)
        checkpoint = checkpoints.from_bytes(
            services.artifacts.get(model.artifact), model.artifact, read_backbone=services.artifacts.get
        )
        ids = {info.name: info.id for info in services.projects.get("digits").classes}
        class_ids = [ids[name] for name in checkpoint.class_names]
        for sample_id in sample_ids:
            data = services.artifacts.get(image_name(samples[sample_id].sha256))
            pixels = torch.from_numpy(images.square_pixels(data, checkpoint.network.image_px)).permute(2, 0, 1)[None]
            indices = np.array([[class_ids.index(one.class_id) for one in maps[sample_id]]])
            evidence = evidence_maps(checkpoint.network, pixels, indices)[0].clamp(min=0)
            expected = (evidence / evidence.max() * 255).numpy()
            found = np.stack([np.frombuffer(one.cells, np.uint8) for one in maps[sample_id]])
            np.testing.assert_allclose(found.reshape(expected.shape), expected, atol=1.01)


def start(loop: Loop, digits: Path, mia: User, **settings: object) -> None:
    loop.truth = truth_of(digits)
    values = {"labels_per_round": 40, "epochs_max": 3, "network": "small_cnn", "evaluation_labels": 60}
    loop.services.projects.create("digits", DIGITS, {**values, **settings})
    loop.services.projects.import_images("digits", str(digits), use_labels="none")
    loop.work()
    loop.answer_all("digits", mia)
    loop.work()


def stored(loop: Loop) -> tuple[dict, HeatMapsOf]:
    facts = loop.services.rounds.get("digits", 2).stage_record(Stage.SELECT).result["heat_maps"]
    return facts, heat_maps_from_bytes(loop.services.artifacts.get(facts["artifact"]))


def picks_of(loop: Loop) -> list:
    record = loop.services.rounds.get("digits", 2)
    with loop.services.store.read() as tx:
        return [*tx.queue.selections(record.id), *tx.queue.reserve_selections(record.id)]


def test_a_round_whose_network_has_no_maps_goes_on_and_says_so(
    loop: Loop, digits: Path, mia: User, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "packages" / "flat_networks-1.dist-info"
    package.mkdir(parents=True)
    (package.parent / "flat_networks.py").write_text(TOKENS)
    (package / "METADATA").write_text("Metadata-Version: 2.1\nName: flat-networks\nVersion: 1\n")
    (package / "entry_points.txt").write_text("[al_service.networks]\nflat_net = flat_networks:build\n")
    monkeypatch.syspath_prepend(package.parent)
    start(loop, digits, mia, network="flat_net")
    record = loop.services.rounds.get("digits", 2)
    facts = record.stage_record(Stage.SELECT).result["heat_maps"]
    assert facts == {"why_none": "flat_net calls no module that gives maps of its image (N, D, h, w)"}
    held = loop.services.assignments.lease_next("digits", mia, 40).assignments
    chosen = next(item for item in held if item.selection.likely)
    with pytest.raises(NoHeatMapError, match="flat_net calls no module"):
        loop.services.heat_maps.ask(chosen.id, mia)
    del sys.modules["flat_networks"]


def test_a_first_round_without_a_model_has_none(digits_loop: Loop, mia: User) -> None:
    digits_loop.work()
    facts = digits_loop.services.rounds.get("digits", 1).stage_record(Stage.SELECT).result
    assert "heat_maps" not in facts
    [held] = digits_loop.services.assignments.lease_next("digits", mia, 1).assignments
    with pytest.raises(NoHeatMapError, match="made with each batch that a model has chosen"):
        digits_loop.services.heat_maps.ask(held.id, mia)


def mapped(loop: Loop, blind_share: float = 0.0, without: int = 0, **settings: object) -> list[int]:
    """A project whose second round chose six samples; the model sees a dog in each of them, and there are maps of dog
    and cat for all but the last `without`.
    """
    ids = fill(loop, batch=1, blind_share=blind_share, **settings)
    loop.services.rounds.cancel("pets", 1)
    map_round(loop, ids[:6], without)
    return ids


def map_round(loop: Loop, sample_ids: list[int], without: int = 0) -> None:
    """A round that chose these samples, as in `mapped`."""
    services = loop.services
    record, _ = services.rounds.start("pets")
    classes = {info.name: info.id for info in services.projects.get("pets").classes}
    likely = ((classes["dog"], 0.7), (classes["cat"], 0.2))
    picks = [
        Chosen(sample_id, rank, 0.5, {"code": "random"}, likely=likely) for rank, sample_id in enumerate(sample_ids)
    ]
    maps = {
        sample_id: (HeatMap(classes["dog"], 2, 1, bytes([255, n])), HeatMap(classes["cat"], 2, 1, bytes([n, 100])))
        for n, sample_id in enumerate(sample_ids[: len(sample_ids) - without])
    }
    # Tests look for the file of round 2 by its name.
    name = "rounds/maps.json" if record.number == 2 else f"rounds/maps-{record.number}.json"
    services.artifacts.put(name, heat_maps_to_bytes(maps))
    facts = {"heat_maps": {"artifact": name, "images": len(maps), "of": len(picks), "seconds": 0.1}}
    for kind, stage, result in (
        (JobKind.TRAIN, Stage.TRAIN, StageResult({"skipped": "by the test"}, Stage.SELECT)),
        (JobKind.SELECT, Stage.SELECT, StageResult(facts, Stage.ANNOTATE, chosen=picks)),
    ):
        with services.store.read() as tx:
            job = next(iter(tx.jobs.of_round(record.id, kind)))
        claimed = services.jobs.claim(job.id, job.attempt, "test")
        assert claimed is not None
        services.rounds.complete_stage(claimed, stage, result)


def set_gold(loop: Loop, sample_ids: list[int]) -> None:
    rita = loop.person("rita", Role.REVIEWER)
    for sample_id in sample_ids:
        loop.services.reviews.set_gold(Verdict(sample_id, "cat", 0, f"g-{sample_id}"), rita)


def counts(loop: Loop) -> list[SuggestionCount]:
    with loop.services.store.read() as tx:
        return tx.queue.suggestion_counts(loop.services.projects.get("pets").id)


@pytest.mark.parametrize("database_kind", ["sqlite", "postgresql"])
class TestWhoIsShownThem:
    def test_who_asks_sees_them_and_the_answer_remembers_it(self, loop: Loop, mia: User) -> None:
        mapped(loop)
        first, second = lease(loop, mia, 2)
        shown = loop.services.heat_maps.ask(first.id, mia)
        assert [(name, list(one.cells)) for name, one in shown.maps] == [("dog", [255, 0]), ("cat", [0, 100])]
        assert not shown.is_blind
        assert loop.services.heat_maps.of_sample(first.sample.id, mia, may_see_all=False) == shown
        assert label(loop, first, mia, "dog").saw_suggestion
        assert not label(loop, second, mia, "cat").saw_suggestion
        assert counts(loop) == [SuggestionCount(mia.id, False, False, 1, 0), SuggestionCount(mia.id, True, True, 1, 1)]

    def test_by_the_image_alone_it_counts_too(self, loop: Loop, mia: User) -> None:
        mapped(loop)
        [held] = lease(loop, mia)
        loop.services.heat_maps.of_sample(held.sample.id, mia, may_see_all=False)
        assert label(loop, held, mia, "dog").saw_suggestion

    def test_a_blind_image_shows_nothing_and_counts_as_asked(self, loop: Loop, mia: User) -> None:
        mapped(loop, blind_share=1.0)
        [held] = lease(loop, mia)
        shown = loop.services.heat_maps.ask(held.id, mia)
        assert (shown.maps, shown.is_blind) == ((), True)
        with pytest.raises(KeptBlindError):
            loop.services.heat_maps.of_sample(held.sample.id, mia, may_see_all=False)
        assert not label(loop, held, mia, "cat").saw_suggestion
        assert counts(loop) == [SuggestionCount(mia.id, True, False, 1, 0)]

    def test_the_blind_are_those_that_say_nothing_by_words_either(self, loop: Loop, mia: User) -> None:
        mapped(loop, blind_share=0.5)
        held = lease(loop, mia, 6)
        by_map = [loop.services.heat_maps.ask(item.id, mia).is_blind for item in held]
        assert by_map == [loop.services.suggestions.ask(item.id, mia).is_blind for item in held]
        assert set(by_map) == {True, False}

    def test_an_image_without_a_map_says_so_and_nothing_is_counted(self, loop: Loop, mia: User) -> None:
        mapped(loop, without=6)
        [held] = lease(loop, mia)
        with pytest.raises(NoHeatMapError, match="went to the images with the first ranks"):
            loop.services.heat_maps.ask(held.id, mia)
        label(loop, held, mia, "cat")
        assert counts(loop) == [SuggestionCount(mia.id, False, False, 1, 0)]

    def test_a_blind_image_without_a_map_is_not_counted_as_withheld(self, loop: Loop, mia: User) -> None:
        mapped(loop, blind_share=1.0, without=6)
        [held] = lease(loop, mia)
        assert loop.services.heat_maps.ask(held.id, mia).is_blind
        label(loop, held, mia, "cat")
        assert counts(loop) == [SuggestionCount(mia.id, False, False, 1, 0)]

    def test_a_file_that_has_gone_is_said(self, loop: Loop, mia: User) -> None:
        mapped(loop)
        loop.services.artifacts.delete("rounds/maps.json")
        [held] = lease(loop, mia)
        with pytest.raises(NoHeatMapError, match="not stored any more"):
            loop.services.heat_maps.ask(held.id, mia)

    def test_gold_that_no_model_saw_looks_like_an_image_that_is_kept_blind(self, loop: Loop, mia: User) -> None:
        ids = mapped(loop, gold_share=0.5, blind_share=0.5)
        set_gold(loop, ids[8:12])
        golden = [item for item in lease(loop, mia, 6) if item.selection.lane == "gold"]
        assert golden
        assert {loop.services.heat_maps.ask(item.id, mia).is_blind for item in golden} == {True}

    @pytest.mark.parametrize("without", [0, 4])
    def test_gold_of_an_earlier_round_shows_its_maps_where_the_images_beside_it_show_theirs(
        self, loop: Loop, mia: User, without: int
    ) -> None:
        """Where the earlier round had none of it, the words are those for an image beside it that has none."""
        ids = mapped(loop, gold_share=0.5, without=6 if without else 0)
        set_gold(loop, ids[:2])
        loop.services.rounds.cancel("pets", 2)
        map_round(loop, ids[6:10], without)
        held = lease(loop, mia, 6)
        assert {item.selection.lane for item in held} == {"gold", "batch"}
        told = set()
        for item in held:
            try:
                found = loop.services.heat_maps.ask(item.id, mia)
                told.add((found.round_id, found.is_blind, tuple(name for name, _ in found.maps)))
            except NoHeatMapError as error:
                told.add(str(error))
        assert len(told) == 1

    def test_what_is_looked_at_after_answering_sways_nobody_but_the_next_answer(self, loop: Loop, mia: User) -> None:
        mapped(loop)
        [held] = lease(loop, mia)
        answer = label(loop, held, mia, "cat")
        loop.clock.advance(1)
        assert loop.services.heat_maps.of_sample(held.sample.id, mia, may_see_all=False).maps
        assert counts(loop) == [SuggestionCount(mia.id, False, False, 1, 0)]
        loop.clock.advance(1)
        _, fresh = loop.services.annotations.undo(answer.id, mia)
        assert fresh is not None
        assert label(loop, fresh, mia, "dog", key="second").saw_suggestion
        assert counts(loop) == [SuggestionCount(mia.id, True, True, 1, 1)]

    def test_nobody_sees_those_of_what_they_neither_hold_nor_answered(self, loop: Loop, mia: User, tom: User) -> None:
        mapped(loop)
        [held] = lease(loop, mia)
        with pytest.raises(NotFoundError, match=f"no assignment {held.id} of yours"):
            loop.services.heat_maps.ask(held.id, tom)
        with pytest.raises(NotInHandError):
            loop.services.heat_maps.of_sample(held.sample.id, tom, may_see_all=False)

    def test_reviewers_see_all_but_what_they_are_asked_blind(self, loop: Loop, mia: User) -> None:
        rita = loop.person("rita", Role.REVIEWER)
        mapped(loop, blind_share=1.0)
        [held] = lease(loop, mia)
        assert loop.services.heat_maps.of_sample(held.sample.id, rita, may_see_all=True).maps
        [own] = lease(loop, rita)
        with pytest.raises(KeptBlindError):
            loop.services.heat_maps.of_sample(own.sample.id, rita, may_see_all=True)
        label(loop, own, rita, "cat")
        assert loop.services.heat_maps.of_sample(own.sample.id, rita, may_see_all=True).maps

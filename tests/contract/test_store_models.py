"""Models and promotions, on both databases; and the use cases on top of them."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from al_service.domain.model_kinds import ModelKind, PromotionAction
from al_service.domain.project_config import ProjectConfig
from al_service.domain.records import ModelRecord
from al_service.domain.states import RoundState
from al_service.errors import ConflictError, InvalidInputError, NotFoundError
from al_service.loop.models import (
    Models,
    NoPromotedModelError,
    NothingToRollBackError,
    keep_round_model,
    promotion_stack,
    why_promote,
)
from tests.contract.store_world import NOW, World

LATER = NOW + timedelta(hours=1)


def imported(**changes: Any) -> ModelRecord:
    """A model from outside that tells owls from wrens apart."""
    model = ModelRecord(
        0, 1, None, "models/1/import", "cafe", None, {}, NOW, ModelKind.IMPORTED, "from outside", "cifar_resnet20", 32,
        ("owl", "wren"), 1_092_744,
    )  # fmt: skip
    return replace(model, **changes)


def of_round(world: World, **metrics: Any) -> ModelRecord:
    """The model of a new round, kept as the loop keeps it."""
    record = world.add_round([])
    with world.store.write() as tx:
        model = ModelRecord(
            0, world.project.id, record.id, f"models/{record.number}", f"hash {record.number}", "print", metrics, NOW
        )
        kept = keep_round_model(tx, record, model, NOW)
        tx.rounds.set_round(record.id, metrics=metrics, model_hash=model.model_hash)
        return kept


@pytest.fixture
def use_cases(world: World) -> Models:
    return Models(world.store, lambda: LATER)


def promoted(world: World) -> int | None:
    with world.store.read() as tx:
        found = tx.models.find_promoted(world.project.id)
    return None if found is None else found.id


def set_promote(world: World, setting: str) -> None:
    config = world.project.config.with_values({"promote": setting})
    with world.store.write() as tx:
        tx.projects.set_config(world.project.id, config)
        world.project = tx.projects.get(world.project.id)


class TestRows:
    def test_what_is_stored_comes_back(self, world: World) -> None:
        first = world.add_round([])
        with world.store.write() as tx:
            backbone = tx.models.add(imported(kind=ModelKind.BACKBONE, class_names=(), metrics={"knn": 0.5}))
            whole = tx.models.add(imported(backbone_id=backbone.id))
            trained = tx.models.add(ModelRecord(0, 1, first.id, "a", "b", "c", {"accuracy": 0.1}, NOW))
        with world.store.read() as tx:
            assert tx.models.all(world.project.id) == [trained, whole, backbone]
            assert tx.models.all(world.project.id, limit=1) == [trained]
            assert tx.models.all(999) == []
            assert [tx.models.get(one.id) for one in (trained, whole, backbone)] == [trained, whole, backbone]
            with pytest.raises(NotFoundError, match="no model with id 999"):
                tx.models.get(999)
        assert whole == imported(id=whole.id, backbone_id=backbone.id)
        assert (trained.round_number, whole.round_number) == (first.number, None)

    def test_models_are_found_by_round_kind_and_hash(self, world: World) -> None:
        first, second = world.add_round([]), world.add_round([])
        with world.store.write() as tx:
            made = [
                tx.models.add(ModelRecord(0, 1, round_id, f"models/{n}", "hash", "print", {}, NOW))
                for n, round_id in enumerate((first.id, second.id, first.id))
            ]
            old, new, other = (
                tx.models.add(imported(kind=ModelKind.BACKBONE, class_names=(), model_hash=one)) for one in "aab"
            )
        with world.store.read() as tx:
            assert tx.models.find_of_round(first.id) == made[2]
            assert tx.models.find_of_round(second.id) == made[1]
            assert tx.models.find_of_round(999) is None
            assert tx.models.find_by_hash(1, ModelKind.BACKBONE, "a") == new != old
            assert tx.models.find_by_hash(1, ModelKind.IMPORTED, "a") is None
            assert tx.models.find_by_hash(2, ModelKind.BACKBONE, "a") is None
            assert tx.models.find_newest(1, ModelKind.BACKBONE) == other
            assert tx.models.find_newest(1, ModelKind.IMPORTED) is None

    def test_a_model_of_a_round_has_a_round_and_no_other_has(self, world: World) -> None:
        first = world.add_round([])
        for model in (imported(kind=ModelKind.ROUND), imported(round_id=first.id)):
            with pytest.raises(sa.exc.IntegrityError), world.store.write() as tx:
                tx.models.add(model)

    def test_promotions_are_appended_and_never_changed(self, world: World) -> None:
        with world.store.write() as tx:
            assert tx.models.find_promoted(world.project.id) is None
            a, b = tx.models.add(imported()), tx.models.add(imported())
            rows = [
                tx.models.add_promotion(a, PromotionAction.AUTO, user_id=None, reason="first", now=NOW),
                tx.models.add_promotion(b, PromotionAction.PROMOTE, user_id=world.ann.id, reason="", now=LATER),
            ]
        with world.store.read() as tx:
            assert tx.models.promotions(world.project.id) == rows
            assert tx.models.promotions(999) == []
            assert tx.models.find_promoted(world.project.id) == b
        assert (rows[1].model_id, rows[1].user_id, rows[1].at) == (b.id, world.ann.id, LATER)
        for statement in ("UPDATE promotions SET reason = 'x'", "DELETE FROM promotions"):
            with pytest.raises(sa.exc.DBAPIError, match="append-only"), world.store._writing() as connection:
                connection.exec_driver_sql(statement)


class TestAfterARound:
    def test_what_the_worker_left_open_is_the_rounds(self, world: World) -> None:
        model = of_round(world)
        assert (model.kind, model.name, model.network_name) == (ModelKind.ROUND, "round 1", "small_cnn")
        assert (model.class_names, model.round_number) == (("owl", "wren"), 1)

    def test_the_better_or_equal_model_becomes_the_projects_and_a_worse_one_does_not(self, world: World) -> None:
        accuracies = (0.5, 0.7, 0.6, 0.7, 0.8)
        made = [of_round(world, accuracy=accuracy, evaluation_samples=9) for accuracy in accuracies]
        with world.store.read() as tx:
            history = tx.models.promotions(world.project.id)
        assert [one.model_id for one in history] == [made[at].id for at in (0, 1, 3, 4)]
        assert {(one.action, one.user_id) for one in history} == {(PromotionAction.AUTO, None)}
        assert history[0].reason == "first model"
        assert history[1].reason == "accuracy 0.7000, before 0.5000, on the evaluation set"

    @pytest.mark.parametrize(("setting", "expected"), [("always", 2), ("never", None)])
    def test_always_and_never(self, world: World, setting: str, expected: int | None) -> None:
        set_promote(world, setting)
        made = [of_round(world, accuracy=accuracy) for accuracy in (0.5, 0.7, 0.1)]
        assert promoted(world) == (None if expected is None else made[expected].id)

    def test_a_round_that_fails_leaves_the_last_good_model(self, world: World) -> None:
        good = of_round(world, accuracy=0.5)
        failed = world.add_round([])
        with world.store.write() as tx:
            tx.rounds.set_round(failed.id, state=RoundState.FAILED, error="loss is NaN", finished_at=NOW)
        assert promoted(world) == good.id

    def test_without_evaluation_the_newest_is_the_projects_until_a_person_chooses(
        self, world: World, use_cases: Models
    ) -> None:
        first, second = of_round(world), of_round(world)
        assert promoted(world) == second.id
        use_cases.promote(first.id)
        of_round(world)
        assert promoted(world) == first.id
        measured = of_round(world, accuracy=0.9)
        assert promoted(world) == first.id
        use_cases.promote(measured.id)
        better = of_round(world, accuracy=0.95)
        assert promoted(world) == better.id


@pytest.mark.parametrize(
    ("new", "old", "words"),
    [
        ({"evaluation_fingerprint": "a"}, {"evaluation_fingerprint": "a"}, "the same evaluation set"),
        ({"evaluation_fingerprint": "a"}, {"evaluation_fingerprint": "b"}, "other evaluation sets"),
        ({"evaluation_samples": 3}, {"evaluation_samples": 4}, "other evaluation sets"),
        ({"evaluation_samples": 3}, {"evaluation_samples": 3}, "the evaluation set"),
    ],
)
def test_the_reason_says_where_accuracy_was_measured(new: dict[str, Any], old: dict[str, Any], words: str) -> None:
    model, before = (imported(metrics={"accuracy": 0.5, **more}) for more in (new, old))
    reason = why_promote("if_better", model, before, chosen_by_person=True)
    assert reason == f"accuracy 0.5000, before 0.5000, on {words}"


class TestUseCases:
    def test_promote_and_roll_back_go_along_the_history(self, world: World, use_cases: Models) -> None:
        set_promote(world, "never")
        a, b, c = (of_round(world).id for _ in range(3))
        steps = []
        for act in (a, b, b, c, "back", "back", c, a, "back", "back"):
            if act == "back":
                use_cases.roll_back("birds", user_id=world.bob.id)
            else:
                use_cases.promote(int(act), reason="looks good", user_id=world.ann.id)
            steps.append(promoted(world))
        assert steps == [a, b, b, c, b, a, c, a, c, a]
        with pytest.raises(NothingToRollBackError, match=f"before model {a}"):
            use_cases.roll_back("birds")
        history = use_cases.history("birds")
        assert len(history) == 9
        assert (history[0].reason, history[0].user_id, history[0].at) == ("looks good", world.ann.id, LATER)
        assert (history[-1].action, history[-1].user_id) == (PromotionAction.ROLLBACK, world.bob.id)
        assert promotion_stack(history) == [a]
        with world.store.read() as tx:
            actions = [entry["action"] for entry in tx.accounts.audit()]
        assert (actions.count("model.promote"), actions.count("model.rollback")) == (5, 4)

    def test_what_cannot_be_promoted_or_rolled_back(self, world: World, use_cases: Models) -> None:
        with pytest.raises(ConflictError, match="birds yet"):
            use_cases.roll_back("birds")
        backbone = use_cases.register("birds", imported(kind=ModelKind.BACKBONE, class_names=()))
        with pytest.raises(InvalidInputError, match="backbone without head"):
            use_cases.promote(backbone.id)
        finch = use_cases.register("birds", imported(class_names=("owl", "finch")))
        with pytest.raises(InvalidInputError, match="'finch' apart, which is no class"):
            use_cases.promote(finch.id)
        with pytest.raises(NotFoundError):
            use_cases.promote(999)
        fine = use_cases.register("birds", imported(class_names=("wren", "owl")))
        with world.store.write() as tx:
            tx.projects.set_archived(world.project.id, NOW)
        with pytest.raises(NotFoundError, match="no project 'birds'"):
            use_cases.promote(fine.id)

    def test_registering_checks_kind_classes_and_name(self, world: World, use_cases: Models) -> None:
        first = world.add_round([])
        for model, words in (
            (imported(kind=ModelKind.ROUND, round_id=first.id), "by their round"),
            (imported(class_names=()), "has 0 classes"),
            (imported(kind=ModelKind.BACKBONE), "has 2 classes"),
            (imported(name=""), "1 to 200"),
            (imported(name="a\nb"), "1 to 200"),
        ):
            with pytest.raises(InvalidInputError, match=words):
                use_cases.register("birds", model)
        assert use_cases.all("birds") == []
        made = use_cases.register("birds", imported(project_id=77))
        assert (made.project_id, made.created_at) == (world.project.id, LATER)

    def test_a_model_is_found_by_its_id_or_as_the_promoted_one(self, world: World, use_cases: Models) -> None:
        with pytest.raises(NoPromotedModelError):
            use_cases.find("birds", "promoted")
        model = of_round(world)
        assert use_cases.find("birds", "promoted") == use_cases.find("birds", str(model.id)) == model
        with world.store.write() as tx:
            tx.projects.add("fish", [], ProjectConfig(), NOW)
        for word in (str(model.id), "999"):
            with pytest.raises(NotFoundError):
                use_cases.find("fish", word)
        for word in ("", "-1", "best", "1.0", "9" * 30, "²"):
            with pytest.raises(InvalidInputError, match="neither an id nor"):
                use_cases.find("birds", word)

    def test_two_models_are_compared_number_by_number_and_class_by_class(self, world: World, use_cases: Models) -> None:
        def metrics(accuracy: float, f1: float) -> dict[str, Any]:
            return {
                "accuracy": accuracy, "evaluation_samples": 8, "evaluation_fingerprint": "same", "fit_seconds": 3.0,
                "flag": True, "words": "x", "per_class": {"owl": {"f1": f1, "support": 4}, str(accuracy): {"f1": 1.0}},
            }  # fmt: skip

        a, b = of_round(world, **metrics(0.5, 0.25)), of_round(world, **metrics(0.75, 0.125))
        found = use_cases.compare("birds", str(a.id), "promoted")
        assert (found.a, found.b, found.same_evaluation, found.same_data) == (a, b, True, True)
        assert found.words == "measured on the same images and labels"
        assert found.metrics == {
            "accuracy": {"a": 0.5, "b": 0.75, "difference": 0.25},
            "evaluation_samples": {"a": 8, "b": 8, "difference": 0},
        }
        assert found.per_class == {
            "owl": {
                "f1": {"a": 0.25, "b": 0.125, "difference": -0.125},
                "support": {"a": 4, "b": 4, "difference": 0},
            }
        }

    def test_a_comparison_says_what_is_not_known(self, world: World, use_cases: Models) -> None:
        a = of_round(world, accuracy=0.5, evaluation_samples=8)
        b = use_cases.register("birds", imported())
        found = use_cases.compare("birds", str(a.id), str(b.id))
        assert (found.same_evaluation, found.same_data, found.metrics) == (False, None, {})
        assert found.words == f"not measured on an evaluation set: model {b.id}"
        c = of_round(world, accuracy=0.5, evaluation_samples=8)
        found = use_cases.compare("birds", str(a.id), str(c.id))
        assert (found.same_evaluation, found.words[:13]) == (None, "nobody knows ")

    def test_metrics_of_a_round_that_trained_again_are_not_those_of_its_first_model(
        self, world: World, use_cases: Models
    ) -> None:
        a = of_round(world, accuracy=0.5)
        with world.store.write() as tx:
            tx.rounds.set_round(a.round_id or 0, metrics={"nll": 2.0}, model_hash="another")
        assert use_cases.compare("birds", str(a.id), str(a.id)).metrics.keys() == {"accuracy"}

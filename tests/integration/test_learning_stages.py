"""What the stages of a round do with images: caches, shards, frozen backbones, pretraining, going on after a kill."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from al_service.acquisition.scored_pool import ScoredPool
from al_service.bootstrap import replay_round
from al_service.domain.model_kinds import ModelKind
from al_service.domain.records import Round, User
from al_service.domain.states import JobKind, JobState, RoundState, Stage
from al_service.errors import InvalidInputError
from al_service.learning import checkpoints, networks
from al_service.learning.inference import predict
from al_service.learning.round_model import Examples, Lesson, Means, finetune
from al_service.learning.threads import threads_for
from al_service.storage.row_view import DamagedRowsError
from tests.integration.conftest import DIGITS, Loop, truth_of
from workers import context, jobs, pretrain_job
from workers.caches import embeddings_of_round
from workers.models import scoring_network
from workers.round_inputs import class_indices
from workers.running import Interrupts, JobRun, WorkerStoppingError

pytestmark = pytest.mark.parametrize("database_kind", ["sqlite"])


def a_loop_over(loop: Loop, digits: Path, **settings: Any) -> Loop:
    """A project `digits` with these settings, its images and the evaluation labels in."""
    loop.truth = truth_of(digits)
    values = {"labels_per_round": 30, "epochs_max": 5, "reserve_factor": 0.5, **settings}
    loop.services.projects.create("digits", DIGITS, values)
    loop.services.projects.import_images("digits", str(digits), use_labels="evaluation")
    loop.work()
    return loop


def scores_of(loop: Loop, number: int, project: str = "digits") -> ScoredPool:
    record = loop.services.rounds.get(project, number)
    facts = record.stage_record(Stage.SELECT).result
    candidates = ScoredPool.from_bytes(loop.services.artifacts.get(facts["candidates_artifact"]))
    return ScoredPool.read(loop.services.artifacts.get, facts["scores_artifacts"], candidates.sample_ids)


def images_of(loop: Loop, project: str, number: int) -> list[str]:
    """Content hashes of a round's batch and reserve, by rank: what two projects over the same images can share."""
    record = loop.services.rounds.get(project, number)
    with loop.services.store.read() as tx:
        picks = [*tx.queue.selections(record.id), *tx.queue.reserve_selections(record.id)]
        return [tx.samples.get(pick.sample_id).sha256 for pick in picks]


def a_new_process(loop: Loop) -> None:
    """What a restarted worker has: nothing in memory."""
    context.install(context.WorkerContext(loop.settings, loop.services, "another-worker", interrupts=Interrupts()))


class TestShards:
    def test_a_large_pool_is_scored_by_several_jobs_and_chosen_from_as_one(
        self, loop: Loop, digits: Path, mia: User
    ) -> None:
        a_loop_over(loop, digits, score_shard_samples=400, strategy="margin+k_center")
        loop.answer_all("digits", mia)
        loop.work()
        record = loop.services.rounds.get("digits", 2)
        facts = record.stage_record(Stage.SCORE).result
        unlabelled = loop.services.projects.summary("digits").counts.unlabelled
        assert [shard["scored"] for shard in facts["shards"]] == [400, 400, 400, unlabelled - 1200]
        assert facts["scored"] == unlabelled
        with loop.services.store.read() as tx:
            shards = tx.jobs.of_round(record.id, JobKind.SCORE_SHARD)
            model = tx.models.find_of_round(record.id)
            hashes = {
                item.id: item.sha256 for item in tx.samples.get_many(scores_of(loop, 2).sample_ids.tolist()).values()
            }
        assert len(shards) == 4
        assert replay_round(loop.services, "digits", 2)["identical"]
        # Together the shards say what the model says of the whole pool at once.
        assert model is not None
        checkpoint = checkpoints.from_bytes(loop.services.artifacts.get(model.artifact))
        pool = scores_of(loop, 2)
        pixels = context.current().pixel_rows(8, 1797).view([hashes[int(one)] for one in pool.sample_ids])
        logits = predict(checkpoint.network, pixels).logits / checkpoint.temperature
        expected = np.exp(logits - logits.max(1, keepdims=True))
        np.testing.assert_allclose(pool.probabilities, expected / expected.sum(1, keepdims=True), atol=1e-4)
        assert pool.labelled_embeddings is not None
        assert len(pool.labelled_embeddings) == 30

    def test_the_size_of_shards_changes_no_choice(self, loop: Loop, digits: Path, mia: User) -> None:
        chosen = []
        for name, size in (("whole", 20_000), ("cut", 100)):
            loop.truth = truth_of(digits)
            values = {"labels_per_round": 30, "epochs_max": 3, "score_shard_samples": size, "reserve_factor": 0.0}
            loop.services.projects.create(name, DIGITS, values)
            loop.services.projects.import_images(name, str(digits), use_labels="evaluation")
            loop.work()
            loop.answer_all(name, mia)
            loop.work()
            chosen.append(images_of(loop, name, 2))
        assert chosen[0] == chosen[1]

    def test_a_pool_too_large_for_one_worker_is_chosen_from_in_two_stages(
        self, loop: Loop, digits: Path, mia: User
    ) -> None:
        """What depends on each image alone comes out the same; workers then hold shards and proposals only."""
        chosen = []
        for name, most in (("whole", 10_000), ("digits", 1000)):
            loop.truth = truth_of(digits)
            values = {"labels_per_round": 30, "epochs_max": 3, "score_shard_samples": 400, "strategy": "margin"}
            more = {"random_fraction": 0.0, "select_whole_samples": most}
            loop.services.projects.create(name, DIGITS, values | more)
            loop.services.projects.import_images(name, str(digits), use_labels="evaluation")
            loop.work()
            loop.answer_all(name, mia)
            loop.work()
            chosen.append(images_of(loop, name, 2))
        assert chosen[0] == chosen[1] and len(chosen[1]) == 60
        facts = loop.services.rounds.get("digits", 2).stage_record(Stage.SELECT).result
        assert facts["in_two_stages"] and facts["candidates"] == 60 * len(facts["scores_artifacts"])
        assert replay_round(loop.services, "digits", 2)["identical"]

    def test_two_stages_keep_the_random_slice_of_the_whole_pool_and_can_be_replayed(
        self, loop: Loop, digits: Path, mia: User
    ) -> None:
        a_loop_over(loop, digits, score_shard_samples=200, select_whole_samples=1000, random_fraction=0.5)
        loop.answer_all("digits", mia)
        loop.work()
        facts = loop.services.rounds.get("digits", 2).stage_record(Stage.SELECT).result
        candidates = ScoredPool.from_bytes(loop.services.artifacts.get(facts["candidates_artifact"]))
        with loop.services.store.read() as tx:
            picks = tx.queue.selections(loop.services.rounds.get("digits", 2).id)
        codes = [pick.reason["code"] for pick in picks]
        assert codes.count("random") == 15
        assert len({pick.sample_id for pick in picks}) == 30
        random_ids = {pick.sample_id for pick in picks if pick.reason["code"] == "random"}
        assert candidates.other_ids is not None
        assert random_ids & set(candidates.other_ids.tolist()), "drawn from all, not from proposals alone"
        assert replay_round(loop.services, "digits", 2)["identical"]


class TestCaches:
    def test_an_image_is_decoded_once_for_all_rounds_and_workers(self, loop: Loop, digits: Path, mia: User) -> None:
        a_loop_over(loop, digits)
        loop.answer_all("digits", mia)
        loop.work()
        for path in (loop.settings.artifact_dir / "images").rglob("*"):
            if path.is_file():
                path.write_bytes(b"nobody reads this again")
        a_new_process(loop)
        loop.answer_all("digits", mia)
        loop.work()
        record = loop.services.rounds.get("digits", 3)
        assert record.state is RoundState.ANNOTATING
        assert record.stage_record(Stage.TRAIN).result["unreadable"] == 0

    def test_a_damaged_cache_is_made_again(self, loop: Loop, digits: Path, mia: User) -> None:
        a_loop_over(loop, digits)
        loop.answer_all("digits", mia)
        loop.work()
        shards = list((loop.settings.data_dir / "cache").rglob("*.rows"))
        assert shards
        for path in shards:
            data = bytearray(path.read_bytes())
            data[len(data) // 2 :: 997] = bytes(len(data[len(data) // 2 :: 997]))
            path.write_bytes(data)
        a_new_process(loop)
        loop.answer_all("digits", mia)
        # The first reader of a damaged block fails its attempt; the next one finds the cache whole.
        with pytest.raises(DamagedRowsError):
            loop.work()
        loop.clock.advance(600)
        loop.work()
        assert loop.services.rounds.get("digits", 3).state is RoundState.ANNOTATING

    def test_deleting_the_cache_loses_nothing(self, loop: Loop, digits: Path, mia: User) -> None:
        a_loop_over(loop, digits)
        loop.answer_all("digits", mia)
        loop.work()
        shutil.rmtree(loop.settings.data_dir / "cache")
        loop.answer_all("digits", mia)
        loop.work()
        assert loop.services.rounds.get("digits", 3).state is RoundState.ANNOTATING


class TestFirstLook:
    """The first batch of a project that nobody has labelled anything of."""

    def reasons(self, loop: Loop, number: int) -> set[str]:
        record = loop.services.rounds.get("digits", number)
        with loop.services.store.read() as tx:
            return {
                str(row.reason["code"]) for row in tx.queue.selections(record.id) if row.reason["code"] != "evaluation"
            }

    def test_auto_chooses_typical_images_before_there_is_a_model(self, loop: Loop, digits: Path, mia: User) -> None:
        a_loop_over(loop, digits)
        first = loop.services.rounds.get("digits", 1)
        assert self.reasons(loop, 1) == {"random", "typical"}
        assert first.stage_record(Stage.SELECT).result["regime"] == "cover"
        assert "no model" in first.stage_record(Stage.SELECT).result["why"]
        loop.answer_all("digits", mia)
        loop.work()
        second = loop.services.rounds.get("digits", 2)
        assert self.reasons(loop, 2) == {"random", "margin+typical"}
        assert second.stage_record(Stage.SELECT).result["regime"] == "uncertain"
        for number in (1, 2):
            assert replay_round(loop.services, "digits", number)["identical"]

    def test_strategies_without_a_cold_start_begin_at_random(self, loop: Loop, digits: Path) -> None:
        a_loop_over(loop, digits, strategy="margin")
        assert self.reasons(loop, 1) == {"first_look"}

    def test_a_backbone_that_is_not_there_yet_keeps_nobody_waiting(self, loop: Loop, digits: Path) -> None:
        a_loop_over(loop, digits, weights="pretrained")
        record = loop.services.rounds.get("digits", 1)
        assert record.state is RoundState.ANNOTATING
        assert self.reasons(loop, 1) == {"first_look"}
        assert "al pretrain" in record.stage_record(Stage.SCORE).result["skipped"]


class TestEmbeddingsOfARound:
    """A network that a round trained sees an image once, whatever becomes of the jobs."""

    def test_a_score_job_that_is_done_again_runs_no_image_through_the_network(
        self, loop: Loop, digits: Path, mia: User
    ) -> None:
        a_loop_over(loop, digits, strategy="margin+k_center")
        loop.answer_all("digits", mia)
        loop.work()
        first = scores_of(loop, 2)
        cache = loop.settings.data_dir / "cache"
        shutil.rmtree(cache / "pixels")
        for path in (loop.settings.artifact_dir / "images").rglob("*"):
            if path.is_file():
                path.write_bytes(b"nobody reads this again")
        record = loop.services.rounds.get("digits", 2)
        with loop.services.store.read() as tx:
            model = tx.models.find_of_round(record.id)
            [job] = tx.jobs.of_round(record.id, JobKind.SCORE)
            pool = tx.samples.get_many(first.sample_ids.tolist())
        assert model is not None
        a_new_process(loop)
        network = scoring_network(context.current(), model)
        run = JobRun(job, loop.services.jobs, 10, Interrupts())
        rows = embeddings_of_round(
            context.current(), run, network, [pool[int(one)].sha256 for one in first.sample_ids], precision="auto"
        )
        np.testing.assert_array_equal(rows.values[:], first.embeddings)
        assert not (cache / "pixels").exists(), "no image was decoded again"

    def test_those_of_the_newest_two_rounds_are_kept(self, loop: Loop, digits: Path, mia: User) -> None:
        a_loop_over(loop, digits, strategy="margin")
        folders = []
        for _ in range(4):
            loop.answer_all("digits", mia)
            loop.work()
            folders.append(
                {path.name for path in (loop.settings.data_dir / "cache" / "round-embeddings" / "1").iterdir()}
            )
        assert [len(one) for one in folders] == [1, 2, 2, 2]
        assert len(set.union(*folders)) == 4
        assert folders[0] < folders[1]
        assert not folders[0] & folders[2]

    def test_dropout_inside_the_backbone_is_not_taken_from_kept_embeddings(
        self, loop: Loop, digits: Path, mia: User
    ) -> None:
        a_loop_over(loop, digits, strategy="bald", network="alexnet", image_px=64, epochs_max=1, mc_passes=3)
        loop.answer_all("digits", mia)
        loop.work()
        sampled = scores_of(loop, 2).sampled_probabilities
        assert sampled is not None
        assert sampled.shape[1:] == (3, 10)
        assert (sampled.std(1) > 0).any()
        assert not (loop.settings.data_dir / "cache" / "round-embeddings").exists()


class TestProbe:
    def test_rounds_train_a_head_on_a_frozen_backbone(self, loop: Loop, digits: Path, mia: User) -> None:
        a_loop_over(loop, digits, training_mode="probe", strategy="margin")
        for _ in range(3):
            loop.answer_all("digits", mia)
            loop.work()
        records = [loop.services.rounds.get("digits", number) for number in (2, 3, 4)]
        assert [record.stage_record(Stage.TRAIN).result["mode"] for record in records] == ["probe"] * 3
        accuracies = [record.metrics["accuracy"] for record in records]
        # A backbone that nobody trained still tells digits apart.
        assert accuracies[-1] > 0.6
        assert accuracies[-1] > accuracies[0]
        with loop.services.store.read() as tx:
            models = [tx.models.find_of_round(record.id) for record in records]
        artifacts = loop.services.artifacts
        sizes = [len(artifacts.get(model.artifact)) for model in models if model is not None]
        backbones = [name for name in artifacts.names("models/") if "backbone-" in name]
        assert len(backbones) == 1, "the backbone is frozen, so rounds share it and its embeddings"
        assert len(list((loop.settings.data_dir / "cache" / "embeddings").iterdir())) == 1
        [entry] = [model for model in loop.services.models.all("digits") if model.kind is ModelKind.BACKBONE]
        assert {model.backbone_id for model in models if model is not None} == {entry.id}
        assert max(sizes) < len(artifacts.get(backbones[0])) / 10

    def test_a_frozen_backbone_sees_an_image_once(self, loop: Loop, digits: Path, mia: User, tmp_path: Path) -> None:
        from al_service.learning import networks

        weights = tmp_path / "backbone.safetensors"
        weights.write_bytes(checkpoints.backbone_to_bytes(networks.build("small_cnn", 10, 8, seed=5)))
        a_loop_over(loop, digits, training_mode="probe", weights=str(weights))
        loop.answer_all("digits", mia)
        loop.work()
        [folder] = (loop.settings.data_dir / "cache" / "embeddings").iterdir()
        before = {path.name: path.stat().st_size for path in folder.rglob("*.rows")}
        shutil.rmtree(loop.settings.data_dir / "cache" / "pixels")
        a_new_process(loop)
        loop.answer_all("digits", mia)
        loop.work()
        assert loop.services.rounds.get("digits", 3).state is RoundState.ANNOTATING
        assert {path.name: path.stat().st_size for path in folder.rglob("*.rows")} == before
        record = loop.services.rounds.get("digits", 3)
        with loop.services.store.read() as tx:
            chosen = [
                pick.sample_id for pick in (*tx.queue.selections(record.id), *tx.queue.reserve_selections(record.id))
            ]
            hashes = {sample.sha256 for sample in tx.samples.get_many(chosen).values()}
        pixels = context.current().pixel_rows(8, len(loop.truth))
        decoded = set(loop.truth) - {sorted(loop.truth)[at] for at in pixels.missing(sorted(loop.truth))}
        assert decoded == hashes, "no image was decoded again but the chosen ones, which are looked through for copies"


@pytest.mark.parametrize("settings_values", [{"training_state_every_s": 0.0}])
class TestPretraining:
    def test_a_backbone_from_the_pool_is_what_rounds_start_from(self, loop: Loop, digits: Path, mia: User) -> None:
        a_loop_over(loop, digits, pretrain_epochs=3, training_mode="probe")
        loop.answer_all("digits", mia)
        job, is_new = loop.services.projects.pretrain("digits")
        again, is_new_again = loop.services.projects.pretrain("digits")
        assert (is_new, is_new_again, again.id) == (True, False, job.id)
        loop.work()
        facts = loop.services.jobs.get(job.id).result
        assert 0 < facts["knn_accuracy_before"] < 1
        assert 0 < facts["knn_accuracy"] < 1
        assert facts["images"] == loop.services.projects.summary("digits").counts.total
        models = loop.services.models.all("digits")
        assert facts["model"] in [model.id for model in models if model.kind is ModelKind.BACKBONE]
        loop.services.projects.change("digits", {"weights": "pretrained"})
        loop.answer_all("digits", mia)
        loop.work()
        loop.answer_all("digits", mia)
        loop.work()
        folders = list((loop.settings.data_dir / "cache" / "embeddings").iterdir())
        assert len(folders) == 2, "two rounds on the pretrained backbone share its embeddings; the first had another"
        assert not loop.services.artifacts.names("pretraining/")

    def test_asking_for_a_backbone_that_nobody_trained_says_what_to_do(
        self, loop: Loop, digits: Path, mia: User
    ) -> None:
        a_loop_over(loop, digits, weights="pretrained")
        loop.answer_all("digits", mia)
        with pytest.raises(InvalidInputError, match=r"run `al pretrain digits`"):
            loop.work()

    def test_a_pretraining_that_was_stopped_goes_on_though_people_labelled_meanwhile(
        self, loop: Loop, digits: Path, mia: User
    ) -> None:
        a_loop_over(loop, digits, pretrain_epochs=4)
        job, _ = loop.services.projects.pretrain("digits")
        stop_after(loop, 3, "pretraining/")
        jobs.pretrain(job.id, 1)
        assert loop.services.jobs.get(job.id).attempt == 2
        loop.answer_all("digits", mia)
        a_new_process(loop)
        jobs.pretrain(job.id, 2)
        facts = loop.services.jobs.get(job.id).result
        assert facts["state_refused"] == ""
        assert facts["resumed_step"] >= 2
        assert not loop.services.artifacts.names("pretraining/")

    def test_a_long_pretraining_gives_way_to_other_jobs(
        self, loop: Loop, digits: Path, mia: User, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(pretrain_job, "GIVE_WAY_AFTER_S", 0.0)
        a_loop_over(loop, digits, pretrain_epochs=1)
        job, _ = loop.services.projects.pretrain("digits")
        jobs.pretrain(job.id, 1)
        again = loop.services.jobs.get(job.id)
        assert (again.state, again.attempt) == (JobState.QUEUED, 2)
        assert again.attempts_max > 3, "a pause is no failure"


class TestGoingOn:
    @pytest.mark.parametrize("settings_values", [{"heartbeat_s": 0.05, "training_state_every_s": 0.0}])
    def test_a_training_that_was_stopped_goes_on_from_its_last_epoch(self, loop: Loop, digits: Path, mia: User) -> None:
        a_loop_over(loop, digits, epochs_max=12, labels_per_round=40)
        loop.answer_all("digits", mia)
        loop.scheduler.tick()
        with loop.services.store.read() as tx:
            [job] = [item for item in tx.jobs.all(states=["queued"]) if item.kind is JobKind.TRAIN]
        stop_after(loop, 5)
        jobs.train(job.id, job.attempt)
        again = loop.services.jobs.get(job.id)
        assert again.attempt == 2
        assert loop.services.artifacts.names("rounds/")
        a_new_process(loop)
        loop.work()
        record = loop.services.rounds.get("digits", 2)
        facts = record.stage_record(Stage.TRAIN).result
        assert facts["resumed_from_epoch"] >= 5
        assert facts["epochs"] >= facts["resumed_from_epoch"]
        assert not [name for name in loop.services.artifacts.names("rounds/") if "training-" in name]

    @pytest.mark.parametrize("settings_values", [{"heartbeat_s": 0.02, "training_state_every_s": 0.0}])
    def test_a_training_with_unlabelled_images_goes_on_over_those_of_its_first_attempt(
        self, loop: Loop, digits: Path, mia: User
    ) -> None:
        a_loop_over(loop, digits, semi_supervised="pseudo_labels", epochs_max=8, reserve_factor=1.0)
        loop.answer_all("digits", mia)
        loop.scheduler.tick()
        with loop.services.store.read() as tx:
            [job] = [item for item in tx.jobs.all(states=["queued"]) if item.kind is JobKind.TRAIN]
            first = [sha256 for _, sha256 in tx.samples.selectable(job.project_id)]
        # The list, eight states of the training without them, and three of that with them.
        stop_after(loop, 12)
        jobs.train(job.id, job.attempt)
        assert loop.services.jobs.get(job.id).attempt == 2
        assert loop.answer_all("digits", mia) > 0
        a_new_process(loop)
        jobs.train(job.id, 2)
        record = loop.services.rounds.get("digits", 2)
        facts = record.stage_record(Stage.TRAIN).result
        with loop.services.store.read() as tx:
            model = tx.models.find_of_round(record.id)
            assert len(tx.samples.selectable(job.project_id)) < len(first)
        assert model is not None
        assert (facts["state_refused"], facts["resumed_from_epoch"] >= 3) == ("", True)
        expected, whole = trained_without_a_stop(loop, record, first)
        found = checkpoints.from_bytes(loop.services.artifacts.get(model.artifact)).network.state_dict()
        for name, value in expected.state_dict().items():
            np.testing.assert_array_equal(value.numpy(), found[name].numpy(), err_msg=name)
        for name in ("unlabelled_seen", "unlabelled_used", "best_epoch"):
            assert facts[name] == whole[name], name
        assert not [name for name in loop.services.artifacts.names("rounds/") if "training-" in name]


class TestSeveralProcesses:
    @pytest.mark.parametrize("settings_values", [{"train_processes": 2}])
    def test_two_processes_train_one_model(self, loop: Loop, digits: Path, mia: User) -> None:
        a_loop_over(loop, digits, epochs_max=20, labels_per_round=100)
        loop.answer_all("digits", mia)
        loop.work()
        record = loop.services.rounds.get("digits", 2)
        assert record.state is RoundState.ANNOTATING
        assert record.metrics["accuracy"] > 0.5
        assert list((loop.settings.data_dir / "scratch").glob("train-*")) == []


class TestUnlabelledImages:
    @pytest.mark.parametrize(
        "settings",
        [
            {"training_mode": "finetune", "semi_supervised": "pseudo_labels"},
            {"training_mode": "probe", "semi_supervised": "label_spreading"},
        ],
    )
    def test_what_they_bring_is_measured_beside_the_plain_model(
        self, loop: Loop, digits: Path, mia: User, settings: dict[str, Any]
    ) -> None:
        a_loop_over(loop, digits, epochs_max=4, **settings)
        loop.answer_all("digits", mia)
        loop.work()
        metrics = loop.services.rounds.get("digits", 2).metrics
        assert metrics["evaluation_samples"] == 370
        assert 0 < metrics["plain"]["accuracy"] < 1
        assert metrics["plain"]["nll"] != metrics["nll"]


def trained_without_a_stop(loop: Loop, record: Round, unlabelled: list[str]) -> tuple[networks.Network, dict[str, Any]]:
    """What the round's training is in one go, over these unlabelled images: the network, and what is said of it."""
    with loop.services.store.read() as tx:
        labelled = tx.samples.training_set(record.project_id, record.watermark)
    rows = context.current().pixel_rows(8, 1797)
    network = networks.build(record.config.network, len(record.class_names), 8, seed=record.seed)
    examples = Examples(rows.view([row.sha256 for row in labelled]), class_indices(labelled, record.class_names))
    lesson = Lesson(record.config, record.class_names, record.seed, examples, unlabelled=rows.view(unlabelled))
    with threads_for(8, torch.device("cpu")):
        learned = finetune(lesson, network, Means())
    return learned.network, learned.facts


def stop_after(loop: Loop, states: int, where: str = "training-") -> None:
    """From now on the worker is asked to stop once that many states have been kept."""
    current = context.current()

    class Counting:
        """The real artifacts; the worker is told to stop after some states were kept."""

        def __init__(self) -> None:
            self.kept = 0

        def __getattr__(self, name: str) -> Any:
            return getattr(loop.services.artifacts, name)

        def put(self, name: str, data: bytes) -> None:
            loop.services.artifacts.put(name, data)
            if where in name:
                self.kept += 1
                if self.kept == states:
                    current.interrupts.request(WorkerStoppingError("the test stops this worker"))

    from dataclasses import replace

    current.services = replace(loop.services, artifacts=Counting())


def test_an_evaluation_image_that_somebody_holds_is_not_asked_of_another_after_a_cancelled_round(
    loop: Loop, digits: Path, mia: User
) -> None:
    tom = loop.person("tom")
    loop.truth = truth_of(digits)
    settings = {"labels_per_round": 10, "evaluation_labels": 5, "holdout_fraction": 0.01, "reserve_factor": 0.0}
    loop.services.projects.create("digits", DIGITS, settings)
    loop.services.projects.import_images("digits", str(digits), use_labels="none")
    loop.work()
    held = {one.sample.id for one in loop.services.assignments.lease_next("digits", mia, 100).assignments}
    loop.services.rounds.cancel("digits", 1)
    loop.services.rounds.start("digits")
    loop.work()
    others = {one.sample.id for one in loop.services.assignments.lease_next("digits", tom, 100).assignments}
    assert others
    assert not held & others


class TestCommittees:
    @pytest.mark.parametrize(
        ("committee", "mode"), [("laplace", "probe"), ("bootstrap", "probe"), ("laplace", "finetune")]
    )
    def test_opinions_come_from_heads_that_all_shards_share(
        self, loop: Loop, digits: Path, mia: User, committee: str, mode: str
    ) -> None:
        opinions = []
        for name, size in (("whole", 20_000), ("digits", 500)):
            settings = {"strategy": "bald", "committee": committee, "training_mode": mode, "mc_passes": 5}
            loop.truth = truth_of(digits)
            values = {"labels_per_round": 30, "epochs_max": 3, "score_shard_samples": size, "reserve_factor": 0.0}
            loop.services.projects.create(name, DIGITS, values | settings)
            loop.services.projects.import_images(name, str(digits), use_labels="evaluation")
            loop.work()
            loop.answer_all(name, mia)
            loop.work()
            pool = scores_of(loop, 2, name)
            sampled = pool.sampled_probabilities
            assert sampled is not None and sampled.shape == (len(pool.sample_ids), 5, 10)
            np.testing.assert_allclose(sampled.sum(2), 1, atol=1e-3)
            assert len({member.tobytes() for member in np.swapaxes(sampled, 0, 1)}) == 5, "each has its own opinion"
            opinions.append(sampled)
        np.testing.assert_allclose(opinions[0], opinions[1], atol=1e-3)
        assert replay_round(loop.services, "digits", 2)["identical"]

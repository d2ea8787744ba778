"""The queue never runs dry: people who finish the batch while the next round is at work get its reserve, and the next
batch replaces all of it at once; on both databases.
"""

import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest

from al_service.bootstrap import replay_round
from al_service.domain.records import Chosen, Round, User
from al_service.domain.states import AnnotationKind, RoundState, SampleState, SelectionState, Stage, StageState
from al_service.errors import ConflictError, InvalidInputError
from al_service.loop.batches import hand_over
from al_service.loop.rounds import StageResult
from tests.integration.conftest import Loop
from tests.integration.pets import ask, choose, fill, label, lease, sample_state, say

pytestmark = pytest.mark.parametrize("database_kind", ["sqlite", "postgresql"])


def leased_ids(loop: Loop, user: User, count: int = 1) -> list[int]:
    return [item.sample.id for item in lease(loop, user, count)]


def answer_batch(loop: Loop, user: User) -> int:
    """Answer until nothing comes; how many."""
    count = 0
    while held := lease(loop, user, 3):
        for assignment in held:
            label(loop, assignment, user)
            count += 1
    return count


def next_round(loop: Loop) -> Round:
    """Start one and leave it at training."""
    record, is_new = loop.services.rounds.start("pets")
    assert is_new and record.state is RoundState.RUNNING
    return record


def fail_training(loop: Loop) -> int:
    """The open round's training fails for good; its job."""
    job_id = loop.services.rounds.all("pets")[-1].stage_record(Stage.TRAIN).job_id
    assert job_id is not None
    claimed = loop.services.jobs.claim(job_id, loop.services.jobs.get(job_id).attempt, "w")
    assert claimed is not None
    loop.services.jobs.fail(claimed.id, claimed.attempt, "loss is NaN", retryable=False)
    return job_id


def reserve_states(loop: Loop, number: int = 1) -> dict[int, SelectionState]:
    record = loop.services.rounds.get("pets", number)
    with loop.services.store.read() as tx:
        return {item.sample_id: item.state for item in tx.queue.reserve_selections(record.id)}


def why_empty(loop: Loop, user: User) -> str:
    reason = loop.services.assignments.lease_next("pets", user, 1).why_empty
    assert reason is not None
    return reason.code


class TestWhenItOpens:
    def test_while_the_next_round_trains_people_get_the_reserve_in_order(self, loop: Loop, mia: User) -> None:
        ids = fill(loop, batch=2, reserve=4)
        assert answer_batch(loop, mia) == 2
        next_round(loop)
        assert leased_ids(loop, mia) == [ids[2]]
        assert leased_ids(loop, mia, 3) == ids[2:5]
        waits = SelectionState.RESERVE
        assert reserve_states(loop) == {**dict.fromkeys(ids[2:5], SelectionState.OPEN), ids[5]: waits}

    def test_the_batch_comes_first_and_only_what_lacks_is_opened(self, loop: Loop, mia: User, tom: User) -> None:
        ids = fill(loop, batch=3, reserve=4)
        label(loop, lease(loop, mia)[0], mia)
        next_round(loop)
        assert leased_ids(loop, mia) == [ids[1]]
        assert Counter(reserve_states(loop).values()) == {SelectionState.RESERVE: 4}
        assert leased_ids(loop, tom, 3) == [ids[2], ids[3], ids[4]]
        assert Counter(reserve_states(loop).values()) == {SelectionState.OPEN: 2, SelectionState.RESERVE: 2}

    def test_it_stays_closed_while_the_round_itself_asks_people(self, loop: Loop, mia: User, tom: User) -> None:
        fill(loop, batch=2, reserve=4)
        held = lease(loop, tom, 2)
        assert (leased_ids(loop, mia), why_empty(loop, mia)) == ([], "leased_to_others")
        for assignment in held:
            label(loop, assignment, tom)
        assert why_empty(loop, mia) == "waiting_for_engineer", "nobody started a round here"
        assert set(reserve_states(loop).values()) == {SelectionState.RESERVE}

    def test_when_it_is_used_up_the_reason_is_the_round(self, loop: Loop, mia: User) -> None:
        fill(loop, batch=2, reserve=2)
        answer_batch(loop, mia)
        next_round(loop)
        assert answer_batch(loop, mia) == 2
        assert why_empty(loop, mia) == "round_running"

    def test_without_a_reserve_all_is_as_before(self, loop: Loop, mia: User) -> None:
        fill(loop, batch=2)
        answer_batch(loop, mia)
        next_round(loop)
        assert why_empty(loop, mia) == "round_running"

    def test_in_every_stage_of_the_next_round(self, loop: Loop, mia: User) -> None:
        ids = fill(loop, batch=1, reserve=3)
        answer_batch(loop, mia)
        record = next_round(loop)
        rounds, given = loop.services.rounds, []
        for stage, result in (
            (Stage.TRAIN, StageResult({}, Stage.SCORE)),
            (Stage.SCORE, StageResult({}, Stage.SELECT)),
        ):
            job_id = rounds.get("pets", record.number).stage_record(stage).job_id
            claimed = loop.services.jobs.claim(job_id or 0, 1, "w")
            assert claimed is not None
            [held] = lease(loop, mia)
            given.append(held.sample.id)
            label(loop, held, mia)
            rounds.complete_stage(claimed, stage, result)
        assert rounds.get("pets", record.number).stage is Stage.SELECT
        assert given + leased_ids(loop, mia) == ids[1:4]

    def test_a_failed_round_leaves_people_the_reserve_and_a_retried_or_new_one_too(self, loop: Loop, mia: User) -> None:
        ids = fill(loop, batch=1, reserve=4)
        answer_batch(loop, mia)
        next_round(loop)
        job_id = fail_training(loop)
        [held] = lease(loop, mia)
        assert held.sample.id == ids[1]
        label(loop, held, mia)
        loop.services.jobs.retry(job_id)
        label(loop, lease(loop, mia)[0], mia)
        fail_training(loop)
        next_round(loop)
        assert leased_ids(loop, mia, 2) == ids[3:5]

    def test_used_up_in_a_failed_round_the_reason_is_the_failure(self, loop: Loop, mia: User) -> None:
        fill(loop, batch=1, reserve=1)
        answer_batch(loop, mia)
        next_round(loop)
        fail_training(loop)
        assert answer_batch(loop, mia) == 1
        assert why_empty(loop, mia) == "round_failed"

    def test_a_cancelled_round_closes_it_until_the_next_one_starts(self, loop: Loop, mia: User, tom: User) -> None:
        ids = fill(loop, batch=1, reserve=4)
        answer_batch(loop, mia)
        next_round(loop)
        assert leased_ids(loop, mia) == [ids[1]]
        loop.services.rounds.cancel("pets", 2)
        assert leased_ids(loop, mia) == [ids[1]], "what one holds one keeps"
        assert leased_ids(loop, tom) == []
        next_round(loop)
        assert leased_ids(loop, tom) == [ids[2]]

    def test_cancelling_the_round_that_chose_it_takes_it_away(self, loop: Loop, mia: User) -> None:
        fill(loop, batch=1, reserve=3)
        loop.services.rounds.cancel("pets", 1)
        assert set(reserve_states(loop).values()) == {SelectionState.RETIRED}
        next_round(loop)
        assert why_empty(loop, mia) == "round_running"


class TestWhatItNeverDoes:
    def test_it_never_goes_beyond_the_label_budget(self, loop: Loop, mia: User, tom: User) -> None:
        ids = fill(loop, batch=2, reserve=6, label_budget=5)
        answer_batch(loop, mia)
        next_round(loop)
        assert leased_ids(loop, mia, 2) == ids[2:4]
        assert leased_ids(loop, tom, 4) == [ids[4]]
        answer_batch(loop, tom)
        answer_batch(loop, mia)
        assert loop.services.projects.summary("pets").counts.all_labelled == 5
        assert leased_ids(loop, mia) == []

    def test_a_sample_that_was_settled_meanwhile_is_passed_over(self, loop: Loop, mia: User, tom: User) -> None:
        ids = fill(loop, batch=1, reserve=3)
        answer_batch(loop, mia)
        with loop.services.store.write() as tx:
            project = loop.services.projects.get("pets")
            tx.annotations.add_labels(project.id, tom.id, [(ids[1], "dog")], "import-", loop.clock())
        next_round(loop)
        assert leased_ids(loop, mia, 5) == ids[2:4]
        assert reserve_states(loop)[ids[1]] is SelectionState.RESERVE

    def test_with_overlap_each_person_gets_each_sample_once(self, loop: Loop, mia: User, tom: User) -> None:
        ids = fill(loop, batch=1, reserve=2, overlap=2)
        for user in (mia, tom):
            [held] = lease(loop, user)
            label(loop, held, user)
        next_round(loop)
        for user in (mia, tom):
            held = lease(loop, user, 5)
            assert [item.sample.id for item in held] == ids[1:3]
            for assignment in held:
                label(loop, assignment, user, "dog")
        assert sample_state(loop, ids[1]) == (SampleState.LABELLED, "dog")
        assert (leased_ids(loop, mia), leased_ids(loop, tom)) == ([], [])

    def test_what_one_person_answered_is_passed_over_for_the_next_in_reserve(
        self, loop: Loop, mia: User, tom: User
    ) -> None:
        """With overlap a reserve sample may have one vote of this person already, from an earlier round."""
        ids = fill(loop, batch=2, reserve=0, overlap=2)
        for assignment in lease(loop, mia, 2):
            label(loop, assignment, mia)
        first, second = lease(loop, tom, 2)
        label(loop, second, tom)
        loop.services.assignments.release(first.id, tom)
        ask(loop, [ids[5]], reserve=[ids[0], ids[7]])
        for user in (mia, tom):
            label(loop, lease(loop, user)[0], user)
        next_round(loop)
        assert leased_ids(loop, mia) == [ids[7]]
        assert leased_ids(loop, tom) == [ids[0]]

    def test_skips_and_flags_work_as_in_the_batch(self, loop: Loop, mia: User, tom: User) -> None:
        ids = fill(loop, batch=1, reserve=3, max_skips=1)
        answer_batch(loop, mia)
        next_round(loop)
        first, second = lease(loop, mia, 2)
        say(loop, first, mia, AnnotationKind.SKIP)
        say(loop, second, mia, AnnotationKind.FLAG)
        assert (sample_state(loop, ids[1])[0], sample_state(loop, ids[2])[0]) == (
            SampleState.SKIPPED,
            SampleState.FLAGGED,
        )
        assert leased_ids(loop, tom, 5) == [ids[3]]

    @pytest.mark.parametrize(("batch", "reserve"), [([1], [1]), ([], [2, 2])], ids=["in the batch", "twice"])
    def test_a_sample_is_chosen_once(self, loop: Loop, mia: User, batch: list[int], reserve: list[int]) -> None:
        ids = fill(loop, batch=1)
        answer_batch(loop, mia)
        next_round(loop)
        with pytest.raises(InvalidInputError, match=f"sample {ids[reserve[0]]} is in the reserve twice, or in"):
            choose(loop, [ids[place] for place in batch], [ids[place] for place in reserve])
        record = loop.services.rounds.get("pets", 2)
        assert (record.stage, record.selected_count) == (Stage.SELECT, 0), "nothing of it was stored"

    def test_many_people_at_once_get_every_sample_once(self, loop: Loop, mia: User) -> None:
        ids = fill(loop, batch=2, reserve=10)
        answer_batch(loop, mia)
        next_round(loop)
        people = [loop.person(f"p{number}") for number in range(8)]
        start = threading.Barrier(len(people))

        def live(user: User) -> list[int]:
            start.wait()
            given = []
            for count in (1, 2, 3):
                given = leased_ids(loop, user, count)
            return given

        with ThreadPoolExecutor(len(people)) as pool:
            given = [sample_id for result in pool.map(live, people) for sample_id in result]
        assert sorted(given) == ids[2:12]


class TestHandOver:
    def test_the_new_batch_replaces_everything_but_what_people_hold(self, loop: Loop, mia: User, tom: User) -> None:
        ids = fill(loop, batch=1, reserve=5)
        answer_batch(loop, mia)
        next_round(loop)
        mias, [toms] = lease(loop, mia, 2), lease(loop, tom)
        loop.services.assignments.release(mias[1].id, mia)
        choose(loop, [ids[1], ids[2], ids[4], ids[8]], reserve=[ids[3], ids[9], ids[5]])
        assert reserve_states(loop) == {
            ids[1]: SelectionState.OPEN,
            ids[2]: SelectionState.RETIRED,
            ids[3]: SelectionState.OPEN,
            ids[4]: SelectionState.RETIRED,
            ids[5]: SelectionState.RETIRED,
        }
        assert [mias[0].sample.id, toms.sample.id] == [ids[1], ids[3]]
        with loop.services.store.read() as tx:
            fresh = {item.sample_id: item.state for item in tx.queue.selections(loop.services.rounds.get("pets", 2).id)}
        retired, is_open = SelectionState.RETIRED, SelectionState.OPEN
        assert fresh == {ids[1]: retired, ids[2]: is_open, ids[4]: is_open, ids[8]: is_open}
        # What Tom holds is not kept in reserve a second time.
        assert reserve_states(loop, 2) == dict.fromkeys([ids[5], ids[9]], SelectionState.RESERVE)
        label(loop, mias[0], mia)
        assert leased_ids(loop, mia, 5) == [ids[2], ids[4], ids[8]]
        assert label(loop, toms, tom).is_extra_vote is False

    def test_a_round_without_a_batch_is_closed_and_takes_the_old_reserve_away(self, loop: Loop, mia: User) -> None:
        fill(loop, batch=1, reserve=3)
        answer_batch(loop, mia)
        next_round(loop)
        choose(loop, [])
        assert set(reserve_states(loop).values()) == {SelectionState.RETIRED}
        assert loop.services.rounds.get("pets", 2).state is RoundState.CLOSED

    def test_the_label_budget_holds_though_people_hold_the_reserve_when_the_batch_arrives(
        self, loop: Loop, mia: User, tom: User
    ) -> None:
        """Budget 7: four labels, Tom holds two of the reserve, so of a new batch of four one is asked."""
        ids = fill(loop, batch=4, reserve=2, label_budget=7)
        answer_batch(loop, mia)
        next_round(loop)
        held = lease(loop, tom, 2)
        assert len(held) == 2
        choose(loop, ids[6:10], reserve=ids[10:12])
        with loop.services.store.read() as tx:
            batch = tx.queue.selections(loop.services.rounds.get("pets", 2).id)
        assert [item.state for item in batch] == [SelectionState.OPEN] + [SelectionState.RETIRED] * 3
        assert answer_batch(loop, mia) == 1
        for assignment in held:
            label(loop, assignment, tom)
        next_round(loop)
        assert answer_batch(loop, mia) == 0
        assert loop.services.projects.summary("pets").counts.all_labelled == 7

    def test_a_batch_for_which_the_budget_has_no_room_closes_its_round(self, loop: Loop, mia: User, tom: User) -> None:
        ids = fill(loop, batch=2, reserve=3, label_budget=5)
        answer_batch(loop, mia)
        next_round(loop)
        assert len(lease(loop, tom, 3)) == 3
        choose(loop, ids[6:8])
        assert loop.services.rounds.get("pets", 2).state is RoundState.CLOSED
        assert answer_batch(loop, tom) == 3
        assert loop.services.projects.summary("pets").counts.all_labelled == 5

    def test_evaluation_picks_do_not_count_against_the_budget(self, loop: Loop, mia: User) -> None:
        ids = fill(loop, batch=2, label_budget=3)
        answer_batch(loop, mia)
        record = next_round(loop)
        picks = [Chosen(ids[4], 0, None, {"code": "evaluation"})]
        picks += [Chosen(ids[place], place, None, {"code": "random"}) for place in (5, 6)]
        with loop.services.store.write() as tx:
            hand_over(tx, record, picks, [], loop.clock())
            states = [item.state for item in tx.queue.selections(record.id)]
        assert states == [SelectionState.OPEN, SelectionState.OPEN, SelectionState.RETIRED]

    def test_people_who_ask_all_the_time_see_no_gap_and_no_sample_twice(self, loop: Loop) -> None:
        """Three people lease and answer while the new batch takes over: nobody is ever sent away."""
        ids = fill(loop, batch=1, reserve=11, labels_per_round=1)
        label(loop, lease(loop, loop.person("first"))[0], loop.person("first"))
        next_round(loop)
        people = [loop.person(f"p{number}") for number in range(3)]
        start = threading.Barrier(len(people) + 1)

        def live(user: User) -> list[int]:
            start.wait()
            answered = []
            for _ in range(2):
                [held] = lease(loop, user)
                answered.append(held.sample.id)
                label(loop, held, user)
            return answered

        def take_over() -> list[int]:
            start.wait()
            choose(loop, ids[1:][::-1])
            return []

        with ThreadPoolExecutor(len(people) + 1) as pool:
            waiting = [pool.submit(take_over), *(pool.submit(live, user) for user in people)]
            answered = [sample_id for one in waiting for sample_id in one.result()]
        assert len(answered) == len(set(answered)) == 6
        assert loop.services.projects.summary("pets").counts.labelled == 7

    def test_undo_after_the_hand_over_gives_the_sample_back_once(self, loop: Loop, mia: User) -> None:
        ids = fill(loop, batch=1, reserve=2)
        answer_batch(loop, mia)
        next_round(loop)
        answer = label(loop, lease(loop, mia)[0], mia)
        choose(loop, [ids[5]])
        _, again = loop.services.annotations.undo(answer.id, mia)
        assert again is not None
        assert again.sample.id == ids[1]
        assert sorted(leased_ids(loop, mia, 5)) == [ids[1], ids[5]]


class TestTheRecord:
    def test_the_batch_and_what_was_answered_ahead_are_told_apart(self, loop: Loop, mia: User) -> None:
        ids = fill(loop, batch=2, reserve=4)
        record = loop.services.rounds.get("pets", 1)
        assert record.stage_record(Stage.SELECT).result == {"reserve": 4}
        answer_batch(loop, mia)
        next_round(loop)
        for assignment in lease(loop, mia, 3):
            label(loop, assignment, mia)
        record = loop.services.rounds.get("pets", 1)
        assert (record.selected_count, record.answered_count, record.answered_ahead) == (2, 2, 3)
        closed = record.stage_record(Stage.CLOSE)
        assert (closed.state, closed.result["answered"]) == (StageState.DONE, 2)
        with loop.services.store.read() as tx:
            batch, ahead = tx.queue.selections(record.id), tx.queue.reserve_selections(record.id)
        assert [(item.sample_id, item.is_reserve) for item in batch] == [(ids[0], False), (ids[1], False)]
        assert [(item.sample_id, item.rank, item.is_reserve) for item in ahead] == [
            (ids[rank], rank, True) for rank in range(2, 6)
        ]
        summary = loop.services.projects.summary("pets")
        assert summary.asking_round is not None
        assert (summary.asking_round.number, summary.reserve_count, summary.new_labels) == (1, 1, 3)

    def test_the_counts_do_not_count_what_waits(self, loop: Loop, mia: User) -> None:
        fill(loop, batch=2, reserve=4)
        counts = loop.services.projects.summary("pets").counts
        assert (counts.free, counts.leased, counts.not_queued) == (2, 0, 10)
        answer_batch(loop, mia)
        next_round(loop)
        lease(loop, mia, 3)
        counts = loop.services.projects.summary("pets").counts
        assert (counts.free, counts.leased, counts.labelled, counts.not_queued) == (0, 3, 2, 7)

    def test_a_round_that_is_answered_closes_with_its_reserve_unused(self, loop: Loop, mia: User) -> None:
        fill(loop, batch=2, reserve=4, auto_start=True)
        answer_batch(loop, mia)
        loop.scheduler.tick()
        first, second = loop.services.rounds.all("pets")
        assert (first.state, second.state) == (RoundState.CLOSED, RoundState.RUNNING)
        assert len(leased_ids(loop, mia, 5)) == 4

    def test_answers_from_the_reserve_are_new_labels_for_the_round_after_next(self, loop: Loop, mia: User) -> None:
        ids = fill(loop, batch=2, reserve=4)
        answer_batch(loop, mia)
        trained_on = next_round(loop)
        answer_batch(loop, mia)
        assert trained_on.label_count == 2
        with loop.services.store.read() as tx:
            assert len(tx.samples.training_set(trained_on.project_id, trained_on.watermark)) == 2
        choose(loop, ids[8:10])
        assert next_round(loop).label_count == 6

    def test_replay_leaves_the_reserve_out(self, digits_loop: Loop, mia: User) -> None:
        loop = digits_loop
        loop.work()
        record = loop.services.rounds.get("digits", 1)
        before = replay_round(loop.services, "digits", 1)
        with loop.services.store.write() as tx:
            [spare] = [row[0] for row in tx.samples.selectable(record.project_id) if row[0] not in before["recorded"]][
                :1
            ]
            pick = Chosen(spare, 99, None, {"code": "random"}, SelectionState.RESERVE, is_reserve=True)
            tx.queue.add_selections(record.id, [pick])
        assert replay_round(loop.services, "digits", 1) == before
        assert before["identical"]


def test_two_selections_of_one_sample_are_never_open(loop: Loop, mia: User) -> None:
    """The index that keeps it so holds for the reserve too, whoever opens it."""
    ids = fill(loop, batch=2, reserve=1)
    ask_again = loop.services.rounds.get("pets", 1)
    with loop.services.store.write() as tx:
        [waiting] = tx.queue.reserve_selections(ask_again.id)
    label(loop, lease(loop, mia)[0], mia)
    ask(loop, [ids[2]])
    with pytest.raises(ConflictError), loop.services.store.write() as tx:
        tx.queue.set_selection_state(waiting.id, SelectionState.OPEN)

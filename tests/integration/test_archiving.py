"""Archiving a project stops what is under way in it and loses nothing; on both databases."""

import pytest

from al_service.domain.records import User
from al_service.domain.states import JobState, SampleState
from tests.integration.conftest import Loop
from tests.integration.pets import fill, label, lease, sample_state

pytestmark = pytest.mark.parametrize("database_kind", ["sqlite", "postgresql"])


def test_an_archived_project_has_no_round_and_no_job_under_way(loop: Loop) -> None:
    fill(loop)
    job, is_new = loop.services.projects.pretrain("pets")
    assert is_new
    assert loop.services.jobs.claim(job.id, job.attempt, "a worker") is not None
    loop.services.projects.archive("pets")
    assert loop.services.jobs.get(job.id).state is JobState.CANCELLED
    with loop.services.store.read() as tx:
        [project] = tx.projects.all(archived=True)
        assert tx.rounds.find_open(project.id) is None
        [record] = tx.rounds.all(project.id)
        assert record.state == "cancelled"
        assert {one.state for one in tx.jobs.all(project_id=project.id)} <= {JobState.DONE, JobState.CANCELLED}
        assert not tx.queue.has_open(project.id)


def test_an_answer_on_its_way_is_kept_and_an_undo_leases_nothing(loop: Loop, mia: User) -> None:
    ids = fill(loop)
    first, second = lease(loop, mia, 2)
    answer = label(loop, first, mia)
    loop.services.projects.archive("pets")
    label(loop, second, mia, "dog")
    assert sample_state(loop, ids[1]) == (SampleState.LABELLED, "dog")
    _, fresh = loop.services.annotations.undo(answer.id, mia)
    assert fresh is None
    assert sample_state(loop, ids[0]) == (SampleState.UNLABELLED, None)

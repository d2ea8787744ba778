"""Gold and examples at the same moment, on PostgreSQL, where writers run side by side."""

import threading

import pytest
import sqlalchemy as sa

from al_service.domain.records import User
from al_service.domain.states import Role
from al_service.errors import ConflictError
from al_service.loop.reviews import Verdict
from tests.integration.conftest import Loop
from tests.integration.pets import fill

pytestmark = pytest.mark.parametrize("database_kind", ["postgresql"])


@pytest.fixture
def rita(loop: Loop) -> User:
    return loop.person("rita", Role.REVIEWER)


def test_gold_waits_for_who_makes_the_sample_an_example(loop: Loop, rita: User, database_url: str) -> None:
    ids = fill(loop, batch=1)
    refused: list[str] = []

    def set_gold() -> None:
        try:
            loop.services.reviews.set_gold(Verdict(ids[5], "cat", 0, "g"), rita)
        except ConflictError as error:
            refused.append(str(error))

    other = threading.Thread(target=set_gold)
    watching = sa.create_engine(database_url)
    waits = sa.text(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    )
    with watching.connect() as connection:
        with loop.services.store.write() as tx:
            sample = tx.samples.get(ids[5])
            tx.projects.lock(sample.project_id)
            tx.examples.set(sample, "cat", "", rita.id, loop.clock())
            other.start()
            while not connection.execute(waits).scalar_one():
                connection.rollback()
                assert other.is_alive()
        other.join()
    watching.dispose()
    [message] = refused
    assert "so it cannot be hidden gold" in message
    assert loop.services.reviews.golds("pets")[0] == []

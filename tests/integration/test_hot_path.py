"""How many statements the labeler's requests cost, on both databases: a number that grows is a decision, not an
accident. PostgreSQL needs one more, which takes the project's lock, and looks up along with it what may come next.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import sqlalchemy as sa

from al_service.domain.records import User
from al_service.domain.states import AnnotationKind
from al_service.storage.store import SqlStore
from tests.integration.conftest import Loop
from tests.integration.pets import fill, label, lease, say

pytestmark = pytest.mark.parametrize("database_kind", ["sqlite", "postgresql"])


@contextmanager
def counted(loop: Loop) -> Iterator[list[str]]:
    """The statements sent meanwhile, without the beginnings of transactions."""
    store, sent = loop.services.store, []
    assert isinstance(store, SqlStore)
    of_store = store._own_engines()
    engines = {of_store.writer, of_store.reader, of_store.looker}

    def before(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if not statement.startswith("BEGIN"):
            sent.append(statement)

    for engine in engines:
        sa.event.listen(engine, "before_cursor_execute", before)
    yield sent
    for engine in engines:
        sa.event.remove(engine, "before_cursor_execute", before)


@pytest.fixture
def lock(database_kind: str) -> int:
    """Statements that take the project's lock."""
    return int(database_kind == "postgresql")


@pytest.mark.parametrize("count", [1, 5])
def test_a_lease_takes_as_many_statements_for_many_samples_as_for_one(
    loop: Loop, mia: User, count: int, lock: int
) -> None:
    fill(loop)
    with counted(loop) as sent:
        held = lease(loop, mia, count)
    assert (len(held), len(sent)) == (count, 5 + lock)
    with counted(loop) as sent:
        assert lease(loop, mia, count) == held
    ahead = lock * (count == 1)
    assert len(sent) == 3 + lock + ahead
    loop.clock.advance(100)
    with counted(loop) as sent:
        lease(loop, mia, count)
    assert len(sent) == 4 + lock + ahead


def test_leases_of_a_sample_for_several_people_look_for_their_slots_together(loop: Loop, mia: User, lock: int) -> None:
    fill(loop, overlap=2)
    with counted(loop) as sent:
        assert len(lease(loop, mia, 5)) == 5
    assert len(sent) == 6 + lock


def test_an_answer_takes_seven_statements_and_sending_it_again_fewer(loop: Loop, mia: User, lock: int) -> None:
    fill(loop)
    first, second, third = lease(loop, mia, 3)
    with counted(loop) as sent:
        label(loop, first, mia, key="k")
    assert len(sent) == 7 + lock
    with counted(loop) as sent:
        label(loop, first, mia, key="k")
    assert len(sent) == 4 + lock
    with counted(loop) as sent:
        say(loop, second, mia, AnnotationKind.FLAG)
    assert len(sent) == 6 + lock
    with counted(loop) as sent:
        say(loop, third, mia, AnnotationKind.SKIP)
    assert len(sent) == 4 + lock


@pytest.mark.parametrize(("consensus", "statements"), [("majority", 9), ("review", 9), ("weighted", 10)])
def test_a_further_answer_reads_the_earlier_ones_and_by_which_rules_they_become_a_class(
    loop: Loop, mia: User, tom: User, lock: int, consensus: str, statements: int
) -> None:
    fill(loop, overlap=2, consensus=consensus)
    label(loop, lease(loop, mia)[0], mia)
    [held] = lease(loop, tom)
    with counted(loop) as sent:
        label(loop, held, tom)
    assert len(sent) == statements + lock

"""How often PostgreSQL is waited for while people label, counted on the wire; and what looking ahead may give."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from al_service.domain.records import User
from al_service.storage.store import SqlStore
from tests.integration.conftest import Loop
from tests.integration.pets import at_once, fill, label, lease

pytestmark = pytest.mark.parametrize("database_kind", ["postgresql"])


@pytest.fixture
def messages(loop: Loop, tmp_path: Path) -> Iterator[Callable[[], int]]:
    """How many times the writer's connections have asked for an answer since it was called last."""
    store = loop.services.store
    assert isinstance(store, SqlStore)
    engine, trace = store._own_engines().writer, tmp_path / "trace"
    with trace.open("wb") as file:

        def begin(driver: Any, *_: Any) -> None:
            driver.pgconn.trace(file.fileno())

        def end(driver: Any, *_: Any) -> None:
            driver.pgconn.untrace()

        sa.event.listen(engine, "checkout", begin)
        sa.event.listen(engine, "checkin", end)
        counted = 0

        def since() -> int:
            nonlocal counted
            sent = [line.split("\t") for line in trace.read_text().splitlines()]
            waits = sum(len(parts) > 3 and parts[1] == "F" and parts[3] in ("Sync", "Query") for parts in sent)
            new, counted = waits - counted, waits
            return new

        yield since
        sa.event.remove(engine, "checkout", begin)
        sa.event.remove(engine, "checkin", end)


def test_an_answer_and_the_next_image_wait_twice_each(loop: Loop, mia: User, messages: Callable[[], int]) -> None:
    fill(loop)
    lease(loop, mia)
    messages()
    [held] = lease(loop, mia)
    assert messages() == 2
    label(loop, held, mia)
    assert messages() == 2
    [following] = lease(loop, mia)
    assert messages() == 2
    assert following.sample.id != held.sample.id


def test_many_at_once_wait_twice_together(loop: Loop, messages: Callable[[], int]) -> None:
    fill(loop)
    everybody = [loop.person(name) for name in ("mia", "ben", "eve", "sam")]
    held = [lease(loop, user)[0] for user in everybody[:2]]
    messages()
    with at_once(loop) as come:
        for user, lease_of in zip(everybody, held, strict=False):
            come(partial(label, loop, lease_of, user))
        for user in everybody[2:]:
            come(partial(lease, loop, user))
    # The first, behind whom they waited, has asked nothing.
    assert messages() == 2


def test_a_plan_is_made_once_however_the_tables_change(loop: Loop, mia: User) -> None:
    fill(loop, batch=12)
    store = loop.services.store
    assert isinstance(store, SqlStore)
    for _ in range(9):
        [held] = lease(loop, mia)
        label(loop, held, mia)
        with store._writing() as connection:
            connection.exec_driver_sql("ANALYZE")
            plans = connection.exec_driver_sql(
                "SELECT sum(generic_plans), sum(custom_plans) FROM pg_prepared_statements WHERE name LIKE 'al_%%'"
            ).one()
            assert connection.exec_driver_sql("SHOW plan_cache_mode").scalar_one() == "auto"
    assert plans[0] > 50
    assert plans[1] == 0


def test_what_sqlalchemy_asks_is_planned_for_its_values(loop: Loop, mia: User) -> None:
    fill(loop)
    seen: list[str] = []

    def begin(tx: Any) -> Callable[[], None]:
        lease_begun = tx.queue.begin_lease("pets", mia.id, loop.clock(), wanted=1, until=loop.clock())

        def go_on() -> None:
            lease_begun()
            seen.append(tx.connection.exec_driver_sql("SHOW plan_cache_mode").scalar_one())

        return go_on

    loop.services.store.write_together(begin, about=mia.id)
    assert seen == ["auto"]


def test_a_project_that_got_another_ones_name_gives_its_own_images(loop: Loop, mia: User) -> None:
    pets = fill(loop)
    projects, assignments = loop.services.projects, loop.services.assignments
    [held] = lease(loop, mia)
    label(loop, held, mia)
    store = loop.services.store
    assert isinstance(store, SqlStore)
    other = projects.create("others", ["cat", "dog"], {"auto_start": False})
    with store._writing() as connection:
        for project_id, name in ((held.sample.project_id, "old pets"), (other.id, "pets")):
            connection.execute(
                sa.text("UPDATE projects SET name = :name WHERE id = :id"), {"name": name, "id": project_id}
            )
    assert assignments.lease_next("pets", mia, 1).assignments == ()
    [own] = assignments.lease_next("old pets", mia, 1).assignments
    assert own.sample.id in pets
    assert own.sample.id != held.sample.id

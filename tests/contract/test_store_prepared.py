"""Prepared statements do what SQLAlchemy's own do, and what waits for the next statement is never late, never lost."""

from datetime import UTC, datetime

import pytest
import sqlalchemy as sa

from al_service.domain.states import AssignmentState, SelectionState
from al_service.errors import ConflictError, InvalidInputError, NotFoundError
from al_service.storage.column_types import ID, UtcTime
from al_service.storage.prepared import Prepared
from al_service.storage.schema import assignments, samples, users
from al_service.storage.store import SqlStore
from tests.contract.store_world import LEASE, NOW, World

WANTED = sa.bindparam("wanted", type_=ID)
RENAMED = sa.update(users).where(users.c.id == WANTED).values(name=sa.bindparam("new_name", type_=users.c.name.type))
BY_ID = sa.select(users).where(users.c.id == WANTED)
BY_NAME = Prepared(sa.select(users.c.id).where(users.c.name == sa.bindparam("called", type_=users.c.name.type)))
RENAME, READ = Prepared(RENAMED), Prepared(BY_ID)


def name_of(world: World) -> str:
    with world.store.read() as tx:
        return tx.accounts.get_user(world.ann.id).name


class TestRows:
    def test_they_are_those_of_sqlalchemy(self, world: World) -> None:
        world.add_round(world.add_samples(2))
        for table in (users, samples, assignments):
            statement = sa.select(table).order_by(table.c.id)
            with world.store.write() as tx:
                world.lease(tx, world.ann)
            with world.store._writing() as connection:
                expected = [tuple(row) for row in connection.execute(statement)]
                found = Prepared(statement).rows(connection, {})
            assert [tuple(row) for row in found] == expected
            assert expected, table.name
            assert found[0]._fields == tuple(column.name for column in table.c)

    def test_values_are_converted_on_their_way_in(self, world: World) -> None:
        later = Prepared(sa.select(users.c.id).where(users.c.created_at < sa.bindparam("then", type_=UtcTime())))
        with world.store._writing() as connection:
            assert later.rows(connection, {"then": NOW.replace(year=1999)}) == []
            assert later.row(connection, {"then": NOW.replace(year=2999)}) is not None
            with pytest.raises(InvalidInputError, match="no time zone"):
                later.rows(connection, {"then": datetime(2026, 1, 1)})

    def test_a_value_in_the_statement_needs_none(self, world: World) -> None:
        columns = (users.c.name, sa.literal(NOW, UtcTime()).label("then"))
        statement = Prepared(sa.select(*columns).where(users.c.id == WANTED))
        with world.store._writing() as connection:
            assert tuple(statement.row(connection, {"wanted": world.ann.id})) == ("ann", NOW.astimezone(UTC))

    def test_what_the_database_refuses_is_an_error_of_ours(self, world: World) -> None:
        with pytest.raises(ConflictError), world.store._writing() as connection:
            RENAME.change_later(connection, {"wanted": world.ann.id, "new_name": "bob"})
        with pytest.raises(InvalidInputError), world.store._writing() as connection:
            READ.row(connection, {"wanted": 2**70})


class TestLater:
    def test_the_next_statement_sees_it_whoever_sends_it(self, world: World) -> None:
        with world.store._writing() as connection:
            RENAME.change_later(connection, {"wanted": world.ann.id, "new_name": "a"})
            assert READ.row(connection, {"wanted": world.ann.id}).name == "a"
            RENAME.change_later(connection, {"wanted": world.ann.id, "new_name": "b"})
            assert connection.execute(BY_ID, {"wanted": world.ann.id}).one().name == "b"
            RENAME.change_later(connection, {"wanted": world.ann.id, "new_name": "c"})
            RENAME.change_later(connection, {"wanted": world.ann.id, "new_name": "d"})
        assert name_of(world) == "d"

    def test_nothing_is_left_of_it_where_the_transaction_is_given_up(self, world: World) -> None:
        for _ in range(2):
            with pytest.raises(ZeroDivisionError), world.store._writing() as connection:
                RENAME.change_later(connection, {"wanted": world.ann.id, "new_name": "a"})
                raise ZeroDivisionError
            with world.store._writing() as connection:
                assert READ.row(connection, {"wanted": world.ann.id}).name == "ann"
        assert name_of(world) == "ann"

    def test_a_value_that_cannot_be_stored_takes_nothing_along(self, world: World) -> None:
        unstorable = {"wanted": world.bob.id, "new_name": "\0"}
        with world.store._writing() as connection:
            world_rename(connection, world.ann.id, "a")
            with pytest.raises(InvalidInputError, match="NUL"):
                RENAME.change_later(connection, unstorable)
            with pytest.raises(InvalidInputError, match="NUL"):
                BY_NAME.rows(connection, {"called": "\0"})
        assert name_of(world) == "a"

    def test_a_refusal_gives_the_transaction_up(self, world: World) -> None:
        (sample_id,) = world.add_samples(1)
        with pytest.raises(ConflictError), world.store._writing() as connection:
            world_rename(connection, world.bob.id, "tom")
            RENAME.change_later(connection, {"wanted": world.ann.id, "new_name": "tom"})
            RENAME.change_later(connection, {"wanted": world.bob.id, "new_name": "bo"})
        assert name_of(world) == "ann"
        with world.store.read() as tx:
            assert tx.accounts.get_user(world.bob.id).name == "bob"
            assert tx.samples.get(sample_id).id == sample_id

    def test_a_row_that_is_missing_is_told_before_the_commit(self, world: World) -> None:
        with pytest.raises(NotFoundError), world.store._writing() as connection:
            world_rename(connection, world.ann.id, "a")
            RENAME.change_later(connection, {"wanted": 999, "new_name": "x"}, missing=lambda: NotFoundError("nobody"))
        assert name_of(world) == "ann"

    def test_a_lease_that_ends_and_its_selection_in_one_transaction(self, world: World) -> None:
        world.add_round(world.add_samples(1))
        with world.store.write() as tx:
            (held,) = world.lease(tx, world.ann)
            tx.queue.set_assignment(held.id, AssignmentState.ANSWERED)
            tx.queue.set_selection_state(held.selection.id, SelectionState.DONE)
            tx.queue.expire_in(world.project.id, NOW + 2 * LEASE)
        with world.store.read() as tx:
            found = tx.queue.get_assignment(held.id)
        assert (found.state, found.selection.state) == (AssignmentState.ANSWERED, SelectionState.DONE)


def world_rename(connection: sa.Connection, user_id: int, name: str) -> None:
    RENAME.change_later(connection, {"wanted": user_id, "new_name": name})


class TestRowsLater:
    def test_they_come_with_the_next_statement_or_when_they_are_asked_for(self, world: World) -> None:
        with world.store._writing() as connection:
            world_rename(connection, world.ann.id, "a")
            first = READ.rows_later(connection, {"wanted": world.ann.id})
            world_rename(connection, world.ann.id, "b")
            second = READ.rows_later(connection, {"wanted": world.ann.id})
            assert [row.name for row in READ.rows(connection, {"wanted": world.bob.id})] == ["bob"]
            third = READ.rows_later(connection, {"wanted": world.ann.id})
            assert [rows()[0].name for rows in (third, second, first)] == ["b", "b", "a"]


class TestLook:
    def test_one_look_up_sees_what_is_stored_and_can_be_repeated(self, store: SqlStore) -> None:
        world = World(store)
        for name in ("a", "b"):
            with store._writing() as connection:
                world_rename(connection, world.ann.id, name)
            found = store.look(lambda tx: tx.accounts.find_signed_in(world.ann.id))
            assert found is not None
            assert found[0].name == name

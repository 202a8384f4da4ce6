"""The two ways to talk to a database: consistent reads, and writes that survive their neighbors."""

from __future__ import annotations

import asyncio
import sqlite3
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import func, select, text
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from lab.servers.fault_proxy import FaultProxy
from lab.servers.postgres import PrivatePostgres
from services.catalog.inputs import NewEvent, NewUser
from services.catalog.models import User
from services.catalog.repository import CatalogRepository
from services.errors import Unavailable
from services.ports import free_port
from services.settings import Settings
from services.storage.database import Database, open_database

NOW = datetime(2026, 1, 2, tzinfo=UTC)
on_sqlite = pytest.mark.parametrize("dialect", ["sqlite"], indirect=True)
on_postgresql = pytest.mark.parametrize("dialect", ["postgresql"], indirect=True)


@asynccontextmanager
async def opened(url: str, timeout_seconds: float = 10) -> AsyncIterator[Database]:
    database = open_database(
        Settings.model_validate({"database_url": url, "database_timeout_seconds": timeout_seconds})
    )
    try:
        yield database
    finally:
        await database.aclose()


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    async with opened(database_url) as database:
        yield database


async def add_users(session: AsyncSession, *user_ids: str) -> None:
    await CatalogRepository(session).upsert_users([NewUser(user_id=id_) for id_ in user_ids], NOW)


async def users_in(database: Database) -> int:
    async with database.reading() as session:
        return await session.scalar(select(func.count()).select_from(User)) or 0


async def test_what_was_written_is_read_and_what_failed_is_not(database: Database) -> None:
    async def half(session: AsyncSession) -> None:
        await add_users(session, "b")
        raise LookupError

    await database.write(lambda session: add_users(session, "a"))
    with pytest.raises(LookupError):
        await database.write(half)
    assert await users_in(database) == 1


async def test_nothing_is_kept_of_a_session_that_was_for_reading(database: Database) -> None:
    if database.dialect == "sqlite":
        async with database.reading() as session:
            await add_users(session, "a")
    else:
        with pytest.raises(DBAPIError, match="read-only"):
            async with database.reading() as session:
                await add_users(session, "a")
    assert await users_in(database) == 0


async def test_a_reader_sees_one_moment_whatever_is_committed_meanwhile(
    database: Database,
) -> None:
    counting = select(func.count()).select_from(User)
    async with database.reading() as session:
        before = await session.scalar(counting)
        await database.write(lambda writing: add_users(writing, "late"))
        assert await session.scalar(counting) == before
    assert await users_in(database) == 1


@on_postgresql
async def test_two_writers_in_a_deadlock_both_succeed_in_the_end(database: Database) -> None:
    await database.write(lambda session: add_users(session, "a", "b"))
    both_hold_one = asyncio.Barrier(2)
    attempts = 0

    async def touch(session: AsyncSession, first: str, second: str) -> None:
        nonlocal attempts
        attempts += 1
        mine = attempts
        for user_id in (first, second):
            await session.execute(
                text(
                    "UPDATE users SET attributes = attributes || jsonb_build_object("
                    "CAST(:by AS text), 'seen') WHERE user_id = :user_id"
                ),
                {"by": f"{first}-{second}", "user_id": user_id},
            )
            if user_id == first and mine <= 2:
                await both_hold_one.wait()

    await asyncio.gather(
        database.write(lambda session: touch(session, "a", "b")),
        database.write(lambda session: touch(session, "b", "a")),
    )
    assert attempts == 3, "PostgreSQL ends one of the two, and that one is done again"
    async with database.reading() as session:
        users = await session.scalars(select(User))
        assert {frozenset(user.attributes) for user in users} == {frozenset({"a-b", "b-a"})}


@on_postgresql
async def test_an_event_whose_user_is_deleted_meanwhile_is_stored_all_the_same(
    database: Database,
) -> None:
    event = NewEvent(event_id="e", user_id="u", item_id="i", type="view")
    await database.write(lambda session: add_users(session, "u"))
    attempts = 0

    async def record(session: AsyncSession) -> dict[str, int]:
        nonlocal attempts
        attempts += 1
        catalog = CatalogRepository(session)
        await catalog.ensure_users({"u"}, NOW)
        await catalog.ensure_items({"i"}, NOW)
        if attempts == 1:
            await database.write(lambda other: CatalogRepository(other).delete_user("u"))
        return await catalog.insert_events([event], NOW)

    assert set(await database.write(record)) == {"e"}
    assert attempts == 2


async def test_what_the_database_refuses_is_not_tried_again(database: Database) -> None:
    attempts = 0

    async def wrong(session: AsyncSession) -> None:
        nonlocal attempts
        attempts += 1
        await session.execute(text("INSERT INTO users (user_id) VALUES (NULL)"))

    with pytest.raises(IntegrityError):
        await database.write(wrong)
    assert attempts == 1


async def test_an_error_tells_the_statement_but_nobody_s_data(database: Database) -> None:
    with pytest.raises(DBAPIError) as failed:
        async with database.reading() as session:
            await session.execute(text("SELECT no_such(:user_id)"), {"user_id": "ada@example"})
    assert "no_such" in str(failed.value)
    assert "ada@example" not in str(failed.value)


async def test_a_write_that_is_cancelled_leaves_nothing_and_blocks_nobody(
    database: Database,
) -> None:
    begun = asyncio.Event()

    async def endless(session: AsyncSession) -> None:
        await add_users(session, "cancelled")
        begun.set()
        await asyncio.Event().wait()

    for _ in range(3):
        begun.clear()
        task = asyncio.create_task(database.write(endless))
        await begun.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    await asyncio.wait_for(database.write(lambda session: add_users(session, "next")), 5)
    assert await users_in(database) == 1


@on_sqlite
async def test_sqlite_takes_its_write_lock_before_it_reads(database: Database) -> None:
    """Two writers that read first and then both write could only end with one of them failing."""
    async with asyncio.timeout(20):
        await database.write(lambda session: add_users(session, "u"))

        async def count_up(session: AsyncSession) -> None:
            user = await session.get_one(User, "u")
            await asyncio.sleep(0)
            user.attributes = {"n": str(int(user.attributes.get("n", "0")) + 1)}

        await asyncio.gather(*(database.write(count_up) for _ in range(50)))
    async with database.reading() as session:
        assert (await session.get_one(User, "u")).attributes == {"n": "50"}


COUNT_UP = """
import asyncio, sys
from services.catalog.models import User
from services.storage.database import Database

async def count_up(session):
    user = await session.get_one(User, "u")
    user.attributes = {"n": str(int(user.attributes.get("n", "0")) + 1)}

async def main():
    database = Database(sys.argv[1])
    for _ in range(25):
        await asyncio.gather(*(database.write(count_up) for _ in range(4)))
    await database.aclose()

asyncio.run(main())
"""


@on_sqlite
async def test_many_processes_write_to_one_sqlite_file_without_a_lost_update(
    database: Database, database_url: str
) -> None:
    await database.write(lambda session: add_users(session, "u"))
    url = database_url.replace("sqlite:", "sqlite+aiosqlite:")
    processes = [
        await asyncio.create_subprocess_exec(
            sys.executable, "-c", COUNT_UP, url, stderr=subprocess.PIPE
        )
        for _ in range(3)
    ]
    for process in processes:
        _, said = await process.communicate()
        assert process.returncode == 0, said.decode()
    async with database.reading() as session:
        assert (await session.get_one(User, "u")).attributes == {"n": "300"}


@on_sqlite
async def test_waiting_for_sqlite_ends_with_the_deadline(database_url: str, tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "lrgd.sqlite3", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        async with opened(database_url, timeout_seconds=0.5) as database:
            began = time.monotonic()
            outcomes = await asyncio.gather(
                *(database.write(lambda session: add_users(session, "u")) for _ in range(5)),
                return_exceptions=True,
            )
            assert [type(outcome) for outcome in outcomes] == [Unavailable] * 5
            assert time.monotonic() - began < 2.5
            other.execute("ROLLBACK")
            await database.write(lambda session: add_users(session, "u"))
            assert await users_in(database) == 1


@on_postgresql
async def test_waiting_for_a_row_ends_with_the_deadline(
    database: Database, database_url: str
) -> None:
    await database.write(lambda session: add_users(session, "u"))

    async def wait_for_other(session: AsyncSession) -> float:
        await add_users(session, "u")
        async with opened(database_url, timeout_seconds=0.5) as hurried:
            began = time.monotonic()
            with pytest.raises(Unavailable):
                await hurried.write(lambda other: add_users(other, "u"))
            return time.monotonic() - began

    assert await database.write(wait_for_other) < 2.5


@on_postgresql
async def test_a_database_that_does_not_answer_is_given_up_at_the_deadline(
    database_url: str, postgres: PrivatePostgres
) -> None:
    with FaultProxy("127.0.0.1", postgres.port) as proxy:
        async with opened(proxy.through(database_url), timeout_seconds=0.5) as database:
            assert await users_in(database) == 0
            proxy.hang()
            for work in (users_in(database), database.write(lambda s: add_users(s, "u"))):
                began = time.monotonic()
                with pytest.raises(Unavailable):
                    await work
                assert time.monotonic() - began < 2.5
            proxy.recover()
            await database.write(lambda session: add_users(session, "u"))
            assert await users_in(database) == 1


@on_postgresql
async def test_connections_that_broke_are_replaced_unnoticed(
    database_url: str, postgres: PrivatePostgres
) -> None:
    with FaultProxy("127.0.0.1", postgres.port) as proxy:
        async with opened(proxy.through(database_url)) as database:
            await asyncio.gather(*(users_in(database) for _ in range(5)))
            proxy.reset()
            await asyncio.gather(*(users_in(database) for _ in range(5)))


async def test_a_database_that_is_not_there_is_an_outage_with_a_time_to_retry() -> None:
    url = f"postgresql://lrgd:s3cret@127.0.0.1:{free_port()}/lrgd"  # pragma: allowlist secret
    async with opened(url) as database:
        with pytest.raises(Unavailable) as down:
            await users_in(database)
        assert int(down.value.headers["Retry-After"]) > 0
        assert "s3cret" not in str(down.value)
        with pytest.raises(Unavailable):
            await database.write(lambda session: add_users(session, "u"))


async def test_more_readers_than_connections_wait_for_their_turn(database: Database) -> None:
    assert await asyncio.gather(*(users_in(database) for _ in range(60))) == [0] * 60

"""Migrations: up, down and up again on both databases, and always what the models say."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, func, inspect, select, text

import services.schema
from services.catalog.inputs import NewEvent, NewItem
from services.catalog.models import Event, Item
from services.catalog.repository import CatalogRepository
from services.schema import alembic_config, downgrade, metadata, upgrade
from services.settings import Settings
from services.storage.database import Database, open_database

NOW = datetime(2026, 1, 2, tzinfo=UTC)

REBUILDS_ITEMS = '''
"""Rebuilds a table that others refer to."""
import sqlalchemy as sa
from alembic import op

revision = "9999"
down_revision = {before!r}
branch_labels = depends_on = None

def upgrade():
    with op.batch_alter_table("items", recreate="auto") as items:
        items.add_column(sa.Column("color", sa.Text()))
        items.alter_column("title", existing_type=sa.Text(), nullable=False, server_default="none")

def downgrade():
    with op.batch_alter_table("items") as items:
        items.alter_column("title", existing_type=sa.Text(), nullable=True, server_default=None)
        items.drop_column("color")
'''


@pytest.fixture
async def database(empty_database_url: str) -> AsyncIterator[Database]:
    database = open_database(Settings.model_validate({"database_url": empty_database_url}))
    yield database
    await database.aclose()


async def tables(database: Database) -> set[str]:
    async with database.engine.connect() as connection:
        return set(await connection.run_sync(lambda sync: inspect(sync).get_table_names()))


async def differences(database: Database) -> list[Any]:
    def compare(connection: Connection) -> list[Any]:
        context = MigrationContext.configure(
            connection, opts={"compare_type": True, "compare_server_default": True}
        )
        return list(compare_metadata(context, metadata()))

    async with database.engine.connect() as connection:
        return await connection.run_sync(compare)


async def fill(database: Database) -> None:
    async def work(session: Any) -> None:
        catalog = CatalogRepository(session)
        await catalog.ensure_users({"u"}, NOW)
        await catalog.upsert_items([NewItem(item_id="i", title="Lamp")], NOW)
        event = NewEvent(event_id="e", user_id="u", item_id="i", type="purchase", value=2.5)
        await catalog.insert_events([event], NOW)

    await database.write(work)


async def count(database: Database, model: type[Event | Item]) -> int:
    async with database.reading() as session:
        return await session.scalar(select(func.count()).select_from(model)) or 0


async def test_the_migrations_make_what_the_models_say(database: Database) -> None:
    await upgrade(database)
    assert await differences(database) == []
    assert await tables(database) == {*metadata().tables, "alembic_version"}


async def test_a_difference_between_models_and_migrations_would_be_seen(
    database: Database,
) -> None:
    await upgrade(database)
    async with database.engine.begin() as connection:
        await connection.execute(text("ALTER TABLE users ADD COLUMN surplus INTEGER"))
    assert len(await differences(database)) == 1


async def test_down_to_nothing_and_up_again(database: Database) -> None:
    await upgrade(database)
    await fill(database)
    await downgrade(database, "base")
    assert await tables(database) == {"alembic_version"}
    await upgrade(database)
    assert await differences(database) == []
    await fill(database)


async def test_upgrading_what_is_up_to_date_changes_nothing(database: Database) -> None:
    await upgrade(database)
    await fill(database)
    await upgrade(database)
    assert await count(database, Event) == 1


async def test_of_two_that_migrate_at_once_one_waits_for_the_other(
    empty_database_url: str,
) -> None:
    settings = Settings.model_validate({"database_url": empty_database_url})
    first, second = open_database(settings), open_database(settings)
    try:
        async with first.migrating() as connection:
            await connection.run_sync(lambda sync: command.upgrade(alembic_config(sync), "head"))
            waiting = asyncio.create_task(upgrade(second))
            await asyncio.wait({waiting}, timeout=0.5)
            assert not waiting.done()
        await waiting
        assert await differences(second) == []
    finally:
        await first.aclose()
        await second.aclose()


async def test_a_migration_that_fails_leaves_the_schema_as_it_was(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = REBUILDS_ITEMS.replace("def downgrade", "    op.execute('BROKEN')\n\ndef downgrade")
    await upgrade(database)
    await fill(database)
    monkeypatch.setattr(services.schema, "MIGRATIONS", with_migration(tmp_path, broken))
    with pytest.raises(Exception, match="BROKEN"):
        await upgrade(database)
    assert await differences(database) == []
    assert await count(database, Event) == 1


async def test_rebuilding_a_table_keeps_the_rows_that_refer_to_it(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLite changes a table by copying it and dropping the old one, at which a database that
    enforces foreign keys would delete every event."""
    await upgrade(database)
    await fill(database)
    monkeypatch.setattr(services.schema, "MIGRATIONS", with_migration(tmp_path, REBUILDS_ITEMS))
    await upgrade(database)
    assert await count(database, Event) == 1
    await downgrade(database, "-1")
    assert await count(database, Event) == 1
    assert await differences(database) == []

    async def orphan(session: Any) -> None:
        event = NewEvent(event_id="f", user_id="nobody", item_id="i", type="view")
        await CatalogRepository(session).insert_events([event], NOW)

    with pytest.raises(Exception, match=r"(?i)foreign key"):
        await database.write(orphan)


def with_migration(folder: Path, source: str) -> Path:
    """A copy of the migrations with one more on top."""
    copy = folder / "migrations"
    shutil.copytree(services.schema.MIGRATIONS, copy)
    newest = max(path.name for path in (copy / "versions").glob("[0-9]*.py")).partition("_")[0]
    (copy / "versions" / "9999_more.py").write_text(source.replace("{before!r}", repr(newest)))
    return copy

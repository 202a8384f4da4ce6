"""The one metadata of all tables, and the way to bring a database to it."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, MetaData

from services.access import models as access
from services.catalog import models as catalog
from services.demonstrations import models as demonstrations
from services.optimizer import models as optimizer
from services.recommendations import models as recommendations
from services.retrieval import models as retrieval
from services.storage.base import Base
from services.storage.database import Database

MIGRATIONS = Path(__file__).parents[1] / "migrations"
# Imported, so that their tables are known.
NOUNS = (access, catalog, retrieval, recommendations, demonstrations, optimizer)


def metadata() -> MetaData:
    return Base.metadata


async def upgrade(database: Database, revision: str = "head") -> None:
    """Bring the schema to a revision; two at a time wait for each other."""
    async with database.migrating() as connection:
        await connection.run_sync(lambda sync: command.upgrade(alembic_config(sync), revision))


async def downgrade(database: Database, revision: str) -> None:
    async with database.migrating() as connection:
        await connection.run_sync(lambda sync: command.downgrade(alembic_config(sync), revision))


def alembic_config(connection: Connection) -> Config:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.attributes["connection"] = connection
    return config

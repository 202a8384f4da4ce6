from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from services.settings import Settings
from services.storage.database import open_database
from tests.integration.optimizer.ledgers import Shop


@pytest.fixture
async def shop(database_url: str) -> AsyncIterator[Shop]:
    database = open_database(Settings.model_validate({"database_url": database_url}))
    shop = Shop(database)
    await shop.come("ada", "bob", "eve")
    yield shop
    await database.aclose()

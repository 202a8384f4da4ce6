"""`lrgd retrieval rebuild`: a new index from all events, and what is in it."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from services.retrieval.index_repository import IndexRepository
from services.settings import Settings
from services.storage.database import open_database
from tests.integration.cli.conftest import Lrgd


@pytest.fixture
def lrgd(database_url: str, tmp_path: Path) -> Lrgd:
    return Lrgd(LRGD_DATABASE_URL=database_url, LRGD_DATA_DIR=str(tmp_path))


def test_an_index_is_built_from_what_was_imported(
    lrgd: Lrgd, database_url: str, tmp_path: Path
) -> None:
    events = tmp_path / "events.jsonl"
    events.write_text(
        "".join(
            json.dumps(
                {
                    "event_id": f"{user}{item}",
                    "user_id": user,
                    "item_id": item,
                    "type": "purchase",
                    "occurred_at": f"2026-01-0{day}T00:00:00Z",
                }
            )
            + "\n"
            for user in ("ada", "bob")
            for day, item in enumerate(("lamp", "bulb"), start=1)
        )
    )
    assert lrgd("import", str(events)).code == 0
    done = lrgd("retrieval", "rebuild")
    assert done.code == 0, done.said
    assert "4 takings of 2 users: 4 pairs of items" in done.said
    again = lrgd("retrieval", "rebuild")
    assert "4 takings of 2 users: 4 pairs of items" in again.said

    async def neighbors() -> list[tuple[str, float]]:
        database = open_database(Settings.model_validate({"database_url": database_url}))
        try:
            async with database.reading() as session:
                return list((await IndexRepository(session).neighborhoods(["lamp"]))["lamp"].others)
        finally:
            await database.aclose()

    assert asyncio.run(neighbors()) == [("bulb", 2000)]


def test_a_shop_without_users_has_an_empty_index(lrgd: Lrgd) -> None:
    done = lrgd("retrieval", "rebuild")
    assert done.code == 0, done.said
    assert "0 takings of 0 users: 0 pairs of items" in done.said

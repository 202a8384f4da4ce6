"""What readiness asks of the database."""

from __future__ import annotations

from tests.conftest import ServicesFactory


async def test_a_database_that_was_never_migrated_is_not_ready(
    empty_database_url: str, opened_services: ServicesFactory
) -> None:
    async with opened_services(database_url=empty_database_url) as services:
        (database,) = [part for part in await services.health.check() if part.part == "database"]
    assert not database.ready
    assert "lrgd migrate" in (database.detail or "")

"""The sample shop: a small believable shop for a first look, loaded into an empty catalog."""

from __future__ import annotations

from pathlib import Path

from services.catalog.catalog import Catalog
from services.catalog.importing import import_file
from services.catalog.repository import CatalogRepository

FOLDER = Path(__file__).parent / "sample_shop"
FILES = ("items.jsonl", "users.jsonl", "events.jsonl.gz")


async def load_sample_shop(catalog: Catalog) -> dict[str, int] | None:
    """Rows brought by file; None if the catalog holds something already. Breaking off does no
    harm: the next call goes on where this one stopped."""
    async with catalog.database.reading() as session:
        repository = CatalogRepository(session)
        first, last = [await repository.import_state(_import_id(FILES[at])) for at in (0, -1)]
        if first is None and not await repository.is_empty():
            return None
        if last is not None and last.finished:
            return None
    loaded = {}
    for file in FILES:
        state = await import_file(catalog, FOLDER / file, import_id=_import_id(file))
        loaded[file.partition(".")[0]] = state.accepted
    return loaded


def _import_id(file: str) -> str:
    return f"sample-shop-{file}"

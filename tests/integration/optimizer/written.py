"""Learning as rounds leave it, written by hand: for tests of what is told and taken back of it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession

from services.catalog.repository import CatalogRepository
from services.demonstrations.models import StoredDemonstration, StoredVariant, Switch
from services.optimizer.models import Path
from services.storage.database import Database

MADE_AT = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Learned:
    """A user's variants, `{path}.{round}` each; of the ones named, the newest of a path is its
    best, all are accepted and in memory, and they were served in this order."""

    database: Database
    user_id: str

    async def variants(self, *names: str, served: tuple[str, ...] = (), **fields: Any) -> None:
        places = [tuple(map(int, name.split("."))) for name in names]
        newest = {path: max(n for p, n in places if p == path) for path, _ in places}

        async def work(session: AsyncSession) -> None:
            await CatalogRepository(session).ensure_users([self.user_id], MADE_AT)
            for (path, number), name in zip(places, names, strict=True):
                text = f"Preference: what path {path} wrote in round {number}."
                session.add(
                    StoredDemonstration(
                        demonstration_id=f"dem-{self.user_id}-{name}", user_id=self.user_id,
                        content={}, text=text, made_at=MADE_AT,
                    )
                )  # fmt: skip
                await session.flush()
                row: dict[str, Any] = {
                    "accepted": True, "incumbent": newest[path] == number, "effective": True,
                    "effect_d": 0.5 + path / 10, "log_score": -1.0, "tokens": 20,
                    "fingerprint": "f" * 16,
                }  # fmt: skip
                session.add(
                    StoredVariant(
                        variant_id=self.id(name), user_id=self.user_id, path=path,
                        round_number=number, current_id=f"dem-{self.user_id}-{name}",
                        made_at=MADE_AT, **(row | fields),
                    )
                )  # fmt: skip
            for path, last in newest.items():
                session.add(
                    Path(
                        user_id=self.user_id, path=path, rounds=last, collapsed=False,
                        steps=[{"similarity": None, "improvement": 0.25}],
                        last_id=f"dem-{self.user_id}-{path}.{last}",
                    )
                )  # fmt: skip
            await session.flush()
            for number, name in enumerate(served, start=1):
                session.add(
                    Switch(
                        user_id=self.user_id, number=number, variant_id=self.id(name),
                        reason="round", made_at=MADE_AT,
                    )
                )  # fmt: skip

        await self.database.write(work)

    def id(self, name: str) -> str:
        return f"var-{self.user_id}-{name}"

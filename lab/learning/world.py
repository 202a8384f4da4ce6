"""A database to learn on, and what reads from it; and rounds driven on it to their end."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import func, select

from lab.learning.learning import Learning
from lab.servers.valkey import PrivateValkey
from services.catalog.positives import PositiveEvents
from services.demonstrations.repository import DemonstrationsRepository
from services.demonstrations.variant import served_of
from services.llm.port import LanguageModel
from services.observability.metrics import Metrics
from services.optimizer.learner import Learner
from services.optimizer.learning_repository import LearningRepository
from services.optimizer.ledger import Ledger
from services.optimizer.material import Candidates, Materials
from services.optimizer.models import PartState, Round, RoundState, RunUser
from services.optimizer.rules import Budget
from services.optimizer.runner import RoundRunner
from services.prompts import Demonstrated
from services.retrieval.known_items import KnownItems
from services.retrieval.popularity import Popularity
from services.retrieval.retrieval import Retrieval
from services.storage.database import Database
from services.storage.redis import connect

SLICE_SECONDS = 5.0


@dataclass(frozen=True)
class World:
    database: Database
    positives: PositiveEvents
    retrieval: Retrieval

    async def learn(
        self,
        run_id: str,
        users: Sequence[str],
        learning: Learning,
        by: Writer,
        tell: Callable[[int, int], None],
    ) -> None:
        """Until every user has all rounds, or cannot have them. Another call goes on. Each round is
        a run, which begins when the one before is done: what to expect of its texts is read from
        the rounds of those, of all users."""
        ledger = Ledger(self.database, Metrics())
        materials = Materials(
            self.database,
            self.positives,
            self.retrieval,
            by.candidates,
            reveals_validation=learning.reveals_validation,
        )
        runner = RoundRunner(self.database, ledger, materials, by.model, is_item=by.is_item)
        learner = Learner(ledger, runner)
        for number in range(learning.rounds):
            run = f"{run_id}-{number + 1}"
            await ledger.start(run, users, 1, learning.plan, Budget())
            more = True
            while more:
                more = await learner.advance(limit=by.at_once, seconds=SLICE_SECONDS)
                done = number * len(users) + await self._rounds_done(run)
                tell(done, len(users) * learning.rounds)

    async def served_text(self, user: str) -> Demonstrated | None:
        """What the rounds serve in the end."""
        async with self.database.reading() as session:
            _, variants = await DemonstrationsRepository(session).served(user)
        served = served_of(variants)
        return None if served is None else served.texts()

    async def first_text(self, user: str) -> Demonstrated | None:
        """What the first path wrote in the first round, whatever was found of it."""
        text = (await self._first_texts(user)).get(0)
        return None if text is None else Demonstrated(text)

    async def first_pair(self, user: str) -> Demonstrated | None:
        """The same with what the second path wrote beside it."""
        texts = await self._first_texts(user)
        return Demonstrated(texts[0], texts.get(1)) if 0 in texts else None

    async def _first_texts(self, user: str) -> dict[int, str]:
        async with self.database.reading() as session:
            known = await LearningRepository(session).variants(user)
        return {
            one.row.path: one.current.text
            for one in known
            if one.row.round_number == 1 and one.current is not None
        }

    async def _rounds_done(self, run_id: str) -> int:
        """A user who cannot learn has no rounds to wait for."""
        async with self.database.reading() as session:
            done = await session.scalar(
                select(func.count()).where(Round.run_id == run_id, Round.state == RoundState.DONE)
            )
            over = await session.scalar(
                select(func.coalesce(func.sum(RunUser.wanted - RunUser.done), 0)).where(
                    RunUser.run_id == run_id,
                    RunUser.state.not_in((PartState.OPEN, PartState.DONE)),
                )
            )
        return (done or 0) + (over or 0)


@dataclass(frozen=True)
class Writer:
    """Who writes and judges, from which candidates, and how many users at once. `is_item` tells
    whether a folded title is an item's: sentences must not just mention it."""

    model: LanguageModel
    candidates: Candidates
    is_item: Callable[[str], bool]
    at_once: int = 1


@contextlib.asynccontextmanager
async def opened_database(file: Path) -> AsyncIterator[Database]:
    database = Database(f"sqlite+aiosqlite:///{file}")
    try:
        yield database
    finally:
        await database.aclose()


@contextlib.asynccontextmanager
async def opened_world(file: Path, positives: PositiveEvents) -> AsyncIterator[World]:
    with PrivateValkey() as valkey:
        async with opened_database(file) as database:
            redis = connect(valkey.address.state_url, timeout_seconds=5)
            popularity = Popularity(database, redis, positives)
            retrieval = Retrieval(database, popularity, positives, KnownItems(redis))
            try:
                yield World(database, positives, retrieval)
            finally:
                await redis.aclose()

"""What follows a commit of the catalog: states of users are made anew, and workers are woken."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from services.catalog.catalog import ListAnswer
from services.queue import Job, Queue
from services.recommendations.outcomes import Outcomes
from services.recommendations.user_states import UserStates
from services.retrieval.known_items import KnownItems
from services.settings import Settings


class Following:
    def __init__(
        self,
        states: UserStates,
        items: KnownItems,
        outcomes: Outcomes,
        queue: Queue,
        settings: Settings,
    ) -> None:
        self._states = states
        self._items = items
        self._outcomes = outcomes
        self._queue = queue
        self._debounce = settings.popularity_debounce_seconds
        self._learns = settings.learning_tokens_per_day > 0
        self._learning_debounce = settings.learning_debounce_seconds

    async def positives_came(self, newest: Mapping[str, int] | None) -> None:
        if newest is None:
            await self._states.begin_epoch()
        else:
            await self._states.raise_versions(newest)
        for job in (Job.REFRESH_POPULARITY, Job.REFRESH_COVISITATION):
            await self._queue.put(job, debounce_seconds=self._debounce)
        if self._learns:
            await self._queue.put(Job.CONSIDER_ROUNDS, debounce_seconds=self._learning_debounce)

    async def lists_answered(self, answers: Sequence[ListAnswer]) -> None:
        self._outcomes.came(answers)

    async def items_changed(self) -> None:
        await self._items.changed()

    async def user_went(self, user_id: str) -> None:
        await self._states.forget(user_id)

    async def events_went(self) -> None:
        await self._states.begin_epoch()

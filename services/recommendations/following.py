"""What follows a commit of the catalog: states of users are made anew, and workers are woken."""

from __future__ import annotations

from collections.abc import Mapping

from services.queue import Job, Queue
from services.recommendations.user_states import UserStates
from services.settings import Settings


class Following:
    def __init__(self, states: UserStates, queue: Queue, settings: Settings) -> None:
        self._states = states
        self._queue = queue
        self._debounce = settings.popularity_debounce_seconds

    async def positives_came(self, newest: Mapping[str, int] | None) -> None:
        if newest is None:
            await self._states.begin_epoch()
        else:
            await self._states.raise_versions(newest)
        for job in (Job.REFRESH_POPULARITY, Job.REFRESH_COVISITATION):
            await self._queue.put(job, debounce_seconds=self._debounce)

    async def user_went(self, user_id: str) -> None:
        await self._states.forget(user_id)

    async def events_went(self) -> None:
        await self._states.begin_epoch()

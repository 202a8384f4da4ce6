"""Many lists for one caller: a few at a time, each with a result of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from services.errors import PublicError
from services.recommendations.recommend import Recommender
from services.recommendations.wanted import Recommendation, Wanted

# Enough to keep a model server busy, few enough that others find it idle now and then.
ROWS_AT_ONCE = 8


async def recommend_all(
    recommender: Recommender, rows: Sequence[Wanted]
) -> list[Recommendation | PublicError]:
    """In the order of the rows. The deadline of a row counts from when it is taken up: in a batch
    nobody waits for the single list, and the last rows should be as good as the first."""
    turns = asyncio.Semaphore(ROWS_AT_ONCE)

    async def one(wanted: Wanted) -> Recommendation | PublicError:
        async with turns:
            try:
                return await recommender.recommend_row(wanted)
            except PublicError as error:
                return error

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(one(wanted)) for wanted in rows]
    return [task.result() for task in tasks]

"""Items as they may be shown, kept by a process for a while.

Whoever changes items raises their epoch, and every look-up begins with a look at it: what is kept
is of one epoch. Without Redis nobody can say, so nothing is kept.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Collection, Mapping

from redis.asyncio import Redis

from services.retrieval.repository import RetrievalRepository, ShownItem, UsersOfItem
from services.storage.redis import ITEMS_EPOCH, OUTAGE

# How many took an item changes without an epoch, and slowly.
FRESH_SECONDS = 300.0
ITEMS_KEPT = 50_000


class KnownItems:
    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._epoch: str | None = None
        self._kept: OrderedDict[str, tuple[float, ShownItem | None]] = OrderedDict()

    async def changed(self) -> None:
        """After a commit of items."""
        try:
            await self._redis.incr(ITEMS_EPOCH)
        except OUTAGE:
            return  # then they are old for some seconds, wherever Redis is back sooner

    async def of(
        self,
        repository: RetrievalRepository,
        item_ids: Collection[str],
        users: UsersOfItem,
        epoch: str | None,
    ) -> Mapping[str, ShownItem]:
        """Those that there are, hidden ones too: what is not kept is read in one query."""
        if epoch is None or epoch != self._epoch:
            self._kept.clear()
            self._epoch = epoch
        now = time.monotonic()
        items, missing = dict[str, ShownItem | None](), list[str]()
        for item_id in item_ids:
            until, item = self._kept.get(item_id, (0.0, None))
            if until > now:
                items[item_id] = item
            else:
                missing.append(item_id)
        if missing:
            found = await repository.known(missing, users)
            items |= {item_id: found.get(item_id) for item_id in missing}
            # Somebody else may have begun another epoch meanwhile: then this is kept by nobody.
            if epoch is not None and epoch == self._epoch:
                self._keep({item_id: items[item_id] for item_id in missing}, now + FRESH_SECONDS)
        return {item_id: item for item_id, item in items.items() if item is not None}

    async def titles(
        self, repository: RetrievalRepository, item_ids: Collection[str], users: UsersOfItem
    ) -> dict[str, str | None]:
        """As of the epoch seen last: a title that was changed this moment may be the old one."""
        found = await self.of(repository, item_ids, users, self._epoch)
        return {item_id: item.title for item_id, item in found.items()}

    def _keep(self, items: Mapping[str, ShownItem | None], until: float) -> None:
        self._kept.update({item_id: (until, item) for item_id, item in items.items()})
        while len(self._kept) > ITEMS_KEPT:
            self._kept.popitem(last=False)

"""Neighborhoods of the serving index as a process keeps them: as arrays, because every request adds
up some thousands of their weights."""

from __future__ import annotations

import math
import time
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from sqlalchemy.ext.asyncio import AsyncSession

from services.retrieval.covisitation import FRESHNESS, SEEDS, UNIT, Neighborhood
from services.retrieval.index_repository import IndexRepository

# A process asks again for what it knows about an item after so long: counts change slowly, but for
# an item that nothing is known of yet.
FRESH_SECONDS = 300.0
UNKNOWN_FRESH_SECONDS = 30.0
ITEMS_KEPT = 5_000
# Ids that were ever seen in a neighborhood; beyond, everything is forgotten and read again.
IDS_KEPT = 1_000_000


@dataclass(frozen=True, slots=True)
class _Packed:
    """`others` are numbers of ids, `root` that of how many users took the item."""

    others: npt.NDArray[np.int32]
    weights: npt.NDArray[np.float64]
    root: float


class KeptNeighborhoods:
    """Seeds that it does not know are read together, in one query."""

    def __init__(self) -> None:
        self._kept: OrderedDict[str, tuple[float, _Packed | None]] = OrderedDict()
        self._ids: list[str] = []
        self._numbers: dict[str, int] = {}

    async def scores(self, session: AsyncSession, seeds: Sequence[str]) -> Mapping[str, float]:
        """As `covisit_scores` has them, to the last bit; seeds newest first."""
        newest = seeds[:SEEDS]
        packed = await self._packed(session, newest)
        parts = [
            (FRESHNESS**place / (UNIT * one.root), one)
            for place, one in enumerate(packed)
            if one is not None
        ]
        if not parts:
            return {}
        others = np.concatenate([one.others for _, one in parts])
        weights = np.concatenate([strength * one.weights for strength, one in parts])
        numbers, places = np.unique(others, return_inverse=True)
        sums = np.bincount(places, weights)
        known = (self._ids[number] for number in numbers.tolist())
        return dict(zip(known, sums.tolist(), strict=True))

    async def _packed(self, session: AsyncSession, seeds: Sequence[str]) -> list[_Packed | None]:
        now = time.monotonic()
        # While these are read, another reader may forget the rest.
        while missing := [seed for seed in seeds if self._kept.get(seed, (0.0, None))[0] <= now]:
            if len(self._ids) > IDS_KEPT:
                self._forget()
                missing = list(dict.fromkeys(seeds))
            found = await IndexRepository(session).neighborhoods(missing)
            for seed in missing:
                fresh = FRESH_SECONDS if seed in found else UNKNOWN_FRESH_SECONDS
                self._kept[seed] = (now + fresh, self._pack(found.get(seed)))
        packed = []
        for seed in seeds:
            packed.append(self._kept[seed][1])
            self._kept.move_to_end(seed)
        while len(self._kept) > ITEMS_KEPT:
            self._kept.popitem(last=False)
        return packed

    def _pack(self, found: Neighborhood | None) -> _Packed | None:
        if found is None or found.users <= 0:
            return None
        numbers = [self._number(item_id) for item_id, _ in found.others]
        weights = [weight for _, weight in found.others]
        return _Packed(
            np.array(numbers, np.int32), np.array(weights, np.float64), math.sqrt(found.users)
        )

    def _number(self, item_id: str) -> int:
        number = self._numbers.setdefault(item_id, len(self._ids))
        if number == len(self._ids):
            self._ids.append(item_id)
        return number

    def _forget(self) -> None:
        self._kept.clear()
        self._ids.clear()
        self._numbers.clear()

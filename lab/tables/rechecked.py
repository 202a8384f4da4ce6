"""Rows asked again about some of their users: does the same come out?"""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass

from lab.evaluation.evaluation import Watch
from lab.evaluation.files import read_data
from lab.tables.candidates import candidates_files
from lab.tables.table2 import Bench, Table2, fingerprint_of


@dataclass(frozen=True)
class Rechecked:
    row: str
    candidates: str
    users: int
    differ: int


def recheck(table: Table2, users: int, watch: Watch, seed: int = 0) -> list[Rechecked]:
    """Asks anew about so many random users of every kept row, and compares."""
    return asyncio.run(_recheck(table, users, watch, seed))


async def _recheck(table: Table2, users: int, watch: Watch, seed: int) -> list[Rechecked]:
    data = read_data(table.data)
    engine = None if table.engine is None else await fingerprint_of(table.engine)
    found = []
    for file in candidates_files(table.data):
        bench = Bench(table, file, data, engine)
        for row in table.wanted():
            kept = await bench.row(row, watch)
            few = random.Random(f"{seed} {row}").sample(kept.users, min(users, len(kept.users)))
            again = await bench.asked(row, kept.key, watch, frozenset(few))
            before, now = kept.by_user(), again.by_user()
            differ = sum(before[user] != now[user] for user in few)
            found.append(Rechecked(row, file.name, len(few), differ))
    return found

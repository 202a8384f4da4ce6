"""The loop, arm after arm, on the product's own ledger: whatever ends it, it goes on there."""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from lab.engines import EngineChoice
from lab.loop.names import ArmName, CandidatesFrom
from lab.loop.population import write_population
from services.optimizer.plan import Plan

Tell = Callable[[str, int, int], None]  # what, how much is done, of how much


@dataclass(frozen=True)
class Loop:
    """`out` keeps everything: another call with the same values goes on."""

    out: Path
    users: int = 200
    first: int = 0  # how many evaluation users are passed over
    rounds: int = 4
    seeds: int = 1
    arms: tuple[ArmName, ...] = tuple(ArmName)
    candidates: CandidatesFrom = CandidatesFrom.RETRIEVAL
    held_out: int = 3
    draws: int = 2
    engine: EngineChoice = field(default_factory=EngineChoice)
    processes: int = 2

    @property
    def folder(self) -> Path:
        asked = f"{self.users}" if not self.first else f"{self.users}-from-{self.first}"
        return self.out / f"{self.candidates}-{asked}-{self.held_out}x{self.draws}"

    def plan(self, seed: int) -> Plan:
        """Of all learning arms, but for what tells them apart."""
        return Plan(held_out=self.held_out, draws=self.draws, seed=seed)

    @property
    def base(self) -> Path:
        return self.folder / "population.sqlite3"

    @property
    def tests(self) -> Path:
        return self.folder / "tests.jsonl"

    def database(self, arm: ArmName, seed: int, shard: int) -> Path:
        return self.folder / f"{arm}-{self.rounds}-{seed}-{shard}.sqlite3"

    def results(self, seed: int, shard: int) -> Path:
        return self.folder / f"tested-{self.rounds}-{seed}-{shard}.jsonl"

    def progress(self, shard: int) -> Path:
        return self.folder / f"progress-{shard}.json"


def run_loop(loop: Loop, tell: Tell) -> None:
    """Until every arm has its result for every user, for every seed."""
    from lab.loop.shard import work_on_shard  # noqa: PLC0415 - it is a shard of this

    loop.folder.mkdir(parents=True, exist_ok=True)
    if not loop.base.exists():
        tell("population", 0, 1)
        write_population(loop.base, loop.tests, loop.users, loop.first)
        tell("population", 1, 1)
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(loop.processes, mp_context=context) as pool:
        running = [pool.submit(work_on_shard, loop, shard) for shard in range(loop.processes)]
        while not all(one.done() for one in running):
            _tell_all(loop, tell)
            time.sleep(1)
        for one in running:
            one.result()
    _tell_all(loop, tell)


def _tell_all(loop: Loop, tell: Tell) -> None:
    done: dict[str, list[int]] = {}
    for shard in range(loop.processes):
        with contextlib.suppress(OSError, ValueError):
            for arm, (rounds, of) in json.loads(loop.progress(shard).read_text()).items():
                known = done.setdefault(arm, [0, 0])
                known[0] += rounds
                known[1] += of
    for arm, (rounds, of) in done.items():
        tell(arm, rounds, of)

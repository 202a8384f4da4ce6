"""How fast users learn: one call in flight against many, one worker against two and four, and what
a user-round costs.

Workers, PostgreSQL and Valkey are real processes. The engine of the speed-ups is the scripted one,
so that they say what the ledger, the queue and the workers are able to, whatever the machine's
processors; each worker has an engine of its own, because one of 16 slots is kept busy by one.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

from lab.bench.crew import Learned, StockedShop
from lab.bench.machine import machine, on_cores
from lab.servers.postgres import PrivatePostgres
from lab.servers.scratch import ScratchFolder
from lab.servers.scripted import PrivateScripted
from lab.servers.valkey import PrivateValkey
from lab.servers.vllm import FLAGS, PrivateVllm
from services.llm.scripted import LatencyModel
from services.optimizer.plan import Plan as RunPlan
from services.settings import SHIPPED_MODEL

Told = Callable[[str], None]


class EngineName(StrEnum):
    SCRIPTED = "scripted"
    VLLM = "vllm"


# About what one of 16 prompts takes that share a card with a model of 8 to 14 billion parameters:
# 700 prompt tokens and 33 written ones in a second.
LATENCY = LatencyModel(
    fixed_seconds=0.02, prompt_token_seconds=0.0015, completion_token_seconds=0.03, slots=16
)
QUICKER = 4  # in a first look; what processors do then weighs more
AT_ONCE = 8
CREWS = (1, 2, 4)
EMBEDDED_AT_ONCE = 2


@dataclass(frozen=True, slots=True)
class Plan:
    """`users` and `rounds` of each worker; `alone` are the users of one call in flight. The
    embedded engine learns for `measured` users as many rounds as `measured_rounds`."""

    engine: EngineName
    vllm: Path
    users: int
    rounds: int
    alone: int
    measured: int
    measured_rounds: int
    cores: int
    learning: RunPlan
    latency: LatencyModel = LATENCY

    def quick(self) -> Plan:
        """A first look: shorter rounds, and fewer."""
        shorter = self.learning.model_copy(update={"paths": 2, "draws": 2})
        faster = LatencyModel(
            LATENCY.fixed_seconds / QUICKER,
            LATENCY.prompt_token_seconds / QUICKER,
            LATENCY.completion_token_seconds / QUICKER,
            LATENCY.slots,
        )
        return replace(
            self,
            users=min(self.users, AT_ONCE),
            rounds=1,
            alone=1,
            measured=2,
            measured_rounds=2,
            learning=shorter,
            latency=faster,
        )

    @property
    def steps(self) -> int:
        """How often `told` will be called."""
        return 3 + len(CREWS)


def measure(plan: Plan, told: Told = lambda _step: None) -> tuple[dict[str, float], dict[str, Any]]:
    """Figures, and what they are made of. `told` hears each step as it begins."""
    with (
        on_cores(plan.cores) as cores,
        ScratchFolder("lrgd-bench-") as scratch,
        PrivatePostgres() as postgres,
        PrivateValkey() as valkey,
    ):
        before = machine(cores)
        told("a shop")
        shop = asyncio.run(StockedShop.stocked(postgres, valkey, scratch.path))
        measured = _Measured(plan, shop, told)
        figures = measured.figures()
        detail = {
            "plan": {**asdict(plan), "vllm": str(plan.vllm), "learning": plan.learning.as_row()},
            "machine": {"before": before, "after": machine(cores)},
            **measured.detail(),
        }
    return {name: round(value, 4) for name, value in figures.items()}, detail


@dataclass(frozen=True, slots=True)
class _Worked:
    """`busy` is how long slots of the engines were busy, all together; None: nobody says."""

    learned: Learned
    busy: float | None

    @property
    def rate(self) -> float:
        """Work done in a second: in seconds of the engine where that is known, since no two users
        make the same work; else in rounds."""
        return self.learned.per_second if self.busy is None else self.busy / self.learned.seconds

    def detail(self) -> dict[str, Any]:
        told: dict[str, Any] = {**asdict(self.learned), "rounds_per_s": self.learned.per_second}
        if self.busy is not None:
            told["engine_s_per_round"] = self.busy / self.learned.rounds
            told["slots_busy"] = self.busy / self.learned.seconds
        return told


class _Measured:
    def __init__(self, plan: Plan, shop: StockedShop, told: Told) -> None:
        self._plan = plan
        self._shop = shop
        told("one call in flight")
        self.alone = self._worked("alone", 1, at_once=1, slots=1, users=plan.alone, rounds=1)
        self.crews = {}
        for workers in CREWS:
            told(f"workers: {workers}, {AT_ONCE} users in flight each")
            self.crews[workers] = self._worked(
                f"crew_{workers}",
                workers,
                at_once=AT_ONCE,
                slots=plan.latency.slots,
                users=plan.users * workers,
                rounds=plan.rounds,
            )
        told("user-rounds on lrgd-mini")
        self.embedded = asyncio.run(
            shop.learned(
                "embedded",
                [{}],
                at_once=EMBEDDED_AT_ONCE,
                users=plan.measured,
                rounds=plan.measured_rounds,
                plan=plan.learning,
            )
        )

    def figures(self) -> dict[str, float]:
        one = self.crews[1]
        return {
            "speedup.wall": one.rate / self.alone.rate,
            **{
                f"workers{workers}.speedup": crew.rate / one.rate
                for workers, crew in self.crews.items()
                if workers > 1
            },
            "user_round.calls": self.embedded.calls,
            "user_round.uncached_prompt_tokens": self.embedded.uncached_prompt_tokens,
            "user_round.completion_tokens": self.embedded.completion_tokens,
            "user_round.seconds": self.embedded.seconds / self.embedded.rounds,
            "user_round.cpu_seconds": self.embedded.cpu,
            "worker.cpu_seconds_per_round": one.learned.cpu,
        }

    def detail(self) -> dict[str, Any]:
        return {
            "engine": self._described(),
            "one_call_in_flight": self.alone.detail(),
            "crews": {str(workers): crew.detail() for workers, crew in self.crews.items()},
            "embedded": asdict(self.embedded),
            "speedups": "work done in a second, as the engine counts it; with vLLM rounds",
        }

    def _described(self) -> dict[str, Any]:
        if self._plan.engine is EngineName.VLLM:
            return {"what": "lrgd-mini on one vLLM that all workers share", "flags": dict(FLAGS)}
        return {
            "what": "scripted, one for each worker, prefix cache on",
            **asdict(self._plan.latency),
        }

    def _worked(
        self, name: str, workers: int, *, at_once: int, slots: int, users: int, rounds: int
    ) -> _Worked:
        plan = self._plan
        with _engines(plan, self._shop.folder, name, workers, slots) as engines:
            busy = [0.0]

            def clock_starts() -> None:
                busy[0] = engines.busy_seconds()

            learned = asyncio.run(
                self._shop.learned(
                    name,
                    engines.settings,
                    at_once=at_once,
                    users=users,
                    rounds=rounds,
                    plan=plan.learning,
                    clock_starts=clock_starts,
                )
            )
            worked = engines.busy_seconds() - busy[0]
        return _Worked(learned, worked or None)


@dataclass(frozen=True)
class _Engines:
    """`settings` are those of each worker."""

    settings: Sequence[Mapping[str, Any]]
    scripted: Sequence[PrivateScripted] = ()

    def busy_seconds(self) -> float:
        return sum(one.busy_seconds() for one in self.scripted)


@contextlib.contextmanager
def _engines(plan: Plan, folder: Path, name: str, workers: int, slots: int) -> Iterator[_Engines]:
    with contextlib.ExitStack() as stack:
        if plan.engine is EngineName.VLLM:
            server = stack.enter_context(
                PrivateVllm(
                    SHIPPED_MODEL, environment=plan.vllm, flags={"--max-num-seqs": str(slots)}
                )
            )
            yield _Engines([{"llm_url": server.url, "llm_model": server.model}] * workers)
            return
        latency = replace(plan.latency, slots=slots)
        scripted = [
            stack.enter_context(PrivateScripted(latency, folder, name=f"{name}-engine-{number}"))
            for number in range(workers)
        ]
        settings = [{"llm_url": one.url, "llm_model": one.model} for one in scripted]
        yield _Engines(settings, scripted)

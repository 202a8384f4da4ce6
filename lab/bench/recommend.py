"""How fast a recommendation is: the engine by mode, what the gateway adds to it, the fallback
without it, and the look-up of a user among a million.

Everything is real: servers and gateways run as processes of their own. What is compared is
interleaved, in an order drawn anew, so that a busy machine hurts both sides alike.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from lab.bench.contenders import Contender, contender
from lab.bench.deployed import DEADLINE_MS, DeployedShop, deploy_shop
from lab.bench.fallback import Fallback, measure_fallback
from lab.bench.machine import machine, on_cores
from lab.bench.modes import CLIENTS, Samples, measure_modes, mode_figures, mode_rows, ratios
from lab.bench.overhead import Overhead, measure_overhead
from lab.bench.questions import WARM_USERS, Asked
from lab.bench.store import Store, measure_store
from lab.engines import EngineChoice, make_model
from lab.mini.conditions import CANDIDATES
from lab.servers.processes import PrivateGateway
from lab.servers.scratch import ScratchFolder
from lab.servers.valkey import PrivateValkey
from services.llm.port import Engine, Terms
from services.prompts import Mode

READY_SECONDS = 120.0

Told = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Plan:
    """`engine` None: lrgd-mini on a vLLM of our own, of the environment `vllm`."""

    engine: EngineChoice | None
    vllm: Path | None
    requests: int  # of a mode, a cache and a number of clients, in a round
    rounds: int
    shop_users: int
    fallbacks: int
    kept_users: int
    lookups: int
    cores: int
    seed: int

    def quick(self) -> Plan:
        """A first look: few of everything."""
        return replace(
            self,
            requests=min(self.requests, 12),
            rounds=1,
            shop_users=min(self.shop_users, 150),
            fallbacks=200,
            kept_users=min(self.kept_users, 20_000),
            lookups=min(self.lookups, 2_000),
        )

    @property
    def steps(self) -> int:
        """How often `told` will be called."""
        return 8 + self.rounds * (len(Mode) * 2 * len(CLIENTS) + 2)


def measure(plan: Plan, told: Told = lambda _step: None) -> tuple[dict[str, float], dict[str, Any]]:
    """Figures, and what they are made of. `told` hears each step as it begins."""
    with on_cores(plan.cores) as cores, ScratchFolder("lrgd-bench-") as scratch:
        before = machine(cores)
        measured = asyncio.run(_measured(plan, scratch.path, told))
        figures = {name: round(value, 4) for name, value in measured.figures().items()}
        detail = {
            "plan": _told_of(plan),
            "machine": {"before": before, "after": machine(cores)},
            **measured.detail(),
        }
    return figures, detail


@dataclass(frozen=True, slots=True)
class _Measured:
    described: dict[str, Any]
    samples: Samples
    overhead: Overhead
    fallback: Fallback
    store: Store

    def figures(self) -> dict[str, float]:
        by_mode = mode_figures(self.samples)
        return {
            **by_mode,
            **ratios(by_mode),
            **self.overhead.figures(),
            **self.fallback.figures(),
            **self.store.figures(),
        }

    def detail(self) -> dict[str, Any]:
        return {
            "engines": self.described,
            "prompts": {
                "candidates": CANDIDATES,
                "listed": "exactly 10 labels, constrained, where the list is written",
                "cold": "each prompt has a first line of its own: nothing of it is cached",
                "cached": f"instruction, demonstration and history of {WARM_USERS} users are "
                "cached, the candidates fresh in every request",
                "permutations": 1,
            },
            "modes": mode_rows(self.samples),
            "overhead": {
                "gateway": "one process, SQLite, a Valkey; stored rankings off, states of users "
                f"in Valkey, every user once in a round, deadline {DEADLINE_MS} ms",
                "bare": "the gateway's own prompts, put to the same engine by the same adapter",
                **self.overhead.detail(),
            },
            "fallback": self.fallback.detail(),
            "store": self.store.detail(),
        }


async def _measured(plan: Plan, folder: Path, told: Told) -> _Measured:
    """Nothing runs beside what is measured but what belongs to it: an idle server is not idle."""
    draws = random.Random(plan.seed)
    store = await measure_store(
        folder, users=plan.kept_users, lookups=plan.lookups, draws=draws, told=told
    )
    with PrivateValkey() as valkey:
        told("a shop")
        shop = await deploy_shop(folder, valkey)
        told("starting the engine")
        with contender(plan.engine, plan.vllm) as engine:
            described, samples, overhead = await _engine(plan, engine, shop, draws, told)
        fallback = await measure_fallback(shop, requests=plan.fallbacks, draws=draws, told=told)
    if engine.choice.is_server:
        samples |= await _likelihood(plan, draws, described, told)
    return _Measured(described, samples, overhead, fallback, store)


async def _engine(
    plan: Plan, engine: Contender, shop: DeployedShop, draws: random.Random, told: Told
) -> tuple[dict[str, Any], Samples, Overhead]:
    async with engine.model() as model:
        described = {"measured": {**engine.detail, **_said(await model.describe(_terms()))}}
        asked = Asked(model, users=plan.requests, seed=plan.seed)
        modes = [Mode.FIRST_TOKEN, Mode.GENERATE] if engine.choice.is_server else list(Mode)
        samples = await measure_modes(
            model, asked, modes, requests=plan.requests, rounds=plan.rounds, draws=draws, told=told
        )
        told("starting a gateway")
        with PrivateGateway({**shop.settings, **engine.settings}, shop.folder) as gateway:
            overhead = await measure_overhead(
                gateway,
                shop,
                model,
                await asked.labels(),
                users=min(plan.shop_users, len(shop.users)),
                rounds=plan.rounds,
                draws=draws,
                told=told,
            )
    return described, samples, overhead


async def _likelihood(
    plan: Plan, draws: random.Random, described: dict[str, Any], told: Told
) -> Samples:
    """No server over HTTP has this mode: it is measured on the embedded engine."""
    async with make_model(EngineChoice()) as model:
        described["likelihood"] = _said(await model.describe(_terms()))
        asked = Asked(model, users=plan.requests, seed=plan.seed)
        return await measure_modes(
            model,
            asked,
            [Mode.LIKELIHOOD],
            requests=plan.requests,
            rounds=plan.rounds,
            draws=draws,
            told=told,
        )


def _said(engine: Engine) -> dict[str, Any]:
    return {**asdict(engine.fingerprint), "labels": engine.capabilities.labels.value}


def _told_of(plan: Plan) -> dict[str, Any]:
    left_out = ("engine", "vllm")
    return {name: value for name, value in asdict(plan).items() if name not in left_out}


def _terms() -> Terms:
    return Terms.within(READY_SECONDS)

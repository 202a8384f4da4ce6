"""How fast an engine ranks 50 candidates: by mode, with nothing cached and with all but the
candidates cached, for one client and for several at once."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from lab.bench.questions import Asked, Question
from lab.bench.timing import Timed, at_quantile, by_clients
from services.llm.port import LanguageModel, Usage
from services.prompts import Mode

CACHES = ("cold", "cached")
CLIENTS = (1, 8, 32)
SHOWN = 8  # clients of the figure; the other numbers are in the detail
WARM_UP = 5


@dataclass(frozen=True, slots=True)
class Cell:
    mode: Mode
    cache: str
    clients: int


@dataclass(frozen=True, slots=True)
class Sample:
    """One round of one cell. `usage` is of all its calls together."""

    timed: Timed
    usage: Usage


Samples = dict[Cell, list[Sample]]


async def measure_modes(
    model: LanguageModel,
    asked: Asked,
    modes: Sequence[Mode],
    *,
    requests: int,
    rounds: int,
    draws: random.Random,
    told: Callable[[str], None],
) -> Samples:
    """In every round each cell once, in an order drawn anew."""
    for mode in modes:
        for question in await asked.cold(mode, WARM_UP):
            await question.put_to(model)
    samples: Samples = defaultdict(list)
    cells = [Cell(mode, cache, n) for mode in modes for cache in CACHES for n in CLIENTS]
    for number in range(rounds):
        for cell in draws.sample(cells, len(cells)):
            told(f"round {number + 1}: {cell.mode}, {cell.cache}, {_clients(cell.clients)}")
            samples[cell].append(await _sample(model, asked, cell, requests))
    return samples


async def _sample(model: LanguageModel, asked: Asked, cell: Cell, requests: int) -> Sample:
    if cell.cache == "cold":
        questions = await asked.cold(cell.mode, requests)
    else:
        known, questions = await asked.cached(cell.mode, requests)
        for question in known:
            await question.put_to(model)
    used: list[Usage] = []

    async def put(question: Question) -> None:
        used.append(await question.put_to(model))

    timed = await by_clients(cell.clients, questions, put)
    return Sample(timed, sum(used, Usage()))


def mode_figures(samples: Samples) -> dict[str, float]:
    """p50 and requests a second: medians over the rounds. p99: of the calls of all rounds."""
    figures: dict[str, float] = {}
    for cell in sorted(samples, key=_place):
        rounds = samples[cell]
        name = f"{cell.mode}.{cell.cache}"
        if cell.clients == 1:
            figures[f"{name}.p50_ms"] = median(one.timed.ms(0.5) for one in rounds)
            calls = [seconds for one in rounds for seconds in one.timed.calls]
            figures[f"{name}.p99_ms"] = 1000 * at_quantile(calls, 0.99)
        if cell.clients == SHOWN:
            figures[f"{name}.rps{SHOWN}"] = median(one.timed.per_second for one in rounds)
    return figures


def ratios(figures: dict[str, float]) -> dict[str, float]:
    """How many times longer writing the list takes than reading one position."""
    return {
        f"ratio.{cache}": figures[f"generate.{cache}.p50_ms"]
        / figures[f"first_token.{cache}.p50_ms"]
        for cache in CACHES
    }


def mode_rows(samples: Samples) -> list[dict[str, Any]]:
    """Every cell, its rounds together."""
    rows = []
    for cell in sorted(samples, key=_place):
        rounds = samples[cell]
        calls = [seconds for one in rounds for seconds in one.timed.calls]
        usage = sum((one.usage for one in rounds), Usage())
        rows.append(
            {
                "mode": cell.mode.value,
                "cache": cell.cache,
                "clients": cell.clients,
                "calls": len(calls),
                "p50_ms": median(one.timed.ms(0.5) for one in rounds),
                "p50_ms_by_round": [one.timed.ms(0.5) for one in rounds],
                "p99_ms": 1000 * at_quantile(calls, 0.99),
                "fastest_ms": 1000 * min(calls),
                "requests_per_s": median(one.timed.per_second for one in rounds),
                "prompt_tokens": usage.prompt / len(calls),
                "cached_tokens": None if usage.cached is None else usage.cached / len(calls),
                "completion_tokens": usage.completion / len(calls),
            }
        )
    return rows


def _place(cell: Cell) -> tuple[int, int, int]:
    return list(Mode).index(cell.mode), CACHES.index(cell.cache), cell.clients


def _clients(number: int) -> str:
    return "1 client" if number == 1 else f"{number} clients"

"""What the order of a prompt's segments is worth, and what it costs: all templates, same users."""

from __future__ import annotations

import asyncio
import contextlib
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from lab.metrics import ndcg
from lab.mini.conditions import Condition, Question, questions
from lab.shop.taste import EVALUATION_USERS, Shop
from lab.statistics import Comparison, estimate, paired_bootstrap
from services.llm.onnx import OnnxConfig, OnnxModel
from services.llm.port import Terms, Usage
from services.observability.metrics import Metrics
from services.prompts import PromptFormat, TemplateName, template_version
from services.ranking import Method, Ranker, RankingRequest

DEFAULT = PromptFormat().template
CONDITIONS = (Condition.ZERO_SHOT, Condition.ORACLE_DEMO)
CUTOFF = 10
SECONDS = 60.0

Tell = Callable[[str, int, int], None]  # what, how many are done, of how many


@dataclass(frozen=True)
class Timing:
    """Of one ranking. `cold`: nothing of the prompt is known. `cached`: the same user was ranked
    for before, and the candidates are others."""

    cold_ms: float
    cached_ms: float
    usage: Usage  # of the cached one


@dataclass
class Seen:
    """A template's nDCG@10 by condition and user; its timings by user."""

    gains: dict[Condition, list[float]] = field(
        default_factory=lambda: {condition: [] for condition in CONDITIONS}
    )
    timings: list[Timing] = field(default_factory=list)

    def p50(self, of: Callable[[Timing], float]) -> float:
        return statistics.median(map(of, self.timings))


def compare_templates(
    folder: Path, users: int, timed: int, tell: Tell
) -> tuple[dict[str, float], dict[str, Any]]:
    seen = asyncio.run(_see(folder, users, timed, tell))
    return _figures(seen), {"users": users, "timed": len(seen[DEFAULT].timings), **_tables(seen)}


def as_markdown(figures: dict[str, float], detail: dict[str, Any]) -> str:
    """The table of docs/templates.md."""
    head = (
        "template", "nDCG@10, zero-shot", "nDCG@10, with a demonstration", "p against the default",
        "cold, p50 ms", "cached, p50 ms", "tokens", "of them cached",
    )  # fmt: skip
    rows = [head, ("---",) * len(head)]
    for name in TemplateName:
        quality = [
            "{:.3f} ({:.3f} to {:.3f})".format(
                figures[f"{name}.{condition}.ndcg@10"], *detail["intervals"][name][condition]
            )
            for condition in CONDITIONS
        ]
        p = "the default" if name is DEFAULT else f"{figures[f'{name}.p.oracle_demo']:.4f}"
        times = [f"{figures[f'{name}.{cache}.p50_ms']:.1f}" for cache in ("cold", "cached")]
        tokens = [f"{figures[f'{name}.{which}_tokens']:.0f}" for which in ("prompt", "cached")]
        rows.append((f"`{name}`", *quality, p, *times, *tokens))
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


# --- seeing ---------------------------------------------------------------------------------------


async def _see(folder: Path, users: int, timed: int, tell: Tell) -> dict[TemplateName, Seen]:
    methods = {name: Method(PromptFormat(template=name)) for name in TemplateName}
    seen = {name: Seen() for name in TemplateName}
    window = PromptFormat().limits.history_items
    asked = questions(Shop(), EVALUATION_USERS[:users], window)
    async with contextlib.AsyncExitStack() as stack:
        cold, warm = [
            Ranker(await stack.enter_async_context(OnnxModel(config, Metrics())))
            for config in (OnnxConfig(folder, cache_bytes=0), OnnxConfig(folder))
        ]
        for number, question in enumerate(asked, start=1):
            for name, method in methods.items():
                for condition in CONDITIONS:
                    request, _ = question.under(condition, method)
                    ranking = await warm.rank(request, method, Terms.within(SECONDS))
                    seen[name].gains[condition].append(
                        ndcg(ranking.rank_of(question.truth), CUTOFF)
                    )
            tell("ranked", number, len(asked))
        await _time(asked, timed, methods, (cold, warm), seen=seen, tell=tell)
    return seen


async def _time(
    asked: Sequence[Question],
    timed: int,
    methods: dict[TemplateName, Method],
    rankers: tuple[Ranker, Ranker],
    *,
    seen: dict[TemplateName, Seen],
    tell: Tell,
) -> None:
    """User by user, each template in turn and another one first: whatever else the machine does
    falls on all of them alike."""
    cold, warm = rankers
    told = [question for question in asked if question.truthful is not None][:timed]
    names = list(methods)
    for name in names:  # labels are found and everything is loaded before the clock runs
        for ranker in rankers:
            await _timed(ranker, told[-1].request, methods[name])
    for number, question in enumerate(told):
        for place in range(len(names)):
            name = names[(number + place) % len(names)]
            method = methods[name]
            request, _ = question.under(Condition.ORACLE_DEMO, method)
            fresh = replace(request, candidates=told[number - 1].request.candidates)
            cold_ms, _ = await _timed(cold, fresh, method)
            await _timed(warm, request, method)
            cached_ms, usage = await _timed(warm, fresh, method)
            seen[name].timings.append(Timing(cold_ms, cached_ms, usage))
        tell("timed", number + 1, len(told))


async def _timed(ranker: Ranker, request: RankingRequest, method: Method) -> tuple[float, Usage]:
    began = time.perf_counter()
    ranked = await ranker.rank_all([request], method, Terms.within(SECONDS))
    return (time.perf_counter() - began) * 1e3, ranked.usage


# --- figures --------------------------------------------------------------------------------------


def _figures(seen: dict[TemplateName, Seen]) -> dict[str, float]:
    figures: dict[str, float] = {}
    for name, one in seen.items():
        for condition in CONDITIONS:
            figures[f"{name}.{condition}.ndcg@10"] = statistics.fmean(one.gains[condition])
        figures[f"{name}.cold.p50_ms"] = one.p50(lambda timing: timing.cold_ms)
        figures[f"{name}.cached.p50_ms"] = one.p50(lambda timing: timing.cached_ms)
        figures[f"{name}.prompt_tokens"] = one.p50(lambda timing: timing.usage.prompt)
        figures[f"{name}.cached_tokens"] = one.p50(lambda timing: timing.usage.cached or 0)
        if name is not DEFAULT:
            for condition in CONDITIONS:
                against = _against_default(seen, name, condition)
                figures[f"{name}.p.{condition}"] = against.p
                figures[f"{name}.over_default.{condition}"] = against.difference
    return figures


def _tables(seen: dict[TemplateName, Seen]) -> dict[str, Any]:
    intervals: dict[str, Any] = {}
    over_default: dict[str, Any] = {}
    for name, one in seen.items():
        spread = {condition: estimate(one.gains[condition]) for condition in CONDITIONS}
        intervals[name] = {condition: [each.low, each.high] for condition, each in spread.items()}
        if name is not DEFAULT:
            against = {each: _against_default(seen, name, each) for each in CONDITIONS}
            over_default[name] = {each: [one.low, one.high] for each, one in against.items()}
    return {
        "default": DEFAULT,
        "versions": {name: template_version(name) for name in seen},
        "intervals": intervals,
        "over_default_intervals": over_default,
    }


def _against_default(
    seen: dict[TemplateName, Seen], name: TemplateName, condition: Condition
) -> Comparison:
    return paired_bootstrap(seen[name].gains[condition], seen[DEFAULT].gains[condition])

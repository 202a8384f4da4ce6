"""What work will cost, told in tokens and time before it starts, from a few rankings and a text
that are asked first. Retries, and what is kept of an interrupted run, are not known then.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from services.demonstrations.generation import GeneratorPrompt
from services.demonstrations.generator import Generator, Task, Writing
from services.llm.port import LanguageModel, Terms, Usage
from services.ranking import Method, Ranker, RankingRequest

WRITING = Writing()


@dataclass(frozen=True, slots=True)
class Pace:
    """Tokens and seconds of one ranking, and of one text."""

    ranking_tokens: float
    ranking_seconds: float
    text_tokens: float
    text_seconds: float

    def told(self, rankings: int, texts: int, at_once: int = 1) -> str:
        tokens = rankings * self.ranking_tokens + texts * self.text_tokens
        seconds = rankings * self.ranking_seconds + texts * self.text_seconds
        minutes = max(1, round(seconds / 60 / at_once))
        return (
            f"about {rankings:,} rankings and {texts:,} texts: {tokens / 1e6:,.1f} M tokens, "
            f"some {minutes:,} minutes"
        )


async def pace(
    model: LanguageModel,
    method: Method,
    requests: Sequence[RankingRequest],
    prompt: GeneratorPrompt,
    terms: Terms,
    *,
    writing: Writing = WRITING,
) -> Pace:
    ranker = Ranker(model)
    await ranker.rank(requests[0], method, terms)  # loads the model and finds its labels
    began = time.perf_counter()
    ranked = await ranker.rank_all(requests, method, terms)
    ranking_seconds = time.perf_counter() - began
    began = time.perf_counter()
    (outcome,) = await Generator(model).write([Task(prompt, 0)], terms, writing)
    return Pace(
        _tokens(ranked.usage) / len(requests),
        ranking_seconds / len(requests),
        _tokens(outcome.usage),
        time.perf_counter() - began,
    )


def _tokens(usage: Usage) -> int:
    return usage.prompt + usage.completion

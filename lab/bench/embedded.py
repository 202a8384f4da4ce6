"""How long the embedded engine takes to rank 50 candidates behind a prompt of 450 tokens.

python -m lab.bench.embedded FOLDER

FOLDER holds the model: `config.json`, `model.safetensors`, `model.onnx` and the tokenizer.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import statistics
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from lab.shop.catalog import build_catalog
from services.llm.chat import Chat, Message
from services.llm.labels import find_labels
from services.llm.onnx import OnnxConfig, OnnxModel
from services.llm.port import GenerationRequest, Labels, Sampling, Terms, Usage
from services.observability.metrics import Metrics
from services.prompts.labels import LABELS

CANDIDATES, PROMPT_TOKENS, ROUNDS = 50, 450, 30
LEAD = "Next:"


def main() -> None:
    figures = asyncio.run(measure(Path(sys.argv[1])))
    json.dump(figures, sys.stdout, indent=2)
    sys.stdout.write("\n")


async def measure(folder: Path) -> dict[str, object]:
    async with OnnxModel(OnnxConfig(folder), Metrics()) as model:
        started = time.perf_counter()
        engine = await model.describe(_terms())
        loaded = time.perf_counter() - started
        prompts = _Prompts(model)
        texts = [*(f" {label}" for label in LABELS), *LABELS]
        chat = await prompts.with_candidates()
        labels = (await find_labels(model, chat, texts, _terms(), at_least=CANDIDATES)).first(
            CANDIDATES
        )
        return {
            "engine": engine.fingerprint.version,
            "threads": 1,
            "load_average": [round(one, 1) for one in os.getloadavg()],
            "load_ms": round(loaded * 1e3, 1),
            "labels": await _labels(model, prompts, labels),
            "likelihood": await _likelihood(model, prompts),
            "generate_64_tokens": await _generate(model, prompts),
        }


class _Prompts:
    """About as long as wanted, each with another history."""

    def __init__(self, model: OnnxModel) -> None:
        self._model = model
        self._titles = [item.title for item in build_catalog().items]
        self._draws = random.Random(1)

    def candidates(self) -> list[str]:
        return self._draws.sample(self._titles, CANDIDATES)

    async def with_candidates(self) -> Chat:
        titles = zip(self.candidates(), LABELS, strict=False)
        return await self._filled("".join(f"\n- {title} {label}" for title, label in titles))

    async def without(self) -> Chat:
        return await self._filled("")

    def reordered(self, chat: Chat) -> Chat:
        """Other candidates behind the same history."""
        history, _, _ = chat.messages[0].content.partition("\nCandidates:")
        titles = zip(self.candidates(), LABELS, strict=False)
        listed = "".join(f"\n- {title} {label}" for title, label in titles)
        return Chat((Message("user", f"{history}\nCandidates:{listed}"),), LEAD)

    async def _filled(self, candidates: str) -> Chat:
        history = ""
        while True:
            history += f"\n- {self._draws.choice(self._titles)}"
            text = f"{history}\nCandidates:{candidates}" if candidates else history
            chat = Chat((Message("user", text),), LEAD)
            if await self._model.count(chat, _terms()) >= PROMPT_TOKENS:
                return chat


async def _labels(model: OnnxModel, prompts: _Prompts, labels: Labels) -> dict[str, object]:
    async def score(chat: Chat) -> Usage:
        return (await model.score_labels([chat], labels, _terms())).usage

    chat = await prompts.with_candidates()
    return {
        "cold": await _timed(prompts.with_candidates, score),
        "cached": await _timed(_same(chat), score),
        "cached_history_other_candidates": await _timed(
            _same(chat), lambda one: score(prompts.reordered(one))
        ),
    }


async def _likelihood(model: OnnxModel, prompts: _Prompts) -> dict[str, object]:
    async def score(chat: Chat) -> Usage:
        titles = [f" {title}" for title in prompts.candidates()]
        return (await model.score_titles(chat, titles, _terms(), end="\n")).usage

    chat = await prompts.without()
    return {
        "cold": await _timed(prompts.without, score),
        "cached": await _timed(_same(chat), score),
    }


async def _generate(model: OnnxModel, prompts: _Prompts) -> dict[str, object]:
    async def write(chat: Chat) -> Usage:
        request = GenerationRequest(chat, Sampling(64, temperature=0.8, seed=1))
        return (await model.generate([request], _terms()))[0].usage

    return await _timed(_same(await prompts.without()), write)


async def _timed(
    prompt: Callable[[], Awaitable[Chat]], call: Callable[[Chat], Awaitable[Usage]]
) -> dict[str, object]:
    """The first call, which may find nothing cached yet, is not counted."""
    await call(await prompt())
    seconds, usage = [], Usage()
    for _ in range(ROUNDS):
        chat = await prompt()
        started = time.perf_counter()
        usage = await call(chat)
        seconds.append(time.perf_counter() - started)
    return {
        "p50_ms": round(statistics.median(seconds) * 1e3, 1),
        "fastest_ms": round(min(seconds) * 1e3, 1),
        "prompt_tokens": usage.prompt,
        "cached_tokens": usage.cached,
        "completion_tokens": usage.completion,
    }


def _same(chat: Chat) -> Callable[[], Awaitable[Chat]]:
    async def prompt() -> Chat:
        return chat

    return prompt


def _terms() -> Terms:
    return Terms.within(60)


if __name__ == "__main__":
    main()

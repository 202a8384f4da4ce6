"""lrgd-mini, or a model like it, as a LanguageModel in this process: ONNX Runtime, no torch.

Making one costs nothing and may happen before a fork. The first call loads the model, inside the
process that calls, on the one thread that computes. Computation takes turns in pieces of some
tens of milliseconds: a prompt, the titles behind it, or a few written tokens. Between two pieces
live calls go before rounds.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Self, TypeVar

from services.llm.chat import Chat
from services.llm.errors import ModelError, ModelTimeout
from services.llm.gate import Gate, GateLimits
from services.llm.onnx.files import ModelFiles
from services.llm.port import (
    Count,
    Engine,
    Generated,
    GenerationRequest,
    LabelRow,
    Labels,
    LabelScores,
    LabelSource,
    Terms,
    TitleScores,
    Usage,
)
from services.observability.metrics import LlmAbilityLabels, Metrics

if TYPE_CHECKING:
    from services.llm.onnx.engine import OnnxEngine

TOKENS_AT_A_TURN = 16
# A thread that has computed needs the interpreter again, for an instant, some ten times a prompt.
# Each time it would wait up to 5 ms, Python's own value, where the event loop is busy: beside eight
# clients that takes a fifth of `overhead.throughput8` of `lrgd bench recommend`.
SWITCH_SECONDS = 0.0002
LOAD_SECONDS = 60.0

Result = TypeVar("Result")


@dataclass(frozen=True)
class OnnxConfig:
    """`cache_bytes` is for the beginnings of prompts: lrgd-mini takes about 9 kB for a token."""

    folder: Path
    model: str = "lrgd-mini"
    threads: int = 1
    cache_bytes: int = 64 * 2**20
    limits: GateLimits = field(default=GateLimits(in_flight=1, rounds=1))


class OnnxModel:
    def __init__(self, config: OnnxConfig, metrics: Metrics) -> None:
        self._config = config
        self._metrics = metrics
        self._gate = Gate(config.limits, metrics)
        self._thread: ThreadPoolExecutor | None = None
        self._loading: asyncio.Task[OnnxEngine] | None = None
        self._loaded: OnnxEngine | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        if self._loading is not None:
            self._loading.cancel()
            with contextlib.suppress(asyncio.CancelledError, ModelError):
                await self._loading
            self._loading = None
        if self._thread is not None:
            thread, self._thread = self._thread, None
            await asyncio.to_thread(thread.shutdown, cancel_futures=True)

    async def describe(self, terms: Terms) -> Engine:
        return (await self._engine(terms)).description

    async def tokenize(self, prompt: Chat | str, terms: Terms) -> tuple[int, ...]:
        return (await self._engine(terms)).tokenizer.tokens(prompt)

    async def count(self, prompt: Chat | str, terms: Terms) -> int:
        return len(await self.tokenize(prompt, terms))

    async def counter(
        self,
        terms: Terms,
        texts: Sequence[str] = (),  # noqa: ARG002  # all are counted exactly
    ) -> Count:
        return (await self._engine(terms)).tokenizer.count

    async def score_labels(
        self, chats: Sequence[Chat], labels: Labels, terms: Terms
    ) -> LabelScores:
        engine = await self._engine(terms)
        ids = engine.label_ids(labels)
        prompts = [engine.tokenizer.tokens(chat) for chat in chats]
        for prompt in prompts:
            engine.check_room(len(prompt), 1)
        rows: list[LabelRow] = []
        usage = Usage()
        for prompt in prompts:
            read = partial(engine.label_row, prompt, ids, terms.deadline)
            row, used = await self._turn(terms, read)
            rows.append(row)
            usage += used
        return LabelScores(tuple(rows), LabelSource.EXACT, usage)

    async def score_titles(
        self, chat: Chat, titles: Sequence[str], terms: Terms, *, end: str | None = None
    ) -> TitleScores:
        engine = await self._engine(terms)
        prompt = engine.tokenizer.tokens(chat)
        tokens = [engine.title_tokens(title, end) for title in titles]
        engine.check_room(len(prompt), max(map(len, tokens), default=1))
        score = partial(engine.title_scores, prompt, tokens, terms.deadline)
        scores, usage = await self._turn(terms, score)
        return TitleScores(scores, usage)

    async def generate(
        self, requests: Sequence[GenerationRequest], terms: Terms
    ) -> tuple[Generated, ...]:
        engine = await self._engine(terms)
        prompts = [engine.tokenizer.tokens(request.chat) for request in requests]
        for prompt, request in zip(prompts, requests, strict=True):
            engine.check_room(len(prompt), request.sampling.max_tokens)
        return tuple(
            [
                await self._generate(engine, prompt, request, terms)
                for prompt, request in zip(prompts, requests, strict=True)
            ]
        )

    async def _generate(
        self, engine: OnnxEngine, prompt: Sequence[int], request: GenerationRequest, terms: Terms
    ) -> Generated:
        begin = partial(engine.begin_writing, prompt, request, terms.deadline)
        writing = await self._turn(terms, begin)
        go_on = partial(writing.go_on, TOKENS_AT_A_TURN, terms.deadline)
        generated = None
        while generated is None:
            generated = await self._turn(terms, go_on)
        return generated

    async def _turn(self, terms: Terms, compute: Callable[[], Result]) -> Result:
        async with self._gate.place(terms):
            return await self._in_thread(terms, compute)

    async def _in_thread(self, terms: Terms, compute: Callable[[], Result]) -> Result:
        if self._thread is None:
            sys.setswitchinterval(min(SWITCH_SECONDS, sys.getswitchinterval()))
            self._thread = ThreadPoolExecutor(1, thread_name_prefix="onnx")
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(terms.deadline.remaining()):
                return await loop.run_in_executor(self._thread, compute)
        except TimeoutError:
            raise ModelTimeout("the deadline passed while the model computed") from None

    async def _engine(self, terms: Terms) -> OnnxEngine:
        """Loaded once; whoever comes while it loads waits for the same."""
        if not terms.deadline.remaining():
            raise ModelTimeout("the deadline had passed before the model was asked")
        if self._loaded is not None:
            return self._loaded
        if self._loading is None or self._loading.done():
            self._loading = asyncio.create_task(self._load(), name="onnx-load")
            # Whoever waits gets the error; where nobody waits, the next call tries again.
            self._loading.add_done_callback(lambda task: task.cancelled() or task.exception())
        try:
            async with asyncio.timeout(terms.deadline.remaining()):
                return await asyncio.shield(self._loading)
        except TimeoutError:
            raise ModelTimeout("the deadline passed while the model was loaded") from None

    async def _load(self) -> OnnxEngine:
        config = self._config

        def load() -> OnnxEngine:
            # Imported here, not above: where ONNX Runtime was imported before a fork, the child
            # crashes or hangs when it ends.
            from services.llm.onnx.engine import OnnxEngine  # noqa: PLC0415

            files = ModelFiles.read(config.folder)
            return OnnxEngine(
                files,
                model=config.model,
                threads=config.threads,
                cache_bytes=config.cache_bytes,
            )

        engine = await self._in_thread(Terms.within(LOAD_SECONDS), load)
        for seen in engine.description.capabilities.observations:
            self._metrics.llm_ability.set(LlmAbilityLabels(seen.ability), 1.0)
        self._loaded = engine
        return engine

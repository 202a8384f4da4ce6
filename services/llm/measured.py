"""Any language model, with its calls counted."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from services.llm.chat import Chat
from services.llm.errors import MalformedAnswer, ModelError
from services.llm.port import (
    Count,
    Engine,
    Generated,
    GenerationRequest,
    Labels,
    LabelScores,
    LanguageModel,
    Terms,
    TitleScores,
    Usage,
)
from services.observability.logging import get_logger
from services.observability.metrics import (
    LlmCallLabels,
    LlmFlawLabels,
    LlmOutcomeLabels,
    LlmTokenLabels,
    Metrics,
)
from services.observability.tracing import span

log = get_logger(__name__)


class MeasuredModel:
    """`prompts_in_spans`: what people have taken is then in the traces."""

    def __init__(
        self, model: LanguageModel, metrics: Metrics, *, prompts_in_spans: bool = False
    ) -> None:
        self.model = model
        self._metrics = metrics
        self._prompts_in_spans = prompts_in_spans

    async def describe(self, terms: Terms) -> Engine:
        return await self.model.describe(terms)

    async def tokenize(self, prompt: Chat | str, terms: Terms) -> tuple[int, ...]:
        with self._measured("tokenize"):
            return await self.model.tokenize(prompt, terms)

    async def count(self, prompt: Chat | str, terms: Terms) -> int:
        with self._measured("tokenize"):
            return await self.model.count(prompt, terms)

    async def counter(self, terms: Terms, texts: Sequence[str] = ()) -> Count:
        return await self.model.counter(terms, texts)

    async def score_labels(
        self, chats: Sequence[Chat], labels: Labels, terms: Terms
    ) -> LabelScores:
        with self._measured("labels", chats) as spent:
            scores = await self.model.score_labels(chats, labels, terms)
            spent.usage = scores.usage
        return scores

    async def score_titles(
        self, chat: Chat, titles: Sequence[str], terms: Terms, *, end: str | None = None
    ) -> TitleScores:
        with self._measured("titles", [chat]) as spent:
            scores = await self.model.score_titles(chat, titles, terms, end=end)
            spent.usage = scores.usage
        return scores

    async def generate(
        self, requests: Sequence[GenerationRequest], terms: Terms
    ) -> tuple[Generated, ...]:
        with self._measured("generate", [request.chat for request in requests]) as spent:
            generated = await self.model.generate(requests, terms)
            for one in generated:
                spent.usage += one.usage
        return generated

    async def aclose(self) -> None:
        await self.model.aclose()

    @contextmanager
    def _measured(self, kind: str, chats: Sequence[Chat] = ()) -> Iterator[_Spent]:
        started = time.perf_counter()
        outcome = "abandoned"  # by whoever no longer waits for the answer
        spent = _Spent()
        try:
            with span(f"model {kind}", attributes={"lrgd.prompts": len(chats)}) as told:
                if self._prompts_in_spans:
                    told.set_attribute("lrgd.prompt", [chat.messages[-1].content for chat in chats])
                yield spent
                told.set_attributes(
                    {
                        "gen_ai.usage.input_tokens": spent.usage.prompt,
                        "gen_ai.usage.output_tokens": spent.usage.completion,
                        "lrgd.cached_tokens": spent.usage.cached or 0,
                    }
                )
            outcome = "ok"
        except ModelError as error:
            outcome = error.outcome
            if isinstance(error, MalformedAnswer):
                self._metrics.llm_malformed.add(LlmFlawLabels(kind, error.flaw))
            log.warning("llm_call_failed", kind=kind, outcome=outcome, error=str(error))
            raise
        finally:
            self._metrics.llm_calls.add(LlmOutcomeLabels(kind, outcome))
            self._metrics.llm_seconds.observe(LlmCallLabels(kind), time.perf_counter() - started)
        usage = spent.usage
        for part, tokens in (
            ("prompt", usage.prompt),
            ("cached", usage.cached or 0),
            ("completion", usage.completion),
        ):
            self._metrics.llm_tokens.add(LlmTokenLabels(kind, part), tokens)


@dataclass
class _Spent:
    usage: Usage = field(default_factory=Usage)

"""vLLM, or any OpenAI-compatible server, as a LanguageModel.

Labels are scored in one request whatever the number of prompts, and one token is generated for
each. What a server cannot do was found out by the probe, and is never asked for.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import random
import time
from collections.abc import Awaitable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Self, TypeVar

import httpx2

from services.llm.ability import Ability
from services.llm.breaker import BreakerState
from services.llm.chat import Chat
from services.llm.connection import ServerConfig, ServerConnection
from services.llm.deadline import Deadline
from services.llm.errors import (
    AbilityMissing,
    Flaw,
    MalformedAnswer,
    ModelError,
    ModelTimeout,
)
from services.llm.findings import Findings
from services.llm.port import (
    Count,
    Engine,
    Generated,
    GenerationRequest,
    LabelRow,
    Labels,
    LabelScores,
    LabelSource,
    Priority,
    Terms,
    TitleScores,
    Usage,
)
from services.llm.probe import probe
from services.llm.wire import (
    BATCH,
    CHAT,
    TOKENIZE,
    AnswerChoice,
    ChatAnswer,
    Tokenized,
    constraint_fields,
    exact_label_fields,
    finish,
    first_step,
    in_order,
    messages,
    one_token,
    parse,
    parse_answer,
    reported_logprobs,
    sampling_fields,
    top_label_fields,
    written_as,
)
from services.observability.logging import get_logger
from services.observability.metrics import LlmAbilityLabels, Metrics

PROBE_AGAIN_SECONDS = 60.0

MOST_COUNTS = 10_000
TYPICAL_TITLES = (
    "Nordvik Trailhead 2-Person Backpacking Tent, Waterproof, 3.1 kg (Forest Green) | SR",
    "Tischleuchte für draußen, wiederaufladbar, höhenverstellbar, 2er-Set",
    "Дорожный рюкзак для ноутбука 15,6 дюйма, водонепроницаемый",
    "折りたたみ式ソーラー充電器 防水 キャンプ用",
)

log = get_logger(__name__)
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class _Rates:
    """Tokens for a byte of ASCII, and of other text."""

    ascii: float
    other: float

    def tokens(self, text: str) -> int:
        size = len(text.encode())
        plain = size if text.isascii() else sum(char.isascii() for char in text)
        return math.ceil(plain * self.ascii + (size - plain) * self.other)


class VllmModel:
    """Made inside the event loop that uses it. Nothing is sent before the first call; that one
    waits for the probe, which is repeated when the server seems to be another one."""

    def __init__(
        self,
        config: ServerConfig,
        metrics: Metrics,
        *,
        transport: httpx2.AsyncBaseTransport | None = None,
        draws: random.Random | None = None,
    ) -> None:
        self._model = config.model
        self._metrics = metrics
        self._server = ServerConnection(config, metrics, transport=transport, draws=draws)
        self._found: Findings | None = None
        self._probing: asyncio.Task[Findings] | None = None
        self._probed_at = -math.inf
        self._rates: _Rates | None = None
        self._counts: dict[str, int] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        if self._probing is not None:
            self._probing.cancel()
            with contextlib.suppress(asyncio.CancelledError, ModelError):
                await self._probing
        await self._server.aclose()

    @property
    def breaker_state(self) -> BreakerState:
        return self._server.breaker_state

    async def describe(self, terms: Terms) -> Engine:
        return (await self._findings(terms)).engine

    async def tokenize(self, prompt: Chat | str, terms: Terms) -> tuple[int, ...]:
        found = await self._findings(terms)
        if not found.has(Ability.TOKENIZE):
            raise AbilityMissing(Ability.TOKENIZE, "the model server shows no tokenizer")
        if isinstance(prompt, str):
            body: dict[str, Any] = {"prompt": prompt, "add_special_tokens": False}
        else:
            body = found.tokenize_fields(prompt)
        content = await self._server.post(TOKENIZE, {"model": self._model, **body}, terms)
        return parse(Tokenized, content).tokens

    async def count(self, prompt: Chat | str, terms: Terms) -> int:
        return len(await self.tokenize(prompt, terms))

    async def counter(self, terms: Terms, texts: Sequence[str] = ()) -> Count:
        if self._rates is None:
            if (await self._findings(terms)).has(Ability.TOKENIZE):
                found = [
                    await self.count(text, terms) / len(text.encode()) for text in TYPICAL_TITLES
                ]
                self._rates = _Rates(found[0], max(found))
            else:
                self._rates = _Rates(0.5, 1.0)
        rates, exact = self._rates, await self._counted(texts, terms)
        return lambda text: exact[text] if text in exact else rates.tokens(text)

    async def _counted(self, texts: Sequence[str], terms: Terms) -> dict[str, int]:
        """Asked once for a text: those of demonstrations come again and again."""
        if not texts or not (await self._findings(terms)).has(Ability.TOKENIZE):
            return {}
        unknown = [text for text in dict.fromkeys(texts) if text not in self._counts]
        counts = await _all_or_nothing(self.count(text, terms) for text in unknown)
        known = {text: self._counts[text] for text in texts if text in self._counts}
        known |= dict(zip(unknown, counts, strict=True))
        self._counts |= known
        while len(self._counts) > MOST_COUNTS:
            self._counts.pop(next(iter(self._counts)))
        return known

    async def score_labels(
        self, chats: Sequence[Chat], labels: Labels, terms: Terms
    ) -> LabelScores:
        found = await self._findings(terms)
        source = LabelSource.TOP if labels.token_ids is None else found.label_source
        fields = _label_fields(found, source, labels)
        answers = await self._ask(found, chats, fields, terms)
        by_id = source is LabelSource.EXACT or found.tokens_by_id
        keys = written_as(labels, by_id=by_id)
        rows = [_row(choice, keys, source) for answer in answers for choice in answer.choices]
        usage = _total(answer.usage for answer in answers)
        if usage.completion > len(chats):
            raise MalformedAnswer(
                Flaw.TOO_MANY_TOKENS,
                f"{len(chats)} tokens were asked for, {usage.completion} were generated",
            )
        return LabelScores(tuple(rows), source, usage)

    async def score_titles(
        self,
        chat: Chat,  # noqa: ARG002  # the port's, for engines that can
        titles: Sequence[str],  # noqa: ARG002
        terms: Terms,  # noqa: ARG002
        *,
        end: str | None = None,  # noqa: ARG002
    ) -> TitleScores:
        # It could be had from prompt_logprobs, one prompt per title past the prefix cache: that
        # costs more than writing the list.
        raise AbilityMissing(
            Ability.TITLE_LIKELIHOOD, "model servers over HTTP do not score titles: use first_token"
        )

    async def generate(
        self, requests: Sequence[GenerationRequest], terms: Terms
    ) -> tuple[Generated, ...]:
        found = await self._findings(terms)
        written = await _all_or_nothing(
            self._generate(found, request, terms) for request in requests
        )
        return tuple(written)

    async def _generate(
        self, found: Findings, request: GenerationRequest, terms: Terms
    ) -> Generated:
        fields = sampling_fields(request.sampling, extended=found.extended_sampling)
        constrained = request.constraint is not None and found.keeps_to(request.constraint)
        if request.constraint is not None and constrained:
            fields |= constraint_fields(request.constraint, found.constraint_field)
        answer = await self._ask_one(found, request.chat, fields, terms)
        choice = answer.choices[0]
        if choice.message.content is None:
            raise MalformedAnswer(
                Flaw.NO_TEXT,
                "the model thought and did not answer: give it a chat template that can be told "
                "not to think"
                if choice.message.reasoning
                else "the answer has no text",
            )
        return Generated(choice.message.content, finish(choice), answer.usage, constrained)

    async def _ask(
        self, found: Findings, chats: Sequence[Chat], fields: dict[str, Any], terms: Terms
    ) -> list[_Answer]:
        """One request for all chats where the server has that; else one for each, at once."""
        # Those with a lead are rendered otherwise than those without.
        alike = len({bool(chat.lead) for chat in chats}) == 1
        if len(chats) > 1 and alike and found.has(Ability.BATCH):
            body = {"messages": [messages(chat) for chat in chats]}
            body |= found.chat_fields(chats, terms.priority) | fields
            return [await self._post(BATCH, body, len(chats), terms)]
        return await _all_or_nothing(self._ask_one(found, chat, fields, terms) for chat in chats)

    async def _ask_one(
        self, found: Findings, chat: Chat, fields: dict[str, Any], terms: Terms
    ) -> _Answer:
        body = {"messages": messages(chat), **found.chat_fields([chat], terms.priority), **fields}
        return await self._post(CHAT, body, 1, terms)

    async def _post(self, path: str, body: dict[str, Any], count: int, terms: Terms) -> _Answer:
        content = await self._server.post(path, {"model": self._model, **body}, terms)
        answer = parse_answer(content, self._model)
        self._notice(answer)
        return _Answer(in_order(answer, count), answer.tokens())

    async def _findings(self, terms: Terms) -> Findings:
        if self._server.recovered.is_set():
            self._server.recovered.clear()
            self._start_probe()
        if self._found is not None:
            return self._found
        if self._probing is None or self._probing.done():
            self._start_probe()
        assert self._probing is not None
        try:
            async with asyncio.timeout(terms.deadline.remaining()):
                return await asyncio.shield(self._probing)
        except TimeoutError:
            raise ModelTimeout(
                "the deadline passed while the model server's abilities were probed"
            ) from None

    def _notice(self, answer: ChatAnswer) -> None:
        found = self._found
        if found is None or answer.system_fingerprint == found.system_fingerprint:
            return
        # Behind one address there may be several servers: they must not keep us probing.
        if time.monotonic() - self._probed_at < PROBE_AGAIN_SECONDS:
            return
        log.warning(
            "llm_server_changed", before=found.system_fingerprint, now=answer.system_fingerprint
        )
        self._start_probe()

    def _start_probe(self) -> None:
        if self._probing is not None and not self._probing.done():
            return
        self._probing = asyncio.create_task(self._probe(), name="llm-probe")
        # Whoever waits gets the error; where nobody waits, the next call asks again.
        self._probing.add_done_callback(lambda task: task.cancelled() or task.exception())

    async def _probe(self) -> Findings:
        deadline = Deadline.after(self._server.config.probe_seconds)
        found = await probe(self._server, Terms(deadline, Priority.LIVE))
        for seen in found.observations:
            self._metrics.llm_ability.set(
                LlmAbilityLabels(seen.ability), float(found.has(seen.ability))
            )
            if seen.cost:
                log.warning(
                    "llm_ability_missing",
                    ability=seen.ability.value,
                    outcome=seen.outcome.value,
                    detail=seen.detail,
                    cost=seen.cost,
                )
        self._found = found
        self._probed_at = time.monotonic()
        return found


@dataclass(frozen=True, slots=True)
class _Answer:
    choices: list[AnswerChoice]
    usage: Usage


def _label_fields(found: Findings, source: LabelSource, labels: Labels) -> dict[str, Any]:
    extended = found.extended_sampling
    if source is LabelSource.EXACT:
        assert labels.token_ids is not None
        if len(labels.token_ids) > found.exact_labels:
            raise AbilityMissing(
                Ability.LABEL_LOGPROBS,
                f"{len(labels.token_ids)} labels, the server takes {found.exact_labels}",
            )
        return one_token(temperature=1.0, extended=extended) | exact_label_fields(labels.token_ids)
    if source is LabelSource.TOP and found.top_logprobs:
        # At temperature 0 the token that is drawn is the first of the list, not one more.
        return one_token(temperature=0.0, extended=extended) | top_label_fields(
            found.top_logprobs, by_id=found.tokens_by_id and labels.token_ids is not None
        )
    raise AbilityMissing(
        Ability.LABEL_LOGPROBS, "the model server reports no log-probs: use the generate mode"
    )


def _row(choice: AnswerChoice, wanted: Sequence[str], source: LabelSource) -> LabelRow:
    reported = reported_logprobs(first_step(choice))
    unseen = frozenset(place for place, key in enumerate(wanted) if key not in reported)
    if unseen and source is LabelSource.EXACT:
        raise MalformedAnswer(
            Flaw.MISSING_LABELS,
            f"{len(unseen)} of {len(wanted)} labels have no log-prob in the answer",
        )
    if len(unseen) == len(wanted):
        raise MalformedAnswer(
            Flaw.MISSING_LABELS, "none of the labels is among the likeliest tokens of the server"
        )
    bound = min(reported.values())
    return LabelRow(tuple(reported.get(key, bound) for key in wanted), unseen)


def _total(usages: Iterable[Usage]) -> Usage:
    total = Usage()
    for usage in usages:
        total += usage
    return total


async def _all_or_nothing(calls: Iterable[Awaitable[Result]]) -> list[Result]:
    """All results in order, or the first error; then nothing goes on in the background."""
    tasks = [asyncio.ensure_future(call) for call in calls]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

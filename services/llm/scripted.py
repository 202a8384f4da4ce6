"""A scripted model: deterministic answers from a hidden preference, a latency model, and faults on
command. For tests and for models of cost, never for people.

The latency model: a call takes `fixed_seconds`, plus `prompt_token_seconds` for every prompt token
that is not in the prefix cache, plus `completion_token_seconds` for every token written. `slots`
prompts are computed at once, the others wait. The prefix cache works in blocks of 16 tokens.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import random
import re
import zlib
from collections import Counter, OrderedDict
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from functools import lru_cache
from typing import Any

from services.llm.ability import Ability, Observation, Outcome
from services.llm.chat import Chat
from services.llm.errors import (
    AbilityMissing,
    ContextOverflow,
    Flaw,
    MalformedAnswer,
    ModelError,
    ModelOverloaded,
    ModelTimeout,
    ModelUnavailable,
    ServerFailed,
    WrongModel,
)
from services.llm.port import (
    MAX_LABELS,
    Capabilities,
    Choice,
    Constraint,
    Count,
    Engine,
    EngineFingerprint,
    Finish,
    Generated,
    GenerationRequest,
    JsonSchema,
    LabelRow,
    Labels,
    LabelScores,
    LabelSource,
    Sampling,
    Terms,
    TitleScore,
    TitleScores,
    Usage,
)

MODEL = "scripted"
BLOCK_TOKENS = 16
_CACHED_BLOCKS = 200_000
_END = "<end>"
_TOKEN = re.compile(r"<[a-z]+>| ?[^\W_]+| ?[^\w\s<]|\s|_|<")
_WORD = re.compile(r"\w+")
# Keeps every log-prob below zero, whatever the preference says.
_LEAST_LIKELY, _LIKELIEST = -30.0, -0.5

Preference = Callable[[str, str], float]
"""How much the model wants to say the second text after the first; 0 to 10 is a good range."""


@dataclass(frozen=True)
class Writing:
    """What a writer is asked for."""

    prompt: str
    sampling: Sampling
    constraint: Constraint | None
    preference: Preference

    @property
    def draws(self) -> random.Random:
        """The same for the same prompt and seed; at temperature 0, whatever the seed."""
        seed = self.sampling.seed if self.sampling.temperature else 0
        return random.Random(f"{seed}/{self.prompt}")


Writer = Callable[[Writing], str]


class Fault(StrEnum):
    SLOW = "slow"
    HANG = "hang"
    RESET = "reset"
    OVERLOADED = "429"
    UNAVAILABLE = "503"
    FAILED = "500"
    TRUNCATED = "truncated"
    NAN = "nan"
    MISSING_LABELS = "missing_labels"
    DUPLICATE_LABELS = "duplicate_labels"
    EXTRA_LABELS = "extra_labels"
    LABELS_IGNORED = "labels_ignored"
    WRONG_MODEL = "wrong_model"
    CONTEXT_OVERFLOW = "context_overflow"


# These meet every request, the others only those that score or generate.
OF_THE_SERVER = frozenset(
    {Fault.SLOW, Fault.HANG, Fault.RESET, Fault.OVERLOADED, Fault.UNAVAILABLE, Fault.FAILED}
)


class Faults:
    """One fault at a time is in force, until it has struck `times` times or `recover`."""

    def __init__(self) -> None:
        self._fault: Fault | None = None
        self._left: int | None = None
        self.slow_seconds = 1.0
        self.retry_after: float | None = None

    def begin(self, fault: Fault, *, times: int | None = None) -> None:
        self._fault, self._left = fault, times

    def recover(self) -> None:
        self._fault = None

    def strike(self, *, about_content: bool) -> Fault | None:
        if self._fault is None or (self._fault not in OF_THE_SERVER and not about_content):
            return None
        if self._left is not None:
            if self._left == 0:
                return None
            self._left -= 1
        return self._fault


@dataclass(frozen=True, slots=True)
class LatencyModel:
    fixed_seconds: float = 0.0
    prompt_token_seconds: float = 0.0
    completion_token_seconds: float = 0.0
    slots: int = 16

    def seconds(self, usage: Usage) -> float:
        computed = usage.prompt - (usage.cached or 0)
        return (
            self.fixed_seconds
            + self.prompt_token_seconds * computed
            + self.completion_token_seconds * usage.completion
        )


def shared_words(prompt: str, option: str) -> float:
    """The default preference: the more often the words of an option's line stand elsewhere in the
    prompt, the better; what is equal is told apart by a hash."""
    everywhere, last_line = _words_of(prompt)
    word = option.strip().lower()
    own = last_line.get(word) or Counter(_WORD.findall(word))
    shared = sum(min(everywhere[each] - own[each], 5) for each in own if each != word)
    return max(0, min(shared, 8)) + _noise(prompt, option)


@lru_cache(maxsize=256)
def _words_of(prompt: str) -> tuple[Counter[str], dict[str, Counter[str]]]:
    """All words of a prompt, and for each word those of the last line it stands in."""
    lines = [Counter(_WORD.findall(line)) for line in prompt.lower().splitlines()]
    last_line = {word: line for line in lines for word in line}
    everywhere = Counter[str]()
    for line in lines:
        everywhere.update(line)
    return everywhere, last_line


@dataclass
class Script:
    """What the in-process model and the scripted server have in common."""

    preference: Preference = shared_words
    writer: Writer | None = None
    latency: LatencyModel = field(default_factory=LatencyModel)
    model: str = MODEL
    context_tokens: int = 8192
    faults: Faults = field(default_factory=Faults)

    def __post_init__(self) -> None:
        self._texts: dict[int, str] = {}
        self._blocks: OrderedDict[bytes, None] = OrderedDict()
        self._slots = asyncio.Semaphore(self.latency.slots)
        self.busy_seconds = 0.0  # of all slots together

    def render(self, chat: Chat, *, thinking: bool = False, closed: bool = False) -> str:
        turns = [f"<{message.role}>\n{message.content}{_END}\n" for message in chat.messages]
        begun = "<think>\n" if thinking else ""
        if closed:
            return f"{''.join(turns)}<assistant>\n{chat.lead}{_END}\n<assistant>\n{begun}"
        return f"{''.join(turns)}<assistant>\n{begun}{chat.lead}"

    def tokenize(self, text: str) -> tuple[int, ...]:
        """Words with their space, punctuation, white space: each token is a hash of its text."""
        numbers = []
        for piece in _TOKEN.findall(text):
            number = 1000 + zlib.crc32(piece.encode()) % 10**9
            self._texts[number] = piece
            numbers.append(number)
        return tuple(numbers)

    def logprob(self, prompt: str, text: str) -> float:
        """Of one token, or of a title: a matter of its text alone, not of what else is asked."""
        return max(_LEAST_LIKELY, min(_LIKELIEST, self.preference(prompt, text) - 12.0))

    def label_logprob(self, prompt: str, number: int) -> float:
        text = self._texts.get(number)
        return _LEAST_LIKELY if text is None else self.logprob(prompt, text)

    def text_of(self, number: int) -> str:
        return self._texts[number]

    def likeliest(self, prompt: str, count: int) -> dict[int, float]:
        """Among the words of the prompt, with and without a space in front."""
        words = {piece.strip() for piece in _TOKEN.findall(prompt)} - {""}
        numbers = [self.tokenize(form)[0] for word in sorted(words) for form in (word, f" {word}")]
        scored = {number: self.label_logprob(prompt, number) for number in numbers}
        best = sorted(scored, key=lambda number: (-scored[number], number))[:count]
        return {number: scored[number] for number in best}

    def write(
        self, prompt: str, sampling: Sampling, constraint: Constraint | None
    ) -> tuple[str, Finish, int]:
        writing = Writing(prompt, sampling, constraint, self.preference)
        text = (self.writer or write_plainly)(writing)
        for stop in sampling.stop:
            text = text.partition(stop)[0]
        pieces = _TOKEN.findall(text)
        if len(pieces) > sampling.max_tokens:
            cut = "".join(pieces[: sampling.max_tokens])
            return cut, Finish.LENGTH, sampling.max_tokens
        return text, Finish.STOP, len(pieces) + 1

    def count_prompt(self, tokens: Sequence[int]) -> Usage:
        """Its tokens, and how many the prefix cache has; from now on it has all of them."""
        if len(tokens) > self.context_tokens:
            raise ContextOverflow(
                f"the maximum context length is {self.context_tokens} tokens, "
                f"the prompt has {len(tokens)}"
            )
        cached, chain, hits = 0, b"", True
        for end in range(BLOCK_TOKENS, len(tokens), BLOCK_TOKENS):
            block = repr(tokens[end - BLOCK_TOKENS : end]).encode()
            chain = hashlib.blake2b(chain + block, digest_size=16).digest()
            hits = hits and chain in self._blocks
            cached += BLOCK_TOKENS * hits
            self._blocks[chain] = None
            self._blocks.move_to_end(chain)
        while len(self._blocks) > _CACHED_BLOCKS:
            self._blocks.popitem(last=False)
        return Usage(prompt=len(tokens), cached=cached)

    @asynccontextmanager
    async def computed(self, usage: Usage) -> AsyncIterator[None]:
        """Takes as long as the latency model says, in one of the slots."""
        seconds = self.latency.seconds(usage)
        async with self._slots:
            await asyncio.sleep(seconds)
        self.busy_seconds += seconds
        yield


class ScriptedModel:
    """The script as a LanguageModel, in process."""

    def __init__(self, script: Script | None = None) -> None:
        self.script = script or Script()

    async def describe(self, terms: Terms) -> Engine:  # noqa: ARG002
        observations = tuple(
            Observation(ability, Outcome.REFUSED if ability is Ability.REGEX else Outcome.HONORED)
            for ability in Ability
        )
        capabilities = Capabilities(
            LabelSource.EXACT, MAX_LABELS, self.script.context_tokens, observations
        )
        return Engine(fingerprint(self.script), capabilities)

    async def tokenize(self, prompt: Chat | str, terms: Terms) -> tuple[int, ...]:  # noqa: ARG002
        text = prompt if isinstance(prompt, str) else self.script.render(prompt)
        return self.script.tokenize(text)

    async def count(self, prompt: Chat | str, terms: Terms) -> int:
        return len(await self.tokenize(prompt, terms))

    async def counter(self, terms: Terms, texts: Sequence[str] = ()) -> Count:  # noqa: ARG002
        return lambda text: len(self.script.tokenize(text))

    async def score_labels(
        self, chats: Sequence[Chat], labels: Labels, terms: Terms
    ) -> LabelScores:
        assert labels.token_ids is not None
        if len(labels.token_ids) > MAX_LABELS:
            raise AbilityMissing(Ability.LABEL_LOGPROBS, f"at most {MAX_LABELS} labels")
        answered = await asyncio.gather(
            *(self._label_row(chat, labels.token_ids, terms) for chat in chats)
        )
        usage = Usage()
        for _, one in answered:
            usage += one
        return LabelScores(tuple(row for row, _ in answered), LabelSource.EXACT, usage)

    async def score_titles(
        self, chat: Chat, titles: Sequence[str], terms: Terms, *, end: str | None = None
    ) -> TitleScores:
        prompt = self.script.render(chat)
        tokens = [self.script.tokenize(title + (end or _END)) for title in titles]
        usage = self.script.count_prompt(self.script.tokenize(prompt))
        usage += Usage(prompt=sum(map(len, tokens)))
        await self._answer(usage, terms)
        scores = [
            TitleScore(self.script.logprob(prompt, title), len(own))
            for title, own in zip(titles, tokens, strict=True)
        ]
        return TitleScores(tuple(scores), usage)

    async def generate(
        self, requests: Sequence[GenerationRequest], terms: Terms
    ) -> tuple[Generated, ...]:
        return tuple(await asyncio.gather(*(self._generate(one, terms) for one in requests)))

    async def aclose(self) -> None:
        return None

    async def _label_row(
        self, chat: Chat, token_ids: Sequence[int], terms: Terms
    ) -> tuple[LabelRow, Usage]:
        prompt = self.script.render(chat)
        usage = self.script.count_prompt(self.script.tokenize(prompt)) + Usage(completion=1)
        fault = await self._answer(usage, terms)
        if fault in _IN_LABELS:
            raise MalformedAnswer(_IN_LABELS[fault], f"on command: {fault}")
        row = LabelRow(tuple(self.script.label_logprob(prompt, number) for number in token_ids))
        return row, usage

    async def _generate(self, request: GenerationRequest, terms: Terms) -> Generated:
        prompt = self.script.render(request.chat)
        keeps = request.constraint is not None and request.constraint.ability is not Ability.REGEX
        constraint = request.constraint if keeps else None
        text, finish, tokens = self.script.write(prompt, request.sampling, constraint)
        usage = self.script.count_prompt(self.script.tokenize(prompt)) + Usage(completion=tokens)
        fault = await self._answer(usage, terms)
        return Generated(spoiled(text, fault), finish, usage, keeps)

    async def _answer(self, usage: Usage, terms: Terms) -> Fault | None:
        fault = self.script.faults.strike(about_content=True)
        if fault in _AS_ERROR:
            raise _AS_ERROR[fault]()
        try:
            async with asyncio.timeout(terms.deadline.remaining()):
                if fault is Fault.HANG:
                    await asyncio.Event().wait()
                if fault is Fault.SLOW:
                    await asyncio.sleep(self.script.faults.slow_seconds)
                async with self.script.computed(usage):
                    return fault
        except TimeoutError:
            raise ModelTimeout("the scripted model did not answer in time") from None


_AS_ERROR: Mapping[Fault | None, Callable[[], ModelError]] = {
    Fault.RESET: lambda: ModelUnavailable("on command: the connection was reset"),
    Fault.OVERLOADED: lambda: ModelOverloaded("on command: 429"),
    Fault.UNAVAILABLE: lambda: ModelOverloaded("on command: 503"),
    Fault.FAILED: lambda: ServerFailed("on command: 500"),
    Fault.TRUNCATED: lambda: MalformedAnswer(Flaw.NOT_JSON, "on command: truncated"),
    Fault.NAN: lambda: MalformedAnswer(Flaw.NOT_FINITE, "on command: NaN"),
    Fault.WRONG_MODEL: lambda: WrongModel("on command: another model answered"),
    Fault.CONTEXT_OVERFLOW: lambda: ContextOverflow("on command: the prompt is too long"),
}
_IN_LABELS: Mapping[Fault | None, Flaw] = {
    Fault.MISSING_LABELS: Flaw.MISSING_LABELS,
    Fault.LABELS_IGNORED: Flaw.MISSING_LABELS,
    Fault.DUPLICATE_LABELS: Flaw.DUPLICATE_LABELS,
}


def fingerprint(script: Script) -> EngineFingerprint:
    return EngineFingerprint(script.model, MODEL, MODEL, MODEL, "1", "float64")


def write_plainly(writing: Writing) -> str:
    """The default writer: the best option, an instance of the schema, or words of the prompt."""
    if isinstance(writing.constraint, Choice):
        return _best_first(writing.constraint.options, writing)[0]
    if isinstance(writing.constraint, JsonSchema):
        return json.dumps(_instance(writing.constraint.schema, writing), ensure_ascii=False)
    return _some_words(writing, writing.draws.randint(4, 12))


def spoiled(text: str, fault: Fault | None) -> str:
    """A written list with the faults that lists have."""
    if fault not in (Fault.MISSING_LABELS, Fault.DUPLICATE_LABELS, Fault.EXTRA_LABELS):
        return text
    try:
        return json.dumps(_spoiled_lists(json.loads(text), fault), ensure_ascii=False)
    except ValueError:
        return " ".join(_spoiled_list(text.split(), fault))


def _spoiled_lists(value: Any, fault: Fault) -> Any:
    if isinstance(value, dict):
        return {key: _spoiled_lists(inner, fault) for key, inner in value.items()}
    return _spoiled_list(value, fault) if isinstance(value, list) else value


def _spoiled_list(items: list[Any], fault: Fault) -> list[Any]:
    match fault:
        case Fault.MISSING_LABELS:
            return items[: len(items) // 2]
        case Fault.DUPLICATE_LABELS:
            return [*items, *items[:1]]
        case _:
            return [*items, "nowhere to be found"]


def _instance(schema: Mapping[str, Any], writing: Writing) -> Any:
    options = [schema["const"]] if "const" in schema else schema.get("enum")
    if options:
        return _best_first([str(option) for option in options], writing)[0]
    match schema.get("type"):
        case "object":
            properties = schema.get("properties", {})
            return {name: _instance(inner, writing) for name, inner in properties.items()}
        case "array":
            return list(_items(schema, writing))
        case "integer" | "number":
            return schema.get("minimum", 0)
        case "boolean":
            return True
        case _:
            words = _some_words(writing, 4)
            return words[: schema.get("maxLength", len(words))]


def _items(schema: Mapping[str, Any], writing: Writing) -> Iterator[Any]:
    inner = schema.get("items", {})
    if "enum" in inner:
        ranked = _best_first([str(option) for option in inner["enum"]], writing)
        yield from ranked[: schema.get("maxItems", len(ranked))]
        return
    for _ in range(max(1, schema.get("minItems", 1))):
        yield _instance(inner, writing)


def _best_first(options: Sequence[str], writing: Writing) -> list[str]:
    draws, temperature = writing.draws, writing.sampling.temperature
    keys = {
        option: writing.preference(writing.prompt, option) + temperature * draws.gauss(0, 1)
        for option in options
    }
    return sorted(options, key=lambda option: -keys[option])


def _some_words(writing: Writing, count: int) -> str:
    words = sorted(set(re.findall(r"[^\W\d_]{3,}", writing.prompt)))
    return " ".join(writing.draws.choices(words or ["nothing"], k=count))


def _noise(prompt: str, option: str) -> float:
    digest = hashlib.blake2b(f"{prompt}\0{option}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64

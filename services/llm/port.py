"""The port: everything the system asks of a language model, whichever engine is behind it."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from enum import IntEnum, StrEnum
from functools import cached_property
from typing import Any, Protocol

from services.llm.ability import Ability, Observation, Outcome
from services.llm.chat import Chat
from services.llm.deadline import Deadline

MAX_LABELS = 128

Count = Callable[[str], int]


class Priority(IntEnum):
    """Lower goes first, as vLLM has it."""

    LIVE = 0
    ROUND = 10


@dataclass(frozen=True, slots=True)
class Terms:
    """By when an answer is wanted, and who lets whom pass."""

    deadline: Deadline
    priority: Priority = Priority.LIVE

    @classmethod
    def within(cls, seconds: float, priority: Priority = Priority.LIVE) -> Terms:
        return cls(Deadline.after(seconds), priority)


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens. `cached` is the part of `prompt` that was not computed; None: the engine does not
    say."""

    prompt: int = 0
    completion: int = 0
    cached: int | None = 0

    def __add__(self, other: Usage) -> Usage:
        cached = None if self.cached is None or other.cached is None else self.cached + other.cached
        return Usage(self.prompt + other.prompt, self.completion + other.completion, cached)


@dataclass(frozen=True)
class EngineFingerprint:
    """What must be equal for two answers to be comparable."""

    model: str
    weights: str
    tokenizer: str
    engine: str
    version: str
    dtype: str

    @cached_property
    def digest(self) -> str:
        parts = json.dumps(asdict(self), sort_keys=True).encode()
        return hashlib.sha256(parts).hexdigest()[:16]


class LabelSource(StrEnum):
    """Where the log-probs of labels come from, best first."""

    EXACT = "exact"
    TOP = "top"
    NONE = "none"


@dataclass(frozen=True)
class Capabilities:
    labels: LabelSource
    max_labels: int
    context_tokens: int | None
    observations: tuple[Observation, ...]

    def has(self, ability: Ability) -> bool:
        return any(
            seen.ability is ability and seen.outcome is Outcome.HONORED
            for seen in self.observations
        )


@dataclass(frozen=True)
class Engine:
    fingerprint: EngineFingerprint
    capabilities: Capabilities


@dataclass(frozen=True)
class Labels:
    """What stands for the candidates. `token_ids` is None where the engine shows no tokenizer."""

    texts: tuple[str, ...]
    token_ids: tuple[int, ...] | None

    def first(self, count: int) -> Labels:
        ids = None if self.token_ids is None else self.token_ids[:count]
        return Labels(self.texts[:count], ids)


@dataclass(frozen=True)
class LabelRow:
    """Log-probs of the labels after one prompt, in their order. Those at the places `unseen` were
    not among what the engine reported: each stands there with a value it cannot exceed."""

    logprobs: tuple[float, ...]
    unseen: frozenset[int] = frozenset()


@dataclass(frozen=True)
class LabelScores:
    rows: tuple[LabelRow, ...]
    source: LabelSource
    usage: Usage


@dataclass(frozen=True, slots=True)
class TitleScore:
    """Log-likelihood of a title and its end token; how many tokens they are."""

    logprob: float
    tokens: int


@dataclass(frozen=True)
class TitleScores:
    scores: tuple[TitleScore, ...]
    usage: Usage


@dataclass(frozen=True)
class Sampling:
    max_tokens: int
    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    seed: int | None = None
    stop: tuple[str, ...] = ()


@dataclass(frozen=True)
class JsonSchema:
    schema: Mapping[str, Any]
    ability = Ability.JSON_SCHEMA


@dataclass(frozen=True)
class Choice:
    options: tuple[str, ...]
    ability = Ability.CHOICE


@dataclass(frozen=True)
class Regex:
    pattern: str
    ability = Ability.REGEX

    def __post_init__(self) -> None:
        re.compile(self.pattern)


Constraint = JsonSchema | Choice | Regex


@dataclass(frozen=True)
class GenerationRequest:
    chat: Chat
    sampling: Sampling
    constraint: Constraint | None = None


class Finish(StrEnum):
    STOP = "stop"
    LENGTH = "length"


@dataclass(frozen=True)
class Generated:
    """`text` goes on from the lead. `constrained` is False where a constraint was asked for and
    the engine could not keep to it, so that the text needs a check."""

    text: str
    finish: Finish
    usage: Usage
    constrained: bool = field(default=False)


class LanguageModel(Protocol):
    """Every call raises ModelError (`services.llm.errors`) and nothing else. A call about several
    prompts answers for all of them or fails as a whole."""

    async def describe(self, terms: Terms) -> Engine:
        """What the engine is and can do. Found out once, then at hand."""

    async def tokenize(self, prompt: Chat | str, terms: Terms) -> tuple[int, ...]:
        """A chat as the engine renders it, up to where the answer begins; a text as it stands."""

    async def count(self, prompt: Chat | str, terms: Terms) -> int:
        """How many tokens `tokenize` would return."""

    async def counter(self, terms: Terms, texts: Sequence[str] = ()) -> Count:
        """Counts tokens of plain text without asking anyone: exactly where the tokenizer is at
        hand; else these texts exactly, and others by an estimate that is rather too high."""

    async def score_labels(
        self, chats: Sequence[Chat], labels: Labels, terms: Terms
    ) -> LabelScores:
        """The log-prob of each label as the next token after each chat. Generates one token."""

    async def score_titles(
        self, chat: Chat, titles: Sequence[str], terms: Terms, *, end: str | None = None
    ) -> TitleScores:
        """The log-likelihood of each title, and of `end` after it, as continuation of the chat.
        Without `end`, it is the token that ends the assistant's turn."""

    async def generate(
        self, requests: Sequence[GenerationRequest], terms: Terms
    ) -> tuple[Generated, ...]: ...

    async def aclose(self) -> None: ...

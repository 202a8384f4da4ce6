"""Stage 1: the prompt in which a model is asked for a demonstration. Calls no model."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import Any

from services.demonstrations.demonstration import (
    Demonstration,
    Example,
    demonstration_schema,
    schema_of_titles,
    splits,
)
from services.demonstrations.snapshot import LEAST_HISTORY, PastItem, Snapshot
from services.llm.chat import Chat, Message
from services.llm.port import Count
from services.prompts.composition import PromptTooLong
from services.prompts.templates import environment, source
from services.prompts.titles import HYGIENE_VERSION, capped, clean

FOLDER = Path(__file__).parent / "templates"
FILE = "generator.jinja"
LEAST_LISTED, LEAST_PART = 5, 3


class ViewKind(StrEnum):
    """How a path sees the user: titles always, and beside them …"""

    TITLES = "titles"
    ATTRIBUTES = "attributes"
    NEIGHBORS = "neighbors"


class Part(StrEnum):
    """Which of the items in a view's window are listed."""

    ALL = "all"
    OLDER = "older"
    NEWER = "newer"


@dataclass(frozen=True, slots=True)
class View:
    """`window` is how many of the newest items of the snapshot are listed, but the very newest
    `skipped`, which a prompt shows anyway; `part` is one half of these, where there are enough;
    counts are of all."""

    kind: ViewKind = ViewKind.TITLES
    window: int = 20
    skipped: int = 0
    part: Part = Part.ALL

    def listed(self, titles: Sequence[str]) -> Sequence[str]:
        """Of all titles, oldest first."""
        # Rather what is known already than next to nothing.
        skipped = min(self.skipped, max(0, len(titles) - LEAST_LISTED))
        window = titles[: len(titles) - skipped][-self.window :]
        half = len(window) // 2
        if self.part is Part.ALL or half < LEAST_PART:
            return window
        return window[:half] if self.part is Part.OLDER else window[half:]


@dataclass(frozen=True, slots=True)
class Remembered:
    """An effective demonstration of the user, with what it reached."""

    demonstration: Demonstration
    effect_d: float


@dataclass(frozen=True, slots=True)
class GeneratorLimits:
    prompt_tokens: int = 1536
    chat_tokens: int = 32
    title_tokens: int = 32
    remembered: int = 2
    neighbors: int = 8
    attributes: int = 6
    values: int = 4


@dataclass(frozen=True, slots=True)
class GeneratorPrompt:
    """What to ask, and the titles that an answer may name.

    As past items: all of the snapshot's history, for an earlier description may mention what is
    not listed any more. In its sentences: the neighbors shown as well.
    """

    chat: Chat
    listed_titles: tuple[str, ...]
    known_titles: tuple[str, ...]
    neighbor_titles: tuple[str, ...] = ()
    history_left_out: int = 0
    memory_left_out: int = 0

    @property
    def schema(self) -> dict[str, Any]:
        """The same for all users, so that a server compiles it once."""
        return demonstration_schema()

    def schema_of_listed_titles(self, seed: int) -> dict[str, Any]:
        """Names none but the listed items, and only an example that happened: for a server that can
        afford a schema per call. The seed says which part of the list the example is from."""
        possible = splits(self.listed_titles)
        if not possible:
            return self.schema
        return schema_of_titles(self.listed_titles, random.Random(seed).choice(possible))


def generator_prompt(
    snapshot: Snapshot,
    view: View,
    count: Count,
    *,
    memory: Sequence[Remembered] = (),
    perturbation: Demonstration | None = None,
    limits: GeneratorLimits = GeneratorLimits(),
) -> GeneratorPrompt:
    """`memory` best first. History is shortened to fit, the oldest first, then memory left out.

    Raises ValueError for a snapshot of fewer than two items, PromptTooLong when nothing is left to
    shorten.
    """
    if min(len(snapshot.history), view.window) < LEAST_HISTORY:
        raise ValueError(f"a demonstration needs {LEAST_HISTORY} past items: one chosen after one")
    known = [_title(item, limits, count) for item in snapshot.history]
    titles = view.listed(known)
    neighbors = _neighbors(snapshot, view, limits, count)
    remembered = [_effect(entry) for entry in memory[: limits.remembered]]
    content = ""
    for kept_memory in range(len(remembered), -1, -1):
        for left_out in range(len(titles) - LEAST_HISTORY + 1):
            content = _render(
                profile=_pairs(snapshot.profile.items()),
                tallies=_tallies(snapshot, limits) if view.kind is ViewKind.ATTRIBUTES else (),
                history=titles[left_out:],
                neighbors=neighbors,
                memory=remembered[:kept_memory],
                perturbation=None if perturbation is None else _folded(perturbation),
            )
            if _fits(content, limits, count):
                return GeneratorPrompt(
                    Chat((Message("user", content),)),
                    listed_titles=tuple(titles[left_out:]),
                    known_titles=tuple(known),
                    neighbor_titles=neighbors,
                    history_left_out=left_out,
                    memory_left_out=len(remembered) - kept_memory,
                )
    raise PromptTooLong(count(content) + limits.chat_tokens, limits.prompt_tokens)


@cache
def generator_version() -> str:
    """Hashed from every byte that shapes the generator's prompt, its answer, and a text in X_D."""
    probe = Demonstration(
        preference="One.",
        evidence=("Item A", "Item [B]"),
        suggestion="two",
        example=Example(after=("Item A",), chose="Item [B]", because="three"),
    )
    attributes = {"kind": "Tent"}
    items = (PastItem("a", "Item A", attributes), PastItem("b", "Item [B]", attributes))
    snapshot = Snapshot(items, items[:1], {"country": "FR"})
    prompts = [
        generator_prompt(
            snapshot, View(kind), len, memory=(Remembered(probe, 0.5),), perturbation=probe,
            limits=GeneratorLimits(prompt_tokens=100_000, title_tokens=100),
        ).chat.messages[0].content
        for kind in ViewKind
    ]  # fmt: skip
    content = [
        source(FOLDER, FILE), HYGIENE_VERSION, prompts, demonstration_schema(),
        probe.as_json(), probe.as_text(),
    ]  # fmt: skip
    return f"generator-{hashlib.sha256(json.dumps(content).encode()).hexdigest()[:12]}"


def _render(**values: object) -> str:
    return environment(FOLDER).get_template(FILE).render(values).removesuffix("\n")


def _fits(content: str, limits: GeneratorLimits, count: Count) -> bool:
    room = limits.prompt_tokens - limits.chat_tokens
    return len(content.encode()) < room or count(content) <= room


def _title(item: PastItem, limits: GeneratorLimits, count: Count) -> str:
    return capped(clean(item.title), limits.title_tokens, count)


def _neighbors(
    snapshot: Snapshot, view: View, limits: GeneratorLimits, count: Count
) -> tuple[str, ...]:
    if view.kind is not ViewKind.NEIGHBORS:
        return ()
    return tuple(_title(item, limits, count) for item in snapshot.neighbors[: limits.neighbors])


def _tallies(snapshot: Snapshot, limits: GeneratorLimits) -> Sequence[tuple[str, str]]:
    counted = snapshot.attribute_counts()
    return [
        (clean(name), ", ".join(f"{clean(value)} {n}" for value, n in values[: limits.values]))
        for name, values in list(counted.items())[: limits.attributes]
    ]


def _pairs(attributes: Iterable[tuple[str, str]]) -> str:
    return "; ".join(f"{clean(name)} {clean(value)}" for name, value in sorted(attributes))


def _effect(entry: Remembered) -> tuple[int, str]:
    return round(100 * entry.effect_d), _folded(entry.demonstration)


def _folded(demonstration: Demonstration) -> str:
    return demonstration.as_text().replace("\n", " ")

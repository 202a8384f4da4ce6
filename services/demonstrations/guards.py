"""What a generated demonstration must not do, whatever its schema says. Pure functions."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from dataclasses import dataclass
from enum import StrEnum

from services.demonstrations.demonstration import Demonstration
from services.llm.port import Count
from services.prompts.titles import fold, normalized


class Fault(StrEnum):
    TOO_LONG = "too_long"
    UNKNOWN_ITEM = "unknown_item"
    CIRCULAR_EXAMPLE = "circular_example"
    ROLE_MARKER = "role_marker"
    INSTRUCTS_THE_SYSTEM = "instructs_the_system"


@dataclass(frozen=True, slots=True)
class Refused:
    fault: Fault
    detail: str


_ROLE_MARKER = re.compile(
    r"<\||\|>|</?s>|\[/?INST\]|<</?SYS>>|<(?:start|end)_of_turn>|###|```|\{\{|\}\}"
    r"|\b(?:system|user|assistant|human|developer)\s*:",
    re.IGNORECASE,
)
_INSTRUCTION = re.compile(
    r"\b(?:ignore|disregard|forget|override)\b.{0,40}\b(?:instruction|rule|prompt|above|previous)"
    r"|\bsystem prompt\b"
    r"|\byou (?:must|should|have to)\b"
    r"|\b(?:always|never|only|must) (?:answer|rank|output|respond|reply|print)\b"
    r"|\b(?:answer|respond|reply|output) (?:only|with)\b"
    r"|\blabel(?:ed|led|s)?\b",
    re.IGNORECASE,
)
_WORDS_OF_A_TITLE = range(3, 13)  # fewer are everyday language


def check(
    demonstration: Demonstration,
    known_titles: Collection[str],
    *,
    limit: int,
    count: Count,
    neighbor_titles: Collection[str] = (),
    is_item: Callable[[str], bool] | None = None,
) -> Refused | None:
    """None if it may be used.

    `known_titles` are those of the snapshot's history, the only ones to be named as past items.
    `limit` is in tokens of the text in the prompt. `is_item` tells whether a folded title
    (`services.prompts.titles.fold`) is one of the catalog's: with it, the sentences too name no
    item but these and the `neighbor_titles`.
    """
    known = frozenset(map(fold, known_titles))
    return (
        _names_unknown_item(demonstration, known)
        or _explains_itself(demonstration)
        or _speaks_as_another(demonstration)
        or _instructs(demonstration)
        or _mentions_other_item(demonstration, known | set(map(fold, neighbor_titles)), is_item)
        or _too_long(demonstration, limit, count)
    )


def _sentences(demonstration: Demonstration) -> tuple[str, ...]:
    return (demonstration.preference, demonstration.suggestion, demonstration.example.because)


def _names_unknown_item(demonstration: Demonstration, known: frozenset[str]) -> Refused | None:
    for title in demonstration.named_items:
        if fold(title) not in known:
            return Refused(Fault.UNKNOWN_ITEM, title)
    return None


def _explains_itself(demonstration: Demonstration) -> Refused | None:
    example = demonstration.example
    if fold(example.chose) in map(fold, example.after):
        return Refused(Fault.CIRCULAR_EXAMPLE, example.chose)
    return None


def _speaks_as_another(demonstration: Demonstration) -> Refused | None:
    for text in _sentences(demonstration):
        if marker := _ROLE_MARKER.search(text):
            return Refused(Fault.ROLE_MARKER, marker[0])
    return None


def _instructs(demonstration: Demonstration) -> Refused | None:
    for text in _sentences(demonstration):
        if words := _INSTRUCTION.search(text):
            return Refused(Fault.INSTRUCTS_THE_SYSTEM, words[0])
    return None


def _mentions_other_item(
    demonstration: Demonstration, known: frozenset[str], is_item: Callable[[str], bool] | None
) -> Refused | None:
    if is_item is None:
        return None
    for text in _sentences(demonstration):
        words = re.findall(r"\S+", normalized(text).casefold())
        for size in _WORDS_OF_A_TITLE:
            for begin in range(len(words) - size + 1):
                title = " ".join(words[begin : begin + size]).strip(".,;:!?\"'()")
                if title not in known and is_item(title):
                    return Refused(Fault.UNKNOWN_ITEM, title)
    return None


def _too_long(demonstration: Demonstration, limit: int, count: Count) -> Refused | None:
    tokens = count(demonstration.as_text())
    if tokens > limit:
        return Refused(Fault.TOO_LONG, f"{tokens} tokens, {limit} are allowed")
    return None

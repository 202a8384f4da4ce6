"""The rule of earlier work for lists that a model has written: a candidate counts as named if its
title stands anywhere in the output, or a large part of it does. `services.ranking.written` reads
strictly instead; here is what the loose rule adds."""

from __future__ import annotations

import re
from collections.abc import Mapping

from services.prompts import Prompt
from services.prompts.titles import fold, normalized

LARGE_PART = 0.5
LONGEST_ANSWER = 8_000

_WORD = re.compile(r"\w+")


def named_by_substring(text: str, prompt: Prompt, share: float = LARGE_PART) -> tuple[int, ...]:
    """Candidates of the request, in the order in which the output first says anything of them:
    their title, their label, or at least such a share of the words of their title."""
    said = normalized(text, LONGEST_ANSWER)
    first: dict[str, int] = {}
    for word in _WORD.finditer(said.casefold()):
        first.setdefault(word.group(), word.start())
    found: list[tuple[int, int]] = []
    for place, candidate in enumerate(prompt.order):
        label = prompt.labels[place] if prompt.labels else None
        at = [
            *_whole(said, prompt.titles[place], label),
            *_part(first, prompt.titles[place], share),
        ]
        if at:
            found.append((min(at), candidate))
    return tuple(candidate for _, candidate in sorted(found))


def _whole(said: str, title: str, label: str | None) -> list[int]:
    """Where the title or the label stands, if it does."""
    places = [said.casefold().find(fold(title)), -1 if label is None else said.find(label)]
    return [place for place in places if place >= 0]


def _part(first: Mapping[str, int], title: str, share: float) -> list[int]:
    """Where the first of the title's words stands, if enough of them do."""
    words = set(_WORD.findall(fold(title)))
    shared = [first[word] for word in words if word in first]
    return [min(shared)] if words and len(shared) >= share * len(words) else []

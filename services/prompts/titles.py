"""Titles and other people's text as data: one clean line that cannot pass for anything else.

What leaves here is normalized, without control and direction characters, holds none of the
characters that special tokens, role markers, labels and segments are made of, and is capped.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable

from services.llm.port import Count

# Counted among a template's version: raise it when a title may come out differently.
HYGIENE_VERSION = 1

MAX_CHARACTERS = 400
UNTITLED = "untitled"

# Most titles: nothing to do, found out at once.
_PLAIN = re.compile(r"(?!.*(?:--|''))[A-Za-z0-9&'+./,](?:[A-Za-z0-9&'+./,-]| (?! ))*(?<! )")

# <|im_start|>, <s>, [INST], {{…}} and ``` are made of these; ` | ` stands between title and label.
_STRUCTURE = str.maketrans("<>[]{}|`\\", "()()()/'/")
_RUNS = re.compile(r"([#*=~\"'_-])\1+")
_ROLES = (
    "system|user|assistant|human|developer|tool|model|bot|ai|instructions?|response|input|output"
    "|candidates?|labels?|first|next|reasoning"  # how our own segments and leads end
)
_SPEAKER = re.compile(rf"\b({_ROLES})\s*[:\u2236\ua789]", re.IGNORECASE)
_BULLETS = "-\u2013\u2014*\u2022#=~ "


def clean(text: str | None) -> str:
    """One line, never empty. Clean text comes out unchanged."""
    if text is None:
        return UNTITLED
    if len(text) <= MAX_CHARACTERS and _PLAIN.fullmatch(text):
        return text
    return _clean_line(text, MAX_CHARACTERS) or UNTITLED


def clean_lines(text: str, most: int = 12) -> str:
    """A text of several lines, each of them clean; empty ones and those beyond `most` are left out.

    For text that a model has written: it keeps its lines, and they say nothing of their own.
    """
    lines = (_clean_line(line, 4 * MAX_CHARACTERS) for line in text.splitlines())
    return "\n".join([line for line in lines if line][:most])


def normalized(text: str, most: int = MAX_CHARACTERS) -> str:
    """One line without what cannot be seen; its words and signs are left as they are."""
    text = text[:most]
    if text.isascii() and text.isprintable():
        return " ".join(text.split())
    # Twice: what is invisible may stand between characters that belong together.
    visible = _visible(unicodedata.normalize("NFKC", _visible(text))[:most])
    return " ".join(unicodedata.normalize("NFKC", visible).split())


def fold(title: str) -> str:
    """Equal for titles that differ only in what hygiene changes, or in case."""
    return clean(title).casefold()


def capped(text: str, tokens: int, count: Count) -> str:
    """The longest beginning, in whole words where possible, of at most so many tokens."""
    # A tokenizer that falls back to bytes needs no more tokens than bytes, and one to begin with.
    if len(text.encode()) < tokens or count(text) <= tokens:
        return text
    words = text.split(" ")
    kept = _longest(len(words), lambda n: count(" ".join(words[:n])) <= tokens)
    if kept:
        return " ".join(words[:kept])
    first = words[0]
    return first[: max(1, _longest(len(first), lambda n: count(first[:n]) <= tokens))]


def _longest(limit: int, fits: Callable[[int], bool]) -> int:
    low, high = 0, limit
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if fits(middle) else (low, middle - 1)
    return low


def _visible(text: str) -> str:
    """White space as spaces; without control, format, surrogate, private, unassigned characters."""
    if text.isprintable():
        return text
    return "".join(
        char if char.isprintable() else " " for char in text if char.isprintable() or char.isspace()
    )


def _clean_line(text: str, most: int) -> str:
    line = _SPEAKER.sub(r"\1 -", normalized(text, most).translate(_STRUCTURE))
    return _RUNS.sub(r"\1", line).lstrip(_BULLETS)[:most].rstrip()

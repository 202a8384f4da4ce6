"""Lists that a model has written, read strictly: whole labels or whole titles, each once."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from services.prompts import Prompt
from services.prompts.titles import fold

_BETWEEN_LABELS = re.compile(r"[\s,;]+")
_BULLET = re.compile(r"^\s*(?:\d+[.):]|[-*\u2022])\s*")


class Reading(StrEnum):
    OK = "ok"  # all that was asked for, and nothing else
    INCOMPLETE = "incomplete"
    REPEATED = "repeated"
    OUT_OF_LIST = "out_of_list"
    MALFORMED = "malformed"  # nothing in it names a candidate


@dataclass(frozen=True, slots=True)
class Written:
    """Candidates of the request in the order written; what else the list had, and had not."""

    listed: tuple[int, ...]
    repeated: int
    out_of_list: int
    missing: int

    @property
    def reading(self) -> Reading:
        if not self.listed:
            return Reading.MALFORMED
        if self.out_of_list:
            return Reading.OUT_OF_LIST
        if self.repeated:
            return Reading.REPEATED
        return Reading.INCOMPLETE if self.missing else Reading.OK


def list_pattern(labels: Sequence[str], listed: int, *, behind_lead: bool) -> str:
    """A regular expression of so many labels, as they continue a prompt."""
    one = "|".join(map(re.escape, labels))
    if behind_lead:
        return f"( ({one})){{{listed}}}"
    return f"({one})( ({one})){{{listed - 1}}}" if listed > 1 else f"({one})"


def read_list(text: str, prompt: Prompt, listed: int) -> Written:
    """Of `listed` entries asked for; more are not read."""
    by_label = dict(zip(prompt.labels, prompt.order, strict=True))
    entries = [entry for entry in _BETWEEN_LABELS.split(text) if entry]
    found: Sequence[int | None] = [by_label.get(entry) for entry in entries]
    if not any(place is not None for place in found):
        found = _titled(text, prompt)
    places: list[int] = []
    repeated = out_of_list = 0
    for place in found[:listed]:
        if place is None:
            out_of_list += 1
        elif place in places:
            repeated += 1
        else:
            places.append(place)
    asked = min(listed, len(prompt.order))
    return Written(tuple(places), repeated, out_of_list, max(0, asked - len(places)))


def _titled(text: str, prompt: Prompt) -> list[int | None]:
    """One title a line. Equal titles are taken in the order shown."""
    named: dict[str, list[int]] = {}
    for title, place in zip(prompt.titles, prompt.order, strict=True):
        named.setdefault(fold(title), []).append(place)
    found: list[int | None] = []
    for line in filter(str.strip, text.splitlines()):
        places = named.get(fold(_BULLET.sub("", line)), [])
        last = len(places) == 1
        found.append(None if not places else places[0] if last else places.pop(0))
    return found

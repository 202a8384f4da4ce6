"""lrgd-mini's own recommendation prompts as tokens, and which of them can be left out.

A unit is a past item, a sentence of the demonstration (one of its lines), or a whole segment. The
tokenizer never joins a line with the one before, so a unit is a run of tokens.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from lab.mini.conditions import Condition, questions
from lab.mini.tokenizer import MiniTokenizer
from lab.shop.taste import EVALUATION_USERS, Shop
from services.llm.chat import Chat, Message
from services.prompts import Prompt, SegmentName, compose
from services.ranking import Method, RankingRequest
from services.settings import SHIPPED_MODEL

_AT_ONCE = 32
# Without candidates there is nothing to rank, and the lead is where the answer is read.
_KEPT = (SegmentName.CANDIDATES, SegmentName.LEAD)


class UnitKind(StrEnum):
    ITEM = "item"
    SENTENCE = "sentence"
    SEGMENT = "segment"


@dataclass(frozen=True)
class Unit:
    """`lines` of the prompt's user turn, and the tokens that they are: from `begin` to `end`."""

    kind: UnitKind
    text: str
    lines: range
    begin: int
    end: int


@dataclass(frozen=True)
class TokenizedPrompt:
    """`labels` are the tokens that stand for the candidates, in the order shown."""

    prompt: Prompt
    ids: tuple[int, ...]
    labels: tuple[int, ...]
    units: tuple[Unit, ...]

    @property
    def demonstration(self) -> list[bool]:
        spans = [
            range(unit.begin, unit.end)
            for unit in self.units
            if unit.kind is UnitKind.SEGMENT and unit.text == SegmentName.DEMONSTRATION
        ]
        return [any(place in span for span in spans) for place in range(len(self.ids))]

    def of_kind(self, *kinds: UnitKind) -> list[int]:
        return [number for number, unit in enumerate(self.units) if unit.kind in kinds]


def tokenized(prompt: Prompt, tokenizer: MiniTokenizer) -> TokenizedPrompt:
    lengths = [len(line) for line in tokenizer.lines(prompt.content)]
    starts = [1]  # behind the token that opens the user's turn
    for length in lengths:
        starts.append(starts[-1] + length)

    def unit(kind: UnitKind, text: str, lines: range) -> Unit:
        return Unit(kind, text, lines, starts[lines.start], starts[lines.stop])

    units = []
    line = 0
    for segment in prompt.segments[:-1]:
        texts = segment.text.removesuffix("\n").split("\n")
        lines = range(line, line + len(texts))
        if segment.name not in _KEPT:
            units.append(unit(UnitKind.SEGMENT, segment.name.value, lines))
        if (kind := _PARTED.get(segment.name)) is not None:
            # The first line is a heading.
            units += [
                unit(kind, text.removeprefix("- "), range(number, number + 1))
                for number, text in zip(lines[1:], texts[1:], strict=True)
            ]
        line = lines.stop
    known = tokenizer.labels if prompt.lead else tokenizer.leading_labels
    return TokenizedPrompt(
        prompt,
        tuple(tokenizer.chat(prompt.chat())),
        tuple(known[label] for label in prompt.labels),
        tuple(units),
    )


_PARTED = {
    SegmentName.HISTORY: UnitKind.ITEM,
    SegmentName.DEMONSTRATION: UnitKind.SENTENCE,
    SegmentName.PERTURBATION: UnitKind.SENTENCE,
}


def ids_without(prompt: Prompt, lines: range, tokenizer: MiniTokenizer) -> list[int]:
    """The tokens of the prompt that does not have these lines."""
    texts = prompt.content.split("\n")
    content = "\n".join(text for number, text in enumerate(texts) if number not in lines)
    return tokenizer.chat(Chat((Message("user", content),), prompt.lead))


class Prompts:
    """As the service would ask about fresh users, with a truthful demonstration."""

    def __init__(self, folder: Path = SHIPPED_MODEL, method: Method | None = None) -> None:
        self.tokenizer = MiniTokenizer.load(folder)
        self.method = method or Method()
        self._shop = Shop()

    def first(self, count: int) -> Iterator[TokenizedPrompt]:
        """Of users with a demonstration, by number; always the same ones."""
        given = 0
        for begin in range(0, len(EVALUATION_USERS), _AT_ONCE):
            for prompt in self._of(EVALUATION_USERS[begin : begin + _AT_ONCE]):
                if given == count:
                    return
                given += 1
                yield prompt

    def of_user(self, number: int) -> TokenizedPrompt | None:
        return next(self._of([number]), None)

    def _of(self, numbers: Sequence[int]) -> Iterator[TokenizedPrompt]:
        form = self.method.form
        for question in questions(self._shop, numbers, form.limits.history_items):
            if question.truthful is None:
                continue
            request, _ = question.under(Condition.ORACLE_DEMO, self.method)
            yield self.prompt(request)

    def prompt(self, request: RankingRequest) -> TokenizedPrompt:
        form = self.method.form
        composed = compose(form, request.prompt_request(), self.tokenizer.count)
        return tokenized(composed, self.tokenizer)

"""A prompt as typed segments: which of its bytes are instruction X_T, which demonstration X_D."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from services.llm.chat import Chat, Message, Role


class Part(StrEnum):
    INSTRUCTION = "X_T"
    DEMONSTRATION = "X_D"


class SegmentName(StrEnum):
    INSTRUCTION = "instruction"
    REGULARIZATION = "regularization"
    DEMONSTRATION = "demonstration"
    PERTURBATION = "perturbation"
    HISTORY = "history"
    CANDIDATES = "candidates"
    LEAD = "lead"

    @property
    def part(self) -> Part:
        if self in (SegmentName.DEMONSTRATION, SegmentName.PERTURBATION):
            return Part.DEMONSTRATION
        return Part.INSTRUCTION


@dataclass(frozen=True, slots=True)
class Segment:
    name: SegmentName
    text: str


@dataclass(frozen=True, slots=True)
class Span:
    """Where a segment's bytes are: from `start` to before `end` in the UTF-8 of a turn."""

    name: SegmentName
    role: Role
    start: int
    end: int

    @property
    def part(self) -> Part:
        return self.name.part


@dataclass(frozen=True, slots=True)
class Shortened:
    """What was left out or cut so that the prompt fits."""

    history_left_out: int = 0
    titles_cut: int = 0
    demonstration_refused: bool = False
    perturbation_refused: bool = False

    def __bool__(self) -> bool:
        return self != Shortened()


@dataclass(frozen=True, slots=True)
class Prompt:
    """Segments in the order of the template. The lead, which may be empty, is the last.

    All segments but the lead are one user turn: every chat template has one, and a segment's place
    is then the same for every model. At place j stands candidate `order[j]` of the request, called
    `titles[j]` and `labels[j]`. In `likelihood` mode candidates are not shown: there are no labels,
    and the titles are the answers to score.
    """

    segments: tuple[Segment, ...]
    labels: tuple[str, ...] = ()
    titles: tuple[str, ...] = ()
    order: tuple[int, ...] = ()
    shortened: Shortened = Shortened()

    @property
    def demonstrates(self) -> bool:
        """Whether there was room for the demonstration, if there is one."""
        return any(one.name is SegmentName.DEMONSTRATION for one in self.segments)

    @property
    def content(self) -> str:
        return "".join(segment.text for segment in self.segments[:-1])

    @property
    def lead(self) -> str:
        return self.segments[-1].text

    def chat(self) -> Chat:
        return Chat((Message("user", self.content),), self.lead)

    def continued(self, answer: str) -> str:
        """An answer as it continues the lead: behind a space, or at the beginning of the turn."""
        return f" {answer}" if self.lead else answer

    def spans(self) -> tuple[Span, ...]:
        spans, at = [], 0
        for segment in self.segments[:-1]:
            end = at + len(segment.text.encode())
            spans.append(Span(segment.name, "user", at, end))
            at = end
        if self.lead:
            spans.append(Span(SegmentName.LEAD, "assistant", 0, len(self.lead.encode())))
        return tuple(spans)


def first_difference(one: Prompt, other: Prompt) -> SegmentName | None:
    """The segment in which two prompts first differ: up to there a cached prefix is shared."""
    for mine, theirs in zip(one.segments, other.segments, strict=False):
        if mine.name != theirs.name:
            names = {segment.name for segment in one.segments}
            return mine.name if theirs.name in names else theirs.name  # the one that is added
        # The last segment of a turn has no line break behind it; that is no difference of its own.
        if mine.text.rstrip("\n") != theirs.text.rstrip("\n"):
            return mine.name
    return None  # both end with their leads

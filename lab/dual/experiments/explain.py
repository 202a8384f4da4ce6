"""A prompt as a picture: each past item and sentence of the demonstration shaded by what it did for
the item that is put first."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from lab.dual.drawing import panels
from lab.dual.families import lrgd_mini
from lab.dual.influence import Examined, Score
from lab.dual.prompts import Prompts, TokenizedPrompt, UnitKind, tokenized
from lab.mini.tokenizer import MiniTokenizer
from services.errors import ConfigurationError
from services.prompts import Prompt
from services.settings import SHIPPED_MODEL

SCORE = Score.HEAD_MOVED
SHOWN_CANDIDATES = 6
_WIDTH = 110


@dataclass(frozen=True)
class Line:
    """A line of the prompt, with the influence of its unit where it is one."""

    text: str
    kind: UnitKind | None = None
    influence: float | None = None


@dataclass(frozen=True)
class Picture:
    lines: tuple[Line, ...]
    recommended: str
    logprob: float

    @property
    def strongest(self) -> float:
        return max((abs(line.influence) for line in self.lines if line.influence), default=1.0)

    def units(self) -> list[dict[str, Any]]:
        """Most helpful first."""
        kept = [line for line in self.lines if line.influence is not None]
        ordered = sorted(kept, key=lambda line: -(line.influence or 0.0))
        return [vars(line) for line in ordered]


def of_generated_user(number: int) -> Picture:
    """A user that training never saw, with a truthful demonstration, among 50 candidates."""
    prompt = Prompts().of_user(number)
    if prompt is None:
        raise ConfigurationError(f"user {number} has too short a past for a demonstration")
    return pictured(prompt)


def of_prompt(prompt: Prompt) -> Picture:
    """A prompt as the service has sent it."""
    if not prompt.labels:
        raise ConfigurationError(
            "only prompts that show labels can be explained: --mode first_token"
        )
    return pictured(tokenized(prompt, MiniTokenizer.load(SHIPPED_MODEL)))


def pictured(prompt: TokenizedPrompt) -> Picture:
    examined = Examined(lrgd_mini(torch.float32), prompt)
    scores = examined.scores((SCORE,))[SCORE]
    by_line = {
        unit.lines.start: (unit.kind, float(score))
        for unit, score in zip(prompt.units, scores, strict=True)
        if unit.kind is not UnitKind.SEGMENT
    }
    lines = tuple(
        Line(text, *by_line.get(number, (None, None)))
        for number, text in enumerate(prompt.prompt.content.split("\n"))
    )
    return Picture(
        lines,
        prompt.prompt.titles[examined.place],
        float(examined.logprobs[examined.place]),
    )


def shortened(picture: Picture) -> list[Line]:
    """Without the many candidates, the recommended one excepted."""
    kept, candidates = [], 0
    for line in picture.lines:
        is_candidate = line.kind is None and line.text.startswith("- ")
        candidates += is_candidate
        recommended = line.text.startswith(f"- {picture.recommended} |")
        if not is_candidate or candidates <= SHOWN_CANDIDATES or recommended:
            kept.append(line)
    return [*kept, Line(f"({candidates} candidates)")] if candidates > SHOWN_CANDIDATES else kept


def draw(picture: Picture) -> Any:
    lines = shortened(picture)
    figure, ((axis,),) = panels(1, width=9, height=0.24 * len(lines) + 0.8)
    axis.set_axis_off()
    axis.set(xlim=(0, 1), ylim=(len(lines), -1))
    for row, line in enumerate(lines):
        text = line.text if len(line.text) <= _WIDTH else f"{line.text[: _WIDTH - 1]}…"
        if line.influence is not None:
            axis.axhspan(row - 0.45, row + 0.45, color=shade(line.influence, picture.strongest))
            axis.text(0.99, row, f"{line.influence:+.3f}", va="center", ha="right", fontsize=8)
        bold = line.text.startswith(f"- {picture.recommended} |")
        axis.text(
            0.01, row, text.replace("$", r"\$"), va="center", fontsize=8,
            fontweight="bold" if bold else "normal",
        )  # fmt: skip
    axis.set_title(
        f"recommended: {picture.recommended} (log p {picture.logprob:.2f}); "
        "blue spoke for it, orange against it",
        fontsize=9,
    )
    return figure


def shade(influence: float, strongest: float) -> tuple[float, float, float]:
    """White for none, blue for what spoke for the item, orange for what spoke against it."""
    full = (0.45, 0.68, 0.90) if influence > 0 else (0.95, 0.65, 0.40)
    share = min(1.0, abs(influence) / strongest)
    red, green, blue = (1 - share * (1 - part) for part in full)
    return red, green, blue

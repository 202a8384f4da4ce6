"""Estimates with their intervals as SVG: a line for each, in panels with the same lines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cli.svg import GRID, INK, Axis, document, text_at

NAMES, WIDTH, LINE = 160, 300, 17
GAP, TOP, BOTTOM = 40, 64, 44
MOST = 0.7  # of the dots are what the axis is made for


@dataclass(frozen=True)
class Dot:
    """`hollow`: it stands for fewer than others do."""

    name: str
    at: float
    low: float
    high: float
    color: str
    hollow: bool = False


@dataclass(frozen=True)
class Dots:
    title: str
    x_label: str
    dots: Sequence[Dot]


def dot_plot(title: str, panels: Sequence[Dots], below: str = "") -> str:
    """A whole document, about zero. `below`: what is to be known of it, in one line."""
    names = list(dict.fromkeys(dot.name for panel in panels for dot in panel.dots))
    bottom = TOP + LINE * len(names)
    width, height = NAMES + (WIDTH + GAP) * len(panels), bottom + BOTTOM + (20 if below else 0)
    parts = [
        text_at(name, NAMES - 8, _height(number) + 4, size=11, anchor="end")
        for number, name in enumerate(names)
    ]
    within = _within(panels)
    for number, panel in enumerate(panels):
        parts += _panel(panel, names, NAMES + number * (WIDTH + GAP), bottom, within)
    if below:
        parts.append(text_at(below, width / 2, height - 10, size=11, anchor="middle"))
    return document(title, width, height, parts)


def _panel(
    panel: Dots, names: Sequence[str], left: float, bottom: float, within: float
) -> list[str]:
    right = left + WIDTH
    across = Axis.of([-within, within], left, right, whole=False)
    parts = [text_at(panel.title, left, TOP - 20, size=12)]
    for x in across.ticks:
        place, is_zero = across.place(x), abs(x) < across.step / 2
        ink = INK if is_zero else GRID
        parts.append(
            f"<line x1='{place:.1f}' x2='{place:.1f}' y1='{TOP - 8}' y2='{bottom}' stroke='{ink}'/>"
        )
        shown = "0" if is_zero else f"{x:+.{across.digits}f}"
        parts.append(text_at(shown, place, bottom + 16, size=10, anchor="middle"))
    parts.append(text_at(panel.x_label, (left + right) / 2, bottom + 36, size=11, anchor="middle"))
    for dot in panel.dots:
        parts += _drawn(dot, across, _height(names.index(dot.name)))
    return parts


def _drawn(dot: Dot, across: Axis, y: float) -> list[str]:
    if not across.low <= dot.at <= across.high:
        return [_beyond(dot, across.begin if dot.at < 0 else across.end, y)]
    low, high = across.place(max(across.low, dot.low)), across.place(min(across.high, dot.high))
    fill = "white" if dot.hollow else dot.color
    return [
        f"<line x1='{low:.1f}' x2='{high:.1f}' y1='{y}' y2='{y}' stroke='{dot.color}' "
        "stroke-width='1.5'/>",
        *([_arrow(low, low + 5, y, dot.color)] if dot.low < across.low else []),
        *([_arrow(high, high - 5, y, dot.color)] if dot.high > across.high else []),
        f"<circle cx='{across.place(dot.at):.1f}' cy='{y}' r='3.5' fill='{fill}' "
        f"stroke='{dot.color}' stroke-width='1.5'/>",
    ]


def _arrow(tip: float, back: float, y: float, color: str) -> str:
    """The interval goes on."""
    return f"<path d='M{back:.1f} {y - 3}L{tip:.1f} {y}L{back:.1f} {y + 3}Z' fill='{color}'/>"


def _beyond(dot: Dot, edge: float, y: float) -> str:
    """A number, for what would leave no room for all others."""
    if dot.at < 0:
        return text_at(f"\u25c2 {dot.at:+.3f}", edge + 4, y + 4, size=10)
    return text_at(f"{dot.at:+.3f} \u25b8", edge - 4, y + 4, size=10, anchor="end")


def _within(panels: Sequence[Dots]) -> float:
    """How far from zero most dots lie with their intervals."""
    far = sorted(max(-dot.low, dot.high) for panel in panels for dot in panel.dots)
    return far[int(MOST * (len(far) - 1))] or 1.0


def _height(number: int) -> float:
    return TOP + LINE * (number + 0.5)

"""Plots as SVG, without a plotting library: panels of lines side by side, and a legend below."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape, quoteattr

WIDTH, HEIGHT = 420, 300
LEFT, RIGHT, TOP, BOTTOM = 52, 16, 56, 44
LEGEND_ROW, LEGEND_ENTRY = 20, 110
LETTER = 6  # of a name in the legend, about
FONT = "font-family='Helvetica, Arial, sans-serif'"
INK, GRID = "#222222", "#dddddd"
MOST_TICKS = 6


@dataclass(frozen=True)
class Line:
    """`ys` None: nothing is known there, and the line has a gap. `errors`, where there are any, are
    drawn as bars above and below."""

    name: str
    color: str
    xs: Sequence[float]
    ys: Sequence[float | None]
    dashed: bool = False
    width: float = 1.5
    errors: Sequence[float | None] = ()

    @property
    def points(self) -> list[tuple[float, float]]:
        return [(x, y) for x, y in zip(self.xs, self.ys, strict=True) if y is not None]

    @property
    def bars(self) -> list[tuple[float, float, float]]:
        """Where, and from what to what."""
        return [
            (x, y - error, y + error)
            for x, y, error in zip(
                self.xs, self.ys, self.errors or [None] * len(self.ys), strict=True
            )
            if y is not None and error is not None
        ]


@dataclass(frozen=True)
class Panel:
    """`whole`: what is across is counted, and has no parts."""

    title: str
    x_label: str
    lines: Sequence[Line]
    whole: bool = True


def figure(title: str, panels: Sequence[Panel]) -> str:
    """A whole document."""
    names = list({line.name: line for panel in panels for line in panel.lines}.values())
    width = WIDTH * len(panels)
    entry = max(LEGEND_ENTRY, *(40 + LETTER * len(line.name) for line in names), 0)
    per_row = max(1, (width - LEFT) // entry)
    height = HEIGHT + LEGEND_ROW * math.ceil(len(names) / per_row) + 8
    parts: list[str] = []
    for number, panel in enumerate(panels):
        parts.append(f"<g transform='translate({number * WIDTH} 0)'>")
        parts += _panel(panel)
        parts.append("</g>")
    for number, line in enumerate(names):
        row, column = divmod(number, per_row)
        parts += _legend(line, LEFT + column * entry, HEIGHT + 8 + row * LEGEND_ROW)
    return document(title, width, height, parts)


def document(title: str, width: int, height: int, parts: Sequence[str]) -> str:
    """On white, below its title."""
    head = [
        f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {width} {height}' "
        f"width='{width}' height='{height}' role='img' aria-label={quoteattr(title)}>",
        f"<rect width='{width}' height='{height}' fill='white'/>",
        text_at(title, width / 2, 20, size=14, anchor="middle", weight="bold"),
    ]
    return "\n".join([*head, *parts, "</svg>"]) + "\n"


def _panel(panel: Panel) -> list[str]:
    points = [point for line in panel.lines for point in line.points]
    parts = [text_at(panel.title, LEFT, TOP - 14, size=12)]
    if not points:
        return [*parts, text_at("no rounds yet", WIDTH / 2, HEIGHT / 2, size=12, anchor="middle")]
    across = Axis.of([x for x, _ in points], LEFT, WIDTH - RIGHT, whole=panel.whole)
    ends = [end for line in panel.lines for _, low, high in line.bars for end in (low, high)]
    up = Axis.of([*(y for _, y in points), *ends], HEIGHT - BOTTOM, TOP, whole=False)
    for y in up.ticks:
        at = up.place(y)
        parts.append(
            f"<line x1='{LEFT}' x2='{WIDTH - RIGHT}' y1='{at:.1f}' y2='{at:.1f}' stroke='{GRID}'/>"
        )
        parts.append(text_at(f"{y:.{up.digits}f}", LEFT - 6, at + 4, size=11, anchor="end"))
    for x in across.ticks:
        place = across.place(x)
        parts.append(text_at(f"{x:g}", place, HEIGHT - BOTTOM + 18, size=11, anchor="middle"))
    parts.append(text_at(panel.x_label, WIDTH / 2, HEIGHT - 8, size=11, anchor="middle"))
    for line in panel.lines:
        parts += _drawn(line, across, up)
    return parts


@dataclass(frozen=True)
class Axis:
    low: float
    high: float
    step: float
    begin: float
    end: float

    @classmethod
    def of(cls, values: Sequence[float], begin: float, end: float, *, whole: bool) -> Axis:
        """From one round number to another."""
        low, high = min(values), max(values)
        span = high - low or (1.0 if whole else 0.1)
        step = _round_step(span / MOST_TICKS)
        if whole:
            step = max(1.0, step)
        low, high = math.floor(low / step) * step, math.ceil(high / step) * step
        if low == high:
            low, high = low - step, high + step
        return cls(low, high, step, begin, end)

    @property
    def ticks(self) -> list[float]:
        return [
            self.low + number * self.step
            for number in range(round((self.high - self.low) / self.step) + 1)
        ]

    @property
    def digits(self) -> int:
        return max(0, -math.floor(math.log10(self.step)))

    def place(self, value: float) -> float:
        return self.begin + (value - self.low) / (self.high - self.low) * (self.end - self.begin)


def _round_step(least: float) -> float:
    """1, 2 or 5 times a power of ten."""
    power = 10.0 ** math.floor(math.log10(least))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= least)


def _drawn(line: Line, across: Axis, up: Axis) -> list[str]:
    places = [
        None if y is None else (across.place(x), up.place(y))
        for x, y in zip(line.xs, line.ys, strict=True)
    ]
    path, pen_up = [], True
    for place in places:
        if place is not None:
            path.append(f"{'M' if pen_up else 'L'}{place[0]:.1f} {place[1]:.1f}")
        pen_up = place is None
    dashes = " stroke-dasharray='5 4'" if line.dashed else ""
    dots = [
        f"<circle cx='{place[0]:.1f}' cy='{place[1]:.1f}' r='{line.width + 1:.1f}' "
        f"fill='{line.color}'/>"
        for place in places
        if place is not None
    ]
    bars = [
        f"<line x1='{across.place(x):.1f}' x2='{across.place(x):.1f}' y1='{up.place(low):.1f}' "
        f"y2='{up.place(high):.1f}' stroke='{line.color}' stroke-opacity='.4'/>"
        for x, low, high in line.bars
    ]
    return [
        *bars,
        f"<path d='{' '.join(path)}' fill='none' stroke='{line.color}' "
        f"stroke-width='{line.width}'{dashes}/>",
        *dots,
    ]


def _legend(line: Line, x: float, y: float) -> list[str]:
    dashes = " stroke-dasharray='5 4'" if line.dashed else ""
    return [
        f"<line x1='{x}' x2='{x + 22}' y1='{y}' y2='{y}' stroke='{line.color}' "
        f"stroke-width='{line.width}'{dashes}/>",
        text_at(line.name, x + 28, y + 4, size=11),
    ]


def text_at(
    text: str, x: float, y: float, *, size: int, anchor: str = "start", weight: str = "normal"
) -> str:
    return (
        f"<text x='{x:.1f}' y='{y:.1f}' {FONT} font-size='{size}' fill='{INK}' "
        f"text-anchor='{anchor}' font-weight='{weight}'>{escape(text)}</text>"
    )

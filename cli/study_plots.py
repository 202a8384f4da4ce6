"""The plots of studies, from what they have found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from cli.svg import Line, Panel, figure

COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#666666")
MARK = "#999999"

Rows = Sequence[Mapping[str, Any]]


def effect_correlation(detail: Mapping[str, Any]) -> str:
    """The correlation within users by how many held-out events judge; and what picking gains."""
    panels = []
    for measure in ("log_score", "effect_d"):
        mine = [one for one in detail["within"] if one["measure"] == measure]
        lines = []
        for color, name in zip(COLORS, dict.fromkeys(one["set"] for one in mine), strict=False):
            some = [one for one in mine if one["set"] == name]
            lines.append(_line(name, color, some, "events"))
        panels.append(Panel(f"{measure}: correlation with the test", "held-out events", lines))
    picked = detail["picked"]
    panels.append(
        Panel(
            "best by held-out events over the mean",
            "held-out events",
            [_line("Effect_D gained", COLORS[0], picked, "events", width=2.5)],
        )
    )
    return figure("Validation and test, within users", panels)


def drift(detail: Mapping[str, Any]) -> str:
    panels = []
    for condition in dict.fromkeys(one["condition"] for one in detail["by_event"]):
        mine = [one for one in detail["by_event"] if one["condition"] == condition]
        lines = []
        for color, arm in zip(COLORS, dict.fromkeys(one["arm"] for one in mine), strict=False):
            some = [one for one in mine if one["arm"] == arm]
            lines.append(_line(arm, color, some, "step"))
        top = max((one["mean"] + one["error"] for one in mine), default=1.0)
        lines.append(Line("change", MARK, (-0.5, -0.5), (0.0, top), dashed=True, width=1.0))
        panels.append(Panel(f"nDCG@10, taste {condition}", "events since the change", lines))
    return figure("A user whose taste changes", panels)


def hallucination(detail: Mapping[str, Any]) -> str:
    """A point for each demonstration; conditions that never leave the list have none to show."""
    lines = []
    left = [
        (name, points) for name, points in detail["points"].items() if any(x for x, _ in points)
    ]
    for color, (name, points) in zip(COLORS, left, strict=False):
        lines.append(Line(name, color, *_points(points), width=1.0))
    panel = Panel("Effect_D of a written list", "share out of the list", lines, whole=False)
    return figure("Lists that leave the candidates", [panel])


def _line(name: str, color: str, rows: Rows, across: str, width: float = 1.5) -> Line:
    xs, ys = [one[across] for one in rows], [one["mean"] for one in rows]
    errors = [one["error"] for one in rows if "error" in one]
    return Line(name, color, xs, ys, width=width, errors=errors)


def _points(points: Sequence[Sequence[float]]) -> tuple[list[float], list[float | None]]:
    """With a gap behind each, so that no line joins them."""
    xs: list[float] = []
    ys: list[float | None] = []
    for x, y in points:
        xs += [x, x]
        ys += [y, None]
    return xs, ys

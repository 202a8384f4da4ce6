"""The plot of a table: every row against zero_shot, on the users that both were asked about."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cli.dot_plot import Dot, Dots, dot_plot

OURS, FUSED, ASKED, OTHER = "#d55e00", "#009e73", "#0072b2", "#666666"


def over_bare(detail: Mapping[str, Any], metric: str) -> str | None:
    """None where zero_shot is not there, or nothing beside it."""
    panels = []
    for name, table in detail["candidates"].items():
        rows = [row for row in table["rows"] if "over_bare" in row]
        most = max((row["over_bare"]["users"] for row in rows), default=0)
        panels.append(
            Dots(
                f"candidates: {name}", f"{metric} over zero_shot", [_dot(row, most) for row in rows]
            )
        )
    if not any(panel.dots for panel in panels):
        return None
    return dot_plot(
        f"{metric} of each row over that of zero_shot",
        panels,
        "gray: asks no model; blue: asks one; green: fused; red: lrgd; 95 % by paired bootstrap; "
        "hollow: fewer users than others",
    )


def _dot(row: Mapping[str, Any], most: int) -> Dot:
    over, name = row["over_bare"], row["row"]
    low, high = over["interval"]
    return Dot(name, over["difference"], low, high, _color(row), hollow=over["users"] < most)


def _color(row: Mapping[str, Any]) -> str:
    name = row["row"]
    if name.startswith("lrgd"):
        return OURS
    if row["mode"] is None:
        return OTHER
    return FUSED if name.endswith("_fused") else ASKED

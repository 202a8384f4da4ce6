"""What dashboards are made of, without Grafana's own vocabulary (that is `grafana.py`)."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum


class Unit(StrEnum):
    """As Grafana names them."""

    SECONDS = "s"
    PER_SECOND = "reqps"
    RATE = "cps"
    SHARE = "percentunit"
    COUNT = "short"
    NUMBER = "none"


@dataclass(frozen=True, slots=True)
class Query:
    """PromQL, and what a line of its answer is called: `{{label}}` is filled in."""

    promql: str
    legend: str


@dataclass(frozen=True, slots=True)
class Panel:
    """`advice` is one line: what to do when it looks wrong."""

    title: str
    advice: str
    queries: tuple[Query, ...]
    unit: Unit = Unit.NUMBER
    least: float | None = 0
    most: float | None = None


@dataclass(frozen=True, slots=True)
class Row:
    title: str
    panels: tuple[Panel, ...]


@dataclass(frozen=True, slots=True)
class Variable:
    """A choice above the panels, `$name` in queries: the values of a label of a metric."""

    name: str
    label: str
    metric: str
    of: str = "job"


@dataclass(frozen=True, slots=True)
class Dashboard:
    uid: str
    title: str
    description: str
    rows: tuple[Row, ...]
    variables: tuple[Variable, ...] = field(default=())


def panel(
    title: str,
    advice: str,
    *queries: tuple[str, str],
    unit: Unit = Unit.NUMBER,
    least: float | None = 0,
    most: float | None = None,
) -> Panel:
    return Panel(title, advice, tuple(Query(*one) for one in queries), unit, least, most)


def rate(counter: str, by: str, where: str = "") -> str:
    """How often per second, by these labels, over the window that Grafana finds fit."""
    return f"sum by ({by}) (rate({counter}{{{where}}}[$__rate_interval]))"


def quantile(share: float, histogram: str, by: str, where: str = "") -> str:
    """Of what was observed in the window; never of a lifetime."""
    buckets = rate(f"{histogram}_bucket", f"le, {by}" if by else "le", where)
    return f"histogram_quantile({share}, {buckets})"


def mean(histogram: str, by: str, where: str = "", window: str = "$__rate_interval") -> str:
    """Of what was observed in the window."""
    top, bottom = (
        f"sum by ({by}) (increase({histogram}_{part}{{{where}}}[{window}]))"
        for part in ("sum", "count")
    )
    return f"{top} / ({bottom} > 0)"


def share(part: str, whole: str) -> str:
    """Nothing, rather than not-a-number, where there was nothing to divide by."""
    return f"({part}) / ({whole} > 0)"

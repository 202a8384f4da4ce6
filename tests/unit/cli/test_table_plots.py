"""The plot of a table: what is near is drawn, what is far is said."""

from __future__ import annotations

from typing import Any
from xml.etree import ElementTree as ET

from cli.table_plots import over_bare

SVG = "{http://www.w3.org/2000/svg}"


def row(name: str, difference: float, users: int = 40) -> dict[str, Any]:
    over = {"difference": difference, "interval": [difference - 0.01, difference + 0.01]}
    return {"row": name, "mode": "likelihood", "over_bare": {**over, "users": users}}


def plotted(*rows: dict[str, Any]) -> ET.Element:
    bare = {"row": "zero_shot", "mode": "likelihood"}
    svg = over_bare({"candidates": {"uniform": {"rows": [bare, *rows]}}}, "nDCG@10")
    assert svg is not None
    return ET.fromstring(svg)


def texts(plot: ET.Element) -> list[str]:
    return [one.text or "" for one in plot.iter(f"{SVG}text")]


def test_a_row_that_is_better_lies_right_of_one_that_is_worse() -> None:
    plot = plotted(row("lrgd", 0.02), row("generated", -0.02))
    ours, theirs = (float(dot.attrib["cx"]) for dot in plot.iter(f"{SVG}circle"))
    assert ours > theirs
    assert {"lrgd", "generated", "candidates: uniform"} <= set(texts(plot))


def test_a_row_far_away_is_a_number_and_leaves_room_for_the_others() -> None:
    near = [row(name, 0.01) for name in ("lrgd", "more", "generated", "re2llm")]
    plot = plotted(*near, row("llm4rs", -0.4))
    assert len(list(plot.iter(f"{SVG}circle"))) == len(near)
    assert any("-0.400" in text for text in texts(plot))


def test_an_interval_that_goes_on_beyond_the_axis_has_an_arrow() -> None:
    near = [row(name, 0.01) for name in ("lrgd", "more", "generated", "re2llm")]
    wide = row("llmrank", 0.0)
    wide["over_bare"]["interval"] = [-0.5, 0.01]
    assert len(list(plotted(*near, wide).iter(f"{SVG}path"))) == 1
    assert not list(plotted(*near).iter(f"{SVG}path"))


def test_a_row_about_fewer_users_is_hollow() -> None:
    plot = plotted(row("lrgd", 0.01), row("more", 0.01, users=10))
    assert [dot.attrib["fill"] == "white" for dot in plot.iter(f"{SVG}circle")] == [False, True]


def test_without_zero_shot_there_is_no_plot() -> None:
    rows = [{"row": "popularity", "mode": None}]
    assert over_bare({"candidates": {"uniform": {"rows": rows}}}, "nDCG@10") is None

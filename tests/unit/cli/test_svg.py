from __future__ import annotations

import xml.etree.ElementTree as ET

from cli.svg import Line, Panel, figure

SVG = "{http://www.w3.org/2000/svg}"


def drawn(line: Line) -> ET.Element:
    return ET.fromstring(figure("plot", [Panel("panel", "round", [line])]))


def bars(drawing: ET.Element) -> list[ET.Element]:
    return [one for one in drawing.iter(f"{SVG}line") if one.get("stroke-opacity")]


def test_errors_are_bars_around_the_points_that_have_them() -> None:
    line = Line("arm", "#000000", (1, 2, 3), (1.0, None, 2.0), errors=(0.5, None, None))
    (bar,) = bars(drawn(line))
    first = next(drawn(line).iter(f"{SVG}circle"))
    low, high = float(bar.get("y1", "")), float(bar.get("y2", ""))
    middle = float(first.get("cy", ""))
    assert bar.get("x1") == bar.get("x2") == first.get("cx")
    assert low > middle > high
    assert abs((low + high) / 2 - middle) < 0.2


def test_a_bar_stays_inside_the_panel() -> None:
    line = Line("arm", "#000000", (1, 2), (1.0, 1.1), errors=(3.0, 0.1))
    for bar in bars(drawn(line)):
        assert 56 <= float(bar.get("y2", "")) <= float(bar.get("y1", "")) <= 256


def test_a_line_without_errors_has_no_bars() -> None:
    assert not bars(drawn(Line("arm", "#000000", (1, 2), (1.0, 1.1))))


def test_long_names_of_the_legend_do_not_overlap() -> None:
    lines = [Line(f"{n} a name that is rather long", "#000000", (1,), (1.0,)) for n in range(3)]
    drawing = ET.fromstring(figure("plot", [Panel("panel", "round", lines)]))
    named = [one for one in drawing.iter(f"{SVG}text") if "rather long" in (one.text or "")]
    places = {(one.get("x"), one.get("y")) for one in named}
    assert len(places) == 3
    by_row: dict[str, list[float]] = {}
    for one in named:
        by_row.setdefault(one.get("y", ""), []).append(float(one.get("x", "")))
    for xs in by_row.values():
        assert all(
            right - left > 150 for left, right in zip(sorted(xs), sorted(xs)[1:], strict=False)
        )

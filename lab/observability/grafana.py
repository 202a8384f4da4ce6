"""Dashboards as Grafana's JSON.

    python -m lab.observability.grafana

writes `deploy/grafana/dashboards` anew; Grafana reads them from there. What is changed in the
browser is lost on purpose: the source is the modules beside this one.
"""

from __future__ import annotations

import json
from pathlib import Path

from grafana_foundation_sdk.builders import common, dashboard, prometheus, timeseries
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.common import (
    LegendDisplayMode,
    LegendPlacement,
    TooltipDisplayMode,
)
from grafana_foundation_sdk.models.dashboard import (
    DashboardCursorSync,
    DataSourceRef,
    GridPos,
    VariableOption,
    VariableRefresh,
    VariableSort,
)

from lab.observability.engine import ENGINE
from lab.observability.learning import LEARNING
from lab.observability.panels import Dashboard, Panel, Variable
from lab.observability.service import SERVICE
from lab.observability.workers import WORKERS

DASHBOARDS = (SERVICE, LEARNING, ENGINE, WORKERS)
FOLDER = Path(__file__).parents[2] / "deploy" / "grafana" / "dashboards"
# As deploy/grafana/provisioning names it.
SOURCE = DataSourceRef(type_val="prometheus", uid="prometheus")
WIDTH, HEIGHT, BESIDE = 8, 8, 3


def files() -> dict[str, str]:
    """By file name, what is to be in it."""
    return {f"{one.uid.removeprefix('lrgd-')}.json": as_json(one) for one in DASHBOARDS}


def as_json(given: Dashboard) -> str:
    built = (
        dashboard.Dashboard(given.title)
        .uid(given.uid)
        .description(given.description)
        .tags(["lrgd"])
        .refresh("30s")
        .time("now-3h", "now")
        .timezone("browser")
        .tooltip(DashboardCursorSync.CROSSHAIR)
        .readonly()
        .variables([_variable(one) for one in given.variables])
        .link(dashboard.DashboardLink("LRGD").tags(["lrgd"]).as_dropdown(True).keep_time(True))
    )
    top, number = 0, 0
    for row in given.rows:
        number += 1
        head = dashboard.Row(row.title).id(number).grid_pos(GridPos(h=1, w=24, x=0, y=top))
        built = built.with_row(head)
        top += 1
        for place, one in enumerate(row.panels):
            number += 1
            at = GridPos(
                h=HEIGHT, w=WIDTH, x=place % BESIDE * WIDTH, y=top + place // BESIDE * HEIGHT
            )
            built = built.with_panel(_panel(one).id(number).grid_pos(at))
        top += HEIGHT * -(-len(row.panels) // BESIDE)
    return json.dumps(built.build(), cls=JSONEncoder, indent=2, sort_keys=True) + "\n"


def _panel(given: Panel) -> timeseries.Panel:
    legend = (
        common.VizLegendOptions()
        .display_mode(LegendDisplayMode.LIST)
        .placement(LegendPlacement.BOTTOM)
        .show_legend(True)
        .calcs([])
    )
    built = (
        timeseries.Panel()
        .title(given.title)
        .description(given.advice)
        .datasource(SOURCE)
        .unit(given.unit)
        .legend(legend)
        .tooltip(common.VizTooltipOptions().mode(TooltipDisplayMode.MULTI))
        .line_width(1)
        .fill_opacity(8)
        .span_nulls(60_000)
    )
    if given.least is not None:
        built = built.min(given.least)
    if given.most is not None:
        built = built.max(given.most)
    for place, query in enumerate(given.queries):
        built = built.with_target(
            prometheus.Dataquery()
            .expr(query.promql)
            .legend_format(query.legend)
            .ref_id(chr(ord("A") + place))
            .range()
        )
    return built


def _variable(given: Variable) -> dashboard.QueryVariable:
    return (
        dashboard.QueryVariable(given.name)
        .label(given.label)
        .datasource(SOURCE)
        .query(f"label_values({given.metric}, {given.of})")
        .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(VariableSort.ALPHABETICAL_ASC)
        .multi(True)
        .include_all(True)
        .all_value(".*")
        .current(VariableOption(selected=True, text="All", value="$__all"))
    )


def main() -> None:
    for name, text in files().items():
        (FOLDER / name).write_text(text)


if __name__ == "__main__":
    main()

"""A table run and shown: for people, for programs, for a document; and kept for the report."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table

from cli.figures import Figures
from cli.progress import Told
from cli.table_plots import over_bare

if TYPE_CHECKING:
    from lab.tables.rechecked import Rechecked
    from lab.tables.table2 import Table2


@dataclass(frozen=True)
class TableCommand:
    """`whole`: no row was left out by the caller, so it may stand in a report. `compared`: the
    metric that rows are compared by."""

    name: str
    table: Table2
    whole: bool
    compared: str = "ndcg@10"

    def run(self, recheck: int = 0, *, markdown: bool, as_json: bool) -> None:
        from lab.evaluation.evaluation import Watch  # noqa: PLC0415
        from lab.tables import markdown as rendered  # noqa: PLC0415
        from lab.tables.rechecked import recheck as ask_again  # noqa: PLC0415
        from lab.tables.standing import figures_of  # noqa: PLC0415
        from lab.tables.table2 import run  # noqa: PLC0415

        engine = self.table.engine
        named = "kept" if engine is None else engine.model or engine.where
        figures = Figures(f"lrgd lab {self.name}", engine=named)
        with Told() as told:
            watch = Watch(told, told.say)
            if recheck:
                again = ask_again(self.table, recheck, watch)
            else:
                kept = run(self.table, watch)
        if recheck:
            _show_rechecked(again, figures, as_json=as_json)
            return
        measured, detail = figures_of(kept, self.table.rows, self.compared)
        text = rendered.table2(detail, self.compared)
        if self.whole:
            plot = over_bare(detail, rendered.NAMES[self.compared])
            plots = {} if plot is None else {self.name: plot}
            keep_run(self.table.out, self.name, text, measured, rendered.notes(detail), plots=plots)
        if markdown:
            print(text, end="")
        elif as_json:
            figures.show(measured, detail, as_json=True)
        else:
            _print_rows(detail, self.compared)


def keep_run(
    out: Path,
    name: str,
    text: str,
    measured: Mapping[str, float],
    notes: Sequence[str],
    *,
    plots: Mapping[str, str] = MappingProxyType({}),
) -> None:
    from lab.tables.runs import Run, command_line, write_run  # noqa: PLC0415

    write_run(out, Run(name, command_line(sys.argv), text, measured, notes, dict(plots)))


def _show_rechecked(found: list[Rechecked], figures: Figures, *, as_json: bool) -> None:
    measured = {
        f"{one.candidates}.{one.row}.{name}": float(value)
        for one in found
        for name, value in (("rechecked", one.users), ("differ", one.differ))
    }
    figures.show(measured, {}, as_json=as_json)


def _print_rows(detail: dict[str, Any], compared: str) -> None:
    from lab.tables.markdown import reached_lines  # noqa: PLC0415
    from lab.tables.standing import told_beside  # noqa: PLC0415

    metrics = told_beside(compared)[:3]
    spread = ["95 %"] if len(metrics) < 3 else []  # else there is no room for it
    for name, table in detail["candidates"].items():
        # Figures stay where a terminal has no room for all.
        figures = [Column(metric, min_width=5, overflow="fold") for metric in metrics]
        over = Column("against the best other", no_wrap=True, min_width=6)
        shown = Table(
            Column(no_wrap=True, min_width=20), *figures, *spread, Column("users", min_width=5),
            Column("λ", min_width=4), Column("p", min_width=6), over, title=f"candidates: {name}",
        )  # fmt: skip
        for one in table["rows"]:
            best = one.get("best_other")
            shown.add_row(
                one["row"],
                *(f"{one[metric]:.3f}" for metric in metrics),
                *(" to ".join(f"{end:.3f}" for end in one.get("interval", ())) for _ in spread),
                f"{one['users']:,}",
                f"{one['lambda']:g}" if one.get("lambda") else "",
                "" if best is None else f"{best['p']:.4f}",
                "" if best is None else f"{best['difference']:+.3f} {best['row']}",
            )
        Console().print(shown)
        for line in reached_lines(table, compared):
            Console(soft_wrap=True, highlight=False).print(escape(line))
    if detail["missing"]:
        Console(stderr=True).print(f"not run: {', '.join(detail['missing'])}", soft_wrap=True)


def print_engines(detail: dict[str, Any]) -> None:
    from lab.tables.markdown import engine_cells  # noqa: PLC0415

    for name, table in detail["candidates"].items():
        named = [escape(engine) for engine in table["engines"]]
        shown = Table(
            Column(no_wrap=True), *named, title=f"candidates: {name}, nDCG@1 / nDCG@10 / Recall@10"
        )
        for row, cells in engine_cells(table["engines"]):
            shown.add_row(row, *cells)
        Console().print(shown)
    for engine, missing in detail["missing"].items():
        Console(stderr=True).print(
            f"not run with {escape(engine)}: {', '.join(missing)}", soft_wrap=True
        )

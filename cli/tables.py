"""`lrgd lab table2`, `table5`, `report`: the paper's tables on real data."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Column, Table

from cli.figures import Figures
from cli.progress import Told
from services.errors import ConfigurationError
from services.prompts import Mode, PromptFormat, TemplateName
from services.ranking import Method

if TYPE_CHECKING:
    from lab.engines import EngineChoice
    from lab.tables.table2 import Rechecked, Table2

OUT = Path("build/tables")
RESULTS = Path(__file__).parents[1] / "docs" / "results.md"

Rows = Annotated[list[str] | None, typer.Option(help="Only these rows.")]
Engine = Annotated[
    str | None,
    typer.Option(help="Run the rows that ask a model: `onnx`, a model's folder, or a URL."),
]
Model = Annotated[str | None, typer.Option(help="Which model that server serves.")]
ApiKey = Annotated[str | None, typer.Option(envvar="LRGD_LLM_API_KEY", help="Of that server.")]
AtOnce = Annotated[int, typer.Option(min=1, help="Most calls under way at a server.")]
Asked = Annotated[Mode, typer.Option("--mode", help="How the model is asked to rank.")]
Template = Annotated[TemplateName, typer.Option(help="In which prompts.")]
Users = Annotated[
    int | None, typer.Option(min=1, help="Only so many, the first, for rows that ask a model.")
]
Again = Annotated[
    int, typer.Option(min=0, help="Ask anew about so many random users of a row, and compare.")
]
Out = Annotated[
    Path, typer.Option(help="Keeps scores, ranks and trained models; a second call goes on.")
]
Kept = Annotated[bool, typer.Option("--kept", help="Run nothing: only rows that are kept.")]
Markdown = Annotated[bool, typer.Option("--markdown", help="Print Markdown.")]
Data = Annotated[Path, typer.Option(help="Folder of items.tsv, sequences.tsv, candidates files.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def table2(
    data: Data,
    *,
    row: Rows = None,
    engine: Engine = None,
    model: Model = None,
    api_key: ApiKey = None,
    at_once: AtOnce = 8,
    mode: Asked = Mode.FIRST_TOKEN,
    template: Template = TemplateName.PREFIX_CACHED,
    users: Users = None,
    recheck: Again = 0,
    kept: Kept = False,
    markdown: Markdown = False,
    out: Out = OUT,
    as_json: AsJson = False,
) -> None:
    """Table 2: recommenders of every kind on the same candidates.

    Every [bold]test-NAME-*.jsonl[/] of the folder that has a [bold]valid-*[/] beside it is one
    half of the table. Rows that are kept in [bold]--out[/] are not run again. Networks are trained
    first: about ten minutes each on one core. Rows that ask a model run only when
    [bold]--engine[/] names one; without it, those that are kept are shown.

    Each row is compared with the best other row on the users that both were asked about: the mean
    difference of nDCG@10, and p by paired bootstrap over users. [bold]harm_rate[/] is the share
    of users whose choice is ranked worse than by zero_shot. [bold]gain.*[/] is what lrgd_fused has
    over the best other row, fused rows included.

    [bold]lrgd lab table2 --data games --row popularity --row sasrec[/]

    [bold]lrgd lab table2 --data games --engine games-model --mode likelihood --users 200[/]

    [bold]lrgd lab table2 --data games --row sasrec --recheck 50[/]

    [bold]lrgd lab table2 --data games --kept[/]   what there is, at once
    """
    from lab.tables.rows import TABLE2  # noqa: PLC0415

    table = _table(data, row or TABLE2, _engine(engine, model, api_key, at_once), out, users)
    form = PromptFormat(template=template, mode=mode)
    table = replace(table, ranking=Method(form), kept_alone=kept)
    _Command("table2", table, whole=not row).run(recheck, markdown=markdown, as_json=as_json)


def table5(
    data: Data,
    *,
    row: Rows = None,
    engine: Engine = None,
    model: Model = None,
    api_key: ApiKey = None,
    at_once: AtOnce = 8,
    mode: Asked = Mode.FIRST_TOKEN,
    users: Users = None,
    recheck: Again = 0,
    kept: Kept = False,
    markdown: Markdown = False,
    out: Out = OUT,
    as_json: AsJson = False,
) -> None:
    """Table 5: what each part of the method is worth.

    [bold]pdo1[/], [bold]pdo2[/]: fewer paths that write as many demonstrations as lrgd's three.
    [bold]reveals_validation[/]: the generator sees the target that judges it.
    [bold]lrgd_paper[/], [bold]lrgd_inv[/]: in the other templates. [bold]lrgd_written[/],
    [bold]lrgd_unregularized[/]: the list is written, with X_T_reg and without.

    [bold]lrgd lab table5 --data games --engine http://host:8000/v1 --model NAME --users 200[/]
    """
    from lab.tables.rows import TABLE5  # noqa: PLC0415

    table = _table(data, row or TABLE5, _engine(engine, model, api_key, at_once), out, users)
    table = replace(table, ranking=Method(PromptFormat(mode=mode)), kept_alone=kept)
    _Command("table5", table, whole=not row).run(recheck, markdown=markdown, as_json=as_json)


def _engine(
    engine: str | None, model: str | None, api_key: str | None, at_once: int
) -> EngineChoice | None:
    from lab.engines import EngineChoice  # noqa: PLC0415

    if engine is None and model is not None:
        raise ConfigurationError("--model is for a server: name its URL by --engine")
    return None if engine is None else EngineChoice(engine, model, api_key, at_once)


def _table(
    data: Path, rows: Sequence[str], engine: EngineChoice | None, out: Path, users: int | None
) -> Table2:
    from lab.tables.table2 import Table2  # noqa: PLC0415

    return Table2(data=data, rows=tuple(rows), engine=engine, users=users, out=out)


@dataclass(frozen=True)
class _Command:
    """`whole`: no row was left out by the caller, so it may stand in a report."""

    name: str
    table: Table2
    whole: bool

    def run(self, recheck: int, *, markdown: bool, as_json: bool) -> None:
        from lab.evaluation.evaluation import Watch  # noqa: PLC0415
        from lab.tables import markdown as rendered  # noqa: PLC0415
        from lab.tables.runs import Run, command_line, write_run  # noqa: PLC0415
        from lab.tables.standing import figures_of  # noqa: PLC0415
        from lab.tables.table2 import recheck as ask_again  # noqa: PLC0415
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
        measured, detail = figures_of(kept, self.table.rows)
        text = rendered.table2(detail)
        if self.whole:
            shown = command_line(sys.argv)
            write_run(self.table.out, Run(self.name, shown, text, measured, rendered.notes(detail)))
        if markdown:
            print(text, end="")
        elif as_json:
            figures.show(measured, detail, as_json=True)
        else:
            _print_rows(detail)


def report(
    *,
    out: Annotated[Path, typer.Option(help="Where the tables' commands keep their runs.")] = OUT,
    to: Annotated[Path, typer.Option(help="The document to write.")] = RESULTS,
) -> None:
    """Write the document of results from the runs that are kept, each with its command.

    Runs nothing: a table that is not there has not been run, and is left out.
    """
    from lab.tables.report import write_report  # noqa: PLC0415
    from lab.tables.runs import read_runs  # noqa: PLC0415

    for file in write_report(to, read_runs(out)):
        Console(stderr=True).print(f"[green]✓[/] {file}")


def _show_rechecked(found: list[Rechecked], figures: Figures, *, as_json: bool) -> None:
    measured = {
        f"{one.candidates}.{one.row}.{name}": float(value)
        for one in found
        for name, value in (("rechecked", one.users), ("differ", one.differ))
    }
    figures.show(measured, {}, as_json=as_json)


def _print_rows(detail: dict[str, Any]) -> None:
    from lab.tables.standing import METRICS  # noqa: PLC0415

    for name, table in detail["candidates"].items():
        columns = (Column(no_wrap=True), *METRICS[:3], "users", "λ", Column(no_wrap=True), "p")
        shown = Table(*columns, title=f"candidates: {name}")
        for one in table["rows"]:
            best = one.get("best_other")
            shown.add_row(
                one["row"],
                *(f"{one[metric]:.3f}" for metric in METRICS[:3]),
                f"{one['users']:,}",
                f"{one['lambda']:g}" if one.get("lambda") else "",
                "" if best is None else f"{best['difference']:+.3f} {best['row']}",
                "" if best is None else f"{best['p']:.4f}",
            )
        Console().print(shown)
    if detail["missing"]:
        Console(stderr=True).print(f"not run: {', '.join(detail['missing'])}", soft_wrap=True)

"""`lrgd lab trials`: the tables' rows on other users, with other seeds."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Column, Table

from cli.figures import Figures
from cli.progress import Told
from cli.table_options import (
    OUT,
    ApiKey,
    AsJson,
    Asked,
    AtOnce,
    Data,
    Engine,
    Kept,
    Markdown,
    Model,
    Out,
    Rows,
    engine_of,
    table_of,
)
from cli.table_shown import keep_run
from services.prompts import Mode, PromptFormat
from services.ranking import Method


def trials(
    data: Data,
    *,
    number: Annotated[int, typer.Option("--trials", min=2, help="How many.")] = 3,
    users: Annotated[int, typer.Option(min=1, help="Drawn anew for each, of each file.")] = 100,
    row: Rows = None,
    engine: Engine = None,
    model: Model = None,
    api_key: ApiKey = None,
    at_once: AtOnce = 8,
    mode: Asked = Mode.FIRST_TOKEN,
    kept: Kept = False,
    markdown: Markdown = False,
    out: Out = OUT,
    as_json: AsJson = False,
) -> None:
    """How much of a table is luck: its rows on other users, with other seeds.

    Candidates files stay as they are. Each trial draws so many users of each, and its number is the
    seed of what is written: of generators, and of bandits that pick. Lambda is fitted on the drawn
    users. Networks are not trained again, and rows that ask nothing are those of table2. What a
    trial asks is kept apart from the tables; a second call goes on.

    Told are means over trials, and [bold].sd[/], the standard deviation. [bold]wins.*[/]: in how
    many trials lrgd is ahead of zero_shot and of generated, and lrgd_fused of the best other row,
    by nDCG@10.

    [bold]lrgd lab trials --data games --row covisit --row sasrec_fused[/]   no model is asked

    [bold]lrgd lab trials --data games --engine http://host:8000/v1 --model NAME --trials 5[/]
    """
    from lab.evaluation.evaluation import Watch  # noqa: PLC0415
    from lab.tables import trials_shown as rendered  # noqa: PLC0415
    from lab.tables.rows import TABLE2  # noqa: PLC0415
    from lab.tables.trials import Trials, figures_of_trials, run  # noqa: PLC0415

    asked = engine_of(engine, model, api_key, at_once)
    table = table_of(data, row or TABLE2, asked, out, None)
    table = replace(table, ranking=Method(PromptFormat(mode=mode)), kept_alone=kept)
    figures = Figures("lrgd lab trials", engine="kept" if asked is None else model or engine)
    with Told() as told:
        found = run(Trials(table, number, users), Watch(told, told.say))
    measured, detail = figures_of_trials(found, table.rows)
    text = rendered.markdown(detail)
    if not row:
        keep_run(out, "trials", text, measured, rendered.notes(detail))
    if markdown:
        print(text, end="")
    elif as_json:
        figures.show(measured, detail, as_json=True)
    else:
        _print_trials(detail)


def _print_trials(detail: dict[str, Any]) -> None:
    from lab.tables.trials import METRICS  # noqa: PLC0415
    from lab.tables.trials_shown import cells, win_lines  # noqa: PLC0415

    for name, table in detail["candidates"].items():
        shown = Table(
            Column(no_wrap=True), *METRICS, "users", title=f"candidates: {name}, mean ± SD"
        )
        for one in cells(table["rows"]):
            shown.add_row(*one)
        Console().print(shown)
        for line in win_lines(table["wins"], detail["trials"]):
            Console().print(line, soft_wrap=True)
    if detail["missing"]:
        Console(stderr=True).print(f"not run: {', '.join(detail['missing'])}", soft_wrap=True)

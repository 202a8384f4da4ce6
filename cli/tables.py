"""`lrgd lab table2` to `table5`, `report`: the paper's tables on real data."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from cli.figures import Figures
from cli.progress import Told
from cli.table_options import (
    OUT,
    USERS,
    Again,
    ApiKey,
    AsJson,
    Asked,
    AtOnce,
    Data,
    Engine,
    Engines,
    Full,
    Kept,
    Markdown,
    Model,
    Models,
    Out,
    Rows,
    Template,
    Users,
    engine_of,
    table_of,
)
from cli.table_shown import TableCommand, keep_run, print_engines
from services.prompts import Mode, PromptFormat, TemplateName
from services.ranking import Method

RESULTS = Path(__file__).parents[1] / "docs" / "results.md"


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
    users: Users = USERS,
    full: Full = False,
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

    table = table_of(
        data,
        row or TABLE2,
        engine_of(engine, model, api_key, at_once),
        out,
        None if full else users,
    )
    form = PromptFormat(template=template, mode=mode)
    table = replace(table, ranking=Method(form), kept_alone=kept)
    TableCommand("table2", table, whole=not row).run(recheck, markdown=markdown, as_json=as_json)


def table3(
    data: Data,
    *,
    row: Rows = None,
    engine: Engine = None,
    model: Model = None,
    api_key: ApiKey = None,
    at_once: AtOnce = 8,
    mode: Asked = Mode.FIRST_TOKEN,
    template: Template = TemplateName.PREFIX_CACHED,
    users: Users = USERS,
    full: Full = False,
    kept: Kept = False,
    markdown: Markdown = False,
    out: Out = OUT,
    as_json: AsJson = False,
) -> None:
    """Table 3: the first place alone, where a shop shows one item.

    The rows are those of table2, and those that it has kept are not run again. nDCG@1 is the share
    of users whose choice is ranked first; rows are compared by it, each with the best other row on
    the users that both were asked about. [bold]effect_d[/] stands beside it, for a miss may be near
    or far. [bold]gain.ndcg@1[/] is what lrgd_fused has over the best other row.

    [bold]lrgd lab table3 --data games --kept[/]   from what table2 has kept, at once
    """
    from lab.tables.rows import TABLE2  # noqa: PLC0415
    from lab.tables.standing import FIRST_PLACE  # noqa: PLC0415

    table = table_of(
        data,
        row or TABLE2,
        engine_of(engine, model, api_key, at_once),
        out,
        None if full else users,
    )
    form = PromptFormat(template=template, mode=mode)
    table = replace(table, ranking=Method(form), kept_alone=kept)
    command = TableCommand("table3", table, whole=not row, compared=FIRST_PLACE)
    command.run(markdown=markdown, as_json=as_json)


def table4(
    data: Data,
    *,
    engine: Engines,
    model: Models = None,
    row: Rows = None,
    api_key: ApiKey = None,
    at_once: AtOnce = 8,
    mode: Asked = Mode.FIRST_TOKEN,
    users: Users = USERS,
    full: Full = False,
    kept: Kept = False,
    markdown: Markdown = False,
    out: Out = OUT,
    as_json: AsJson = False,
) -> None:
    """Table 4: the same methods on several engines, a column for each.

    An engine is [bold]onnx[/], a model's folder, or a server's URL; [bold]NAME=[/] before it names
    its column. Without a name it is what the engine is called, with its family, and no two may be
    called alike. Servers need a [bold]--model[/] each, in their order; one alone stands for all.

    Every engine is asked as in table2, one after the other, about the same users, and shares its
    rows with that. p is that of lrgd over another row of the same engine, on nDCG@10
    by paired bootstrap over users.

    [bold]lrgd lab mini train --family[/] teaches the small model in one architecture or another, so
    that the table can be had without any server:

    [bold]lrgd lab table4 --data games --mode likelihood --users 100 --engine
    llama=build/games-lm/model --engine qwen2=build/games-qwen2/model[/]

    [bold]lrgd lab table4 --data games --users 200 --engine small=http://a:8000/v1 --engine
    large=http://b:8000/v1 --model NAME-7B --model NAME-72B[/]
    """
    from lab.evaluation.evaluation import Watch  # noqa: PLC0415
    from lab.tables import markdown as rendered  # noqa: PLC0415
    from lab.tables.rows import TABLE4  # noqa: PLC0415
    from lab.tables.table4 import figures_of_engines, named_engines, run  # noqa: PLC0415

    rows = tuple(row or TABLE4)
    engines = named_engines(engine, model or (), api_key, at_once)
    table = table_of(data, rows, None, out, None if full else users)
    table = replace(table, ranking=Method(PromptFormat(mode=mode)), kept_alone=kept)
    figures = Figures("lrgd lab table4", engine=", ".join(engines))
    with Told() as told:
        found = run(table, engines, Watch(told, told.say))
    measured, detail = figures_of_engines(found, rows)
    text = rendered.table4(detail)
    if not row:
        keep_run(out, "table4", text, measured, rendered.notes4(detail))
    if markdown:
        print(text, end="")
    elif as_json:
        figures.show(measured, detail, as_json=True)
    else:
        print_engines(detail)


def table5(
    data: Data,
    *,
    row: Rows = None,
    engine: Engine = None,
    model: Model = None,
    api_key: ApiKey = None,
    at_once: AtOnce = 8,
    mode: Asked = Mode.FIRST_TOKEN,
    users: Users = USERS,
    full: Full = False,
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

    table = table_of(
        data,
        row or TABLE5,
        engine_of(engine, model, api_key, at_once),
        out,
        None if full else users,
    )
    table = replace(table, ranking=Method(PromptFormat(mode=mode)), kept_alone=kept)
    TableCommand("table5", table, whole=not row).run(recheck, markdown=markdown, as_json=as_json)


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

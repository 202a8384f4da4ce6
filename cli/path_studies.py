"""`lrgd lab fig9` and `collapse`: what paths do, round after round."""

from __future__ import annotations

from typing import Annotated

import typer

from cli.figures import Figures
from cli.progress import Told
from cli.studies import (
    WORK,
    Engine,
    Model,
    Out,
    Shown,
    Work,
    engine_choice,
    limits,
    show,
)
from cli.table_options import OUT, ApiKey, AsJson, AtOnce
from lab.embedded import EMBEDDED
from services.errors import ConfigurationError


def install(app: typer.Typer) -> None:
    app.command()(fig9)
    app.command()(collapse)


def fig9(
    *,
    users: Annotated[int, typer.Option(min=2, help="Fresh users of the generated shop.")] = 24,
    rounds: Annotated[int, typer.Option(min=2, help="Of three paths each.")] = 14,
    crowd: Annotated[
        int, typer.Option(min=1, help="Other users, whom retrieval learns from.")
    ] = 500,
    full: Annotated[bool, typer.Option("--full", help="200 users.")] = False,
    engine: Engine = EMBEDDED,
    model: Model = None,
    api_key: ApiKey = None,
    at_once: AtOnce = 8,
    out: Out = OUT,
    work: Work = WORK,
    as_json: AsJson = False,
) -> None:
    """The paper's Figure 9: similarity of a path's consecutive texts, and nDCG@10, by round.

    With perturbation and without, on the same users. After every round, what each user is served
    is put to the test: their newest choice, which nothing that learns has read. [bold]written[/]:
    the texts of the round, unselected. Compared over users in the last half of the rounds.

    [bold]lrgd lab fig9 --users 6 --rounds 4[/]   a first look
    """
    from cli import path_plots  # noqa: PLC0415
    from lab.evaluation.evaluation import Watch  # noqa: PLC0415
    from lab.tables.studies.rounds import figures as told_of  # noqa: PLC0415
    from lab.tables.studies.rounds import study  # noqa: PLC0415

    asked = study.Fig9(
        work, 200 if full else users, rounds,
        engine_choice(engine, model, api_key, at_once), crowd,
    )  # fmt: skip
    figures = Figures("lrgd lab fig9", engine=model or engine)
    with Told() as told:
        study.run_fig9(asked, Watch(told, told.say))
    found, detail = told_of.fig9_figures(*told_of.read_rounds(asked))
    notes = limits("Figure 9", "shop", asked.users, model or engine)
    shown = Shown(found, detail, told_of.fig9_markdown(detail), path_plots.fig9(detail), notes)
    show("fig9", shown, figures, out, as_json=as_json)


def collapse(
    *,
    users: Annotated[int, typer.Option(min=2, help="Fresh users of the generated shop.")] = 12,
    elements: Annotated[
        int, typer.Option(min=2, max=5, help="Items that a demonstration names.")
    ] = 5,
    choices: Annotated[int, typer.Option(min=2, max=8, help="Items to choose from for each.")] = 3,
    rounds: Annotated[int, typer.Option(min=2, help="One text of each path in each.")] = 20,
    walks: Annotated[int, typer.Option(min=1, help="Over each landscape, other seeds.")] = 30,
    window: Annotated[
        list[int] | None,
        typer.Option(min=1, help="s: rounds over which a collapse shows [default: 1, 5]"),
    ] = None,
    full: Annotated[bool, typer.Option("--full", help="48 users, 100 walks.")] = False,
    engine: Engine = EMBEDDED,
    model: Model = None,
    api_key: ApiKey = None,
    at_once: AtOnce = 8,
    out: Out = OUT,
    work: Work = WORK,
    as_json: AsJson = False,
) -> None:
    """Do paths get stuck, and does perturbation free them? Where every optimum is known.

    All demonstrations of a small space are judged by the model, for each user. Then 2 to 4 paths
    walk over them by the product's rules of acceptance, collapse and perturbation, with it and
    without. Beside them 1-PDO and random search with as many texts.

    [bold]lrgd lab collapse --users 3 --elements 4[/]   a first look
    """
    from cli import path_plots  # noqa: PLC0415
    from lab.evaluation.evaluation import Watch  # noqa: PLC0415
    from lab.tables.studies.collapse import figures as told_of  # noqa: PLC0415
    from lab.tables.studies.collapse import study  # noqa: PLC0415

    if choices**elements > study.MOST_PLACES:
        raise ConfigurationError(
            f"--elements {elements} --choices {choices}: more than {study.MOST_PLACES} "
            "demonstrations for each user; take fewer of either"
        )
    asked = study.CollapseStudy(
        work, 48 if full else users, elements, choices, rounds, 100 if full else walks,
        tuple(sorted(set(window or study.WINDOWS))),
        engine_choice(engine, model, api_key, at_once),
    )  # fmt: skip
    figures = Figures("lrgd lab collapse", engine=model or engine)
    with Told() as told:
        watch = Watch(told, told.say)
        lands = study.landscapes(asked, watch)
        found = study.all_trials(asked, lands, watch)
    measured, detail = told_of.collapse_figures(lands, found, asked.rounds, asked.windows)
    notes = limits("The study of collapse", "shop", asked.users, model or engine)
    markdown = told_of.collapse_markdown(detail)
    shown = Shown(measured, detail, markdown, path_plots.collapse(detail), notes)
    show("collapse", shown, figures, out, as_json=as_json)

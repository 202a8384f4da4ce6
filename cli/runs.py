"""`lrgd runs`: rounds of learning asked for, watched, shown, cancelled and tried again."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer
from rich.console import Console
from rich.table import Table

from cli.figures import Figures
from services.settings import load_settings

if TYPE_CHECKING:
    from services.bootstrap import Services
    from services.optimizer.asking import NewRun
    from services.optimizer.ledger import Ledger
    from services.optimizer.progress import Progress

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="rich",
    help="Improve the demonstrations of users in rounds, and watch what it brings.\n\n"
    "A [bold]round[/] of a user: each path writes a demonstration, it is judged on events that "
    "were held out, and what is better is kept and served. The workers of the deployment "
    "([bold]lrgd up[/]) make them.\n\n"
    "[bold]lrgd runs start --users user-0001,user-0002 --rounds 2 --watch[/]",
)
Result = TypeVar("Result")

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
RunId = Annotated[str, typer.Argument(metavar="RUN", help="As `lrgd runs list` shows it.")]
LOOKED_EVERY_SECONDS = 1.0


@app.command()
def start(
    *,
    users: Annotated[str | None, typer.Option(help="Ids, separated by commas.")] = None,
    cohort: Annotated[
        str | None,
        typer.Option(
            help="Instead of users: all; never (without a round so far); stale (judged by another "
            "model or X_T_reg than the one in force)."
        ),
    ] = None,
    rounds: Annotated[int, typer.Option(min=1, help="Of each user.")] = 1,
    paths: Annotated[int, typer.Option(min=1, max=64, help="m: demonstrations at a time.")] = 3,
    setting: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="NAME=VALUE",
            help="Any other setting of a run, e.g. draws=2, perturbed=false: "
            "`lrgd runs settings` lists them.",
        ),
    ] = None,
    budget_tokens: Annotated[
        int | None, typer.Option(min=1, help="Most tokens that the run may cost.")
    ] = None,
    budget_calls: Annotated[
        int | None, typer.Option(min=1, help="Most calls of the model that it may make.")
    ] = None,
    run_id: Annotated[
        str | None, typer.Option("--id", help="Then the same command again starts nothing new.")
    ] = None,
    watch: Annotated[bool, typer.Option("--watch", help="Stay until the run ends.")] = False,
    as_json: AsJson = False,
) -> None:
    """Ask for rounds of users, or of a cohort. Workers take them up at once.

    [bold]lrgd runs start --users user-0001 --rounds 2 --watch[/]

    [bold]lrgd runs start --cohort never --rounds 3 --budget-tokens 5000000[/]

    [bold]lrgd runs start --users user-0001 --set perturbed=false --set seed=7[/]
    """
    wanted = _wanted(
        {
            "id": run_id,
            "users": None if users is None else [one for one in users.split(",") if one],
            "cohort": cohort,
            "rounds": rounds,
            "budget": {"tokens": budget_tokens, "calls": budget_calls},
            "settings": {"paths": paths, **dict(map(_setting, setting or ()))},
        }
    )
    figures = Figures("lrgd runs start")
    started = _with_services(lambda services: services.asking.start(wanted))
    name = started.run.run_id
    if watch:
        _watch(name, figures, as_json=as_json)
    elif as_json:
        _show(started, figures, as_json=True)
    else:
        _say(f"run {name} asked for: `lrgd runs watch {name}` follows it")


@app.command()
def settings(*, as_json: AsJson = False) -> None:
    """Every setting of a run with its default, for `--set` and for POST /admin/runs."""
    from services.optimizer.plan import Plan  # noqa: PLC0415

    defaults = Plan().as_row()
    if as_json:
        print(json.dumps(defaults, indent=2))
        return
    table = Table("setting", "default", "meaning")
    for name, field in Plan.model_fields.items():
        table.add_row(name, str(defaults[name]), field.description or "")
    Console().print(table)


@app.command("list")
def list_(
    *,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="How many.")] = 20,
    as_json: AsJson = False,
) -> None:
    """Show the runs, the newest first. `online-…` and `nightly-…` started by themselves."""
    from cli.run_tables import list_table, run_row  # noqa: PLC0415

    runs = _with_ledger(lambda ledger: ledger.runs(None, limit))
    if as_json:
        print(json.dumps([run_row(run) for run in runs], indent=2))
        return
    Console().print(list_table(runs))


@app.command()
def watch(run_id: RunId, *, as_json: AsJson = False) -> None:
    """A live table until the run ends: Effect_D by path and round, similarity of a path's
    consecutive texts, collapses, tokens, and about how long it will take. Ctrl-C leaves the run
    alone."""
    _watch(run_id, Figures("lrgd runs watch"), as_json=as_json)


@app.command()
def show(
    run_id: RunId,
    *,
    plot: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.svg",
            help="Draw Effect_D and similarity by path against rounds, as the paper's Fig. 9.",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """What came of a run so far: by round, what is served (Effect_D against zero-shot on the same
    held-out events), and each path's texts."""
    figures = Figures("lrgd runs show")
    progress = _progress(run_id)
    if plot is not None:
        from cli.run_plot import run_plot  # noqa: PLC0415

        plot.write_text(run_plot(progress), encoding="utf-8")
        _say(f"drawn: {plot}")
    _show(progress, figures, as_json=as_json)


@app.command()
def cancel(run_id: RunId, *, as_json: AsJson = False) -> None:
    """End a run: rounds under way stop at their next call of the model. What was learned stays."""
    figures = Figures("lrgd runs cancel")
    ended = _with_services(lambda services: services.asking.cancel(run_id))
    _changed(ended, figures, as_json=as_json)


@app.command()
def retry(run_id: RunId, *, as_json: AsJson = False) -> None:
    """Try again what failed in a run."""
    figures = Figures("lrgd runs retry")
    opened = _with_services(lambda services: services.asking.retry(run_id))
    _changed(opened, figures, as_json=as_json)


def _changed(progress: Progress, figures: Figures, *, as_json: bool) -> None:
    if as_json:
        _show(progress, figures, as_json=True)
    else:
        _say(f"run {progress.run.run_id} is {progress.run.state}")


def _watch(run_id: str, figures: Figures, *, as_json: bool) -> None:
    from rich.live import Live  # noqa: PLC0415

    from cli.run_tables import progress_view  # noqa: PLC0415
    from services.optimizer.models import RunState  # noqa: PLC0415

    async def follow(ledger: Ledger) -> Progress:
        console = Console(stderr=as_json)
        progress = await ledger.progress(run_id)
        with Live(progress_view(progress), console=console, auto_refresh=False) as live:
            while progress.run.state is RunState.RUNNING:
                await asyncio.sleep(LOOKED_EVERY_SECONDS)
                progress = await ledger.progress(run_id)
                live.update(progress_view(progress), refresh=True)
        return progress

    try:
        ended = _with_ledger(follow)
    except KeyboardInterrupt:
        _say(f"run {run_id} goes on: `lrgd runs cancel {run_id}` would end it")
        raise typer.Exit(130) from None
    if as_json:
        _show(ended, figures, as_json=True)


def _show(progress: Progress, figures: Figures, *, as_json: bool) -> None:
    from cli.run_tables import detail, figures_of, progress_view  # noqa: PLC0415

    if as_json:
        figures.show(figures_of(progress), detail(progress), as_json=True)
    else:
        Console().print(progress_view(progress))


def _wanted(asked: dict[str, Any]) -> NewRun:
    from pydantic import ValidationError  # noqa: PLC0415

    from services.errors import InvalidRequest  # noqa: PLC0415
    from services.optimizer.asking import NewRun  # noqa: PLC0415

    try:
        return NewRun.model_validate(asked)
    except ValidationError as error:
        told = [
            f"{'.'.join(map(str, problem['loc']))}: "
            f"{str(problem['msg']).removeprefix('Value error, ')}".removeprefix(": ")
            for problem in error.errors(include_url=False, include_context=False)
        ]
        raise InvalidRequest("; ".join(told)) from None


def _setting(text: str) -> tuple[str, Any]:
    from services.errors import InvalidRequest  # noqa: PLC0415

    name, is_set, value = text.partition("=")
    if not is_set:
        raise InvalidRequest(f"--set {text}: write NAME=VALUE (`lrgd runs settings` lists names)")
    try:
        return name.strip(), json.loads(value)
    except ValueError:  # a word
        return name.strip(), value


def _progress(run_id: str) -> Progress:
    return _with_ledger(lambda ledger: ledger.progress(run_id))


def _with_ledger(work: Callable[[Ledger], Awaitable[Result]]) -> Result:
    """For those who only read: nothing but the database is needed."""
    from services.bootstrap import make_ledger  # noqa: PLC0415
    from services.observability.metrics import Metrics  # noqa: PLC0415
    from services.storage.database import open_database  # noqa: PLC0415

    effective = load_settings()

    async def run() -> Result:
        async with contextlib.aclosing(open_database(effective)) as database:
            return await work(make_ledger(effective, database, Metrics()))

    return asyncio.run(run())


def _with_services(work: Callable[[Services], Awaitable[Result]]) -> Result:
    """For those who wake workers."""
    from services.bootstrap import open_services  # noqa: PLC0415
    from services.observability.metrics import Metrics  # noqa: PLC0415

    effective = load_settings()

    async def run() -> Result:
        async with open_services(effective, Metrics()) as services:
            return await work(services)

    return asyncio.run(run())


def _say(text: str) -> None:
    Console(stderr=True, soft_wrap=True).print(f"[green]✓[/] {text}")

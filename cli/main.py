"""The `lrgd` command."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from typing import Annotated, NoReturn

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from cli import (
    bench,
    experiments,
    keys,
    lab,
    recommend,
    regularization,
    retrieval,
    runs,
    transfers,
)
from services.errors import LrgdError
from services.observability.logging import log_nothing_but_errors
from services.settings import PREFIX, Settings, load_settings, masked

OURS = {"api", "cli", "lab", "services", "worker"}

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    help="A recommendation backend in which a frozen LLM ranks, and what learns is each user's "
    "demonstration. Start with [bold]lrgd up[/].",
)
app.add_typer(keys.app, name="keys")
app.add_typer(retrieval.app, name="retrieval")
app.add_typer(experiments.app, name="experiments")
app.add_typer(runs.app, name="runs")
app.add_typer(regularization.app, name="regularization")
app.add_typer(bench.app, name="bench")
app.add_typer(lab.app, name="lab")
transfers.install(app)
app.command()(recommend.recommend)


@app.command()
def up() -> None:
    """Start everything on this machine, keep it alive, and stop it on Ctrl-C."""
    from cli.up import run_up  # noqa: PLC0415

    raise typer.Exit(run_up(load_settings()))


@app.command()
def gateway() -> None:
    """Serve the HTTP API."""
    settings = load_settings()
    _share_metrics(settings, "gateway")
    from api.server import serve  # noqa: PLC0415

    serve(settings)


@app.command()
def worker(
    *,
    with_beat: Annotated[
        bool, typer.Option("--beat", help="Run beat inside; for a deployment of one worker.")
    ] = False,
) -> None:
    """Run background jobs."""
    settings = load_settings()
    _share_metrics(settings, "worker")
    from worker.server import serve_worker  # noqa: PLC0415

    serve_worker(settings, with_beat=with_beat)


@app.command()
def beat() -> None:
    """Send periodic jobs to the queue. Run exactly one per deployment."""
    from worker.server import serve_beat  # noqa: PLC0415

    serve_beat(load_settings())


@app.command()
def migrate() -> None:
    """Bring the database to the newest schema."""
    from services.schema import upgrade  # noqa: PLC0415
    from services.storage.database import open_database  # noqa: PLC0415

    async def run() -> None:
        async with contextlib.aclosing(open_database(load_settings())) as database:
            await upgrade(database)

    asyncio.run(run())
    Console(stderr=True).print("[green]✓[/] the database has the newest schema")


@app.command()
def settings(
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show every setting: its value (secrets masked), where it comes from, what it does."""
    effective = load_settings()
    if as_json:
        import json  # noqa: PLC0415

        print(json.dumps({name: masked(getattr(effective, name)) for name in _names()}, indent=2))
        return
    table = Table("setting", "value", "from", "meaning", show_lines=False)
    for name in _names():
        origin = "environment" if name in effective.model_fields_set else "default"
        table.add_row(
            f"{PREFIX}{name.upper()}",
            masked(getattr(effective, name)),
            origin,
            Settings.model_fields[name].description,
        )
    Console().print(table)


@app.command()
def doctor(
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Ask the configured model for everything it may be asked for; say what each lack costs."""
    from cli.doctor import examine  # noqa: PLC0415

    examine(as_json=as_json)


def main() -> None:
    """Run the command line; what we say on purpose is said in one plain line."""
    log_nothing_but_errors()
    try:
        app()
    except LrgdError as error:
        _complain(str(error))
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] in OURS:
            raise
        _complain(
            f"this command needs {error.name}: `make setup-dev` or `make setup-lab` installs it"
        )


def _complain(message: str) -> NoReturn:
    Console(stderr=True, soft_wrap=True, highlight=False).print(
        "[bold red]lrgd:[/]", escape(message)
    )
    sys.exit(2)


def _names() -> list[str]:
    return list(Settings.model_fields)


def _share_metrics(effective: Settings, deployable: str) -> None:
    from services.observability.sharing import share_metrics  # noqa: PLC0415

    share_metrics(effective.shares_metrics_in / deployable)

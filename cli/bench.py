"""`lrgd bench`: figures about speed, measured on this machine."""

from __future__ import annotations

import contextlib
import signal
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from cli.figures import Figures
from services.errors import ConfigurationError

app = typer.Typer(no_args_is_help=True, help="Measure this machine.")


@app.callback()
def bench() -> None:
    """Measure this machine: real processes, real databases, figures as a table or as JSON."""


@app.command()
def ingest(
    *,
    events: Annotated[
        int, typer.Option(min=20, help="Events in the file. Peak memory is compared with a tenth.")
    ] = 200_000,
    seconds: Annotated[
        float, typer.Option(min=0.1, help="Longest time to send to an endpoint, per run.")
    ] = 5.0,
    runs: Annotated[int, typer.Option(min=1, help="Figures are medians over so many runs.")] = 3,
    cores: Annotated[
        int, typer.Option(min=1, help="Cores for everything together: databases, clients, us.")
    ] = 2,
    seed: Annotated[int, typer.Option(help="Of the generated events.")] = 0,
    folder: Annotated[
        Path | None,
        typer.Option(
            exists=True,
            file_okay=False,
            writable=True,
            resolve_path=True,
            help="Where databases and files lie meanwhile: a folder on the disk to measure. "
            "Default: the one for temporary files.",
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """How fast events come in: through `lrgd import` and through POST /events.

    It starts a PostgreSQL that writes durably (fsync on), a Valkey and, for the
    endpoint, a gateway, and leaves nothing behind. Each run has fresh databases.
    What they hold afterwards is counted: without its events, no figure.

    [bold]import.*.events_per_s[/]: the whole command, its start included.
    Users and items are made on the way.

    [bold]import.rss_growth[/]: peak memory of an import over that of a tenth of
    the file, on the database where it grows more.

    [bold]endpoint.events_per_s[/]: batches of 500 from 4 clients into PostgreSQL;
    [bold]endpoint.sqlite[/] into SQLite, [bold]single[/] with one event a request.

    Other work on the machine lowers the rates, but hardly changes
    [bold]cpu_us_per_event[/]: what the import command itself takes.

    A first look: [bold]lrgd bench ingest --events 20000 --runs 1[/]
    """
    try:
        from lab.bench.ingest import Plan, measure  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            f"`lrgd bench` needs {error.name}, which serving does not: run `make setup-dev`"
        ) from None
    plan = Plan(
        folder=folder or Path(tempfile.gettempdir()),
        events=events,
        seconds=seconds,
        runs=runs,
        cores=cores,
        seed=seed,
    )
    figures = Figures("lrgd bench ingest", seed=seed)
    with _ended_in_order(), _progress() as progress:
        task = progress.add_task("", total=plan.steps)

        def told(step: str) -> None:
            begun = progress.tasks[task].description != ""
            progress.update(task, description=step, advance=1 if begun else 0)

        found, detail = measure(plan, told)
    figures.show(found, detail, as_json=as_json)


@contextlib.contextmanager
def _ended_in_order() -> Iterator[None]:
    """SIGTERM, too, ends the servers and removes their data."""

    def end(number: int, _frame: FrameType | None) -> None:
        sys.exit(128 + number)

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _progress() -> Progress:
    return Progress(
        BarColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.description}"),
        console=Console(stderr=True, highlight=False),
        transient=True,
    )

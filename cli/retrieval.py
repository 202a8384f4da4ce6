"""`lrgd retrieval`: what candidates are found by."""

from __future__ import annotations

import asyncio
import contextlib

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from services.settings import Settings, load_settings

app = typer.Typer(no_args_is_help=True, help="What candidates are found by.")


@app.callback()
def retrieval() -> None:
    """What candidates are found by: which items users take near each other."""


@app.command()
def rebuild() -> None:
    """Count co-visits anew, from all positive events.

    The present index serves until the new one is complete, and a rebuild that is broken off goes
    on where it stopped. Workers keep the index up by themselves: this is for a database that was
    changed behind their back, and for seeing how long a build takes.
    """
    asyncio.run(_rebuild(load_settings()))


async def _rebuild(settings: Settings) -> None:
    from services.catalog.positives import PositiveEvents  # noqa: PLC0415
    from services.observability.metrics import Metrics  # noqa: PLC0415
    from services.retrieval.index import CovisitIndex  # noqa: PLC0415
    from services.storage.database import open_database  # noqa: PLC0415

    console = Console(stderr=True, highlight=False)
    positives = PositiveEvents.parse(settings.positive_events)
    async with contextlib.aclosing(open_database(settings)) as database:
        with _progress(console) as progress:
            task = progress.add_task("co-visits", total=None, users=0)

            def told(done: int, of: int) -> None:
                progress.update(task, completed=done, total=of, users=done)

            rebuilt = await CovisitIndex(database, positives, Metrics()).rebuild(told)
    console.print(
        f"[green]✓[/] {rebuilt.takings:,} takings of {rebuilt.users:,} users: "
        f"{rebuilt.pairs:,} pairs of items"
    )


def _progress(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[users]:,} users"),
        TimeElapsedColumn(),
        console=console,
        transient=True,
    )

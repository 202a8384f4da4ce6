"""`lrgd lab shop`: the generated shop that ships as the sample, and that models are tried on."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from cli.figures import Figures
from services.catalog.sample import FOLDER

app = typer.Typer(no_args_is_help=True, help="The generated shop: write its files, measure it.")


@app.command()
def make(
    folder: Annotated[Path, typer.Argument(help="Where the files go.")] = FOLDER,
) -> None:
    """Write the sample shop's files: the same bytes every time."""
    from lab.shop.files import write_sample_shop  # noqa: PLC0415

    folder.mkdir(parents=True, exist_ok=True)
    for file in write_sample_shop(folder):
        Console(stderr=True).print(f"[green]✓[/] {file}")


@app.command()
def describe(
    *,
    users: Annotated[int, typer.Option(min=1, help="Fresh users to measure.")] = 1000,
    seed: Annotated[int, typer.Option(help="Of the users' lives.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """How well an oracle, popularity and simple counts find a user's next item among 50."""
    from lab.shop.figures import describe as measure  # noqa: PLC0415

    figures = Figures("lrgd lab shop describe", seed=seed)
    figures.show(measure(users, seed), {"users": users}, as_json=as_json)

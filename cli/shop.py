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
def split(
    out: Annotated[Path, typer.Option(help="The file of questions: a name that begins test-.")],
    *,
    users: Annotated[int, typer.Option(min=1, help="Fresh users to ask about.")] = 300,
    crowd: Annotated[
        int, typer.Option(min=0, help="Other users, whose sequences are only learned from.")
    ] = 2_000,
) -> None:
    """Write questions about fresh users for [bold]lrgd lab evaluate[/]: the same bytes every time.

    Each user's newest item among 49 that the user never took. Beside the file come valid-* (the
    item before, to fit lambda on), items.tsv and sequences.tsv.

    [bold]lrgd lab shop split --users 300 --out build/shop/test-300.jsonl[/]
    """
    from lab.evaluation.shop_split import write_shop_split  # noqa: PLC0415

    for file in write_shop_split(out, users, crowd):
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

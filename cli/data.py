"""`lrgd lab data`: data sets made into evaluation files, and what such files hold."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from cli.figures import Figures
from lab.tables.data.recipes import RECIPES
from lab.tables.data.sources import Source
from services.errors import ConfigurationError

app = typer.Typer(
    no_args_is_help=True, help="Data sets as evaluation files: make them once, look at them."
)

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command()
def describe(
    data: Annotated[Path, typer.Option(help="Folder of items.tsv, sequences.tsv, candidates.")],
    *,
    as_json: AsJson = False,
) -> None:
    """The columns of Table 1, and what each candidates file asks.

    A split that [bold]lrgd lab data split[/] has made is checked by its hashes first, and its ties
    are told: items of equal time, whose order in a sequence is chance.
    """
    from lab.tables.data.describing import describe as described  # noqa: PLC0415

    figures = Figures("lrgd lab data describe")
    measured, detail = described(data)
    if not as_json:
        files = Table("file", "users", "candidates", "median history", "under 8", "digest")
        for one in detail["files"]:
            files.add_row(
                one["file"],
                f"{one['users']:,}",
                f"{one['candidates']:g}",
                f"{one['history.median']:g}",
                f"{one['history.under_8']:.0%}",
                one["digest"],
            )
        Console(stderr=True).print(files)
    figures.show(measured, detail, as_json=as_json)


@app.command()
def split(
    out: Annotated[Path, typer.Option(help="Folder for the files; there must be no split in it.")],
    *,
    recipe: Annotated[
        str | None,
        typer.Option(help=f"Of Amazon's reviews: {', '.join(RECIPES)}. With --folder."),
    ] = None,
    folder: Annotated[
        Path | None, typer.Option(help="Where the recipe's files lie, as published.")
    ] = None,
    source: Annotated[
        Source | None, typer.Option(help="Without a recipe: what --interactions and --items are.")
    ] = None,
    interactions: Annotated[Path | None, typer.Option(help="Reviews, .inter, or ratings.")] = None,
    items: Annotated[Path | None, typer.Option(help="Metadata, .item, or movies.")] = None,
    users: Annotated[int, typer.Option(min=1, help="Who are asked about.")] = 1_000,
    min_core: Annotated[int, typer.Option(min=1, help="Of users and items.")] = 5,
    least_rating: Annotated[
        float | None, typer.Option(help="Of less, an interaction is no choice.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of users and negatives.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Make evaluation files from a data set as it is published. Once: see the hash beside them.

    Items without a title and repeated choices are left out, then what is outside the k-core. The
    newest item of a user is the test target, the one before it that of validation; 49 negatives are
    drawn uniformly, and in another file by popularity.

    [bold]lrgd lab data split --recipe games --folder amazon-2018 --out games[/]

    [bold]lrgd lab data split --source movielens --interactions ml-1m/ratings.dat --items
    ml-1m/movies.dat --least-rating 4 --out ml-1m-split[/]
    """
    from lab.tables.data.sources import read_source  # noqa: PLC0415
    from lab.tables.data.splitting import Wanted, make_split  # noqa: PLC0415

    figures = Figures("lrgd lab data split", seed=seed)
    kind, taken, named = _files(recipe, folder, source, interactions, items)
    wanted = Wanted(users, min_core, least_rating, seed)
    raw = read_source(kind, taken, named)
    manifest = make_split(raw, wanted, out, [taken, named])
    ties = manifest["ties"]
    measured = {
        "interactions.read": float(len(raw.interactions)),
        "bad_lines": float(raw.bad_lines),
        "ties.pairs": ties["pairs"] / max(1, ties["of_pairs"]),
        "ties.targets": ties["targets"] / max(1, ties["of_users"]),
    }
    figures.show(measured, manifest, as_json=as_json)


def _files(
    recipe: str | None,
    folder: Path | None,
    source: Source | None,
    interactions: Path | None,
    items: Path | None,
) -> tuple[Source, Path, Path]:
    if recipe is not None:
        if recipe not in RECIPES:
            raise ConfigurationError(
                f"--recipe: there is no {recipe!r}; there are {', '.join(RECIPES)}"
            )
        if folder is None:
            raise ConfigurationError("--folder: where do the recipe's files lie?")
        return (RECIPES[recipe].source, *RECIPES[recipe].files(folder))
    if source is None or interactions is None or items is None:
        raise ConfigurationError(
            "name a --recipe and its --folder, or --source with --interactions and --items"
        )
    return source, interactions, items

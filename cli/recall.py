"""`lrgd lab retrieval`: ways of finding candidates, compared."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from cli.figures import Figures
from services.errors import ConfigurationError


def retrieval(
    data: Annotated[
        Path, typer.Option(help="Folder of items.tsv, sequences.tsv and the file of questions.")
    ],
    *,
    split: Annotated[
        str, typer.Option(help="The file of questions; their candidates are not looked at.")
    ] = "test-uniform-1000.jsonl",
    row: Annotated[
        list[str] | None, typer.Option(help="Only this row; may be given several times.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """How often the next item is among 50 that are found in the whole catalog, and at what cost.

    Rows learn from sequences without the two newest items of any user. Nothing that a user has is
    found again. Each row runs in a process of its own with one thread: [bold]build_s[/],
    [bold]query_ms[/] (median of one user), [bold]memory_mib[/] (peak of the process).

    EASE takes some minutes and 2 GB on a catalog of 17,000 items. Needs scipy and implicit
    (`make setup-lab`).

    [bold]lrgd lab retrieval --data games[/]
    """
    from lab.candidates.comparison import ROWS, compare  # noqa: PLC0415

    rows = row or list(ROWS)
    if unknown := sorted(set(rows) - set(ROWS)):
        raise ConfigurationError(f"--row: {unknown[0]} is none of {', '.join(ROWS)}")
    figures = Figures("lrgd lab retrieval", engine="none")
    with _progress() as progress:
        task = progress.add_task("reads", total=None)
        measured, detail = compare(
            data, split, rows, lambda name: progress.update(task, description=name)
        )
    figures.show(measured, detail, as_json=as_json)


def _progress() -> Progress:
    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        TimeElapsedColumn(),
        console=Console(stderr=True),
        transient=True,
    )

"""`lrgd lab templates`: which order of a prompt's segments ranks best, and what each costs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cli.figures import Figures
from cli.progress import Told
from services.settings import SHIPPED_MODEL


def templates(
    *,
    users: Annotated[int, typer.Option(min=2, help="Fresh users of the generated shop.")] = 300,
    timed: Annotated[int, typer.Option(min=2, help="Of them, those that are timed.")] = 60,
    folder: Annotated[Path, typer.Option(help="Of the model's files.")] = SHIPPED_MODEL,
    markdown: Annotated[
        bool, typer.Option("--markdown", help="Print the table of docs/templates.md.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Compare the templates on the embedded engine: quality and time, same users, one run.

    nDCG@10 in the first_token mode, zero-shot and with a truthful summary of older behavior as the
    demonstration. Times are of one ranking of 50 candidates with that demonstration, on one
    thread: [bold]cold[/], and [bold]cached[/] behind a ranking of other candidates for the user.
    """
    from lab.templates import as_markdown, compare_templates  # noqa: PLC0415

    figures = Figures("lrgd lab templates", engine="lrgd-mini")
    with Told() as told:
        measured, detail = compare_templates(folder, users, timed, told)
    if markdown:
        print(as_markdown(measured, detail), end="")
        return
    figures.show(measured, detail, as_json=as_json)

"""`lrgd lab grid`: settings of a trained baseline, tried out on validation files."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from cli.figures import Figures
from cli.progress import Told
from lab.tables.baselines.settings import Trained

if TYPE_CHECKING:
    from lab.tables.baselines.grid import Tried


def grid(
    data: Annotated[Path, typer.Option(help="Folder of items.tsv, sequences.tsv, valid-*.jsonl.")],
    network: Annotated[Trained, typer.Option(help="Which baseline.")],
    *,
    full: Annotated[
        bool, typer.Option("--full", help="Every combination, each to its end: days on one core.")
    ] = False,
    epochs: Annotated[
        int, typer.Option(min=1, help="At most, for each setting; --full has no such limit.")
    ] = 5,
    out: Annotated[Path, typer.Option(help="Keeps trained models; a second call goes on.")] = Path(
        "build/tables"
    ),
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Would another setting of a network be better? On validation files; no test file is read.

    Tried are the settings of the tables, and each change of one of them within the usual grid
    ([bold]GRIDS[/] of lab/tables/baselines/settings.py), for a few epochs: to see which direction
    is worth more. [bold]--full[/] tries every combination, to where training stops by itself.

    Told is nDCG@10, the mean of the folder's files valid-*, after the best epoch; the best setting
    first, marked as chosen. The tables go on with their own settings: who wants others changes
    [bold]SETTINGS[/] there, and the network is trained anew. Needs [bold]make setup-lab[/]. A
    setting takes as long as a row of table2, and some 20 to 200 MB.

    [bold]lrgd lab grid --data games --network sasrec[/]
    """
    from lab.evaluation.evaluation import Watch  # noqa: PLC0415
    from lab.tables.baselines.grid import MEASURE, Search, around, whole  # noqa: PLC0415

    settings = whole(network) if full else around(network, epochs)
    figures = Figures("lrgd lab grid", seed=settings[0].seed)
    with Told() as told:
        search = Search(network, data, out / "trained")
        found = search.tried(settings, Watch(told, told.say))
    if as_json:
        own = next(one for one in found if one.settings == settings[0])
        measured = {
            f"{network}.chosen.{MEASURE}": found[0].reached,
            f"{network}.tables.{MEASURE}": own.reached,
            "settings": float(len(found)),
        }
        tried = [asdict(one) for one in found]
        figures.show(measured, {"network": network, "tried": tried}, as_json=True)
    else:
        _print(network, found)


def _print(network: Trained, found: list[Tried]) -> None:
    shown = Table("", "changed", "nDCG@10", "best epoch", "epochs", "seconds", title=network.value)
    for place, one in enumerate(found):
        changed = ", ".join(f"{name} {value:g}" for name, value in one.changed.items())
        shown.add_row(
            "chosen" if place == 0 else "",
            changed or "as in the tables",
            f"{one.reached:.4f}",
            str(one.best_epoch),
            str(one.epochs),
            f"{one.seconds:,.0f}",
        )
    Console().print(shown)

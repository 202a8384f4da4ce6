"""`lrgd lab step-size`: how far demonstrations should be followed."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from cli.figures import Figures
from services.settings import load_settings
from services.storage.database import open_database

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lab.learning.step_sizes import Gained
    from lab.statistics import Estimate


def step_size(
    *,
    database: Annotated[
        str | None,
        typer.Option(help="URL of a database on which rounds were done. Default: the service's."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """What texts would have gained over zero-shot on held-out events, by step size.

    It is computed from what rounds have kept: no model is asked, and nothing is written. Only texts
    that were judged as the newest round judged are looked at, and none that was shown beside
    another. Means are over users, with 95 % intervals. Take the step size that gains most log-score
    for LRGD_RANKING_STEP_SIZE; or 1, if none is clearly better.

    lrgd lab step-size --database sqlite:///build/learned.sqlite3
    """
    from lab.learning.step_sizes import gained, read_told  # noqa: PLC0415

    async def read() -> tuple[int, Mapping[float, Gained]]:
        given = {} if database is None else {"database_url": database}
        async with contextlib.aclosing(open_database(load_settings(**given))) as opened:
            told = await read_told(opened)
        return len({one.user_id for one in told}), gained(told)

    shown = Figures("lrgd lab step-size")
    users, by_size = asyncio.run(read())
    if not as_json:
        Console().print(_table(users, by_size))
        return
    figures = {
        f"{size:g}.{name}": value
        for size, found in by_size.items()
        for name, value in (
            *_named("log_score", found.log_score),
            *_named("effect_d", found.effect_d),
        )
    }
    shown.show(figures, {"users": users}, as_json=True)


def _named(name: str, found: Estimate) -> list[tuple[str, float]]:
    return [(name, found.mean), (f"{name}.low", found.low), (f"{name}.high", found.high)]


def _table(users: int, by_size: Mapping[float, Gained]) -> Table:
    table = Table(
        "step size", "log-score", "95 %", "Effect_D", "95 %",
        title=f"gain over zero-shot, {users:,} users",
    )  # fmt: skip
    for size, found in by_size.items():
        log_score, effect_d = found.log_score, found.effect_d
        table.add_row(
            f"{size:g}",
            f"{log_score.mean:+.4f}", f"{log_score.low:+.4f} to {log_score.high:+.4f}",
            f"{effect_d.mean:+.4f}", f"{effect_d.low:+.4f} to {effect_d.high:+.4f}",
        )  # fmt: skip
    return table

"""`lrgd recommend`: a list in the terminal, made as the gateway makes it."""

from __future__ import annotations

import asyncio
import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from services.settings import RankingMode

if TYPE_CHECKING:
    from services.recommendations.wanted import Recommendation

# Somebody who types can wait for the model to be loaded.
SECONDS = 30.0


def recommend(
    *,
    user: Annotated[str | None, typer.Option(help="For a user of the catalog.")] = None,
    history: Annotated[
        list[str] | None,
        typer.Option(help="For somebody without an account: an item taken, oldest first."),
    ] = None,
    candidates: Annotated[
        list[str] | None, typer.Option(help="Rank these items and no others.")
    ] = None,
    k: Annotated[int, typer.Option("-k", min=1, max=100, help="How many.")] = 10,
    mode: Annotated[RankingMode | None, typer.Option(help="How the model ranks.")] = None,
    explain: Annotated[bool, typer.Option(help="Show the prompt as it is sent.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """The best next items, ranked by the configured model, as POST /recommend answers.

    Needs the database and Redis of a running deployment ([bold]lrgd up[/], or LRGD_… settings).

    [bold]lrgd recommend --user user-0001[/]

    [bold]lrgd recommend --history item-0001 --history item-0007 --explain[/]
    """
    from services.bootstrap import open_services  # noqa: PLC0415
    from services.observability.logging import configure_logging  # noqa: PLC0415
    from services.observability.metrics import Metrics  # noqa: PLC0415
    from services.prompts import Mode  # noqa: PLC0415
    from services.recommendations.wanted import GivenItem, Wanted  # noqa: PLC0415
    from services.settings import load_settings  # noqa: PLC0415

    wanted = Wanted(
        user_id=user,
        history=tuple(map(GivenItem, history or ())),
        candidates=None if not candidates else tuple(map(GivenItem, candidates)),
        k=k,
        mode=None if mode is None else Mode(mode),
        explain=explain,
        deadline_seconds=SECONDS,
    )
    settings = load_settings()
    configure_logging(settings, "recommend")

    async def work() -> Recommendation:
        async with open_services(settings, Metrics()) as services:
            return await services.recommender.recommend(wanted)

    given = asyncio.run(work())
    if as_json:
        print(json.dumps(_as_json(given), indent=2, ensure_ascii=False))
        return
    table = Table("rank", "item", "title", "score", title=f"from the {_told(given)}")
    for item in given.items:
        table.add_row(str(item.rank), item.item_id, item.title or "", f"{item.score:.3f}")
    console = Console()
    console.print(table)
    prompt = None if given.explanation is None else given.explanation.prompt
    if prompt is not None:
        console.print(prompt.content, prompt.lead, sep="\n", markup=False, highlight=False)


def _told(given: Recommendation) -> str:
    if given.degraded:
        return f"{given.source.replace('_', ' ')}, because the model had no part: {given.reason}"
    return f"model {given.model} by {given.scoring_mode}, in {given.timings['total_ms']:.0f} ms"


def _as_json(given: Recommendation) -> dict[str, Any]:
    return {
        "recommendation_id": given.recommendation_id,
        "items": [asdict(item) for item in given.items],
        "source": given.source,
        "scoring_mode": given.scoring_mode,
        "model": given.model,
        "degraded": given.degraded,
        "reason": given.reason,
        "timings": dict(given.timings),
    }

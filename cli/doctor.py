"""`lrgd doctor`: what the configured language model can do, and what each lack costs."""

from __future__ import annotations

import asyncio
import contextlib
import json
from dataclasses import asdict, dataclass
from typing import Any, Literal

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from services.bootstrap import make_model, model_config
from services.llm.ability import Outcome
from services.llm.card import ModelCard, read_card
from services.llm.connection import ServerConfig
from services.llm.errors import ModelError
from services.llm.findings import LEVEL
from services.llm.port import Engine, Terms
from services.observability.metrics import Metrics
from services.settings import Settings, load_settings

_SECONDS = 60.0
_MARK = {
    Outcome.HONORED: "[green]honored[/]",
    Outcome.IGNORED: "[yellow]ignored[/]",
    Outcome.REFUSED: "[yellow]refused[/]",
    Outcome.UNTESTED: "[dim]untested[/]",
}


@dataclass(frozen=True)
class _Examined:
    """`place` is the server's `url` or the embedded model's `folder`, as `kind` says."""

    kind: Literal["url", "folder"]
    place: str
    card: ModelCard | None = None


def examine(*, as_json: bool) -> None:
    settings = load_settings()
    examined = _examined(settings)
    try:
        engine = asyncio.run(_engine(settings))
    except ModelError as error:
        if as_json:
            told = {examined.kind: examined.place, "outcome": error.outcome, "error": str(error)}
            print(json.dumps(told))
        else:
            Console(stderr=True, soft_wrap=True).print("[bold red]✗[/]", escape(str(error)))
        raise typer.Exit(1) from None
    if as_json:
        print(json.dumps(_as_json(examined, engine), indent=2))
    else:
        _print(examined, engine)


def _examined(settings: Settings) -> _Examined:
    config = model_config(settings)
    if isinstance(config, ServerConfig):
        return _Examined("url", config.root)
    return _Examined("folder", str(config.folder), read_card(config.folder))


async def _engine(settings: Settings) -> Engine:
    async with contextlib.aclosing(make_model(settings, Metrics())) as model:
        return await model.describe(Terms.within(_SECONDS))


def _as_json(examined: _Examined, engine: Engine) -> dict[str, Any]:
    capabilities = engine.capabilities
    return {
        examined.kind: examined.place,
        "fingerprint": {**asdict(engine.fingerprint), "digest": engine.fingerprint.digest},
        "card": None if examined.card is None else examined.card.model_dump(),
        "labels": capabilities.labels,
        "max_labels": capabilities.max_labels,
        "context_tokens": capabilities.context_tokens,
        "abilities": {
            seen.ability: {"outcome": seen.outcome, "detail": seen.detail, "cost": seen.cost}
            for seen in capabilities.observations
        },
    }


def _print(examined: _Examined, engine: Engine) -> None:
    console, of = Console(), engine.fingerprint
    console.print(
        f"[bold]{of.model}[/] on {of.engine} {of.version} at {escape(examined.place)}, context of "
        f"{engine.capabilities.context_tokens or 'unknown'} tokens, fingerprint {of.digest}",
        soft_wrap=True,
    )
    if examined.kind == "folder":
        console.print(_of_card(examined.card), soft_wrap=True)
    table = Table("ability", "outcome", "what was seen", "what the lack costs")
    for seen in engine.capabilities.observations:
        table.add_row(seen.ability, _MARK[seen.outcome], seen.detail, seen.cost)
    console.print(table)
    console.print(LEVEL[engine.capabilities.labels], soft_wrap=True)


def _of_card(card: ModelCard | None) -> str:
    if card is None:
        return "It has no card: whether it was taught the prompts in use is not known."
    return escape(
        f"{card.architecture}, {card.parameters / 1e6:.1f} M parameters, taught the prompts in "
        f"use: {', '.join(card.prompts.values())}. {card.purpose} Not for: {card.not_for}"
    )

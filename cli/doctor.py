"""`lrgd doctor`: what the configured language model can do, and what each lack costs."""

from __future__ import annotations

import asyncio
import json
from dataclasses import asdict
from typing import Any

import typer
from rich.console import Console
from rich.table import Table

from services.errors import ConfigurationError
from services.llm.ability import Outcome
from services.llm.connection import ServerConfig, ServerConnection
from services.llm.errors import ModelError
from services.llm.findings import LEVEL
from services.llm.port import Engine, Terms
from services.llm.probe import probe
from services.observability.logging import configure_logging
from services.observability.metrics import Metrics
from services.settings import Settings, load_settings

_SECONDS = 60.0
_MARK = {
    Outcome.HONORED: "[green]honored[/]",
    Outcome.IGNORED: "[yellow]ignored[/]",
    Outcome.REFUSED: "[yellow]refused[/]",
    Outcome.UNTESTED: "[dim]untested[/]",
}


def examine(*, as_json: bool) -> None:
    settings = load_settings()
    configure_logging(settings, "doctor")
    config = _config(settings)
    try:
        engine = asyncio.run(_engine(config))
    except ModelError as error:
        if as_json:
            print(json.dumps({"url": config.root, "outcome": error.outcome, "error": str(error)}))
        else:
            Console(stderr=True, soft_wrap=True).print(f"[bold red]✗[/] {error}")
        raise typer.Exit(1) from None
    if as_json:
        print(json.dumps(_as_json(config, engine), indent=2))
    else:
        _print(config, engine)


def _config(settings: Settings) -> ServerConfig:
    if settings.llm_url is None or settings.llm_model is None:
        raise ConfigurationError(
            "no model server is configured: set LRGD_LLM_URL and LRGD_LLM_MODEL to examine one"
        )
    key = settings.llm_api_key
    return ServerConfig(
        settings.llm_url,
        settings.llm_model,
        api_key=None if key is None else key.get_secret_value(),
    )


async def _engine(config: ServerConfig) -> Engine:
    async with ServerConnection(config, Metrics()) as server:
        return (await probe(server, Terms.within(_SECONDS))).engine


def _as_json(config: ServerConfig, engine: Engine) -> dict[str, Any]:
    capabilities = engine.capabilities
    return {
        "url": config.root,
        "fingerprint": {**asdict(engine.fingerprint), "digest": engine.fingerprint.digest},
        "labels": capabilities.labels,
        "max_labels": capabilities.max_labels,
        "context_tokens": capabilities.context_tokens,
        "abilities": {
            seen.ability: {"outcome": seen.outcome, "detail": seen.detail, "cost": seen.cost}
            for seen in capabilities.observations
        },
    }


def _print(config: ServerConfig, engine: Engine) -> None:
    console, of = Console(), engine.fingerprint
    console.print(
        f"[bold]{of.model}[/] on {of.engine} {of.version} at {config.root}, context of "
        f"{engine.capabilities.context_tokens or 'unknown'} tokens, fingerprint {of.digest}",
        soft_wrap=True,
    )
    table = Table("ability", "outcome", "what was seen", "what the lack costs")
    for seen in engine.capabilities.observations:
        table.add_row(seen.ability, _MARK[seen.outcome], seen.detail, seen.cost)
    console.print(table)
    console.print(LEVEL[engine.capabilities.labels], soft_wrap=True)

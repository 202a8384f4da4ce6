"""Table 4: the same methods on several engines, a column for each.

Every engine is asked as in Table 2, and shares its rows with that.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from lab.engines import EngineChoice
from lab.evaluation.evaluation import Watch
from lab.tables import table2
from lab.tables.kept import KeptRow
from lab.tables.rows import TABLE4
from lab.tables.standing import BELOW, Figures, figures_of
from lab.tables.table2 import Table2, fingerprint_of
from services.errors import ConfigurationError
from services.llm.card import read_card


def run(
    table: Table2, engines: Mapping[str, EngineChoice], watch: Watch
) -> dict[str, list[KeptRow]]:
    """The rows of each engine, by its name."""
    asyncio.run(_expect_all(engines))
    kept = {}
    for done, (name, choice) in enumerate(engines.items(), start=1):
        kept[name] = table2.run(replace(table, engine=choice), watch)
        watch.tell("engines", done, len(engines))
    return kept


async def _expect_all(engines: Mapping[str, EngineChoice]) -> None:
    """Before the first of them is asked for hours."""
    known: dict[str, str] = {}
    for name, choice in engines.items():
        digest = (await fingerprint_of(choice)).digest
        if digest in known:
            raise ConfigurationError(
                f"--engine: {known[digest]} and {name} are one engine: they say the same of their "
                "weights, tokenizer and software"
            )
        known[digest] = name


# --- names ----------------------------------------------------------------------------------------


def named_engines(
    given: Sequence[str],
    models: Sequence[str] = (),
    api_key: str | None = None,
    at_once: int = 8,
) -> dict[str, EngineChoice]:
    """By what stands above their columns: of `NAME=WHERE` the name, else what the engine is called.
    `models`: what the servers among them serve, in their order; one alone is served by all."""
    parted = [_parted(one) for one in given]
    servers = sum(_is_url(where) for _, where in parted)
    if len(models) > 1 and len(models) != servers:
        raise ConfigurationError(
            f"--model: {len(models)} models for {servers} servers: name one for each, in order"
        )
    if models and not servers:
        raise ConfigurationError("--model is for servers: no --engine is a URL")
    served = iter(models if len(models) != 1 else [*models] * servers)
    found: dict[str, EngineChoice] = {}
    for name, where in parted:
        model = next(served, None) if _is_url(where) else None
        choice = EngineChoice(where, model, api_key, at_once)
        shown = name or _called(choice)
        if shown in found:
            raise ConfigurationError(
                f"--engine: two engines are called {shown}: name them, as in --engine NAME={where}"
            )
        found[shown] = choice
    return found


def _parted(given: str) -> tuple[str | None, str]:
    name, sign, where = given.partition("=")
    # A URL may have the sign in its query, a path in a folder's name.
    is_named = bool(sign and name and where) and not set(name) & set("/:\\")
    return (name, where) if is_named else (None, given)


def _is_url(where: str) -> bool:
    return "://" in where


def _called(choice: EngineChoice) -> str:
    """A server's model by its name; that of a folder by its card's, and by its family."""
    if choice.model is not None:
        return choice.model
    card = read_card(choice.folder)
    name = choice.folder.name if card is None else card.name
    family = _family(choice.folder)
    return name if family is None else f"{name} ({family})"


def _family(folder: Path) -> str | None:
    """None where the folder does not say. Whether it is a model's is found out by loading it."""
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        return str(config["model_type"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


# --- figures --------------------------------------------------------------------------------------


def figures_of_engines(
    kept: Mapping[str, Sequence[KeptRow]], wanted: Sequence[str] = TABLE4
) -> tuple[Figures, dict[str, Any]]:
    """`wanted`: the rows of the table, so that those that are missing can be named."""
    files = dict.fromkeys(one.candidates for rows in kept.values() for one in rows)
    if not files:
        raise ConfigurationError("no row of this table is kept: run it without --kept first")
    figures: Figures = {}
    detail: dict[str, Any] = {"candidates": {}, "missing": {}}
    for file in files:
        columns: dict[str, Any] = {}
        for engine, rows in kept.items():
            here = [one for one in rows if one.candidates == file]
            if here:
                more, columns[engine] = _column(file, here)
                figures |= {f"{file}.{engine}.{name}": value for name, value in more.items()}
        detail["candidates"][file] = {"engines": columns}
    for engine, rows in kept.items():
        there = {one.row for one in rows}
        if missing := [row for row in wanted if row not in there]:
            detail["missing"][engine] = missing
    return figures, detail


# What Table 2 says of rows that are not here.
APART = ("reached", "by_history_together")


def _column(file: str, rows: Sequence[KeptRow]) -> tuple[Figures, dict[str, Any]]:
    """What Table 2 says of them, but for gains: those are over rows that are not here."""
    told, detail = figures_of(rows)
    figures = {name.removeprefix(f"{file}."): value for name, value in told.items()}
    figures = {name: value for name, value in figures.items() if "gain" not in name.split(".")}
    p = {other: figures.get(f"p.lrgd_vs_{other}") for other in BELOW}
    column = {key: value for key, value in detail["candidates"][file].items() if key not in APART}
    return figures, {**column, "p": p}

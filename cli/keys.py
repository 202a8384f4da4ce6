"""`lrgd keys`: who may call."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Awaitable, Callable
from typing import Annotated, Any, TypeVar

import typer
from rich.console import Console
from rich.table import Table

from services.access.keys import ApiKeys, Scope
from services.settings import load_settings
from services.storage.database import open_database

app = typer.Typer(no_args_is_help=True, help="Make, list and revoke API keys.")
Result = TypeVar("Result")


def _with_keys(work: Callable[[ApiKeys], Awaitable[Result]]) -> Result:
    async def run() -> Result:
        async with contextlib.aclosing(open_database(load_settings())) as database:
            return await work(ApiKeys(database, trusted_seconds=0))

    return asyncio.run(run())


@app.command()
def create(
    name: Annotated[str, typer.Option(help="Whose key it is, for the list.")],
    scope: Annotated[list[Scope], typer.Option(help="What it may do; repeat for several.")],
) -> None:
    """Make a key and print it: the only time it is shown."""
    print(_with_keys(lambda keys: keys.create(name, scope)))


@app.command("list")
def list_(*, as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Show the keys, never their secrets."""
    keys = _with_keys(lambda keys: keys.all())
    rows: list[dict[str, Any]] = [
        {
            "key_id": key.key_id,
            "name": key.name,
            "scopes": key.scopes,
            "created_at": key.created_at.isoformat(timespec="seconds"),
            "revoked_at": key.revoked_at and key.revoked_at.isoformat(timespec="seconds"),
        }
        for key in keys
    ]
    if as_json:
        print(json.dumps(rows, indent=2))
        return
    table = Table("key", "name", "scopes", "created", "revoked")
    for row in rows:
        table.add_row(
            row["key_id"],
            row["name"],
            ", ".join(row["scopes"]),
            row["created_at"],
            row["revoked_at"] or "",
        )
    Console().print(table)


@app.command()
def revoke(key_id: Annotated[str, typer.Argument(help="The first part of the key.")]) -> None:
    """Make a key useless. Gateways that just checked it trust it a few seconds more."""
    _with_keys(lambda keys: keys.revoke(key_id))
    Console(stderr=True).print(f"[green]✓[/] {key_id} is revoked")

"""`lrgd bench`: figures about speed, measured on this machine."""

from __future__ import annotations

import typer

app = typer.Typer(no_args_is_help=True, help="Measure this machine.")


@app.command()
def ingest() -> None:
    """to do"""

"""`lrgd lab`: the experiments."""

from __future__ import annotations

import typer

from cli import evaluate, mini, recall, shop, templates

app = typer.Typer(no_args_is_help=True, help="Experiments, and what they are made on.")
app.add_typer(shop.app, name="shop")
app.add_typer(mini.app, name="mini")
app.command()(evaluate.evaluate)
app.command()(templates.templates)
app.command()(recall.retrieval)

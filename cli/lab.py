"""`lrgd lab`: the experiments."""

from __future__ import annotations

import typer

from cli import (
    data,
    evaluate,
    loop,
    mini,
    recall,
    shop,
    similarity,
    studies,
    tables,
    templates,
    theory,
)

app = typer.Typer(no_args_is_help=True, help="Experiments, and what they are made on.")
app.add_typer(shop.app, name="shop")
app.add_typer(data.app, name="data")
app.add_typer(mini.app, name="mini")
app.command()(evaluate.evaluate)
app.command()(loop.loop)
app.command()(similarity.calibrate_similarity)
app.command()(templates.templates)
app.command()(tables.table2)
app.command()(tables.table5)
app.command()(tables.report)
app.command()(recall.retrieval)
studies.install(app)
theory.install(app)

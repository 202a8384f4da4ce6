"""`lrgd lab`: the experiments."""

from __future__ import annotations

import typer

from cli import (
    data,
    evaluate,
    grid,
    loop,
    mini,
    path_studies,
    recall,
    shop,
    similarity,
    step_size,
    studies,
    tables,
    templates,
    theory,
    trials,
)

app = typer.Typer(no_args_is_help=True, help="Experiments, and what they are made on.")
app.add_typer(shop.app, name="shop")
app.add_typer(data.app, name="data")
app.add_typer(mini.app, name="mini")
app.command()(evaluate.evaluate)
app.command()(loop.loop)
app.command()(similarity.calibrate_similarity)
app.command()(step_size.step_size)
app.command()(templates.templates)
app.command()(tables.table2)
app.command()(tables.table3)
app.command()(tables.table4)
app.command()(tables.table5)
app.command()(trials.trials)
app.command()(grid.grid)
app.command()(tables.report)
app.command()(recall.retrieval)
studies.install(app)
path_studies.install(app)
theory.install(app)

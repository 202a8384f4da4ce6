"""`lrgd lab calibrate-similarity`: from which similarity on a text has not changed."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import Progress as Bar

from cli.figures import Figures

EMBEDDED = "onnx"


def calibrate_similarity(
    *,
    users: Annotated[int, typer.Option(min=2, help="Fresh users of the generated shop.")] = 30,
    samples: Annotated[int, typer.Option(min=2, help="Texts written for each.")] = 6,
    temperature: Annotated[float, typer.Option(min=0.0, help="They are sampled at.")] = 0.8,
    engine: Annotated[
        str, typer.Option(help="`onnx`, a folder of a model, or a server's URL.")
    ] = EMBEDDED,
    model: Annotated[str | None, typer.Option(help="The model that the server serves.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """How alike demonstrations are that were written for one prompt, and the tau that follows.

    [bold]tau[/] is above nine in ten of such pairs: two texts in a row that are more alike have
    not changed. It depends on the model, its temperature and the measure of similarity.
    """
    from lab.engines import EngineChoice, make_model  # noqa: PLC0415
    from lab.similarity import Calibration, calibrate  # noqa: PLC0415

    figures = Figures("lrgd lab calibrate-similarity", engine=engine)
    with Bar(console=Console(stderr=True)) as bar:
        task = bar.add_task("writing", total=users)

        async def measured() -> tuple[dict[str, float], dict[str, object]]:
            async with contextlib.aclosing(make_model(EngineChoice(engine, model))) as asked:
                return await calibrate(
                    asked,
                    Calibration(users, samples, temperature),
                    lambda done, of: bar.update(task, completed=done, total=of),
                )

        found, detail = asyncio.run(measured())
    figures.show(found, detail, as_json=as_json)

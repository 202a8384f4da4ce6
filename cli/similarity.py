"""`lrgd lab calibrate-similarity`: from which similarity on a text has not changed."""

from __future__ import annotations

import asyncio
import contextlib
from enum import StrEnum
from typing import Annotated

import typer

from cli.figures import Figures
from cli.progress import Told
from lab.embedded import EMBEDDED
from services.errors import ConfigurationError


class Backend(StrEnum):
    NGRAMS = "ngrams"
    EMBEDDINGS = "embeddings"


def calibrate_similarity(
    *,
    users: Annotated[int, typer.Option(min=2, help="Fresh users of the generated shop.")] = 30,
    samples: Annotated[int, typer.Option(min=2, help="Texts written for each.")] = 6,
    temperature: Annotated[float, typer.Option(min=0.0, help="They are sampled at.")] = 0.3,
    engine: Annotated[
        str, typer.Option(help="`onnx`, a folder of a model, or a server's URL.")
    ] = EMBEDDED,
    model: Annotated[str | None, typer.Option(help="The model that the server serves.")] = None,
    backend: Annotated[
        Backend, typer.Option(help="What texts are compared by, as `similarity_by` of a run.")
    ] = Backend.NGRAMS,
    embeddings_url: Annotated[
        str | None,
        typer.Option(envvar="LRGD_EMBEDDINGS_URL", help="For the backend embeddings."),
    ] = None,
    embeddings_model: Annotated[
        str | None, typer.Option(envvar="LRGD_EMBEDDINGS_MODEL", help="That server's model.")
    ] = None,
    embeddings_api_key: Annotated[
        str | None,
        typer.Option(envvar="LRGD_EMBEDDINGS_API_KEY", help="That server's key.", hidden=True),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """How alike demonstrations are that were written for one prompt, and the tau that follows.

    [bold]tau[/] is above nine in ten of such pairs: two texts in a row that are more alike have
    not changed. It depends on the model, its temperature and the measure of similarity: by their
    n-grams, or by the embeddings of an OpenAI-compatible server.
    """
    from lab.engines import EngineChoice, make_model  # noqa: PLC0415
    from lab.similarity import Calibration, calibrate  # noqa: PLC0415
    from services.demonstrations.embeddings import Embeddings, EmbeddingsConfig  # noqa: PLC0415
    from services.demonstrations.likeness import Likeness, SimilarityBy  # noqa: PLC0415

    figures = Figures("lrgd lab calibrate-similarity", engine=engine)
    with Told() as told:

        async def measured() -> tuple[dict[str, float], dict[str, object]]:
            async with contextlib.AsyncExitStack() as stack:
                asked = make_model(EngineChoice(engine, model))
                stack.push_async_callback(asked.aclose)
                embeddings = None
                if backend is Backend.EMBEDDINGS:
                    if embeddings_url is None or embeddings_model is None:
                        raise ConfigurationError(
                            "the backend embeddings needs --embeddings-url and --embeddings-model"
                        )
                    config = EmbeddingsConfig(embeddings_url, embeddings_model, embeddings_api_key)
                    embeddings = await stack.enter_async_context(Embeddings(config))
                return await calibrate(
                    asked,
                    Likeness(embeddings),
                    Calibration(users, samples, SimilarityBy(backend), temperature),
                    lambda done, of: told("writing", done, of),
                )

        found, detail = asyncio.run(measured())
    figures.show(found, detail, as_json=as_json)

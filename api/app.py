"""The gateway: routes, middleware and errors put together over the services."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from importlib.metadata import version
from typing import Any

from fastapi import FastAPI
from fastapi.routing import APIRoute
from starlette.middleware.cors import CORSMiddleware

from api import problems
from api.middleware import BodyLimit, Observed
from api.routes import (
    catalog,
    experiments,
    learned,
    operations,
    recommend,
    recommend_batch,
    regularization,
    rerank,
    runs,
    transfers,
)
from services.bootstrap import open_services
from services.observability import slo
from services.observability.metrics import Metrics
from services.observability.tracing import configure_tracing
from services.settings import Settings

DESCRIPTION = "A recommendation backend in which a frozen LLM ranks, and demonstrations learn."


def create_app(settings: Settings) -> FastAPI:
    """An app that opens its services when it starts and closes them when it has drained."""
    metrics = Metrics()
    slo.declare(metrics, settings)

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with contextlib.AsyncExitStack() as stack:
            end_tracing = configure_tracing(settings, "gateway")
            # It waits for the collector, which need not answer.
            stack.push_async_callback(asyncio.to_thread, end_tracing)
            services = await stack.enter_async_context(open_services(settings, metrics))
            app.state.services = services
            services.experiments.follow()
            preparing = asyncio.create_task(services.recommender.prepare(), name="prepare")
            yield
            preparing.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await preparing

    app = FastAPI(
        title="LRGD",
        version=version("lrgd"),
        description=DESCRIPTION,
        lifespan=lifespan,
        generate_unique_id_function=_operation_id,
    )
    problems.install(app)
    for routes in (
        recommend, recommend_batch, rerank, catalog, transfers, experiments, runs, learned,
        regularization, operations,
    ):  # fmt: skip
        app.include_router(routes.router)
    _document_problems(app)

    app.add_middleware(BodyLimit, max_bytes=settings.max_body_bytes, streams=transfers.IMPORTS_PATH)
    if settings.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=list(settings.cors_origins),
            allow_methods=["*"],
            allow_headers=["authorization", "content-type", "x-request-id"],
            expose_headers=["x-request-id"],
        )
    app.add_middleware(Observed, metrics=metrics, in_time_seconds=settings.slo_latency_ms / 1000)
    return app


def _operation_id(route: APIRoute) -> str:
    return route.name


def _document_problems(app: FastAPI) -> None:
    """Put the Problem schema where the documented errors point, in place of FastAPI's own 422."""
    generate = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            document = generate()
            schemas = document.setdefault("components", {}).setdefault("schemas", {})
            for stock in ("HTTPValidationError", "ValidationError"):
                schemas.pop(stock, None)
            described = problems.Problem.model_json_schema(
                ref_template="#/components/schemas/{model}"
            )
            schemas.update(described.pop("$defs", {}))
            schemas["Problem"] = described
            app.openapi_schema = document
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]

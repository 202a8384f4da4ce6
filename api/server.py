"""The gateway as a process. Told to stop, it takes no new connection and finishes what is in
flight, for as long as the settings allow."""

from __future__ import annotations

import uvicorn
from fastapi import FastAPI

from api.app import create_app
from services.bootstrap import refuse_to_start_if_wrong
from services.observability.logging import configure_logging
from services.settings import Settings, load_settings


def app() -> FastAPI:
    """What each process of the gateway serves."""
    settings = load_settings()
    configure_logging(settings, "gateway")
    return create_app(settings)


def serve(settings: Settings) -> None:
    refuse_to_start_if_wrong(settings)
    uvicorn.run(
        "api.server:app",
        factory=True,
        host=settings.host,
        port=settings.port,
        workers=settings.gateway_processes,
        log_config=None,
        access_log=False,  # the app writes its own, with the route and the request's id
        server_header=False,
        timeout_graceful_shutdown=max(1, round(settings.shutdown_grace_seconds)),
    )

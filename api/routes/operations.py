"""Whether we live, whether we can serve, and what we count. Open to probes and scrapers."""

from __future__ import annotations

from typing import Literal

from fastapi import APIRouter, Response
from pydantic import BaseModel, Field

from api.dependencies import Provided
from services.observability.metrics import Metrics

router = APIRouter(tags=["operations"])


class Alive(BaseModel):
    status: Literal["alive"] = "alive"


class Part(BaseModel):
    ready: bool
    needed: bool = Field(description="false: lists are served without it, though worse.")
    detail: str | None = None


class Readiness(BaseModel):
    status: Literal["ready", "degraded", "not ready"]
    parts: dict[str, Part]


@router.get("/healthz")
async def healthz() -> Alive:
    """The process answers. It says nothing of what it depends on."""
    return Alive()


@router.get(
    "/readyz", responses={503: {"model": Readiness, "description": "Something is down, by name."}}
)
async def readyz(response: Response, services: Provided) -> Readiness:
    """Everything needed is up; otherwise what is down, by name. Without the model the gateway still
    serves: that is `degraded`, and no reason to send nobody here. Of a model server, `detail` tells
    the state of the circuit breaker before it."""
    parts = {
        part.part: Part(ready=part.ready, needed=part.needed, detail=part.detail)
        for part in await services.health.check()
    }
    if all(part.ready for part in parts.values()):
        return Readiness(status="ready", parts=parts)
    if all(part.ready or not part.needed for part in parts.values()):
        return Readiness(status="degraded", parts=parts)
    response.status_code = 503
    return Readiness(status="not ready", parts=parts)


@router.get(
    "/metrics",
    response_class=Response,
    responses={200: {"content": {Metrics.content_type: {"schema": {"type": "string"}}}}},
)
async def metrics(services: Provided) -> Response:
    """Prometheus' text format, of all processes of this gateway."""
    await services.health.measure_heartbeat()
    return Response(services.metrics.render(), media_type=services.metrics.content_type)

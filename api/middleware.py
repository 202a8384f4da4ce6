"""What happens to every request: an id, a size limit, a measurement and one line in the log."""

from __future__ import annotations

import re
import time
import uuid

import structlog
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.problems import problem
from services.errors import TooLarge
from services.observability.logging import get_logger
from services.observability.metrics import Metrics, NoLabels, ResponseLabels, RouteLabels

REQUEST_ID = "x-request-id"
ACCEPTABLE_ID = re.compile(r"[\x21-\x7e]{1,128}")
METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}
# Probes and scrapes come every few seconds and would drown what matters.
QUIET_ROUTES = {"/healthz", "/readyz", "/metrics"}

log = get_logger(__name__)


class Observed:
    """Outermost: gives the request its id, and says what became of it."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self.app = app
        self.metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request_id = _request_id(scope)
        scope["request_id"] = request_id
        structlog.contextvars.bind_contextvars(request_id=request_id)
        status = 500

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [
                    *message.get("headers", ()),
                    (REQUEST_ID.encode(), request_id.encode()),
                ]
            await send(message)

        began = time.perf_counter()
        self.metrics.http_in_flight.add(NoLabels(), 1)
        try:
            await self.app(scope, receive, send_with_id)
        finally:
            self.metrics.http_in_flight.add(NoLabels(), -1)
            self._tell(scope, status, time.perf_counter() - began)
            structlog.contextvars.unbind_contextvars("request_id")

    def _tell(self, scope: Scope, status: int, seconds: float) -> None:
        method = scope["method"] if scope["method"] in METHODS else "other"
        route = getattr(scope.get("route"), "path", "none")
        self.metrics.http_requests.add(ResponseLabels(method, route, str(status)))
        self.metrics.http_seconds.observe(RouteLabels(method, route), seconds)
        if route not in QUIET_ROUTES:
            log.info(
                "request", method=method, route=route, status=status, ms=round(seconds * 1000, 2)
            )


class BodyLimit:
    """Refuses a body that is too large: at once if it says so, else as soon as it is."""

    def __init__(self, app: ASGIApp, *, max_bytes: int, streams: str) -> None:
        self.app = app
        self.max_bytes = max_bytes
        self.streams = streams

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"].startswith(self.streams):
            await self.app(scope, receive, send)
            return
        announced = dict(scope["headers"]).get(b"content-length", b"0")
        if announced.isdigit() and int(announced) > self.max_bytes:
            await self._refuse(scope, receive, send)
            return
        received = 0

        async def receive_counting() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > self.max_bytes:
                raise TooLarge(self._advice())
            return message

        await self.app(scope, receive_counting, send)

    async def _refuse(self, scope: Scope, receive: Receive, send: Send) -> None:
        response = problem(
            Request(scope),
            status=TooLarge.status,
            code=TooLarge.code,
            title=TooLarge.title,
            detail=self._advice(),
            headers={"Connection": "close"},
        )
        await response(scope, receive, send)

    def _advice(self) -> str:
        return (
            f"a body may have {self.max_bytes} bytes (LRGD_MAX_BODY_BYTES): "
            f"send fewer rows, or stream JSONL to {self.streams}"
        )


def _request_id(scope: Scope) -> str:
    """The caller's id if it is a printable one, so that logs of both sides can be joined."""
    given = dict(scope["headers"]).get(REQUEST_ID.encode(), b"").decode("latin-1")
    return given if ACCEPTABLE_ID.fullmatch(given) else uuid.uuid4().hex

"""What happens to every request: an id, a size limit, a measurement and one line in the log."""

from __future__ import annotations

import contextlib
import re
import time
import uuid
from contextlib import AbstractContextManager
from urllib.parse import unquote

import structlog
from opentelemetry.trace import INVALID_SPAN, Span
from starlette.requests import ClientDisconnect, Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.problems import problem, unexpected
from services.errors import TooLarge
from services.observability.logging import get_logger
from services.observability.metrics import Metrics, NoLabels, ResponseLabels, RouteLabels
from services.observability.slo import Slo, count
from services.observability.tracing import SpanKind, span

REQUEST_ID = "x-request-id"
ACCEPTABLE_ID = re.compile(r"[\x21-\x7e]{1,128}")
METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}
# Probes and scrapes come every few seconds and would drown what matters.
QUIET_ROUTES = {"/healthz", "/readyz", "/metrics"}
# Where somebody waits for one list.
LISTS = {"/recommend", "/rerank"}

CLIENT_HUNG_UP = 499  # nobody reads it: it is for the log and the metrics
# Stands for a slash in an id until a route has matched. Half a surrogate pair, so no id has one.
ENCODED_SLASH = "\udc2f"

log = get_logger(__name__)


class Observed:
    """Outermost: gives the request its id, and says what became of it."""

    def __init__(self, app: ASGIApp, metrics: Metrics, in_time_seconds: float) -> None:
        self.app = app
        self.metrics = metrics
        self.in_time_seconds = in_time_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request_id = _request_id(scope)
        scope["request_id"] = request_id
        scope["arrived_at"] = time.monotonic()
        scope["path"] = _path_with_whole_ids(scope)
        structlog.contextvars.bind_contextvars(request_id=request_id)
        status, answering = 500, False

        async def send_with_id(message: Message) -> None:
            nonlocal status, answering
            if message["type"] == "http.response.start":
                status, answering = message["status"], True
                message["headers"] = [
                    *message.get("headers", ()),
                    (REQUEST_ID.encode(), request_id.encode()),
                ]
            await send(message)

        began = time.perf_counter()
        self.metrics.http_in_flight.add(NoLabels(), 1)
        try:
            with self._span(scope) as told:
                await self.app(scope, receive, send_with_id)
                told.update_name(f"{_method(scope)} {_route(scope)}")
                told.set_attributes(
                    {"http.route": _route(scope), "http.response.status_code": status}
                )
        except ClientDisconnect:
            status = CLIENT_HUNG_UP
        except Exception:
            log.exception("unexpected_error")
            if answering:
                raise  # breaks the connection, so that nobody takes half an answer for a whole one
            response = await unexpected(Request(scope))
            await response(scope, receive, send_with_id)
        finally:
            self.metrics.http_in_flight.add(NoLabels(), -1)
            self._tell(scope, status, time.perf_counter() - began)
            structlog.contextvars.unbind_contextvars("request_id")

    def _tell(self, scope: Scope, status: int, seconds: float) -> None:
        method, route = _method(scope), _route(scope)
        self.metrics.http_requests.add(ResponseLabels(method, route, str(status)))
        self.metrics.http_seconds.observe(RouteLabels(method, route), seconds)
        if route not in QUIET_ROUTES:
            count(self.metrics, Slo.AVAILABILITY, met=status < 500)
            if route in LISTS and status == 200:
                count(self.metrics, Slo.LATENCY, met=seconds <= self.in_time_seconds)
            log.info(
                "request", method=method, route=route, status=status, ms=round(seconds * 1000, 2)
            )

    def _span(self, scope: Scope) -> AbstractContextManager[Span]:
        """The caller's trace goes on. Before a route has matched, nobody knows its name."""
        if scope["path"] in QUIET_ROUTES:
            return contextlib.nullcontext(INVALID_SPAN)
        sent = {
            name: value.decode("latin-1")
            for name in ("traceparent", "tracestate")
            if (value := dict(scope["headers"]).get(name.encode())) is not None
        }
        about = {"http.request.method": _method(scope), "request_id": scope["request_id"]}
        return span(_method(scope), kind=SpanKind.SERVER, follows=sent, attributes=about)


class _BodyTooLarge(Exception):
    """More has come than the limit allows."""


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
        answering = False

        async def receive_counting() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > self.max_bytes:
                raise _BodyTooLarge
            return message

        async def send_unless_too_large(message: Message) -> None:
            """What the app makes of a body that was cut off is not the caller's answer."""
            nonlocal answering
            if answering or received <= self.max_bytes:
                answering = True
                await send(message)

        with contextlib.suppress(_BodyTooLarge):
            await self.app(scope, receive_counting, send_unless_too_large)
        if received > self.max_bytes and not answering:
            await self._refuse(scope, receive, send)

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


def _method(scope: Scope) -> str:
    return scope["method"] if scope["method"] in METHODS else "other"


def _route(scope: Scope) -> str:
    """With the names of what varies in it, and not their values."""
    path: str = getattr(scope.get("route"), "path", "none")
    return path


def _path_with_whole_ids(scope: Scope) -> str:
    """The path as the routes should see it. The server has decoded it, so that a slash in an id,
    sent as %2F, could not be told from one between the parts of the path."""
    path: str = scope["path"]
    raw: bytes = scope.get("raw_path") or b""
    if b"%2f" not in raw.lower():
        return path
    return ENCODED_SLASH.join(map(unquote, re.split("%2F", raw.decode("latin-1"), flags=re.I)))


def _request_id(scope: Scope) -> str:
    """The caller's id if it is a printable one, so that logs of both sides can be joined."""
    given = dict(scope["headers"]).get(REQUEST_ID.encode(), b"").decode("latin-1")
    return given if ACCEPTABLE_ID.fullmatch(given) else uuid.uuid4().hex

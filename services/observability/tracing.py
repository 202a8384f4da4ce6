"""Spans of OpenTelemetry: from the gateway through the queue and the worker to the model server.

Off, and next to free, unless `configure_tracing` was given a collector. Spans say what was done and
how long it took, never for whom; prompts are in them only where the settings say so.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version

from opentelemetry import trace
from opentelemetry.trace import Span, SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from opentelemetry.util.types import AttributeValue

from services.errors import ConfigurationError
from services.settings import PREFIX, Settings

EXPORT_SECONDS = 2.0
WHAT = "lrgd"
HEADERS = TraceContextTextMapPropagator()

__all__ = ["SpanKind", "configure_tracing", "expect_tracing", "headers_of_span", "span"]


@contextmanager
def span(
    name: str,
    *,
    kind: SpanKind = SpanKind.INTERNAL,
    follows: Mapping[str, str] | None = None,
    attributes: Mapping[str, AttributeValue] | None = None,
) -> Iterator[Span]:
    """Beneath the span of the caller, or of the one that sent these headers. What goes wrong is
    told by its type alone: messages may quote what people have written."""
    provider = trace.get_tracer_provider()
    if isinstance(provider, trace.ProxyTracerProvider):  # nobody has configured one
        yield trace.INVALID_SPAN
        return
    parent = None if follows is None else HEADERS.extract(dict(follows))
    with provider.get_tracer(WHAT).start_as_current_span(
        name,
        context=parent,
        kind=kind,
        attributes=attributes,
        record_exception=False,
        set_status_on_exception=False,
    ) as begun:
        try:
            yield begun
        except BaseException as error:
            begun.set_status(Status(StatusCode.ERROR, type(error).__name__))
            raise


def headers_of_span() -> dict[str, str]:
    """For whoever goes on with this trace elsewhere; empty where tracing is off."""
    headers: dict[str, str] = {}
    HEADERS.inject(headers)
    return headers


def expect_tracing(settings: Settings) -> None:
    """Raises ConfigurationError where spans are wanted and cannot be sent."""
    if settings.otlp_endpoint is None:
        return
    try:
        for needed in ("opentelemetry.sdk.trace", "opentelemetry.exporter.otlp.proto.http"):
            importlib.import_module(needed)
    except ImportError as error:
        raise ConfigurationError(
            f"{PREFIX}OTLP_ENDPOINT is set, but {error.name} is not installed: install lrgd with "
            "its extra `tracing`"
        ) from None


def configure_tracing(settings: Settings, process: str) -> Callable[[], None]:
    """Once in a process, after it was forked: what sends is a thread. Returns what sends the rest
    and ends it."""
    if settings.otlp_endpoint is None:
        return lambda: None
    expect_tracing(settings)
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import (  # noqa: PLC0415
        OTLPSpanExporter,
    )
    from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
    from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
    from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415
    from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased  # noqa: PLC0415

    resource = Resource.create(
        {"service.name": f"{WHAT}-{process}", "service.version": version("lrgd")}
    )
    provider = TracerProvider(
        resource=resource, sampler=ParentBased(TraceIdRatioBased(settings.traces_share))
    )
    exporter = OTLPSpanExporter(
        endpoint=f"{settings.otlp_endpoint.rstrip('/')}/v1/traces", timeout=EXPORT_SECONDS
    )
    provider.add_span_processor(
        BatchSpanProcessor(exporter, schedule_delay_millis=1000, export_timeout_millis=2000)
    )
    trace.set_tracer_provider(provider)
    return provider.shutdown

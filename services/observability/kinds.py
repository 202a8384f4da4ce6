"""Counters, gauges and histograms whose labels are typed: a label is a field of a named tuple."""

from __future__ import annotations

from typing import Generic, Literal, TypeVar

import prometheus_client as prometheus
from prometheus_client import CollectorRegistry

LATENCY_BUCKETS = (
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
)  # fmt: skip

Wrapped = TypeVar("Wrapped", prometheus.Counter, prometheus.Gauge, prometheus.Histogram)
Labels = TypeVar("Labels", bound=tuple[str, ...])


class Counter(Generic[Labels]):
    def __init__(
        self, registry: CollectorRegistry, labels: type[Labels], name: str, help_: str
    ) -> None:
        self.name = name
        self._metric = prometheus.Counter(name, help_, _fields(labels), registry=registry)

    def add(self, labels: Labels, amount: float = 1) -> None:
        _child(self._metric, labels).inc(amount)


class Gauge(Generic[Labels]):
    def __init__(
        self,
        registry: CollectorRegistry,
        labels: type[Labels],
        name: str,
        help_: str,
        across_processes: Literal["livesum", "livemax", "mostrecent", "max"],
    ) -> None:
        self.name = name
        self._metric = prometheus.Gauge(
            name, help_, _fields(labels), registry=registry, multiprocess_mode=across_processes
        )

    def set(self, labels: Labels, value: float) -> None:
        _child(self._metric, labels).set(value)

    def add(self, labels: Labels, amount: float) -> None:
        _child(self._metric, labels).inc(amount)


class Histogram(Generic[Labels]):
    def __init__(
        self,
        registry: CollectorRegistry,
        labels: type[Labels],
        name: str,
        help_: str,
        buckets: tuple[float, ...] = LATENCY_BUCKETS,
    ) -> None:
        self.name = name
        self._metric = prometheus.Histogram(
            name, help_, _fields(labels), registry=registry, buckets=buckets
        )

    def observe(self, labels: Labels, value: float) -> None:
        _child(self._metric, labels).observe(value)


def _fields(labels: type[tuple[str, ...]]) -> tuple[str, ...]:
    return tuple(getattr(labels, "_fields", ()))


def _child(metric: Wrapped, labels: tuple[str, ...]) -> Wrapped:
    return metric.labels(*labels) if labels else metric

"""One child process of the worker: one event loop and one set of services, made after the fork."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

import structlog
from celery.signals import worker_process_init, worker_process_shutdown

from services.bootstrap import Services, open_services
from services.observability.logging import configure_logging, get_logger
from services.observability.metrics import JobLabels, JobOutcomeLabels, Metrics
from services.observability.tracing import SpanKind, configure_tracing, span
from services.queue import Job
from services.settings import load_settings
from services.storage.redis import ask_again

log = get_logger(__name__)


@dataclass(slots=True)
class Child:
    """What a child keeps from job to job."""

    runner: asyncio.Runner
    stack: contextlib.AsyncExitStack
    services: Services

    @classmethod
    def start(cls) -> Child:
        settings = load_settings()
        configure_logging(settings, "worker")
        runner = asyncio.Runner()
        stack = contextlib.AsyncExitStack()
        stack.callback(configure_tracing(settings, "worker"))
        services = runner.run(stack.enter_async_context(open_services(settings, Metrics())))
        return cls(runner, stack, services)

    def stop(self) -> None:
        self.runner.run(self.stack.aclose())
        self.runner.close()


# Celery gives a child process no object of its own to keep things in. Filled after the fork.
_children: list[Child] = []


def _start(**_: object) -> None:
    _children.append(Child.start())


def _stop(**_: object) -> None:
    while _children:
        _children.pop().stop()


def follow_celery() -> None:
    """Start and stop with the child processes that Celery forks."""
    worker_process_init.connect(_start, weak=False)
    worker_process_shutdown.connect(_stop, weak=False)


def run(job: Job, work: Callable[[Services], Awaitable[None]], origin: Mapping[str, str]) -> None:
    """Run one job to its end in this child, counted whatever its outcome."""
    (child,) = _children
    services = child.services
    began = time.perf_counter()
    outcome = "failed"
    try:
        child.runner.run(_awaited(job, work, services, origin))
        outcome = "done"
    finally:
        services.metrics.jobs.add(JobOutcomeLabels(job, outcome))
        services.metrics.job_seconds.observe(JobLabels(job), time.perf_counter() - began)


async def _awaited(
    job: Job,
    work: Callable[[Services], Awaitable[None]],
    services: Services,
    origin: Mapping[str, str],
) -> None:
    """What it logs and asks for bears the id of the request that it goes back to, if to one."""
    known = {"request_id": origin["request_id"]} if "request_id" in origin else {}
    # Heartbeats and the like come from nobody, every few seconds: they would drown what matters.
    traced = span(f"job {job.value}", kind=SpanKind.CONSUMER, follows=origin, attributes=known)
    with (
        structlog.contextvars.bound_contextvars(**known),
        traced if origin else contextlib.nullcontext(),
    ):
        await ask_again(services.redis)  # the loop stood still since the last job
        await work(services)

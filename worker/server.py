"""The worker and beat as processes."""

from __future__ import annotations

import os
from typing import Any

from billiard import pool
from celery.beat import Service
from celery.signals import beat_init, setup_logging

from services.bootstrap import refuse_to_start_if_wrong
from services.observability.logging import configure_logging
from services.observability.metrics import serve_shared_metrics
from services.queue import Job
from services.settings import Deployment, Settings
from worker.app import make_worker_app
from worker.process import follow_celery

# On one machine the gateway comes first: rounds wait for people, not the other way round.
NICENESS = 10


# A child that ends waits until its parent has read its last result: half a minute, where a parent
# that ends as well has stopped reading. Nobody needs the result, and every job may be done twice.
pool.GUARANTEE_MESSAGE_CONSUMPTION_RETRY_LIMIT = 10  # times a tenth of a second


def serve_worker(settings: Settings, *, with_beat: bool) -> None:
    refuse_to_start_if_wrong(settings)
    _own_logging(settings, "worker")
    if settings.deployment is Deployment.LOCAL:
        os.nice(NICENESS)
    if settings.worker_metrics_port is not None:
        serve_shared_metrics(settings.worker_metrics_port)
    follow_celery()
    beat_init.connect(_beat_at_once)
    make_worker_app(settings).worker_main(
        [
            "worker",
            "--pool=prefork",
            f"--concurrency={settings.worker_processes}",
            "--without-gossip",
            "--without-mingle",
            f"--loglevel={settings.log_level}",
            *(["--beat"] if with_beat else []),
        ]
    )


def serve_beat(settings: Settings) -> None:
    """Beat alone: exactly one per deployment, beside any number of workers."""
    refuse_to_start_if_wrong(settings)
    _own_logging(settings, "beat")
    beat_init.connect(_beat_at_once)
    make_worker_app(settings).start(["beat", f"--loglevel={settings.log_level}"])


def _beat_at_once(sender: Service, **_: Any) -> None:
    """Without waiting for the first interval to pass: a start is ready that much sooner."""
    for job in (Job.HEARTBEAT, Job.REFRESH_COVISITATION):
        sender.app.send_task(job)


def _own_logging(settings: Settings, process: str) -> None:
    def configure(**_: Any) -> None:
        configure_logging(settings, process)

    configure()
    setup_logging.connect(configure, weak=False)  # or Celery would install its own

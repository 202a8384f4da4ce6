"""`lrgd worker` for fault tests: what it runs is the product, but for one fault.

    python hurt_worker.py killed MARK VISIT POINT --beat
    python hurt_worker.py twice --beat

`killed`: at its VISITth visit of POINT in a round, the whole worker gets SIGKILL; the file MARK
says that it came so far. `twice`: what it puts on the queue, beat included, is put there twice,
each with a delay of its own, so that it also comes out of order.
"""

from __future__ import annotations

import functools
import itertools
import os
import random
import signal
import sys
from pathlib import Path
from typing import Any
from unittest import mock

from celery import Celery
from celery.signals import worker_process_init

LONGEST_DELAY_SECONDS = 0.5


def die(mark: Path) -> None:
    mark.touch()
    os.killpg(os.getpgid(0), signal.SIGKILL)


def die_at(point: str, visit: int, mark: Path) -> None:
    """In the child, after the fork and before it composes its services."""
    visits = itertools.count(1)

    async def checkpoint(reached: str) -> None:
        if reached == point and next(visits) == visit:
            die(mark)

    def compose_with_checkpoint(**_: object) -> None:
        from services import bootstrap  # noqa: PLC0415
        from services.optimizer.runner import RoundRunner  # noqa: PLC0415

        runner = functools.partial(RoundRunner, checkpoint=checkpoint)
        mock.patch.object(bootstrap, "RoundRunner", runner).start()

    worker_process_init.connect(compose_with_checkpoint, weak=False)


def send_twice() -> None:
    send_once = Celery.send_task

    def send(self: Celery, name: str, *given: Any, **options: Any) -> Any:
        delay = options.pop("countdown", None) or 0
        for _ in range(2):
            later = delay + random.uniform(0, LONGEST_DELAY_SECONDS)
            sent = send_once(self, name, *given, countdown=later, **options)
        return sent

    mock.patch.object(Celery, "send_task", send).start()


def main(fault: str, *words: str) -> None:
    if fault == "killed":
        mark, visit, point, *words = words  # type: ignore[assignment]
        die_at(point, int(visit), Path(mark))
    else:
        send_twice()
    sys.argv = ["lrgd", "worker", *words]
    from cli.main import main as lrgd  # noqa: PLC0415

    lrgd()


if __name__ == "__main__":
    main(*sys.argv[1:])

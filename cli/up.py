"""`lrgd up`: the local deployment, from nothing to a gateway that answers."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import json
import signal
import sys
import time
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

from rich.console import Console

from cli.supervisor import Child, Supervisor
from services.bootstrap import make_catalog, model_config, redis_urls
from services.catalog.catalog import NothingFollows
from services.catalog.sample import load_sample_shop
from services.errors import ConfigurationError, LrgdError
from services.ports import refusal_to_listen
from services.schema import upgrade
from services.settings import Deployment, Settings
from services.storage.database import Database, open_database
from services.storage.redis import HEARTBEAT, OUTAGE, connect
from services.storage.valkey import choose_address, server_command

# The very program that runs now, whichever way it was started.
LRGD = (sys.executable, "-m", "cli")
LOCK = "up.lock"
PROBE_SECONDS = 2.0
READY_SECONDS = 30.0


class CannotStart(LrgdError):
    """Why nothing was started."""


def run_up(settings: Settings) -> int:
    if settings.deployment is not Deployment.LOCAL:
        raise ConfigurationError(
            "`lrgd up` is for LRGD_DEPLOYMENT=local; in production run `lrgd migrate`, "
            "`lrgd gateway`, `lrgd worker` and `lrgd beat`"
        )
    model_config(settings)  # or each child would refuse it, in its own log
    with _held(settings.data_dir):
        _expect_free(settings.host, settings.port)
        return asyncio.run(_up(settings))


async def _up(settings: Settings) -> int:
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    told_to_stop = asyncio.Event()
    for sig in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        # Explicitly: a shell starts background jobs with SIGINT ignored.
        asyncio.get_running_loop().add_signal_handler(sig, told_to_stop.set)
    began = time.monotonic()
    async with _supervisor(console) as supervisor:
        starting = asyncio.create_task(_start(settings, supervisor, console))
        stopping = asyncio.create_task(told_to_stop.wait())
        await asyncio.wait((starting, stopping), return_when=asyncio.FIRST_COMPLETED)
        if not starting.done():
            starting.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await starting
            return 0
        await starting
        _welcome(settings, console, time.monotonic() - began)
        await stopping
        console.print("stopping …")
    console.print("[green]✓[/] stopped")
    return 0


@contextlib.asynccontextmanager
async def _supervisor(console: Console) -> AsyncIterator[Supervisor]:
    supervisor = Supervisor(
        on_restart=lambda name: console.print(f"[yellow]![/] {name} stopped working: restarting it")
    )
    try:
        yield supervisor
    finally:
        await supervisor.stop()


async def _start(settings: Settings, supervisor: Supervisor, console: Console) -> None:
    logs = settings.data_dir / "logs"
    if settings.redis_url is None:
        address = choose_address(settings.data_dir)
        await supervisor.start(
            Child(
                "valkey",
                server_command(),
                stdin=address.configuration(),
                is_healthy=_RedisAnswers(settings),
                log_file=logs / "valkey.log",
            )
        )
        console.print(f"[green]✓[/] valkey on 127.0.0.1:{address.port}")
    async with contextlib.aclosing(open_database(settings)) as database:
        await upgrade(database)
        console.print(f"[green]✓[/] {database.dialect} has the newest schema")
        if settings.sample_shop:
            await _load_sample_shop(settings, database, console)
    await supervisor.start(
        Child(
            "worker",
            [*LRGD, "worker", "--beat"],
            is_healthy=_HeartBeats(settings),
            log_file=logs / "worker.log",
            start_seconds=READY_SECONDS,
        ),
        Child(
            "gateway",
            [*LRGD, "gateway"],
            is_healthy=_GatewayAnswers(settings),
            log_file=logs / "gateway.log",
            start_seconds=READY_SECONDS,
            stop_seconds=settings.shutdown_grace_seconds + 5,
        ),
    )
    console.print("[green]✓[/] worker and gateway")


async def _load_sample_shop(settings: Settings, database: Database, console: Console) -> None:
    loaded = await load_sample_shop(make_catalog(settings, database, NothingFollows()))
    if loaded is not None:
        told = ", ".join(f"{rows:,} {kind}" for kind, rows in loaded.items())
        console.print(f"[green]✓[/] the sample shop: {told}")


def _welcome(settings: Settings, console: Console, seconds: float) -> None:
    url = f"http://{settings.host}:{settings.port}"
    console.print(
        f"\n[bold green]ready[/] in {seconds:.1f} s: {url}   (docs: {url}/docs, "
        f"metrics: {url}/metrics, logs: {settings.data_dir / 'logs'})\n\n"
        f"  curl '{url}/items?limit=3'\n"
        f"  curl {url}/recommend -H 'Content-Type: application/json' "
        '-d \'{"user_id": "user-0001", "k": 10}\'\n\n'
        "Ctrl-C stops everything."
    )


# --- what each child must do to count as working ------------------------------------------------


class _RedisAnswers:
    def __init__(self, settings: Settings) -> None:
        self._redis = connect(redis_urls(settings).state, timeout_seconds=PROBE_SECONDS)

    async def __call__(self) -> bool:
        try:
            return bool(await self._redis.ping())
        except OUTAGE:
            return False


class _HeartBeats:
    """A heartbeat of this start, not of one before, has come through the broker lately."""

    def __init__(self, settings: Settings) -> None:
        self._redis = connect(redis_urls(settings).state, timeout_seconds=PROBE_SECONDS)
        self._stale_seconds = settings.heartbeat_stale_seconds
        self._began = time.time()

    async def __call__(self) -> bool:
        try:
            beaten_at = float(await self._redis.get(HEARTBEAT) or 0)
        except OUTAGE:
            return False
        return beaten_at > max(self._began, time.time() - self._stale_seconds)


class _GatewayAnswers:
    def __init__(self, settings: Settings) -> None:
        self._url = f"http://{settings.host}:{settings.port}/healthz"

    async def __call__(self) -> bool:
        return await asyncio.to_thread(self._ask)

    def _ask(self) -> bool:
        try:
            with urllib.request.urlopen(self._url, timeout=PROBE_SECONDS) as answer:  # noqa: S310
                return bool(json.load(answer)["status"] == "alive")
        except (OSError, ValueError, urllib.error.URLError):
            return False


# --- what must hold before anything is started --------------------------------------------------


@contextlib.contextmanager
def _held(data_dir: Path) -> Iterator[None]:
    """Hold the data folder for ourselves; the lock ends with the process, however it ends."""
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        lock = (data_dir / LOCK).open("w")
    except OSError as error:
        raise CannotStart(
            f"the data folder {data_dir} cannot be written ({error.strerror}): "
            "choose another with LRGD_DATA_DIR"
        ) from None
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise CannotStart(
                f"another `lrgd up` is running on {data_dir}: stop it, "
                "or choose another folder with LRGD_DATA_DIR"
            ) from None
        yield


def _expect_free(host: str, port: int) -> None:
    error = refusal_to_listen(host, port)
    if error is None:
        return
    if error.errno == errno.EADDRINUSE:
        raise CannotStart(
            f"port {port} on {host} is taken: stop what listens there, "
            "or choose another with LRGD_PORT"
        )
    raise CannotStart(
        f"cannot listen on {host}:{port} ({error.strerror}): set LRGD_HOST and LRGD_PORT"
    )

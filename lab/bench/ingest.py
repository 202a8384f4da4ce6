"""How fast events come in: through `lrgd import`, and through the batch endpoint of a gateway.

Everything is real: the commands run as processes of their own, on a fresh database for each run,
and PostgreSQL writes to disk as it does in production. What the database holds afterwards is
counted; a figure whose events are not all there is an error.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

import psutil
from sqlalchemy import func, select

from lab.bench.commands import BenchFailed, Usage, run_measured
from lab.bench.load import Endpoint, Load
from lab.bench.machine import machine, on_cores
from lab.servers.postgres import PrivatePostgres
from lab.servers.processes import PrivateGateway
from lab.servers.scratch import ScratchFolder
from lab.servers.valkey import PrivateValkey
from lab.shop.events import in_time_order, sample_users
from lab.shop.files import event_rows
from lab.shop.taste import EVALUATION_USERS, Shop
from services.catalog.models import Event
from services.schema import upgrade
from services.settings import Settings
from services.storage.database import open_database

DATABASES = ("sqlite", "postgres")
# As PostgreSQL comes, instead of as tests want it: a commit is on disk before it is answered.
DURABLE = {"fsync": "on", "full_page_writes": "on", "max_wal_size": "1GB"}
BATCH, CLIENTS = 500, 4
LARGER = 10  # the file over the smaller one that tells how memory grows
KEPT_FOR_SINGLES = 10  # one event in so many is sent alone
SLOWEST_PER_SECOND, SPARE_SECONDS = 200, 60

Told = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Plan:
    folder: Path
    events: int
    seconds: float
    runs: int
    cores: int
    seed: int

    @property
    def steps(self) -> int:
        """How often `told` will be called."""
        return 3 + self.runs * 4 * len(DATABASES)


def measure(plan: Plan, told: Told = lambda _step: None) -> tuple[dict[str, float], dict[str, Any]]:
    """Medians over the runs, and what they are made of. `told` hears each step as it begins."""
    with contextlib.ExitStack() as stack:
        cores = stack.enter_context(on_cores(plan.cores))
        folder = stack.enter_context(ScratchFolder("lrgd-bench-", plan.folder)).path
        told("making the events")
        files = _Files.write(folder, plan)
        told("starting the servers")
        postgres = stack.enter_context(PrivatePostgres(DURABLE, folder=plan.folder))
        valkey = stack.enter_context(PrivateValkey())
        places = [_Place(folder, database, postgres, valkey) for database in DATABASES]
        told("warming up")
        for place in places:
            place.import_(files.small, files.small_events)
        runs = [_one_run(place, files, plan, told) for _ in range(plan.runs) for place in places]
        detail = {
            "plan": {**asdict(plan), "folder": str(plan.folder)},
            "machine": _with_disk(cores, plan.folder),
            "postgres": {"settings": DURABLE, "synchronous_commit": "on (its default)"},
            "sqlite": {"journal_mode": "WAL", "synchronous": "NORMAL (as deployed)"},
            "endpoint": {"batch": BATCH, "clients": CLIENTS, "gateway_processes": 1},
            "import": {
                "rows": "users and items are new: the import makes them",
                "seconds": "of the whole command, its start included",
                "memory": f"peak with {plan.events:,} events over {files.small_events:,}",
            },
            "runs": [run.detail() for run in runs],
        }
    return _figures(runs), detail


def _figures(runs: list[_Run]) -> dict[str, float]:
    figures: dict[str, float] = {}
    growth = []
    for database in DATABASES:
        of = [run for run in runs if run.database == database]
        name = f"import.{database}"
        figures[f"{name}.events_per_s"] = median(run.imported_per_second for run in of)
        figures[f"{name}.cpu_us_per_event"] = median(run.cpu_us_per_event for run in of)
        figures[f"{name}.peak_mib"] = median(run.large.peak_bytes / 2**20 for run in of)
        growth.append(median(run.large.peak_bytes / run.small.peak_bytes for run in of))
        figures[f"{name}.rss_growth"] = growth[-1]
        name = "endpoint" if database == "postgres" else f"endpoint.{database}"
        figures[f"{name}.events_per_s"] = median(run.batches.rows_per_second for run in of)
        figures[f"{name}.batch.p99_ms"] = median(run.batches.latency_ms(0.99) for run in of)
        figures[f"{name}.single.events_per_s"] = median(run.singles.rows_per_second for run in of)
        figures[f"{name}.single.p50_ms"] = median(run.singles.latency_ms(0.5) for run in of)
        figures[f"{name}.single.p99_ms"] = median(run.singles.latency_ms(0.99) for run in of)
    figures["import.rss_growth"] = max(growth)
    return {name: round(value, 4) for name, value in figures.items()}


@dataclass(frozen=True, slots=True)
class _Run:
    database: str
    events: int
    small: Usage
    large: Usage
    batches: Load
    singles: Load

    @property
    def imported_per_second(self) -> float:
        return self.events / self.large.seconds

    @property
    def cpu_us_per_event(self) -> float:
        return 1e6 * self.large.cpu_seconds / self.events

    def detail(self) -> dict[str, Any]:
        def of(load: Load) -> dict[str, float]:
            told = {"events": load.rows, "seconds": load.seconds}
            return told | {f"p{q}_ms": load.latency_ms(q / 100) for q in (50, 90, 99)}

        return {
            "database": self.database,
            "import": asdict(self.large),
            "import_of_a_tenth": asdict(self.small),
            "endpoint": of(self.batches),
            "endpoint_single": of(self.singles),
        }


def _one_run(place: _Place, files: _Files, plan: Plan, told: Told) -> _Run:
    told(f"import into {place.database}, a tenth")
    small = place.import_(files.small, files.small_events)
    told(f"import into {place.database}")
    large = place.import_(files.large, plan.events)
    singly = max(1, plan.events // KEPT_FOR_SINGLES)
    with (
        place.fresh_database("endpoint") as settings,
        PrivateGateway(settings, place.folder) as gateway,
    ):
        events = Endpoint(gateway.port, "/events", clients=CLIENTS, seconds=plan.seconds)
        told(f"endpoint on {place.database}, batches")
        batches = events.send(files.lines[:-singly], batch=BATCH)
        told(f"endpoint on {place.database}, one by one")
        singles = events.send(files.lines[-singly:], batch=1)
        _expect(batches.rows + singles.rows, settings)
    return _Run(place.database, plan.events, small, large, batches, singles)


@dataclass(frozen=True, slots=True)
class _Place:
    """Where one run happens."""

    folder: Path
    database: str
    postgres: PrivatePostgres
    valkey: PrivateValkey

    def import_(self, file: Path, events: int) -> Usage:
        limit = SPARE_SECONDS + events / SLOWEST_PER_SECOND
        with self.fresh_database("import") as settings:
            usage = run_measured(["import", str(file)], settings, self.folder, limit_seconds=limit)
            _expect(events, settings)
        return usage

    @contextlib.contextmanager
    def fresh_database(self, name: str) -> Iterator[dict[str, Any]]:
        """Settings of a database with the newest schema and no rows, gone after the block."""
        with self.valkey.client as client:
            client.flushall()
        settings: dict[str, Any] = {
            "data_dir": str(self.folder),
            **self.valkey.settings,
            "rate_limit_per_minute": "0",
        }
        if self.database == "postgres":
            self.postgres.create_database(name)
            settings["database_url"] = self.postgres.url(name)
        else:
            settings["database_url"] = f"sqlite:///{self.folder / name}.sqlite3"
        try:
            asyncio.run(_migrate(settings))
            yield settings
        finally:
            if self.database == "postgres":
                self.postgres.drop_database(name)
            else:
                for file in self.folder.glob(f"{name}.sqlite3*"):
                    file.unlink()


async def _migrate(settings: dict[str, Any]) -> None:
    async with contextlib.aclosing(open_database(Settings(**settings))) as database:
        await upgrade(database)


def _expect(events: int, settings: dict[str, Any]) -> None:
    async def count() -> int:
        async with (
            contextlib.aclosing(open_database(Settings(**settings))) as database,
            database.reading() as session,
        ):
            return await session.scalar(select(func.count()).select_from(Event)) or 0

    found = asyncio.run(count())
    if found != events:
        raise BenchFailed(f"{events:,} events were sent, the database holds {found:,}")


@dataclass(frozen=True, slots=True)
class _Files:
    """The events of fresh users of the generated shop, in the order of time."""

    lines: list[bytes]
    large: Path
    small: Path
    small_events: int

    @classmethod
    def write(cls, folder: Path, plan: Plan) -> _Files:
        lines = _lines(plan.events, Shop(plan.seed))
        small_events = max(1, plan.events // LARGER)
        large, small = folder / "events.jsonl", folder / "tenth.jsonl"
        for file, count in ((large, plan.events), (small, small_events)):
            file.write_bytes(b"".join(line + b"\n" for line in lines[:count]))
        return cls(lines, large, small, small_events)


def _lines(count: int, shop: Shop) -> list[bytes]:
    users, events = [], 0
    for user in sample_users(shop, EVALUATION_USERS):
        users.append(user)
        events += len(user.events)
        if events >= count:
            break
    if events < count:
        raise BenchFailed(f"the shop has no {count:,} events: its users have {events:,}")
    rows = event_rows(shop, in_time_order(users))
    return [json.dumps(row).encode() for row in itertools.islice(rows, count)]


def _with_disk(cores: int, folder: Path) -> dict[str, Any]:
    mounted = [
        part for part in psutil.disk_partitions(all=True) if folder.is_relative_to(part.mountpoint)
    ]
    beneath = max(mounted, key=lambda part: len(part.mountpoint), default=None)
    return {**machine(cores), "file_system": beneath and beneath.fstype}

"""Real servers for all tests: one PostgreSQL and one Valkey, and fresh databases in them."""

from __future__ import annotations

import asyncio
import itertools
import os
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
import pytest_socket
import structlog
from fastapi import FastAPI

from api.app import create_app
from lab.servers.postgres import PrivatePostgres
from lab.servers.valkey import PrivateValkey
from services.bootstrap import Services, open_services
from services.observability.metrics import Metrics
from services.schema import upgrade
from services.settings import Settings
from services.storage.database import Database

TEMPLATE = "template_lrgd"
DIALECTS = ("sqlite", "postgresql")


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Unit tests open no socket but asyncio's own; whoever needs one is not a unit test."""
    if "unit" in item.path.parts:
        pytest_socket.disable_socket(allow_unix_socket=True)


@pytest.fixture(autouse=True)
def _no_settings_of_the_caller(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.startswith("LRGD_"):
            monkeypatch.delenv(name)


@pytest.fixture(autouse=True, scope="session")
def _plain_logs() -> None:
    """Through the standard library, where pytest catches them."""
    structlog.configure(
        processors=[structlog.stdlib.render_to_log_kwargs],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
    )


@pytest.fixture(scope="session")
def valkey() -> Iterator[PrivateValkey]:
    with PrivateValkey() as server:
        yield server


@pytest.fixture(scope="session")
def postgres() -> Iterator[PrivatePostgres]:
    with PrivatePostgres({"max_connections": "200"}) as server:
        server.create_database(TEMPLATE)
        asyncio.run(_migrate(server.url(TEMPLATE)))
        yield server


async def _migrate(url: str) -> None:
    database = Database(url.replace("postgresql://", "postgresql+asyncpg://"))
    await upgrade(database)
    await database.aclose()


_numbers = itertools.count(1)


@pytest.fixture(params=DIALECTS)
def dialect(request: pytest.FixtureRequest) -> str:
    """A test that asks for this, or for what is built on it, runs on both databases."""
    name: str = request.param
    return name


@pytest.fixture
def empty_database_url(
    dialect: str, request: pytest.FixtureRequest, tmp_path: Path
) -> Iterator[str]:
    """A database without tables."""
    if dialect == "sqlite":
        yield f"sqlite:///{tmp_path / 'empty.sqlite3'}"
        return
    server: PrivatePostgres = request.getfixturevalue("postgres")
    name = f"test_{next(_numbers)}"
    server.create_database(name)
    yield server.url(name)
    server.drop_database(name)


@pytest.fixture(scope="session")
def _migrated_sqlite(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("template") / "lrgd.sqlite3"

    async def make() -> None:
        database = Database(f"sqlite+aiosqlite:///{path}")
        await upgrade(database)
        await database.aclose()

    asyncio.run(make())
    return path.read_bytes()


@pytest.fixture
def database_url(dialect: str, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A database of its own for this test, with the newest schema."""
    if dialect == "sqlite":
        path = tmp_path / "lrgd.sqlite3"
        path.write_bytes(request.getfixturevalue("_migrated_sqlite"))
        yield f"sqlite:///{path}"
        return
    server: PrivatePostgres = request.getfixturevalue("postgres")
    name = f"test_{next(_numbers)}"
    server.create_database(name, TEMPLATE)
    yield server.url(name)
    server.drop_database(name)


SettingsFactory = Callable[..., Settings]
ServicesFactory = Callable[..., AbstractAsyncContextManager[Services]]
ClientFactory = Callable[..., AbstractAsyncContextManager[httpx2.AsyncClient]]


@pytest.fixture
def make_settings(database_url: str, valkey: PrivateValkey, tmp_path: Path) -> SettingsFactory:
    """Settings over this test's database and an emptied Valkey; keywords override."""
    with valkey.client as client:
        client.flushall()

    def make(**overrides: Any) -> Settings:
        return Settings(
            **{
                "data_dir": tmp_path,
                "database_url": database_url,
                **valkey.settings,
                **overrides,
            }
        )

    return make


@pytest.fixture
def opened_services(make_settings: SettingsFactory) -> ServicesFactory:
    @asynccontextmanager
    async def opened(**overrides: Any) -> AsyncIterator[Services]:
        async with open_services(make_settings(**overrides), Metrics()) as services:
            yield services

    return opened


@pytest.fixture
async def services(opened_services: ServicesFactory) -> AsyncIterator[Services]:
    async with opened_services() as services:
        yield services


@pytest.fixture
def opened_client(make_settings: SettingsFactory) -> ClientFactory:
    """A gateway in this process, spoken to without a socket; `client.app` is the application."""

    @asynccontextmanager
    async def opened(**overrides: Any) -> AsyncIterator[httpx2.AsyncClient]:
        app: FastAPI = create_app(make_settings(**overrides))
        async with (
            app.router.lifespan_context(app),
            httpx2.AsyncClient(
                transport=httpx2.ASGITransport(app=app, raise_app_exceptions=False),
                base_url="http://gateway",
            ) as client,
        ):
            yield client

    return opened


@pytest.fixture
async def client(opened_client: ClientFactory) -> AsyncIterator[httpx2.AsyncClient]:
    async with opened_client() as client:
        yield client

"""One database, SQLite or PostgreSQL: its engine, and the two ways to talk to it."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import event, make_url, text
from sqlalchemy.engine import URL
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine

from services.settings import Settings

Result = TypeVar("Result")

ATTEMPTS = 5
# PostgreSQL's serialization failure and deadlock: nothing was done, so the work can be done again.
RETRYABLE_STATES = {"40001", "40P01"}
WRITING = "lrgd_writing"


class Database:
    def __init__(self, dsn: str, *, pool_size: int = 10, timeout_seconds: float = 10) -> None:
        url = make_url(dsn)
        self.dialect = url.get_backend_name()
        self._timeout = timeout_seconds
        self.engine = _engine(url, pool_size, timeout_seconds)
        # SQLite has one writer: waiting here is fair and cheap, waiting in the file is neither.
        self._turn: contextlib.AbstractAsyncContextManager[Any] = (
            asyncio.Lock() if self.dialect == "sqlite" else contextlib.nullcontext()
        )

    @contextlib.asynccontextmanager
    async def reading(self) -> AsyncIterator[AsyncSession]:
        """A session over one consistent snapshot, never committed."""
        async with AsyncSession(self.engine, expire_on_commit=False) as session:
            yield session

    async def write(self, work: Callable[[AsyncSession], Awaitable[Result]]) -> Result:
        """Run `work` in one transaction and commit it. It is run again after a deadlock, so it
        must have no effect outside the session; what follows a commit comes after this call."""
        for attempt in range(ATTEMPTS):
            try:
                return await self._write_once(work)
            except DBAPIError as error:
                if not _is_retryable(error) or attempt == ATTEMPTS - 1:
                    raise
            await asyncio.sleep(random.uniform(0, 0.02 * 2**attempt))
        raise AssertionError("unreachable")

    async def _write_once(self, work: Callable[[AsyncSession], Awaitable[Result]]) -> Result:
        async with (
            self._turn,
            AsyncSession(
                self.engine.execution_options(**{WRITING: True}), expire_on_commit=False
            ) as session,
            session.begin(),
        ):
            return await work(session)

    async def ping(self) -> None:
        async with asyncio.timeout(self._timeout), self.engine.connect() as connection:
            await connection.execute(text("SELECT 1"))

    async def aclose(self) -> None:
        await self.engine.dispose()


def open_database(settings: Settings) -> Database:
    return Database(
        settings.database_dsn,
        pool_size=settings.database_pool_size,
        timeout_seconds=settings.database_timeout_seconds,
    )


def is_outage(error: BaseException) -> bool:
    """Whether the database could not be reached, as opposed to having refused the statement."""
    if isinstance(error, (OperationalError, InterfaceError)):
        return True
    if isinstance(error, DBAPIError):
        return error.connection_invalidated
    return isinstance(error, (OSError, TimeoutError))


def _engine(url: URL, pool_size: int, timeout: float) -> AsyncEngine:
    if url.get_backend_name() == "sqlite":
        engine = create_async_engine(url, pool_size=pool_size, max_overflow=0, pool_timeout=timeout)
        _prepare_sqlite(engine, timeout)
        return engine
    return create_async_engine(
        url,
        pool_size=pool_size,
        max_overflow=0,
        pool_timeout=timeout,
        pool_pre_ping=True,
        connect_args={
            "timeout": timeout,
            "command_timeout": timeout,
            "server_settings": {"application_name": "lrgd", "jit": "off"},
        },
    )


def _prepare_sqlite(engine: AsyncEngine, timeout: float) -> None:
    if engine.url.database:
        Path(engine.url.database).parent.mkdir(parents=True, exist_ok=True)

    @event.listens_for(engine.sync_engine, "connect")
    def _on_connect(connection: Any, _record: Any) -> None:
        # The driver's own BEGIN is deferred, so two writers could both read and then collide;
        # we begin ourselves (below).
        connection.isolation_level = None
        cursor = connection.cursor()
        for pragma in (
            "journal_mode=WAL",
            "synchronous=NORMAL",
            "foreign_keys=ON",
            f"busy_timeout={int(timeout * 1000)}",
        ):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    @event.listens_for(engine.sync_engine, "begin")
    def _on_begin(connection: Any) -> None:
        writing = connection.get_execution_options().get(WRITING, False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writing else "BEGIN")


def _is_retryable(error: DBAPIError) -> bool:
    state = getattr(error.orig, "sqlstate", None)
    return state in RETRYABLE_STATES or "database is locked" in str(error.orig)

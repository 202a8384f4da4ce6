"""X_T_reg over its life: drafts, a comparison with the text in force, activation.

It changes rarely, because what was learned under one text is worth less under another.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession

from services.errors import Conflict, InvalidRequest, NotFound
from services.observability.logging import get_logger
from services.optimizer.models import RegularizationText
from services.optimizer.regularizations_repository import RegularizationsRepository
from services.optimizer.runs import utc_now
from services.prompts import DEFAULT_REGULARIZATION, Regularization
from services.queue import Job, Queue
from services.recommendations.intervals import student
from services.storage.database import Database
from services.storage.unbroken import Unbroken

KEPT_SECONDS = 2.0
# A request does not wait longer for a database that does not answer: what was known goes on.
WAITS_SECONDS = 0.05

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class RegularizationView:
    """`state` is draft, active or retired. The text that ships is active where no other ever was,
    and then has no times."""

    version: str
    by_label: str
    by_title: str
    state: str
    comparison: Mapping[str, Any] | None
    made_at: datetime | None
    activated_at: datetime | None


class RegularizationInForce:
    """Made inside the event loop that uses it."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._known = DEFAULT_REGULARIZATION
        self._read_at = -math.inf
        self._reading: asyncio.Task[Regularization] | None = None
        self._unbroken = Unbroken()

    async def at_hand(self) -> Regularization:
        """For those who cannot wait: as it was a few seconds ago."""
        if time.monotonic() - self._read_at > KEPT_SECONDS:
            if self._reading is None:
                reading = self._unbroken.run(self._read())
                self._reading = asyncio.create_task(reading, name="regularization")
                self._reading.add_done_callback(self._done)
            await asyncio.wait({self._reading}, timeout=WAITS_SECONDS)
        return self._known

    async def now(self) -> Regularization:
        """Raises Unavailable."""
        return await self._read()

    async def aclose(self) -> None:
        await self._unbroken.aclose()

    async def _read(self) -> Regularization:
        async with self._database.reading() as session:
            active = await RegularizationsRepository(session).active()
        self._known = DEFAULT_REGULARIZATION if active is None else text_of(active)
        self._read_at = time.monotonic()
        return self._known

    def _done(self, reading: asyncio.Task[Regularization]) -> None:
        self._reading = None
        if not reading.cancelled() and reading.exception() is not None:
            self._read_at = time.monotonic()  # asked again after a while, not by every request
            log.warning("regularization_not_read", error=str(reading.exception()))


class Regularizations:
    def __init__(
        self, database: Database, queue: Queue, *, now: Callable[[], datetime] = utc_now
    ) -> None:
        self._database = database
        self._queue = queue
        self._now = now

    async def all(self) -> list[RegularizationView]:
        """The active one first, then the newest."""
        async with self._database.reading() as session:
            rows = await RegularizationsRepository(session).all()
        views = [_view(row) for row in rows]
        if not any(one.state == "active" for one in views):
            views = [_SHIPPED, *(one for one in views if one.version != _SHIPPED.version)]
        return sorted(views, key=lambda one: one.state != "active")

    async def one(self, version: str) -> RegularizationView:
        """Raises NotFound."""
        for view in await self.all():
            if view.version == version:
                return view
        raise _unknown(version)

    async def draft(self, by_label: str, by_title: str) -> RegularizationView:
        """The same text again changes nothing; one that was retired is a draft again."""
        try:
            text = Regularization(by_label, by_title)
        except ValueError as error:
            raise InvalidRequest(
                f"{error}: shorten it, or take out what is no plain text"
            ) from None

        async def work(session: AsyncSession) -> RegularizationView:
            repository = RegularizationsRepository(session)
            if await repository.active() is None and text == DEFAULT_REGULARIZATION:
                return _SHIPPED
            return _view(await repository.draft(text, self._now()))

        return await self._database.write(work)

    async def compare(
        self, version: str, users: int, budget_tokens: int | None = None
    ) -> RegularizationView:
        """Ask for a comparison with the text in force, which a worker makes: of so many users, or
        of as many as the budget allows for."""

        async def work(session: AsyncSession) -> RegularizationView:
            repository = RegularizationsRepository(session)
            row = _draft(await repository.locked(version), version)
            row.comparison = {
                "state": "waiting",
                "users": users,
                "budget_tokens": budget_tokens,
                "against": (await _in_force(repository)).version,
                "asked_at": self._now().isoformat(),
                "rows": {},
                "skipped": [],
            }
            return _view(row)

        asked = await self._database.write(work)
        await self._queue.put(Job.COMPARE_REGULARIZATIONS)
        return asked

    async def activate(self, version: str) -> RegularizationView:
        """From now on all lists and rounds are made under it, within seconds. What was learned
        stays served, is marked stale, and is judged again at night or when events come."""

        async def work(session: AsyncSession) -> RegularizationView:
            repository = RegularizationsRepository(session)
            row = _draft(await repository.locked(version), version)
            in_force = await _in_force(repository)
            compared = row.comparison or {}
            if compared.get("state") != "done":
                raise Conflict(
                    f"version {version} was not compared with the one in force "
                    f"({in_force.version}) yet: POST /admin/regularization/{version}/compare, and "
                    "activate it when its comparison is done"
                )
            if compared["against"] != in_force.version:
                raise Conflict(
                    f"version {version} was compared with {compared['against']}, and "
                    f"{in_force.version} is in force by now: compare it again"
                )
            await repository.retire_active(in_force, self._now())
            row.state, row.activated_at = "active", self._now()
            return _view(row)

        activated = await self._database.write(work)
        await self._queue.put(Job.MARK_STALE)
        return activated


def text_of(row: RegularizationText) -> Regularization:
    return Regularization(row.by_label, row.by_title)


async def _in_force(repository: RegularizationsRepository) -> Regularization:
    active = await repository.active()
    return DEFAULT_REGULARIZATION if active is None else text_of(active)


def _unknown(version: str) -> NotFound:
    return NotFound(
        f"there is no version {version!r}: GET /admin/regularization lists them, and a PUT there "
        "makes a draft"
    )


def _draft(row: RegularizationText | None, version: str) -> RegularizationText:
    if row is None:
        raise _unknown(version)
    if row.state != "draft":
        raise Conflict(
            f"version {version} is {row.state}, not a draft: PUT its text again to make it one"
            if row.state == "retired"
            else f"version {version} is in force already"
        )
    return row


def summary(rows: Sequence[Sequence[float]]) -> dict[str, dict[str, float | None]]:
    """Of users, each with Effect_D under the draft and under the text in force, then log-score:
    means, and the difference with its 95 % interval over users."""
    names = ("effect_d", "log_score")
    return {
        name: _compared([(row[2 * at], row[2 * at + 1]) for row in rows])
        for at, name in enumerate(names)
    }


def _compared(pairs: Sequence[tuple[float, float]]) -> dict[str, float | None]:
    count = len(pairs)
    differences = [draft - active for draft, active in pairs]
    mean = math.fsum(differences) / count
    half = None
    if count > 1:
        variance = math.fsum((one - mean) ** 2 for one in differences) / (count - 1)
        half = student(count - 1) * math.sqrt(variance / count)
    return {
        "draft": math.fsum(draft for draft, _ in pairs) / count,
        "active": math.fsum(active for _, active in pairs) / count,
        "difference": mean,
        "low": None if half is None else mean - half,
        "high": None if half is None else mean + half,
    }


def _view(row: RegularizationText) -> RegularizationView:
    compared = row.comparison
    if compared is not None:
        compared = {name: told for name, told in compared.items() if name not in _INTERNAL}
        compared.setdefault("compared", len((row.comparison or {}).get("rows", {})))
    return RegularizationView(
        row.version, row.by_label, row.by_title, row.state, compared, row.made_at, row.activated_at
    )


_INTERNAL = {"rows", "skipped", "cohort"}
_SHIPPED = RegularizationView(
    DEFAULT_REGULARIZATION.version, DEFAULT_REGULARIZATION.by_label,
    DEFAULT_REGULARIZATION.by_title, "active", None, None, None,
)  # fmt: skip

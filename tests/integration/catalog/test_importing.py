"""Imports of files: resumable after anything, exact in their counts, and open about bad lines."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select

from services.bootstrap import Services
from services.catalog.importing import (
    BATCH_LINES,
    Import,
    ImportState,
    Refusal,
    import_file,
)
from services.catalog.inputs import Kind
from services.catalog.loaders import UnreadableFile
from services.catalog.models import Event, Item, User
from services.errors import Conflict
from tests.conftest import ServicesFactory

TOTAL = 3 * BATCH_LINES + 7
on_sqlite = pytest.mark.parametrize("dialect", ["sqlite"], indirect=True)


class PowerCut(Exception):
    """Something that ends an import in the middle."""


def event(number: int, **changes: Any) -> dict[str, Any]:
    return {
        "event_id": f"e{number}",
        "user_id": f"u{number % 11}",
        "item_id": f"i{number % 13}",
        "type": "view",
        "occurred_at": "2026-01-02T03:04:05Z",
        **changes,
    }


def written(path: Path, rows: Iterable[dict[str, Any] | str]) -> Path:
    text = "".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows)
    opened: Callable[..., Any] = gzip.open if path.suffix == ".gz" else open
    with opened(path, "wb") as file:
        file.write(text.encode())
    return path


async def rows_of(services: Services, model: type[Event | Item | User]) -> int:
    async with services.database.reading() as session:
        return await session.scalar(select(func.count()).select_from(model)) or 0


def cut_after(batches: int) -> Callable[[ImportState, list[Refusal]], None]:
    left = batches

    def on_batch(_state: ImportState, _refusals: list[Refusal]) -> None:
        nonlocal left
        left -= 1
        if left == 0:
            raise PowerCut

    return on_batch


@pytest.mark.parametrize("name", ["events.jsonl", "events.jsonl.gz"])
async def test_an_import_goes_on_after_its_last_committed_line(
    services: Services, tmp_path: Path, name: str
) -> None:
    rows: list[dict[str, Any] | str] = [event(n) for n in range(TOTAL)]
    rows[10], rows[BATCH_LINES + 10], rows[TOTAL - 1] = "bad", event(3), "bad too"
    path = written(tmp_path / name, rows)
    lines = []
    for batches in (1, 2):
        with pytest.raises(PowerCut):
            await import_file(services.catalog, path, import_id="big", on_batch=cut_after(batches))
        run = await Import.open(services.catalog, "big")
        assert not run.state.finished
        lines.append(run.state.lines)
    assert lines == [BATCH_LINES, 3 * BATCH_LINES]
    told: list[Refusal] = []
    state = await import_file(
        services.catalog, path, import_id="big", on_batch=lambda _, found: told.extend(found)
    )
    assert state == ImportState(
        import_id="big",
        lines=TOTAL,
        position=state.position,
        accepted=TOTAL - 3,
        duplicates=1,
        refused=2,
        finished=True,
    )
    assert [refusal.number for refusal in told] == [TOTAL], "the first was told before the break"
    assert await rows_of(services, Event) == TOTAL - 3


async def test_an_import_cancelled_in_mid_batch_leaves_no_part_of_it(
    services: Services, tmp_path: Path
) -> None:
    path = written(tmp_path / "events.jsonl", (event(n) for n in range(TOTAL)))
    second_batch = asyncio.Event()

    async def bring() -> None:
        await import_file(
            services.catalog,
            path,
            import_id="big",
            on_batch=lambda *_: second_batch.set(),
        )

    task = asyncio.create_task(bring())
    await second_batch.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    run = await Import.open(services.catalog, "big")
    assert await rows_of(services, Event) == run.state.accepted == run.state.lines
    assert run.state.lines % BATCH_LINES == 0
    state = await import_file(services.catalog, path, import_id="big")
    assert (state.accepted, state.duplicates) == (TOTAL, 0)


async def test_good_lines_land_and_bad_ones_are_told_by_number_and_reason(
    services: Services, tmp_path: Path
) -> None:
    path = written(
        tmp_path / "events.jsonl",
        [event(1), "{", "", event(2, type=""), "[]", event(3), event(4, occurred_at="2999-01-01")],
    )
    told: list[Refusal] = []
    state = await import_file(
        services.catalog, path, import_id="x", on_batch=lambda _, found: told.extend(found)
    )
    assert (state.lines, state.accepted, state.refused) == (7, 2, 4)
    assert [refusal.number for refusal in told] == [2, 4, 5, 7]
    assert "not valid JSON" in told[0].reason
    assert "type: must not be empty" in told[1].reason
    assert "must be an object" in told[2].reason
    assert "future" in told[3].reason
    assert await rows_of(services, Event) == 2


async def test_what_the_settings_refuse_is_told_like_a_bad_line(
    opened_services: ServicesFactory, tmp_path: Path
) -> None:
    path = written(tmp_path / "events.jsonl", [event(0), event(1)])
    told: list[Refusal] = []
    async with opened_services(unknown_users="refuse") as services:
        await services.catalog.upsert_users([])
        state = await import_file(
            services.catalog, path, import_id="x", on_batch=lambda _, found: told.extend(found)
        )
        assert (state.accepted, state.refused) == (0, 2)
        assert "not in the catalog" in told[0].reason
        assert await rows_of(services, User) == 0


async def test_items_and_users_of_a_mixed_file_come_before_the_events_that_name_them(
    opened_services: ServicesFactory, tmp_path: Path
) -> None:
    rows: list[dict[str, Any]] = [
        event(1, user_id="u", item_id="i"),
        {"item_id": "i", "title": "Lamp"},
        {"user_id": "u", "attributes": {"country": "NO"}},
    ]
    path = written(tmp_path / "shop.jsonl", rows)
    async with opened_services(unknown_users="refuse", unknown_items="refuse") as services:
        state = await import_file(services.catalog, path, import_id="x")
        assert (state.accepted, state.refused) == (3, 0)
        counted = [await rows_of(services, model) for model in (Item, User, Event)]
        assert counted == [1, 1, 1]


async def test_a_finished_import_is_not_read_again_unless_asked(
    services: Services, tmp_path: Path
) -> None:
    path = written(tmp_path / "events.jsonl", [event(1), event(2)])
    first = await import_file(services.catalog, path, import_id="x")
    assert await import_file(services.catalog, path, import_id="x") == first
    again = await import_file(services.catalog, path, import_id="x", again=True)
    assert (again.accepted, again.duplicates, again.finished) == (0, 2, True)
    assert await rows_of(services, Event) == 2


async def test_beginning_again_that_breaks_off_goes_on_from_its_own_last_line(
    services: Services, tmp_path: Path
) -> None:
    path = written(tmp_path / "events.jsonl", (event(n) for n in range(TOTAL)))
    await import_file(services.catalog, path, import_id="x")
    with pytest.raises(PowerCut):
        await import_file(services.catalog, path, import_id="x", again=True, on_batch=cut_after(1))
    run = await Import.open(services.catalog, "x")
    assert (run.state.lines, run.state.duplicates, run.state.finished) == (
        BATCH_LINES,
        BATCH_LINES,
        False,
    )
    state = await import_file(services.catalog, path, import_id="x", again=True)
    assert (state.accepted, state.duplicates, state.finished) == (0, TOTAL, True)


async def test_of_two_that_bring_the_same_file_at_once_none_spoils_the_counts(
    services: Services, tmp_path: Path
) -> None:
    path = written(tmp_path / "events.jsonl", (event(n) for n in range(TOTAL)))
    outcomes = await asyncio.gather(
        *(import_file(services.catalog, path, import_id="x") for _ in range(3)),
        return_exceptions=True,
    )
    for outcome in outcomes:
        assert isinstance(outcome, ImportState | Conflict), outcome
    state = await import_file(services.catalog, path, import_id="x")
    assert (state.lines, state.accepted, state.duplicates) == (TOTAL, TOTAL, 0)
    assert await rows_of(services, Event) == TOTAL


@on_sqlite
async def test_a_file_that_changed_under_a_broken_import_is_refused(
    services: Services, tmp_path: Path
) -> None:
    path = written(tmp_path / "events.jsonl", (event(n) for n in range(TOTAL)))
    with pytest.raises(PowerCut):
        await import_file(services.catalog, path, import_id="x", on_batch=cut_after(1))
    path.write_bytes(path.read_bytes()[3:])
    with pytest.raises(UnreadableFile, match="has changed"):
        await import_file(services.catalog, path, import_id="x")


@on_sqlite
async def test_a_file_that_grew_brings_what_is_new(services: Services, tmp_path: Path) -> None:
    path = written(tmp_path / "events.jsonl", [event(1)])
    await import_file(services.catalog, path, import_id="day-1")
    written(path, [event(1), event(2)])
    state = await import_file(services.catalog, path, import_id="day-2", kind=Kind.EVENTS)
    assert (state.accepted, state.duplicates) == (1, 1)


@on_sqlite
async def test_events_without_id_and_time_count_once_however_often_their_file_is_read(
    services: Services, tmp_path: Path
) -> None:
    row = {"user_id": "u", "item_id": "i", "type": "view"}
    path = written(tmp_path / "events.jsonl", [row, row])
    first = await import_file(services.catalog, path, import_id="x")
    again = await import_file(services.catalog, path, import_id="x", again=True)
    assert (first.accepted, first.duplicates) == (2, 0)
    assert (again.accepted, again.duplicates) == (0, 2)


@on_sqlite
async def test_an_empty_file_is_an_import_of_nothing(services: Services, tmp_path: Path) -> None:
    path = written(tmp_path / "events.jsonl", [])
    state = await import_file(services.catalog, path, import_id="x")
    assert state == ImportState("x", finished=True)

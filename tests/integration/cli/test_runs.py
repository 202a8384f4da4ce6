"""`lrgd runs`: asked for, listed, watched, shown, drawn and cancelled, in the terminal."""

from __future__ import annotations

import asyncio
import contextlib
import json
import xml.etree.ElementTree as ET
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from lab.servers.valkey import PrivateValkey
from services.catalog.repository import CatalogRepository
from services.llm.port import Usage
from services.observability.metrics import Metrics
from services.optimizer.ledger import Ledger
from services.settings import Settings
from services.storage.database import Database, open_database
from tests.integration.cli.conftest import Lrgd
from tests.integration.optimizer.written import MADE_AT

OUTCOME = {
    "zero_shot": {"effect_d": 0.4, "log_score": -2.0},
    "active": {"path": 1, "effect_d": 0.6, "log_score": -1.5},
    "paths": [
        {
            "path": path, "written": True, "similarity": 0.5 + path / 10, "accepted": path == 1,
            "effective": True, "collapsed": path == 0, "perturbed": None, "screened_out": False,
            "effect_d": 0.5 + path / 10, "log_score": -1.5,
        }
        for path in range(2)
    ],
    "memory": 2,
}  # fmt: skip


@pytest.fixture
def lrgd(database_url: str, tmp_path: Path, valkey: PrivateValkey) -> Lrgd:
    return Lrgd(
        LRGD_DATABASE_URL=database_url,
        LRGD_DATA_DIR=str(tmp_path),
        LRGD_REDIS_URL=valkey.address.state_url,
        LRGD_BROKER_URL=valkey.address.broker_url,
    )


def in_database(url: str, work: Callable[[Database], Awaitable[None]]) -> None:
    async def run() -> None:
        settings = Settings.model_validate({"database_url": url})
        async with contextlib.aclosing(open_database(settings)) as database:
            await work(database)

    asyncio.run(run())


def come(url: str, *user_ids: str) -> None:
    async def work(database: Database) -> None:
        await database.write(
            lambda session: CatalogRepository(session).ensure_users(user_ids, MADE_AT)
        )

    in_database(url, work)


async def made(database: Database) -> None:
    """Every round that waits, as a worker would end it."""
    ledger = Ledger(database, Metrics())
    while claimed := await ledger.claim(10):
        for one in claimed:

            async def end(session: object, one: object = one) -> None:
                await ledger.settle(session, one, Usage(1000, 50, 400), 3)  # type: ignore[arg-type]
                await ledger.finish(session, one, OUTCOME)  # type: ignore[arg-type]

            await database.write(end)


def test_a_run_is_asked_for_watched_shown_and_drawn(
    lrgd: Lrgd, database_url: str, tmp_path: Path
) -> None:
    come(database_url, "ada", "bob")
    asked = ("runs", "start", "--users", "ada,bob", "--rounds", "2", "--paths", "2", "--id", "r")
    for _ in range(2):
        done = lrgd(*asked, "--set", "draws=2", "--budget-tokens", "100000", "--json")
        assert done.code == 0, done.said
        told = json.loads(done.out)
        assert told["command"] == "lrgd runs start"
        assert told["detail"]["run"]["settings"]["draws"] == 2
        assert told["detail"]["run"]["budget"] == {"calls": None, "tokens": 100000}
    waiting = lrgd("runs", "show", "r")
    assert "0 of 4 rounds" in waiting.out
    in_database(database_url, made)

    watched = lrgd("runs", "watch", "r")
    assert watched.code == 0, watched.said
    assert "r: done, 2 done" in watched.out
    for word in ("served", "shot", "path 0", "path 1", "larity", "lapsed", "0.600"):
        assert word in watched.out
    assert "4 of 4 rounds" in watched.out

    file = tmp_path / "run.svg"
    shown = lrgd("runs", "show", "r", "--plot", str(file), "--json")
    figures = json.loads(shown.out)["figures"]
    assert (figures["effect_d"], figures["zero_shot_effect_d"]) == (0.6, 0.4)
    assert figures["uncached_prompt_tokens_per_round"] == pytest.approx(600)
    assert (figures["accepted"], figures["collapsed"]) == (4, 4)
    drawing = ET.parse(file).getroot()
    texts = {text.text for text in drawing.iter("{http://www.w3.org/2000/svg}text")}
    assert {"path 0", "path 1", "served", "zero-shot", "round"} <= texts
    paths = list(drawing.iter("{http://www.w3.org/2000/svg}path"))
    assert len(paths) == 6

    (row,) = json.loads(lrgd("runs", "list", "--json").out)
    assert (row["run_id"], row["state"], row["users"]) == ("r", "done", {"done": 2})
    assert "2 done" in lrgd("runs", "list").out


@pytest.mark.parametrize("dialect", ["sqlite"], indirect=True)
def test_a_run_is_cancelled_and_what_cannot_be_is_said_in_one_line(
    lrgd: Lrgd, database_url: str
) -> None:
    come(database_url, "ada")
    assert lrgd("runs", "start", "--users", "ada", "--id", "r").code == 0
    assert "cancelled" in lrgd("runs", "cancel", "r").said
    for arguments, told in (
        (("retry", "r"), "start another"),
        (("show", "no-such"), "no run"),
        (("start",), "cohort"),
        (("start", "--users", "nobody"), "nobody"),
        (("start", "--users", "ada", "--set", "pathes=2"), "pathes"),
        (("start", "--users", "ada", "--set", "draws"), "NAME=VALUE"),
        (("start", "--cohort", "some"), "cohort"),
    ):
        refused = lrgd("runs", *arguments)
        assert refused.code == 2, arguments
        assert refused.said.startswith("lrgd: ")
        assert told in refused.said
        assert "Traceback" not in refused.said


@pytest.mark.parametrize("dialect", ["sqlite"], indirect=True)
def test_help_teaches(lrgd: Lrgd) -> None:
    assert "lrgd runs start --users" in lrgd("runs", "start", "--help").out
    assert "held out" in lrgd("runs", "--help").out
    defaults = json.loads(lrgd("runs", "settings", "--json").out)
    assert (defaults["paths"], defaults["perturbed"]) == (3, True)

"""`lrgd import` and `lrgd export`, as people and scripts use them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from lab.servers.valkey import PrivateValkey
from services.ports import free_port
from tests.integration.cli.conftest import Lrgd

on_sqlite = pytest.mark.parametrize("dialect", ["sqlite"], indirect=True)

ITEMS = [{"item_id": f"i{n}", "title": f"Lamp {n}", "categories": ["home"]} for n in range(3)]
USERS = [{"user_id": "u", "attributes": {"country": "NO"}}]
EVENTS = [
    {
        "event_id": f"e{n}",
        "user_id": "u",
        "item_id": f"i{n}",
        "type": "purchase",
        "occurred_at": "2026-01-02T03:04:05Z",
    }
    for n in range(3)
]


@pytest.fixture
def lrgd(database_url: str, tmp_path: Path) -> Lrgd:
    return Lrgd(LRGD_DATABASE_URL=database_url, LRGD_DATA_DIR=str(tmp_path / "data"))


def written(path: Path, rows: list[Any]) -> str:
    lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    path.write_text("".join(f"{line}\n" for line in lines))
    return str(path)


def shop(folder: Path) -> list[str]:
    return [
        written(folder / "events.jsonl", EVENTS),
        written(folder / "users.jsonl", USERS),
        written(folder / "items.jsonl", ITEMS),
    ]


def test_what_is_imported_is_exported(lrgd: Lrgd, tmp_path: Path) -> None:
    done = lrgd("import", *shop(tmp_path), "--json")
    assert done.code == 0, done.said
    report = json.loads(done.out)
    assert {Path(name).name: result["accepted"] for name, result in report.items()} == {
        "items.jsonl": 3,
        "users.jsonl": 1,
        "events.jsonl": 3,
    }
    sent: dict[str, list[dict[str, Any]]] = {"items": ITEMS, "users": USERS, "events": EVENTS}
    for kind, rows in sent.items():
        target = tmp_path / f"exported-{kind}.jsonl"
        assert lrgd("export", kind, str(target)).code == 0
        exported = [json.loads(line) for line in target.read_text().splitlines()]
        assert [{**found, **row} for found, row in zip(exported, rows, strict=True)] == exported
        assert lrgd("export", kind).out == target.read_text()


def test_items_and_users_are_brought_before_events_whatever_order_they_are_named_in(
    lrgd: Lrgd, tmp_path: Path
) -> None:
    refusing = lrgd.with_settings(LRGD_UNKNOWN_USERS="refuse", LRGD_UNKNOWN_ITEMS="refuse")
    assert refusing("import", *shop(tmp_path)).code == 0


def test_importing_twice_does_no_harm(lrgd: Lrgd, tmp_path: Path) -> None:
    files = shop(tmp_path)
    lrgd("import", *files)
    done = lrgd("import", *files, "--json")
    assert done.code == 0
    report = json.loads(done.out)[files[0]]
    assert (report["accepted"], report["duplicates"]) == (0, 3)


@on_sqlite
def test_refused_lines_are_an_exit_code_a_word_each_and_a_file(lrgd: Lrgd, tmp_path: Path) -> None:
    path = written(tmp_path / "events.jsonl", [EVENTS[0], *["[bad]"] * 25, EVENTS[1]])
    told = tmp_path / "refused.txt"
    done = lrgd("import", path, "--json", "--refusals", str(told))
    assert done.code == 1
    assert json.loads(done.out)[path]["refused"] == 25
    assert json.loads(done.out)[path]["accepted"] == 2
    refusals = told.read_text().splitlines()
    assert len(refusals) == 25
    assert refusals[0].startswith(f"{path}:2: ")
    assert f"{path}:2: " in done.said
    assert f"{path}:24: " not in done.said
    assert "--refusals FILE" in done.said


@on_sqlite
def test_a_file_that_is_not_there_or_no_data_is_one_plain_line(lrgd: Lrgd, tmp_path: Path) -> None:
    (tmp_path / "[").mkdir()
    (tmp_path / "[" / "bold].jsonl").write_text("[]\n")
    (tmp_path / "archive.zip").write_bytes(b"PK\x03\x04")
    for name in ("nothing.jsonl", "[/bold].jsonl", "archive.zip"):
        done = lrgd("import", str(tmp_path / name))
        assert done.code == 2
        assert done.said.startswith(f"lrgd: {tmp_path / name} ")
        assert done.said.count("\n") == 1


@on_sqlite
def test_a_database_without_tables_or_none_at_all_is_one_plain_line(
    lrgd: Lrgd, tmp_path: Path
) -> None:
    path = written(tmp_path / "items.jsonl", ITEMS)
    bare = lrgd.with_settings(LRGD_DATABASE_URL=f"sqlite:///{tmp_path / 'bare.sqlite3'}")
    down = lrgd.with_settings(LRGD_DATABASE_URL=f"postgresql://u:hunter2@127.0.0.1:{free_port()}/x")
    for command in (["import", path], ["export", "items"], ["keys", "list"]):
        done = bare(*command)
        assert (done.code, len(done.said.strip().splitlines())) == (2, 1), done.said
        assert "lrgd migrate" in done.said
        done = down(*command)
        assert (done.code, len(done.said.strip().splitlines())) == (2, 1), done.said
        assert "hunter2" not in done.said


@on_sqlite
def test_an_export_that_fails_leaves_the_old_one_as_it_was(lrgd: Lrgd, tmp_path: Path) -> None:
    target = tmp_path / "items.jsonl"
    target.write_text("the last good export\n")
    down = lrgd.with_settings(LRGD_DATABASE_URL=f"postgresql://u@127.0.0.1:{free_port()}/x")
    assert down("export", "items", str(target)).code == 2
    assert target.read_text() == "the last good export\n"
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith("items")] == [
        "items.jsonl"
    ]


@on_sqlite
def test_an_import_beside_a_running_deployment_wakes_its_worker(
    lrgd: Lrgd, tmp_path: Path, valkey: PrivateValkey
) -> None:
    with valkey.client as redis:
        redis.flushall()
    wired = lrgd.with_settings(
        LRGD_REDIS_URL=valkey.address.state_url, LRGD_BROKER_URL=valkey.address.broker_url
    )
    assert wired("import", *shop(tmp_path)).code == 0
    with valkey.client as redis:
        assert redis.exists("lrgd:debounce:refresh_popularity")


@on_sqlite
def test_an_import_needs_no_redis(lrgd: Lrgd, tmp_path: Path) -> None:
    dead = f"redis://127.0.0.1:{free_port()}/0"
    unwired = lrgd.with_settings(LRGD_REDIS_URL=dead, LRGD_BROKER_URL=dead)
    done = unwired.process("import", *shop(tmp_path), "--json")
    assert done.code == 0, done.said
    assert json.loads(done.out)

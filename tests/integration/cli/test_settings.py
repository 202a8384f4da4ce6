"""`lrgd settings`, and what every command does about a wrong one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from services.settings import PREFIX, Settings
from tests.integration.cli.conftest import Lrgd

SECRET = "hunter2"  # pragma: allowlist secret


@pytest.fixture
def lrgd(tmp_path: Path) -> Lrgd:
    return Lrgd(
        LRGD_DATA_DIR=str(tmp_path),
        LRGD_DATABASE_URL=f"postgresql://lrgd:{SECRET}@db/lrgd",
        LRGD_REDIS_URL=f"rediss://:{SECRET}@cache/0?password={SECRET}",
        LRGD_BROKER_URL=f"redis://:{SECRET}@broker/0",
        LRGD_LLM_URL="http://vllm:8000/v1",
        LRGD_LLM_MODEL="qwen",
        LRGD_LLM_API_KEY=SECRET,
    )


def test_every_setting_is_shown_and_no_secret(lrgd: Lrgd) -> None:
    as_json, table = lrgd("settings", "--json"), lrgd("settings")
    shown = json.loads(as_json.out)
    assert set(shown) == set(Settings.model_fields)
    assert shown["database_url"] == "postgresql://lrgd:********@db/lrgd"
    assert shown["llm_api_key"] == "********"
    for name in Settings.model_fields:
        assert f"{PREFIX}{name.upper()}" in table.out
    for done in (as_json, table):
        assert done.code == 0
        assert SECRET not in done.out + done.said


@pytest.mark.parametrize(
    "command", [["settings"], ["gateway"], ["worker"], ["beat"], ["up"], ["migrate"]]
)
def test_a_wrong_setting_stops_every_command_with_one_plain_line(
    lrgd: Lrgd, command: list[str]
) -> None:
    done = lrgd.with_settings(LRGD_PROT="1")(*command)
    assert done.code == 2
    assert done.said.startswith("lrgd: unknown setting LRGD_PROT")
    assert done.said.count("\n") == 1


@pytest.mark.parametrize(
    ("command", "settings", "named"),
    [
        ("gateway", {"LRGD_POSITIVE_EVENTS": "rating=4"}, "LRGD_POSITIVE_EVENTS"),
        ("worker", {"LRGD_POSITIVE_EVENTS": "rating=4"}, "LRGD_POSITIVE_EVENTS"),
        ("gateway", {}, "LRGD_REDIS_URL"),
        ("beat", {}, "LRGD_REDIS_URL"),
    ],
)
def test_what_only_the_parts_can_judge_stops_the_start_in_a_plain_line_too(
    tmp_path: Path, command: str, settings: dict[str, str], named: str
) -> None:
    if settings:
        settings = {
            "LRGD_REDIS_URL": "redis://127.0.0.1:1/0",
            "LRGD_BROKER_URL": "redis://127.0.0.1:1/1",
            **settings,
        }
    done = Lrgd(LRGD_DATA_DIR=str(tmp_path), **settings).process(command)
    assert done.code == 2
    assert done.said.startswith("lrgd: ")
    assert named in done.said
    assert done.said.count("\n") == 1

"""Calls about the same user look the same to a proxy, and do not tell it who that is."""

from __future__ import annotations

import asyncio
from pathlib import Path

from services.llm.affinity import HEADER, about, headers

ROOT = Path(__file__).parents[3]


def test_a_user_is_always_the_same_digest_and_never_the_id() -> None:
    with about("ada"):
        first = headers()
    with about("ada"):
        assert headers() == first
    with about("grace"):
        assert headers() != first
    assert set(first) == {HEADER}
    assert "ada" not in first[HEADER]


def test_a_call_about_nobody_says_nothing() -> None:
    assert headers() == {}
    with about("ada"), about(None):
        assert headers() == {}


async def test_tasks_that_are_started_inside_are_about_the_same_user() -> None:
    async def asked() -> dict[str, str]:
        await asyncio.sleep(0)
        return headers()

    async def of(user_id: str) -> dict[str, str]:
        with about(user_id):
            return await asyncio.create_task(asked())

    ada, grace = await asyncio.gather(of("ada"), of("grace"))
    assert ada != grace


def test_the_proxy_that_is_shown_hashes_that_header() -> None:
    told = (ROOT / "deploy" / "vllm" / "replicas.conf").read_text()
    variable = f"$http_{HEADER.replace('-', '_')}"
    assert f"default {variable};" in told
    assert "hash $lrgd_session consistent;" in told
    assert "hash $lrgd_session consistent;" in (ROOT / "docs" / "operations.md").read_text()

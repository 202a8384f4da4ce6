"""What docs/recommend.md tells its readers to type works on the sample shop."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from services.catalog.sample import load_sample_shop
from tests.conftest import ClientFactory
from tests.integration.recommendations.conftest import services_of

DOCUMENT = (Path(__file__).parents[3] / "docs" / "recommend.md").read_text()
CALLS = re.findall(
    r"^curl http://127\.0\.0\.1:8000(\S+) -H 'Content-Type: application/json' -d '(.*)'$",
    DOCUMENT,
    flags=re.MULTILINE,
)


@pytest.mark.parametrize("dialect", ["sqlite"], indirect=True)
async def test_the_documented_calls_are_answered_by_the_model(opened_client: ClientFactory) -> None:
    async with opened_client(recommend_deadline_ms=60_000) as client:
        await load_sample_shop(services_of(client).catalog)
        await services_of(client).popularity.refresh()
        await services_of(client).recommender.prepare()
        assert {path for path, _ in CALLS} == {"/recommend", "/recommend/batch", "/rerank"}
        for path, body in CALLS:
            answer = await client.post(path, json=json.loads(body))
            assert answer.status_code == 200, answer.text
            assert set(_sources(path, answer.json())) == {"model"}


def _sources(path: str, told: dict[str, Any]) -> list[str]:
    if path == "/recommend/batch":
        return [result["reply"]["source"] for result in told["results"]]
    return [told["source"]]

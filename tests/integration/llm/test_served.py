"""The configured model, on its server or embedded, is part of what must be ready."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from services.llm.port import Terms
from services.ports import free_port
from services.settings import SHIPPED_MODEL
from tests.conftest import ServicesFactory


class _Models(BaseHTTPRequestHandler):
    """Speaks as much of the OpenAI API as the readiness check asks for."""

    def do_GET(self) -> None:
        known = self.path == "/v1/models" and self.headers["Authorization"] == "Bearer key"
        body = json.dumps({"object": "list", "data": [{"id": "served", "object": "model"}]})
        self.send_response(200 if known else 401)
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, format: str, *args: Any) -> None:
        """Not on the terminal of the tests."""


@pytest.fixture
def model_server() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Models) as server:
        Thread(target=server.serve_forever).start()
        yield f"http://127.0.0.1:{server.server_address[1]}/v1"
        server.shutdown()


@pytest.mark.parametrize("dialect", ["sqlite"], indirect=True)
@pytest.mark.parametrize(
    ("model", "key", "ready", "told"),
    [
        ("served", "key", True, ""),
        ("another", "key", False, "LRGD_LLM_MODEL"),
        ("served", "wrong", False, "401"),
    ],
)
async def test_the_model_server_must_serve_the_configured_model(
    opened_services: ServicesFactory,
    model_server: str,
    *,
    model: str,
    key: str,
    ready: bool,
    told: str,
) -> None:
    async with opened_services(llm_url=model_server, llm_model=model, llm_api_key=key) as services:
        (llm,) = [part for part in await services.health.check() if part.part == "llm"]
    assert llm.ready is ready
    assert told in (llm.detail or "")


@pytest.mark.parametrize("dialect", ["sqlite"], indirect=True)
async def test_a_model_server_that_is_down_is_named(opened_services: ServicesFactory) -> None:
    nowhere = f"http://127.0.0.1:{free_port()}/v1"
    async with opened_services(llm_url=nowhere, llm_model="any") as services:
        down = [part.part for part in await services.health.check() if not part.ready]
    assert "llm" in down


@pytest.mark.parametrize("dialect", ["sqlite"], indirect=True)
async def test_without_a_model_server_the_embedded_model_must_load(
    opened_services: ServicesFactory, tmp_path: Path
) -> None:
    async with opened_services() as services:
        (llm,) = [part for part in await services.health.check() if part.part == "llm"]
        assert llm.ready
        assert await services.model.count("tea", Terms.within(10)) >= 1

    broken = shutil.copytree(SHIPPED_MODEL, tmp_path / "broken")
    (broken / "model.onnx").write_bytes(b"no graph")
    async with opened_services(llm_folder=broken) as services:
        (llm,) = [part for part in await services.health.check() if part.part == "llm"]
    assert not llm.ready
    assert "LRGD_LLM_FOLDER" in (llm.detail or "")
    assert str(tmp_path) not in (llm.detail or "")

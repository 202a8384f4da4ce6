"""The engines that keep the contract. A real vLLM is one of them where its environment is named:

VLLM_ENVIRONMENT=.venv-vllm python -m pytest -m vllm tests/integration/llm
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx2
import pytest

from lab.servers.vllm import PrivateVllm
from services.llm.connection import ServerConfig
from services.llm.port import LanguageModel
from services.llm.scripted import Script, ScriptedModel
from services.llm.scripted_server import ScriptedServer
from services.llm.vllm import VllmModel
from services.observability.metrics import Metrics
from services.prompts.labels import LABELS
from tests.integration.llm import tiny_llama

ENGINES = ("scripted", "scripted-server", pytest.param("vllm", marks=pytest.mark.vllm))
CONTEXT_TOKENS = 2048


@dataclass(frozen=True)
class Bench:
    """An engine, and 128 labels that its tokenizer writes as one token behind "Next:"."""

    model: LanguageModel
    labels: tuple[str, ...]


@pytest.fixture(scope="session")
def vllm_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrivateVllm]:
    environment = os.environ.get("VLLM_ENVIRONMENT")
    if not environment:
        pytest.fail("VLLM_ENVIRONMENT must name an environment with vLLM: `make test-vllm` does it")
    model = tiny_llama.write_tiny_llama(tmp_path_factory.mktemp("tiny-llama"))
    with PrivateVllm(model, environment=Path(environment)) as server:
        yield server


@pytest.fixture(params=ENGINES)
async def bench(request: pytest.FixtureRequest) -> AsyncIterator[Bench]:
    with_space = tuple(f" {label}" for label in LABELS)
    if request.param == "scripted":
        yield Bench(ScriptedModel(Script(context_tokens=CONTEXT_TOKENS)), with_space)
        return
    if request.param == "scripted-server":
        served = ScriptedServer(Script(context_tokens=CONTEXT_TOKENS))
        config = ServerConfig("http://scripted", served.script.model)
        transport = httpx2.ASGITransport(app=served)
        async with VllmModel(config, Metrics(), transport=transport) as model:
            yield Bench(model, with_space)
        return
    server: PrivateVllm = request.getfixturevalue("vllm_server")
    async with VllmModel(ServerConfig(server.url, server.model), Metrics()) as model:
        yield Bench(model, tiny_llama.LABELS)

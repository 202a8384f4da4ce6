"""The engines that keep the contract. A real vLLM is one of them where its environment is named:

VLLM_ENVIRONMENT=.venv-vllm python -m pytest -m vllm tests/integration/llm
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx2
import pytest

from lab.servers.vllm import PrivateVllm
from services.llm.connection import ServerConfig
from services.llm.onnx import OnnxConfig, OnnxModel
from services.llm.port import LanguageModel
from services.llm.scripted import Script, ScriptedModel
from services.llm.scripted_server import ScriptedServer
from services.llm.vllm import VllmModel
from services.observability.metrics import Metrics
from services.prompts.labels import LABELS
from services.settings import SHIPPED_MODEL

ENGINES = ("scripted", "scripted-server", "onnx", pytest.param("vllm", marks=pytest.mark.vllm))
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
    model = _with_sampling_defaults(tmp_path_factory.mktemp("model") / "lrgd-mini")
    flags = {"--dtype": "float32"}  # as ONNX Runtime computes it, so that the two can be compared
    with PrivateVllm(model, environment=Path(environment), flags=flags) as server:
        yield server


def _with_sampling_defaults(folder: Path) -> Path:
    """The model that ships, but with what other models bring along: a server takes these over, and
    they would bend log-probs if a request did not override them."""
    shutil.copytree(SHIPPED_MODEL, folder)
    file = folder / "generation_config.json"
    defaults = json.loads(file.read_text()) | {
        "temperature": 0.6,
        "top_k": 20,
        "repetition_penalty": 1.1,
    }
    file.write_text(json.dumps(defaults))
    return folder


@pytest.fixture(params=ENGINES)
async def bench(request: pytest.FixtureRequest) -> AsyncIterator[Bench]:
    labels = tuple(f" {label}" for label in LABELS)
    if request.param == "scripted":
        yield Bench(ScriptedModel(Script(context_tokens=CONTEXT_TOKENS)), labels)
        return
    if request.param == "onnx":
        async with OnnxModel(OnnxConfig(SHIPPED_MODEL), Metrics()) as model:
            yield Bench(model, labels)
        return
    if request.param == "scripted-server":
        served = ScriptedServer(Script(context_tokens=CONTEXT_TOKENS))
        config = ServerConfig("http://scripted", served.script.model)
        transport = httpx2.ASGITransport(app=served)
        async with VllmModel(config, Metrics(), transport=transport) as over_http:
            yield Bench(over_http, labels)
        return
    server: PrivateVllm = request.getfixturevalue("vllm_server")
    async with VllmModel(ServerConfig(server.url, server.model), Metrics()) as over_http:
        yield Bench(over_http, labels)

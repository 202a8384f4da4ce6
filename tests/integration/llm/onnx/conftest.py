"""The engine in ONNX Runtime, over a model with random weights that no torch was needed for."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from services.llm.onnx import OnnxConfig, OnnxModel
from services.observability.metrics import Metrics
from tests.integration.llm.conftest import Bench
from tests.integration.llm.onnx.random_llama import LABELS, write_random_llama


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_random_llama(tmp_path_factory.mktemp("random-llama"))


@pytest.fixture
async def bench(folder: Path) -> AsyncIterator[Bench]:
    async with OnnxModel(OnnxConfig(folder), Metrics()) as model:
        yield Bench(model, LABELS)

"""Which model the settings mean, and what is said when it cannot be."""

from __future__ import annotations

import logging
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from services.bootstrap import make_model, model_config
from services.errors import ConfigurationError
from services.llm.card import CARD, WrongPrompts, read_card
from services.llm.connection import ServerConfig
from services.llm.errors import ModelTimeout
from services.llm.onnx import OnnxConfig
from services.llm.port import Terms
from services.observability.metrics import Metrics
from services.settings import SHIPPED_MODEL, Settings

PRODUCTION: dict[str, Any] = {
    "deployment": "production",
    "database_url": "postgresql://db/lrgd",
    "redis_url": "redis://cache",
    "broker_url": "redis://broker",
    "auth": "required",
}
SERVER: dict[str, Any] = {"llm_url": "http://vllm:8000/v1", "llm_model": "qwen"}

AS_A_WORKER_DOES = """
import asyncio, sys
import worker.server
from services.bootstrap import make_model, model_config
from services.observability.metrics import Metrics
from services.settings import Settings

async def make():
    model_config(Settings())
    await make_model(Settings(), Metrics()).aclose()

asyncio.run(make())
sys.exit("onnxruntime" in sys.modules)
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The shipped model, to be spoiled."""
    return Path(shutil.copytree(SHIPPED_MODEL, tmp_path / "model"))


def test_the_model_that_ships_is_the_default() -> None:
    config = model_config(Settings())
    assert config == OnnxConfig(SHIPPED_MODEL, model="lrgd-mini")


def test_the_embedded_model_is_tuned_by_settings(folder: Path) -> None:
    config = model_config(Settings(llm_folder=folder, llm_threads=3, llm_cache_bytes=7))
    assert isinstance(config, OnnxConfig)
    assert (config.folder, config.threads, config.cache_bytes) == (folder, 3, 7)


def test_the_server_is_tuned_by_settings() -> None:
    config = model_config(
        Settings(
            **SERVER,
            llm_api_key=SecretStr("key"),
            llm_weights="revision-2",
            llm_dtype="bfloat16",
            llm_in_flight=8,
            llm_connect_seconds=1,
            llm_probe_seconds=9,
        )
    )
    assert isinstance(config, ServerConfig)
    assert (config.root, config.model, config.api_key) == ("http://vllm:8000", "qwen", "key")
    assert (config.weights, config.dtype) == ("revision-2", "bfloat16")
    assert (config.connect_seconds, config.probe_seconds) == (1, 9)
    assert config.gate.in_flight == 8
    assert 1 <= config.gate.rounds < 8


def test_by_default_the_server_is_asked_as_the_adapter_would() -> None:
    config = model_config(Settings(**SERVER))
    assert config == ServerConfig("http://vllm:8000/v1", "qwen")


@pytest.mark.parametrize("lacking", ["model.onnx", "tokenizer.json"])
def test_a_folder_that_lacks_files_is_refused_by_setting_and_file(
    folder: Path, lacking: str
) -> None:
    (folder / lacking).unlink()
    with pytest.raises(ConfigurationError, match=rf"LRGD_LLM_FOLDER: .* lacks {lacking}"):
        model_config(Settings(llm_folder=folder))


def test_a_model_that_was_taught_other_prompts_is_refused(folder: Path) -> None:
    card = read_card(folder)
    assert card is not None
    other = card.model_copy(update={"prompts": {**card.prompts, "paper": "paper-of-old"}})
    (folder / CARD).write_text(other.model_dump_json())
    with pytest.raises(WrongPrompts, match="paper-of-old"):
        make_model(Settings(llm_folder=folder), Metrics())


async def test_a_model_without_a_card_is_taken_with_a_warning(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (folder / CARD).unlink()
    with caplog.at_level(logging.WARNING):
        await make_model(Settings(llm_folder=folder), Metrics()).aclose()
    assert [record.message for record in caplog.records] == ["model_without_card"]
    config = model_config(Settings(llm_folder=folder))
    assert isinstance(config, OnnxConfig)
    assert config.model == folder.name


@pytest.mark.parametrize(
    ("settings", "warnings"),
    [
        ({}, []),
        (PRODUCTION, ["model_for_trying_out"]),
        (PRODUCTION | SERVER, []),
    ],
)
async def test_production_is_warned_of_the_model_that_ships(
    caplog: pytest.LogCaptureFixture, settings: dict[str, Any], warnings: list[str]
) -> None:
    with caplog.at_level(logging.WARNING):
        await make_model(Settings(**settings), Metrics()).aclose()
    assert [record.message for record in caplog.records] == warnings


async def test_calls_of_the_model_are_measured() -> None:
    metrics = Metrics()
    model = make_model(Settings(), metrics)
    with pytest.raises(ModelTimeout):
        await model.count("tea", Terms.within(0))
    await model.aclose()
    assert b'lrgd_llm_calls_total{kind="tokenize",outcome="timeout"} 1.0' in metrics.render()


def test_nothing_that_does_not_survive_a_fork_is_imported_before_one() -> None:
    command = [sys.executable, "-c", AS_A_WORKER_DOES]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr

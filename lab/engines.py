"""Which model an experiment asks: the embedded one, or any server that speaks OpenAI's API."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from lab.embedded import EMBEDDED
from services.demonstrations.versions import prompt_versions
from services.errors import ConfigurationError
from services.llm.card import expect_prompts, read_card
from services.llm.connection import ServerConfig
from services.llm.gate import GateLimits
from services.llm.onnx import OnnxConfig, OnnxModel
from services.llm.onnx.files import missing_files
from services.llm.vllm import VllmModel
from services.observability.metrics import Metrics
from services.settings import SHIPPED_MODEL


@dataclass(frozen=True)
class EngineChoice:
    """`where` is `onnx` (lrgd-mini), the folder of another model for ONNX Runtime, or a URL."""

    where: str = EMBEDDED
    model: str | None = None
    api_key: str | None = field(default=None, repr=False)
    at_once: int = 8

    def __post_init__(self) -> None:
        if self.is_server and self.model is None:
            raise ConfigurationError(f"--model: which model does {self.where} serve?")
        if not self.is_server and self.model is not None:
            raise ConfigurationError("--model is for a server: --engine must be its URL")

    @property
    def is_server(self) -> bool:
        return "://" in self.where

    @property
    def is_lrgd_mini(self) -> bool:
        return self.where == EMBEDDED

    @property
    def calls_at_once(self) -> int:
        """The embedded model computes one prompt at a time."""
        return self.at_once if self.is_server else 1

    @property
    def folder(self) -> Path:
        return SHIPPED_MODEL if self.where == EMBEDDED else Path(self.where)


def make_model(choice: EngineChoice) -> VllmModel | OnnxModel:
    """Made inside the event loop that uses it. Raises ConfigurationError."""
    if choice.is_server and choice.model is not None:
        gate = GateLimits(in_flight=choice.at_once, rounds=choice.at_once)
        config = ServerConfig(choice.where, choice.model, api_key=choice.api_key, gate=gate)
        return VllmModel(config, Metrics())
    folder = choice.folder
    if missing := missing_files(folder):
        raise ConfigurationError(
            f"--engine: {folder} is no model for ONNX Runtime: it lacks {', '.join(missing)}"
        )
    card = read_card(folder)
    if card is not None:
        expect_prompts(card, prompt_versions())
    name = folder.name if card is None else card.name
    return OnnxModel(OnnxConfig(folder, model=name), Metrics())
